"""``harness explain``: the whole story of one event of a stored run."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import click

_PATH = click.Path(path_type=Path)


@click.command()
@click.argument("run_name", metavar="RUN")
@click.argument("event", metavar="EVENT_ID", nargs=-1, required=True)
@click.option("--reports", type=_PATH, default=Path("reports"), show_default=True, help="Where runs are stored.")
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
def explain(run_name: str, event: tuple[str, ...], reports: Path, as_json: bool) -> None:
    """Tell the whole story of one event: sent, answered, queued, stored, with the faults around it.

    RUN is a path, a name or a part of one, or `last`: the newest run of the newest suite, or a run that began after it.
    EVENT_ID is an id, the beginning of one, or `operation N`.

    \b
    harness explain last 6f1c2a
    harness explain december-detached operation 412 --json
    """  # noqa: D301  (click wants the control character, which a raw text does not have)
    from .judging import load_run
    from .report.console import Console
    from .report.jsonfile import findings_in
    from .report.stored import find_run
    from .report.story import resolve, tell
    from .report.telling import story_lines, story_to_json

    folder = find_run(reports, run_name)
    run = load_run(folder)
    findings = findings_in(folder)
    story = tell(run, resolve(run, " ".join(event)), findings or (), judged=findings is not None)
    if as_json:
        click.echo(json.dumps(story_to_json(story), indent=2))
        return
    Console(sys.stdout, live=sys.stdout.isatty()).show(story_lines(story))
