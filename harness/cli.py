"""The command line: ``harness run``, ``replay``, ``check``, ``explain``, ``selftest``, ``heal``, ``list`` and others.

Exit codes are those of ``harness.gate``, and of ``harness.ending`` where nothing came to a decision.  Every error of
the harness's own is one paragraph without a traceback; only one that nobody foresaw has its traceback above it.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from . import __version__
from .assess.command import assess
from .compare.command import compare
from .ending import complete, end, heard, told_by
from .explaining import explain
from .gate import Exit, decide, decide_suite
from .gating.command import gate
from .lab import keeping
from .lab.command import lab
from .linting import lint_observability
from .outputs import Outputs, output_options
from .schemas import schema
from .selftest.command import selftest
from .sweep.command import sweep
from .undoing import heal, mark
from .values import Verdict

if TYPE_CHECKING:
    from .results import SuiteResult

_PATH = click.Path(path_type=Path)


class _Group(click.Group):
    """Turns whatever ends a command into a paragraph and an exit code."""

    def main(self, *args: Any, **extra: Any) -> Any:
        with heard():
            return super().main(*args, **extra)

    def invoke(self, ctx: click.Context) -> Any:
        try:
            done = super().invoke(ctx)
        except (click.ClickException, click.exceptions.Exit, SystemExit):
            raise
        except BaseException as error:  # noqa: BLE001  (click would end with 1 by most of them, as a broken promise does)
            raise SystemExit(end(error)) from None
        by = told_by()
        if by is not None:
            # A watch that Ctrl-C ends in good order takes every signal for Ctrl-C.
            raise SystemExit(128 + by)
        return done


def _stack_options(command: Callable[..., Any]) -> Callable[..., Any]:
    options = (
        click.option("--target", type=_PATH, help="target.toml of the service under test [default: the reference]."),
        click.option(
            "--reports", type=_PATH, default=Path("reports"), show_default=True, help="Where runs are stored."
        ),
        click.option("--pg-bindir", type=_PATH, help="Use the PostgreSQL (15 to 18) whose programs are here."),
        click.option(
            "--pg-port", type=click.IntRange(1024, 65535), help="Fixed port for PostgreSQL; one run at a time."
        ),
        click.option(
            "--proxy-port", type=click.IntRange(1024, 65535), help="Fixed port of the proxy, for a target by url."
        ),
        click.option("--toxiproxy-url", help="Use this running Toxiproxy instead of starting one."),
        click.option("--force", is_flag=True, help="Pass over rows and clients of others in an external database."),
    )
    for option in reversed(options):
        command = option(command)
    return command


@click.group(cls=_Group, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="harness")
def cli() -> None:
    """Prove with real damage whether an audit service keeps every event.

    Start with `harness doctor`, then `harness run`.  Exit codes:

    \b
    0 all passed
    1 a promise is broken
    2 usage or set-up; the message names the remedy
    3 inconclusive: a fault did not bite, too little was measured, or the harness itself failed
    130 ended by Ctrl-C, 143 by SIGTERM, 129 by SIGHUP; what is stored is named
    """  # noqa: D301  (click wants the control character, which a raw text does not have)


@cli.command()
@click.argument("names", nargs=-1)
@click.option(
    "-k",
    "keyword",
    default="",
    help="Only scenarios whose name, claim, requirement ids, folder or file match, as in pytest.",
)
@click.option("--scenarios", type=_PATH, default=Path("scenarios"), show_default=True, help="Folder of scenarios.")
@click.option("--seed", type=int, help="Seed of the workload [default: a new one, shown at the end].")
@click.option("--jobs", type=click.IntRange(1, 64), help="Environments at once [default: 3 a core].")
@click.option("--shard", metavar="I/N", help="Only part I of N, such as 1/4, to spread a suite over machines.")
@click.option("--fail-fast", is_flag=True, help="Begin nothing after the first FAIL.")
@click.option(
    "--time-budget",
    type=click.FloatRange(min=0, min_open=True),
    metavar="SECONDS",
    help="Begin nothing after so long; what did not begin is UNKNOWN.",
)
@click.option("--step", is_flag=True, help="Pause at each step and print how to look (psql, curl).")
@click.option("--dry-run", is_flag=True, help="Print what would be done, statement by statement, and do nothing.")
@output_options
@keeping.keep_option
@_stack_options
def run(
    names: tuple[str, ...],
    keyword: str,
    scenarios: Path,
    seed: int | None,
    jobs: int | None,
    shard: str | None,
    fail_fast: bool,
    time_budget: float | None,
    step: bool,
    dry_run: bool,
    **stack: Any,
) -> None:
    """Run scenarios: all of them, those named, or those that match -k.

    \b
    harness run                                  every scenario, in parallel
    harness run -k december                      those about December
    harness run december-detached --open         one, and its report in the browser
    harness run december-detached --seed 7       one, with a known workload
    harness run december-detached --step         walk through a failure by hand
    harness run december-detached --dry-run      print what would be done, and do nothing
    harness run december-detached --keep         leave what fails up as a lab, to look into it
    harness run --target my/target.toml          judge another service
    harness run --shard 1/4 --fail-fast          a quarter of them, as one of four CI jobs
    harness run --events events.ndjson           tell programs what happens, while it does
    """  # noqa: D301  (click wants the control character, which a raw text does not have)
    from .discovery import load_scenarios, select, shard_of

    known = load_scenarios(scenarios)
    chosen = select(known, names, keyword)
    if shard is not None:
        chosen = shard_of(chosen, shard)
    if dry_run:
        from .dryrun import rehearse

        _import_faults()
        rehearse(chosen, stack["target"], stack["reports"], force=stack["force"], say=click.echo)
        return
    stack |= {"fail_fast": fail_fast, "time_budget": time_budget}
    full = scenarios == Path("scenarios") and len(chosen) == len(known)
    _run(chosen, scenarios_folder=scenarios, seed=seed, jobs=jobs, step=step, full=full, **stack)


@cli.command()
@click.argument("run_name", metavar="RUN")
@click.option("--step", is_flag=True, help="Pause at each step and print how to look (psql, curl).")
@output_options
@_stack_options
def replay(run_name: str, step: bool, **stack: Any) -> None:
    """Repeat a stored run: the same schedule, the same seed, a new environment.

    RUN is a path, a name or a part of one, or `last`: the newest run of the newest suite, or a run that began after it.
    """
    from .report.stored import find_run
    from .session import replay_of

    _import_faults()
    stored = replay_of(find_run(stack["reports"], run_name))
    stack["target"] = stack["target"] or stored.target
    stack["pg_bindir"] = stack["pg_bindir"] or stored.pg_bindir
    _run([stored.scenario], scenarios_folder=stored.scenarios, seed=stored.seed, jobs=1, step=step, **stack)


@cli.command()
@click.argument("run_name", metavar="RUN")
@click.option("--reports", type=_PATH, default=Path("reports"), show_default=True, help="Where runs are stored.")
def check(run_name: str, reports: Path) -> None:
    """Judge a stored run again, also one whose runner was killed, and write its reports anew.

    RUN is a path, a name or a part of one, or `last`: the newest run of the newest suite, or a run that began after it.
    """
    from .report.console import Console
    from .report.stored import find_run
    from .session import check_again

    _import_faults()
    result = check_again(find_run(reports, run_name), lambda line: click.echo(line, err=True))
    with Console(sys.stdout, live=False) as console:
        console.scenario_finished(result)
        console.details(result)
    if result.verdict is Verdict.PASS:
        click.echo(f"  report: {result.folder / 'report.html'}")
    raise SystemExit(decide([result]))


@cli.command("list")
@click.argument("what", type=click.Choice(["scenarios", "faults", "checkers", "runs"]), default="scenarios")
@click.option("--scenarios", type=_PATH, default=Path("scenarios"), show_default=True, help="Folder of scenarios.")
@click.option("--reports", type=_PATH, default=Path("reports"), show_default=True, help="Where runs are stored.")
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
def list_(what: str, scenarios: Path, reports: Path, as_json: bool) -> None:
    """List scenarios, faults or checkers, each with a sentence, or the stored runs, newest first.

    Where a run is to be named, `last` is the newest run of the newest suite, or a run that began after it; where a
    suite may be named as well, it is that whole suite, or the run that began after it.

    Faults come with their family, what they need of a stack, the SQLSTATEs they cause and the PostgreSQL versions.
    """
    if what == "faults":
        from .faultfacts import catalogue, lines

        _import_faults()
        facts = catalogue()
        click.echo(json.dumps([one.to_json() for one in facts], indent=2) if as_json else "\n".join(lines(facts)))
        return
    rows = _listing(what, scenarios, reports)
    if as_json:
        click.echo(json.dumps([{"name": name, "text": text} for name, text in rows], indent=2))
        return
    width = max((len(name) for name, _ in rows), default=0)
    for name, text in rows:
        click.echo(f"{name:<{width}}  {text}")


@cli.command()
@click.option("--pg-bindir", type=_PATH, help="Use the PostgreSQL (15 to 18) whose programs are here.")
def doctor(pg_bindir: Path | None) -> None:
    """Say what this machine has, what is missing, and how to get it."""
    from .doctor import Level, diagnose, render
    from .stacks.embedded import EmbeddedOptions

    findings = diagnose(EmbeddedOptions(pg_bindir=pg_bindir))
    click.echo(render(findings))
    if any(finding.level is Level.MISSING for finding in findings):
        raise SystemExit(Exit.USAGE)


def _listing(what: str, scenarios: Path, reports: Path) -> list[tuple[str, str]]:
    if what == "runs":
        from .report.stored import stored_runs

        return [(run.folder.name, run.text) for run in stored_runs(reports)]
    if what == "scenarios":
        from .discovery import load_scenarios

        return [(name, scenario.claim) for name, scenario in load_scenarios(scenarios).items()]
    from . import checkers as _checkers  # noqa: F401  (fills the registry)
    from .checking import CHECKERS
    from .faultfacts import first_paragraph

    return [(name, first_paragraph(checker.__doc__)) for name, checker in CHECKERS.items()]


def _import_faults() -> None:
    import harness.faults  # noqa: F401  (fills the registry)


def _run(
    scenarios: list[Any],
    *,
    scenarios_folder: Path | None = None,
    seed: int | None,
    jobs: int | None,
    step: bool,
    full: bool = False,
    **stack: Any,
) -> None:
    from .report.console import Console
    from .session import DEFAULT_SCENARIOS, REFERENCE_TARGET, Session, SessionOptions
    from .stepping import StepGate

    _import_faults()
    wanted = {key: stack[key] for key in ("reports", "events", "keep_runs", "open_page")}
    with (
        Outputs(**wanted) as outputs,
        Console(outputs.console, live=outputs.console.isatty() and not step) as console,
    ):
        options = SessionOptions(
            target=stack["target"] or REFERENCE_TARGET,
            scenarios=scenarios_folder or DEFAULT_SCENARIOS,
            reports=stack["reports"],
            seed=seed,
            jobs=jobs,
            pg_bindir=stack["pg_bindir"],
            pg_port=stack["pg_port"],
            toxiproxy_url=stack["toxiproxy_url"],
            proxy_port=stack["proxy_port"],
            force=stack["force"],
            fail_fast=stack.get("fail_fast", False),
            time_budget_seconds=stack.get("time_budget"),
            progress=lambda line: click.echo(line, err=True),
        )
        steps = StepGate(outputs.console) if step else None
        session = Session(options, outputs.display(keeping.display_of(console)), steps, judges=keeping.judges_of())

        def finished(suite: SuiteResult) -> None:
            console.suite_finished(suite)
            outputs.finished(suite, lambda line: click.echo(line, err=True))

        playing = keeping.played(session, finished, outputs.console, scenarios, full=full)
        suite = complete(playing, lambda: session.left().text(options.reports))
        finished(suite)
    raise SystemExit(decide_suite(suite))


cli.add_command(explain)
cli.add_command(gate)
cli.add_command(lint_observability)
cli.add_command(heal)
cli.add_command(lab)
cli.add_command(mark)
cli.add_command(schema)
cli.add_command(selftest)
cli.add_command(compare)
cli.add_command(assess)
cli.add_command(sweep)


def main() -> None:
    """Entry point of the ``harness`` command."""
    cli()
