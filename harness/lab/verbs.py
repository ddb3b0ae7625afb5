"""What is done in a lab from the command line: each is one request to its daemon, and what is made of the answer."""

from __future__ import annotations

import json
import os
import shlex
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TextIO

import click

from ..errors import LabError, UsageError
from ..values import Month, Verdict
from .logs import logs
from .options import as_months, as_seconds, say, which_lab
from .parameters import build_fault
from .protocol import (
    Access,
    AskAccess,
    AskRecording,
    AskStatus,
    Heal,
    Inject,
    MakeSnapshot,
    PlayLoad,
    Recording,
    Snapshot,
    StopLoad,
    Told,
    Welcome,
)
from .state import LabFolder, find, name_option

_PATH = click.Path(path_type=Path)
_CLEAR = "\x1b[H\x1b[2J"
_ENDING_SECONDS = 30.0


def show_welcome(welcome: Welcome, stream: TextIO | None = None) -> None:
    """Print what a lab says when it is up, and what one may do with it; to standard output without a ``stream``."""
    from .status import duration_text

    other = name_option(welcome.name)
    lines = [
        f"lab {welcome.name} is up; unused for {duration_text(welcome.ends_in_seconds)}, it ends itself",
        *welcome.how_to_look,
        f"  its history and logs:  {welcome.folder}",
        "  (look into its files from outside: whatever works below its temporary folder is ended with it)",
        f"  send events:           harness lab load --for 2m{other}",
        f"  watch it:              harness lab status --watch{other}",
        f"  break it:              harness lab inject detach-partition --partition 2025_12{other}",
        f"  mend it:               harness lab heal --all{other}",
        f"  judge it:              harness lab check{other}",
        f"  end it:                harness lab down{other}",
    ]
    click.echo("\n".join(lines), file=stream)


@click.command()
@which_lab
@click.option("--watch", is_flag=True, help="Again and again, until Ctrl-C.")
@click.option(
    "--interval", callback=as_seconds, metavar="TIME", default="1s", show_default=True, help="How often --watch looks."
)
@click.option("--json", "as_json", is_flag=True, help="As JSON, one object a look.")
def status(name: str | None, watch: bool, interval: float, as_json: bool) -> None:
    """Show partitions, queue, pool, faults that are on, and the load.

    \b
    harness lab status
    harness lab status --watch --name december
    harness lab status --json | jq .queue.depth
    """  # noqa: D301  (click wants the control character, which a raw text does not have)
    folder = find(name)
    show = _shower(folder, as_json=as_json)
    if not watch:
        click.echo(show())
        return

    clear = _CLEAR if sys.stdout.isatty() and not as_json else ""
    with suppress(KeyboardInterrupt):
        while True:
            try:
                click.echo(f"{clear}{show()}")
            except LabError:
                # One that ends answers no more, and has still to end its parts.
                if not folder.wait_gone(_ENDING_SECONDS):
                    raise
            if folder.wait_gone(interval):
                say(f"the lab {folder.name} has ended")
                return


def _shower(folder: LabFolder, *, as_json: bool) -> Callable[[], str]:
    """Return what looks once and gives the text; drivers are imported by it once."""
    from .client import ask_folder
    from .codec import encode
    from .status import Status, lines_of

    def show() -> str:
        found = ask_folder(folder, AskStatus(), Status, say)
        return encode(found) if as_json else "\n".join(lines_of(found))

    return show


@click.command()
@which_lab
@click.option(
    "--rate",
    type=click.FloatRange(min=0),
    default=50.0,
    show_default=True,
    metavar="N",
    help="Events a second into each month; 0 is as fast as answers come.",
)
@click.option("--concurrency", type=click.IntRange(1, 200), default=4, show_default=True, help="Writers a month.")
@click.option(
    "--for", "seconds", callback=as_seconds, metavar="TIME", help="For so long, such as 2m [default: until --stop]."
)
@click.option(
    "--month",
    "months",
    callback=as_months,
    metavar="MONTH",
    multiple=True,
    help="Into this month, such as 2025-12; repeatable.",
)
@click.option("--stop", is_flag=True, help="Send nothing more.")
@click.pass_context
def load(
    ctx: click.Context,
    name: str | None,
    rate: float,
    concurrency: int,
    seconds: float | None,
    months: tuple[Month, ...],
    stop: bool,
) -> None:
    """Send events in the background, recorded in the lab's history; a load that is on is replaced.

    Without --month into all months of the target.  Around the coming and going of a fault each writer slows down to 4
    events a second, since what happens there may not outnumber what is judged strictly.

    \b
    harness lab load --for 2m
    harness lab load --rate 200 --concurrency 20 --month 2025-12 --month 2026-01
    harness lab load --stop
    """  # noqa: D301  (click wants the control character, which a raw text does not have)
    from .client import ask

    if stop:
        given = [key for key in ("rate", "concurrency", "seconds", "months") if _is_given(ctx, key)]
        if given:
            raise UsageError("--stop takes no other option but --name.")
        _echo(ask(name, StopLoad(), Told, say))
        return
    asked = PlayLoad(rate_per_month=rate, writers_per_month=concurrency, months=months, seconds=seconds)
    _echo(ask(name, asked, Told, say))


def _is_given(ctx: click.Context, parameter: str) -> bool:
    return ctx.get_parameter_source(parameter) is click.core.ParameterSource.COMMANDLINE


@click.command()
@click.argument("fault")
@which_lab
@click.option(
    "--partition", "partitions", multiple=True, metavar="MONTH", help="Which one, such as 2025_12; repeatable."
)
@click.option("--set", "settings", multiple=True, metavar="KEY=VALUE", help="A parameter of the fault; repeatable.")
def inject(fault: str, name: str | None, partitions: tuple[str, ...], settings: tuple[str, ...]) -> None:
    """Inject a fault, and prove from outside that it bites.

    `harness list faults` names all of them with their parameters.  One that does not bite is undone, and said to.

    \b
    harness lab inject detach-partition --partition 2025_12
    harness lab inject latency --set delay_ms=300
    harness lab inject stop-database --set mode=immediate

    \b
    0 it bites; the evidence is printed
    2 usage: no such fault, parameter or partition, or it is on already
    3 it did not bite
    """  # noqa: D301  (click wants the control character, which a raw text does not have)
    import harness.faults  # noqa: F401  (fills the registry)

    from ..fault import fault_to_json
    from .client import ask_folder

    folder = find(name)
    built = build_fault(fault, partitions, settings)
    _echo(ask_folder(folder, Inject(fault=fault_to_json(built)), Told, say))


@click.command()
@click.argument("fault", required=False, default="")
@which_lab
@click.option("--all", "everything", is_flag=True, help="Everything that is on, last injected first.")
def heal(fault: str, name: str | None, everything: bool) -> None:
    """Heal the fault of a name or a number, or the only one that is on; a probe has to see health.

    \b
    0 it is healed, or none is on
    1 something could not be healed; the line says why, and it may be tried again
    2 usage: no such fault is on, or several are
    """  # noqa: D301  (click wants the control character, which a raw text does not have)
    from .client import ask

    if everything and fault:
        raise UsageError("--all and the name of a fault say different things; leave one of them out.")
    _echo(ask(name, Heal(which=fault, everything=everything), Told, say))


@click.command()
@which_lab
@click.option("--no-wait", is_flag=True, help="Judge at once, with whatever there is to judge.")
def check(name: str | None, no_wait: bool) -> None:
    """Judge everything so far by the checkers of every run, and write a report; the lab goes on.

    The load rests while queue, table and catalog are read.  With a load on it first waits until enough can be judged.
    What is still broken leaves the verdict UNKNOWN: recovery was not seen.

    \b
    0 every promise was kept
    1 a promise is broken
    3 inconclusive: too little was sent, a fault is still on or did not bite
    """  # noqa: D301  (click wants the control character, which a raw text does not have)
    import harness.faults  # noqa: F401  (fills the registry)

    from ..gate import decide
    from ..judges import report
    from ..judging import judge_folder
    from ..report.console import Console
    from ..results import Waits
    from .client import ask

    stored = ask(name, MakeSnapshot(wait=not no_wait), Snapshot, say)
    folder = Path(stored.folder)
    result = judge_folder(
        folder,
        waits=Waits(),
        timings={},
        seconds=lambda: stored.seconds,
        repeat_command=_replay_command(folder),
        progress=say,
    )
    report(result)
    with Console(sys.stdout, live=False) as console:
        console.scenario_finished(result)
        console.details(result)
    for note in stored.notes:
        click.echo(f"  note: {note}")
    if result.verdict is Verdict.PASS:
        click.echo(f"  report: {folder / 'report.html'}")
    raise SystemExit(decide([result]))


def _replay_command(folder: Path) -> str:
    usual = folder.parent == Path("reports").resolve()
    where = "" if usual else f" --reports {shlex.quote(str(folder.parent))}"
    return f"harness replay {shlex.quote(folder.name)}{where}"


@click.command(context_settings={"ignore_unknown_options": True})
@which_lab
@click.option("--proxied", is_flag=True, help="By the way of the service, through Toxiproxy.")
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def psql(name: str | None, proxied: bool, arguments: tuple[str, ...]) -> None:
    """Open psql on the lab's database; what follows -- is psql's own.

    \b
    harness lab psql
    harness lab psql -- -c 'SELECT tableoid::regclass, count(*) FROM audit_events GROUP BY 1'

    Rows of event_category harness_canary are the harness's own.  Events written by hand are in no history: `harness lab
    check` accuses the service of them.
    """  # noqa: D301  (click wants the control character, which a raw text does not have)
    from .client import ask

    access = ask(name, AskAccess(), Access, say)
    conninfo = access.proxied_conninfo if proxied else access.conninfo
    sys.stdout.flush()
    try:
        # By the environment, since everybody on the machine reads the arguments of a process.
        variables = {**os.environ, "PGPASSWORD": access.password}
        os.execve(access.psql, [access.psql, "-d", conninfo, *arguments], variables)  # noqa: S606
    except OSError as error:
        raise LabError(
            f"{access.psql} cannot be run ({error.strerror}). Install a client (apt-get install postgresql-client), or "
            f"connect with another one: {conninfo}"
        ) from error


@click.command()
@click.argument("file", type=_PATH)
@which_lab
@click.option(
    "--max-gap",
    callback=as_seconds,
    metavar="TIME",
    help="Shorten pauses in which nothing was done to this, such as 20s.",
)
@click.option("--force", is_flag=True, help="Write over a file that is there.")
def record(file: Path, name: str | None, max_gap: float | None, force: bool) -> None:
    """Store what was done so far as a scenario, which `harness run` replays: loads and faults, with their times.

    \b
    harness lab record scenarios/december_by_hand.py
    harness run december-by-hand
    """  # noqa: D301  (click wants the control character, which a raw text does not have)
    import harness.faults  # noqa: F401  (fills the registry)

    from ..scenario import Scenario
    from .client import ask
    from .recording import source_of

    if file.suffix != ".py":
        raise UsageError(f"{file} is no name for a scenario file; give one that ends with .py, such as {file.stem}.py.")
    if file.exists() and not force:
        raise UsageError(f"{file} is there already; give another name, or --force to write over it.")
    scenario_name = file.stem.strip("_").replace("_", "-").lower() or "lab"
    answer = ask(name, AskRecording(name=scenario_name, longest_gap_seconds=max_gap), Recording, say)
    scenario = Scenario.from_json(json.dumps(answer.scenario))
    try:
        said = "As it was played by hand in a lab; written by harness lab record."
        file.write_text(source_of(scenario, said), encoding="utf-8")
    except OSError as error:
        raise UsageError(f"{file} cannot be written ({error.strerror}); give another place.") from error
    for note in answer.notes:
        say(f"note: {note}")
    usual = file.resolve().is_relative_to(Path("scenarios").resolve())
    where = "" if usual else f" --scenarios {shlex.quote(str(file))}"
    click.echo(f"{file} holds the scenario {scenario_name}; replay it by: harness run {scenario_name}{where}")


def _echo(told: Told) -> None:
    for line in told.lines:
        click.echo(line)


COMMANDS: tuple[click.Command, ...] = (status, load, inject, heal, check, psql, logs, record)
"""All of them, for the group."""
