"""``harness selftest``: its options; what it does is in ``scoring``, which imports what only a run needs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from ..outputs import keep_runs_option

_PATH = click.Path(path_type=Path)


@click.command()
@click.option(
    "--catalogue",
    type=_PATH,
    help="The defects, and how each is launched [default: tests/selftest/catalogue.toml].",
)
@click.option("--defect", "defects", multiple=True, metavar="NAME", help="Only this defect; may be given again.")
@click.option("-k", "keyword", default="", help="Only defects whose name, description, scenario or checker match.")
@click.option("--scenario", "scenarios", multiple=True, metavar="NAME", help="Only in this scenario; may be repeated.")
@click.option(
    "--all", "whole_suite", is_flag=True, help="Each defect in the whole suite [default: where it must show]."
)
@click.option("--quick", is_flag=True, help="The quick defects, each in its cheapest scenario: within ten minutes.")
@click.option(
    "--control",
    type=click.IntRange(0),
    metavar="N",
    help="Rounds of the whole suite without a defect [default: one, of the scenarios played].",
)
@click.option(
    "--resume", default="", metavar="last|FOLDER", help="Go on with a stored selftest; what is done stays done."
)
@click.option("--force", is_flag=True, help="Resume although the sources have changed; the score says so for good.")
@click.option("--retry-unknown", is_flag=True, help="Play defects again whose run could not be judged.")
@click.option("--keep", is_flag=True, help="Keep the folders of all runs, not only of those that explain something.")
@click.option("--seed", type=int, help="Seed of the workloads [default: a new one, stored].")
@click.option("--jobs", type=click.IntRange(1, 64), help="Environments at once [default: 3 a core].")
@click.option(
    "--time-budget",
    "time_budget_seconds",
    type=click.FloatRange(min=0, min_open=True),
    metavar="SECONDS",
    help="Begin nothing after so long; resume later.",
)
@click.option("--reports", type=_PATH, default=Path("reports"), show_default=True, help="Where it is stored.")
@keep_runs_option
@click.option("--pg-bindir", type=_PATH, help="Use the PostgreSQL (15 to 18) whose programs are here.")
@click.option("--publish", type=_PATH, multiple=True, metavar="FILE", help="Put the score between the marks of FILE.")
def selftest(
    defects: tuple[str, ...],
    keyword: str,
    scenarios: tuple[str, ...],
    whole_suite: bool,
    quick: bool,
    control: int | None,
    **wish: Any,
) -> None:
    """Score the harness: play services broken on purpose, and one that is not; the last line is the score.

    \b
    harness selftest                              every defect where it must show, and the control there
    harness selftest --quick                      some, within ten minutes (CI)
    harness selftest --defect drainer-off         one
    harness selftest --control 12                 the control in twelve rounds of the whole suite, too
    harness selftest --resume last                go on with the one that was ended
    harness selftest --resume last --control 24   add to it

    \b
    0 every defect was seen, and the control raised no alarm
    1 a defect went unseen, or the control raised an alarm
    2 usage
    3 inconclusive: something could not be judged, or was not played
    """  # noqa: D301  (click wants the control character, which a raw text does not have)
    given: dict[str, Any] = {
        "defects": defects or None,
        "keyword": keyword or None,
        "scenarios": scenarios or None,
        "whole_suite": whole_suite or None,
        "quick": quick or None,
        "control": control,
    }
    chosen = {key: value for key, value in given.items() if value is not None}
    from .scoring import Wish, score

    raise SystemExit(score(Wish(**wish), chosen, click.echo))
