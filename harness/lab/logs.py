"""``harness lab logs``: what the parts of a lab print."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import click

from ..errors import LabError
from .options import which_lab
from .state import find

_FOLLOW_SECONDS = 0.2
_LOGS = {"service": "service.log", "postgres": "postgres.log", "toxiproxy": "toxiproxy.log"}


@click.command()
@which_lab
@click.option("-f", "--follow", is_flag=True, help="Go on as lines come, until Ctrl-C or the end of the lab.")
@click.option(
    "-n", "--lines", "count", type=click.IntRange(0), default=40, show_default=True, help="So many last lines."
)
@click.option("--part", type=click.Choice([*_LOGS, "daemon"]), default="service", show_default=True, help="Whose log.")
def logs(name: str | None, follow: bool, count: int, part: str) -> None:
    """Show the log of the service, or of another part."""
    folder = find(name)
    record = folder.record()
    if part == "daemon":
        path = folder.log
    elif record is None:
        raise LabError(f"The lab {folder.name} is still starting; try again in a moment, or look with --part daemon.")
    else:
        # Where the parts were started: for a kept run that is the run's own folder, as its ledger is.
        path = record.ledger.parent / _LOGS[part]
    place = _last_lines(path, count)
    with suppress(KeyboardInterrupt):
        while follow:
            follow = not folder.wait_gone(_FOLLOW_SECONDS)
            place = _print_from(path, place)


def _last_lines(path: Path, count: int) -> int:
    """Print the last lines of a log, and return where it ended."""
    try:
        text = path.read_bytes()
    except OSError:
        return 0
    lines = text.splitlines(keepends=True)[-count:] if count else []
    click.echo(b"".join(lines).decode(errors="replace"), nl=False)
    return len(text)


def _print_from(path: Path, position: int) -> int:
    """Print what came since, and return where it ended."""
    try:
        with path.open("rb") as file:
            file.seek(position)
            new = file.read()
    except OSError:
        return position
    if new:
        click.echo(new.decode(errors="replace"), nl=False)
    return position + len(new)
