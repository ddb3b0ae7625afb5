"""``harness assess``: ship or hold, feature by feature, by the evidence of stored runs."""

from __future__ import annotations

import json
import sys
from datetime import UTC, datetime
from pathlib import Path

import click

from ..errors import UsageError

_PATH = click.Path(path_type=Path)
_DATES = ["%Y-%m-%d", "%Y-%m-%dT%H:%M:%S", "%Y-%m-%d %H:%M:%S"]


@click.command()
@click.argument("names", metavar="[RUN_OR_SUITE]...", nargs=-1)
@click.option("--reports", type=_PATH, default=Path("reports"), show_default=True, help="Where runs are stored.")
@click.option("--scenarios", type=_PATH, default=Path("scenarios"), show_default=True, help="Folder of scenarios.")
@click.option("--inputs", type=_PATH, metavar="FILE", help="What people have to say [default: assess.toml, if any].")
@click.option("--since", type=click.DateTime(_DATES), help="Leave out what began before (UTC).")
@click.option("--target-name", default="", metavar="NAME", help="Only runs of this target, where there are several.")
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
@click.option("--markdown", type=_PATH, metavar="FILE", help="Write it as Markdown, too.")
def assess(
    names: tuple[str, ...],
    reports: Path,
    scenarios: Path,
    inputs: Path | None,
    since: datetime | None,
    target_name: str,
    *,
    as_json: bool,
    markdown: Path | None,
) -> None:
    """Say of each feature of the readiness assessment whether it can ship, by what stored runs prove.

    Without names every judged run below the reports counts: of each scenario the newest, and every run that failed.  A
    name is a path, a name or a part of one, `last` (the newest suite, or a run that began after it) or `last-suite`.
    A feature ships only when all its scenarios passed and everybody who had to look could; UNKNOWN, no run and nothing
    checked are a hold, as a broken promise is.

    \b
    harness assess                                   by all runs below reports/
    harness assess last-suite                        by the newest suite alone
    harness assess --since 2026-12-01                since the service was mended
    harness assess --markdown readiness.md           as a document, too
    harness run december-recovered-by-hand           times a recovery by hand, for the report

    \b
    0 every feature can ship
    1 a feature is held since a promise is broken
    2 usage
    3 a feature is held since evidence is lacking
    """  # noqa: D301  (click wants the control character, which a raw text does not have)
    import harness.checkers
    import harness.faults  # noqa: F401  (both fill registries)

    from ..discovery import load_scenarios
    from ..report.base import write_text
    from ..report.console import Console
    from . import shown
    from .drill import newest_drill
    from .evidence import assess as rule
    from .evidence import exit_of, gather
    from .inputs import load_inputs

    given = load_inputs(inputs)
    moment = since.replace(tzinfo=UTC) if since is not None else None
    gathered = gather(reports, names, since=moment, target=target_name)
    features = rule(gathered, load_scenarios(scenarios))
    found = shown.Assessment(gathered=gathered, features=features, drill=newest_drill(gathered.runs), inputs=given)
    if markdown is not None:
        try:
            write_text(markdown, shown.to_markdown(found))
        except OSError as error:
            raise UsageError(f"{markdown} cannot be written ({error.strerror}); name another file.") from error
    if as_json:
        click.echo(json.dumps(shown.to_json(found), indent=2, allow_nan=False))
    else:
        Console(sys.stdout, live=sys.stdout.isatty()).show(shown.lines(found))
    raise SystemExit(exit_of(features))
