"""``harness compare``: two stored runs or suites side by side, and what got worse beyond noise."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import click

_PATH = click.Path(path_type=Path)


@click.command()
@click.argument("first", metavar="RUN_A")
@click.argument("second", metavar="RUN_B")
@click.option("--reports", type=_PATH, default=Path("reports"), show_default=True, help="Where runs are stored.")
@click.option("--all", "everything", is_flag=True, help="Of suites show every row, not only what changed.")
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
@click.option("--fail-on-regression", is_flag=True, help="Tell by the exit code whether anything got worse.")
def compare(
    first: str, second: str, reports: Path, *, everything: bool, as_json: bool, fail_on_regression: bool
) -> None:
    """Compare two stored runs, or two suites scenario by scenario: what is worse in RUN_B than in RUN_A?

    Verdicts and findings, clocks, latencies outside blast radii, isolation, answers and key series, side by side.
    Each is a path, a name or a part of one, `last` (the newest suite, or a run that began after it) or `last-suite`.  A
    run beside a suite is compared with the suite's run of its scenario.

    \b
    harness compare 20261201-december last           one scenario, before and now
    harness compare baseline-suite last-suite        everything that both have
    harness compare main/reports/SUITE last-suite --fail-on-regression

    \b
    With --fail-on-regression:
    0 nothing got worse beyond noise
    1 something did; the lines name it
    2 usage, or the two cannot be compared
    3 too little to say
    """  # noqa: D301  (click wants the control character, which a raw text does not have)
    import harness.checkers
    import harness.faults  # noqa: F401  (both fill registries)

    from ..report.console import Console
    from . import shown
    from .judging import compare as judge
    from .sides import find_side, paired

    pairing = paired(find_side(reports, first), find_side(reports, second))
    comparison = judge(pairing, lambda line: click.echo(line, err=True))
    if as_json:
        click.echo(json.dumps(shown.to_json(comparison), indent=2, allow_nan=False))
    else:
        Console(sys.stdout, live=sys.stdout.isatty()).show(shown.lines(comparison, everything=everything))
    if fail_on_regression:
        raise SystemExit(comparison.exit)
