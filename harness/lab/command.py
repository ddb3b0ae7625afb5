"""``harness lab``: an environment that stays up, to break by hand."""

from __future__ import annotations

import json
import random
import signal
from pathlib import Path
from typing import Any

import click

from ..errors import LabError, UsageError
from . import verbs
from .options import as_seconds, say, settings_of, which_lab
from .state import USUAL_NAME, LabFolder, clear, find, known, valid_name

_PATH = click.Path(path_type=Path)
_PORT = click.IntRange(1024, 65535)
_DOWN_SECONDS = 90.0


@click.group()
def lab() -> None:
    """Start an environment, break it by hand, look at it from any terminal, and have it judged.

    \b
    harness lab up                                             start PostgreSQL, Toxiproxy and the service
    harness lab load --for 2m                                  send events in the background
    harness lab status --watch                                 partitions, queue, pool, faults, load
    harness lab inject detach-partition --partition 2025_12    break a month, with proof that it bites
    harness lab psql -- -c '\\d+ audit_events'                  look into the database
    harness lab heal --all                                     mend what is broken
    harness lab check                                          judge all of it as a run is judged
    harness lab record scenarios/mine.py                       keep what was done as a scenario
    harness lab down                                           end it; nothing stays but its history

    A lab belongs to its user: every terminal sees it.  Several at once have names (--name).  One that nobody uses for
    its --max-age ends itself.
    """  # noqa: D301  (click wants the control character, which a raw text does not have)


@lab.command()
@click.option("--name", default=USUAL_NAME, show_default=True, help="What to call it, where there are several.")
@click.option("--target", type=_PATH, help="target.toml of the service [default: the reference].")
@click.option(
    "--max-age",
    callback=as_seconds,
    metavar="TIME",
    default="2h",
    show_default=True,
    help="Ends itself when unused for so long.",
)
@click.option("--reports", type=_PATH, default=Path("reports"), show_default=True, help="Where its history is stored.")
@click.option("--seed", type=int, help="Seed of its load [default: a new one].")
@click.option("--pg-bindir", type=_PATH, help="Use the PostgreSQL (15 to 18) whose programs are here.")
@click.option("--pg-port", type=_PORT, help="Fixed port for PostgreSQL.")
@click.option("--proxy-port", type=_PORT, help="Fixed port of the proxy, for a target by url.")
@click.option("--toxiproxy-url", help="Use this running Toxiproxy instead of starting one.")
@click.option(
    "--service-env",
    "service_env",
    multiple=True,
    metavar="NAME=VALUE",
    help="Set a variable of the service, such as HARNESS_CLOCK=1, which some faults need; repeatable.",
)
def up(
    name: str, target: Path | None, max_age: float, reports: Path, service_env: tuple[str, ...], **stack: Any
) -> None:
    """Start a lab, print its addresses and how to look, and return; it lives on in the background.

    \b
    harness lab up
    harness lab up --name december --max-age 30m
    harness lab up --target my/target.toml --pg-bindir /usr/lib/postgresql/16/bin
    """  # noqa: D301  (click wants the control character, which a raw text does not have)
    from ..session import REFERENCE_TARGET
    from .client import start
    from .order import LabOrder

    chosen = stack.pop("seed")
    bindir = stack.pop("pg_bindir")
    order = LabOrder(
        name=valid_name(name),
        state=Path(),
        target=(target or REFERENCE_TARGET).resolve(),
        reports=reports.resolve(),
        seed=random.SystemRandom().randrange(2**31) if chosen is None else chosen,
        max_age_seconds=max_age,
        lock_descriptor=-1,
        pipe_descriptor=-1,
        pg_bindir=str(bindir.resolve()) if bindir is not None else "",
        service_environment=settings_of(service_env, "--service-env"),
        **stack,
    )
    verbs.show_welcome(start(order, say))


@lab.command("list")
@click.option("--prune", is_flag=True, help="Clear away what is left of labs whose daemon died.")
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
def list_(prune: bool, as_json: bool) -> None:
    """List the labs: up, starting, or dead (their daemon was killed, and their parts with it).

    Exit code 1 when --prune could not remove something; the line names it.
    """
    rows, left = [], False
    for folder in known():
        if not folder.alive() and prune:
            gone = clear(folder, say)
            left = left or not gone
            click.echo(f"{folder.name}: {'cleared away' if gone else 'could not be cleared away'}", err=True)
            continue
        rows.append(_row(folder))
    if as_json:
        click.echo(json.dumps(rows, indent=2))
    else:
        width = max((len(row["name"]) for row in rows), default=0)
        for row in rows:
            click.echo(f"{row['name']:<{width}}  {row['state']:<8}  {row['started_at']:<25}  {row['folder']}".rstrip())
        if not rows:
            click.echo("no lab is up; `harness lab up` starts one", err=True)
    if left:
        raise SystemExit(1)


def _row(folder: LabFolder) -> dict[str, str]:
    record = folder.record()
    state = ("up" if record is not None else "starting") if folder.alive() else "dead"
    told = {"name": folder.name, "state": state, "started_at": "", "folder": "", "target": ""}
    if record is not None:
        told |= {"started_at": record.started_at, "folder": str(record.folder), "target": record.target}
    return told


@lab.command()
@which_lab
@click.option("--all", "everything", is_flag=True, help="All labs of this user, dead ones too.")
@click.option("--kill", is_flag=True, help="End a daemon that does not answer by SIGKILL; its reaper ends the parts.")
def down(name: str | None, everything: bool, kill: bool) -> None:
    """End a lab: its load, its parts, its ports and folders.  The history stays among the reports.

    What a dead lab left is cleared away as well.
    """
    if everything and name is not None:
        raise UsageError("--all and --name say different things; leave one of them out.")
    meant = _meant(name, everything=everything)
    for folder in meant:
        _end(folder, kill=kill)
    if not meant:
        click.echo("no lab is up", err=True)


def _meant(name: str | None, *, everything: bool) -> list[LabFolder]:
    """The labs to end: all, the named one, or the only one; where none lives, those that died."""
    labs = known()
    if everything:
        return labs
    if name is not None:
        named = [folder for folder in labs if folder.name == name]
        return named or [find(name)]
    dead = [folder for folder in labs if not folder.alive()]
    return dead if labs and len(dead) == len(labs) else [find(None)]


def _end(folder: LabFolder, *, kill: bool) -> None:
    """End one lab, living or dead; raises :class:`LabError` when it, or something of it, stays."""
    if folder.alive():
        _tell_to_end(folder, kill=kill)
        if not folder.wait_gone(_DOWN_SECONDS):
            raise LabError(
                f"The lab {folder.name} (process {folder.holder()}) did not end within {_DOWN_SECONDS:g} s; "
                f"`harness lab down --name {folder.name} --kill` ends it. Its log is {folder.log}."
            )
    if folder.path.exists() and not clear(folder, say):
        raise LabError(f"Something of the lab {folder.name} is left; see the lines above.", 1)
    click.echo(f"{folder.name}: down")


def _tell_to_end(folder: LabFolder, *, kill: bool) -> None:
    from .client import ask_folder, end_process
    from .protocol import Down, Told

    if not kill:
        try:
            for line in ask_folder(folder, Down(), Told, say).lines:
                click.echo(line)
        except LabError as error:
            # One that starts has no socket yet, and one of another version may not understand.
            say(str(error))
        else:
            return
    pid = folder.wait_holder(_DOWN_SECONDS)
    if pid is not None:
        end_process(pid, signal.SIGKILL if kill else signal.SIGTERM)


for _command in verbs.COMMANDS:
    lab.add_command(_command)
