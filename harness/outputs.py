"""Outputs: what ``harness run`` and ``harness replay`` give besides a verdict.

The event stream, the summary of a CI step, the page opened in a browser, and room made for the next runs.  Nothing here
changes the exit code: what cannot be shown or removed is said, and the suite's verdict stands.
"""

from __future__ import annotations

import os
import signal
import sys
import webbrowser
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TextIO

import click

from .ending import code_of
from .errors import HarnessError
from .results import SuiteResult

if TYPE_CHECKING:
    from .display import Display
    from .report.stream import EventStream

KEPT_RUNS = 250
"""Three times the whole suite, about: some two gigabytes."""
STDOUT = "-"


def _runs_kept(ctx: click.Context, param: click.Parameter, value: str) -> int:
    """Read a number of runs from 1, or ``all``."""
    from .report.keeping import ALL_RUNS

    if value == "all":
        return ALL_RUNS
    if value.isdecimal() and int(value) >= 1:
        return int(value)
    raise click.BadParameter(f"{value!r} is no number of runs; give 1 or more, or all.", ctx, param)


def keep_runs_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the option that says how much stays stored."""
    option = click.option(
        "--keep-runs",
        metavar="N|all",
        callback=_runs_kept,
        default=str(KEPT_RUNS),
        show_default=True,
        envvar="HARNESS_KEEP_RUNS",
        show_envvar=True,
        help="Afterwards remove the oldest runs beyond so many, and sweeps and selftests once newer ones of their sort "
        "have so many. What did not pass stays for 7 days more; open ledgers, whatever is in use and anything that is "
        "not the harness's own always stay.",
    )
    return option(command)


def output_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options that :class:`Outputs` takes."""
    options = (
        click.option(
            "--events",
            metavar="FILE|-",
            help="Write a JSON line for each thing that happens, while it does [-: to standard output, and what people "
            "read to standard error].",
        ),
        keep_runs_option,
        click.option(
            "--open",
            "open_page",
            is_flag=True,
            help="Open the report in a browser at the end, where there is a display.",
        ),
    )
    for option in reversed(options):
        command = option(command)
    return command


class Outputs:
    """The outputs of one command; a context manager, so that the stream tells how it ended on every path."""

    def __init__(self, *, reports: Path, events: str | None, keep_runs: int, open_page: bool) -> None:
        """Take what the command line asked for."""
        self._reports = reports
        self._where = events
        self._keep_runs = keep_runs
        self._open_page = open_page
        self._stream: EventStream | None = None

    def __enter__(self) -> Self:
        """Open the event stream; raises :class:`UsageError`."""
        if self._where is not None:
            from .report.stream import open_stream

            self._stream = open_stream(self._where)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Tell in the stream why it ends without a decision, if it does, and close it."""
        if self._stream is not None:
            if error is not None:
                self._stream.broken_off(*reason_of(error))
            self._stream.close()

    @property
    def console(self) -> TextIO:
        """Where people read: standard error while standard output carries the event stream."""
        return sys.stderr if self._where == STDOUT else sys.stdout

    def display(self, console: Display) -> Display:
        """Return what a session is to tell: the console, and the stream if there is one."""
        if self._stream is None:
            return console
        from .display import Displays

        return Displays(console, self._stream)

    def finished(self, suite: SuiteResult, say: Callable[[str], None]) -> None:
        """Give all that comes after the verdict, close the stream, and ``say`` what was done."""
        from .report.keeping import prune
        from .report.markdown import append_step_summary

        if self._stream is not None:
            self._stream.suite_finished(suite)
            # At once: a kept lab lives on in this process, and a reader waits for the end of the stream.
            self._stream.close()
            self._stream = None
        played = {run.folder.name for run in suite.runs}
        removed = prune(self._reports, self._keep_runs, spare={suite.folder.name, *played})
        said = [append_step_summary(suite), removed.text]
        if self._open_page:
            said.append(shown(page_of(suite), os.environ))
        for line in filter(None, said):
            say(line)


def reason_of(error: BaseException) -> tuple[str, int]:
    """Say why a command ends without a decision, and its exit code."""
    code = code_of(error)
    if isinstance(error, HarnessError):
        return str(error), code
    if code == 128 + signal.SIGINT:
        return "ended by Ctrl-C", code
    if code > 128:
        return "ended by a signal", code
    if isinstance(error, SystemExit):
        return "ended by the command line", code
    return f"the harness itself failed: {type(error).__name__}: {error}", code


def page_of(suite: SuiteResult) -> Path:
    """Return the page to look at: that of the only run, else that of the suite."""
    runs = [run for run in suite.runs if run.begun]
    return runs[0].folder / "report.html" if len(runs) == len(suite.runs) == 1 else suite.folder / "index.html"


def has_display(environment: Mapping[str, str], platform: str = sys.platform) -> bool:
    """Tell whether a browser would open a window: not on a CI server, nor on a Unix without a display.

    There the standard library would take a browser of the terminal, which takes the terminal.
    """
    if environment.get("BROWSER"):
        return True
    if environment.get("CI"):
        return False
    return platform in ("darwin", "win32", "cygwin") or any(
        environment.get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY")
    )


def shown(page: Path, environment: Mapping[str, str]) -> str:
    """Open a page in the browser, if that would be seen, and say what was done."""
    if not page.is_file():
        return f"There is no page to open at {page}."
    address = page.resolve().as_uri()
    try:
        opened = has_display(environment) and webbrowser.open(address)
    except webbrowser.Error:
        opened = False
    return f"opened {address}" if opened else f"No browser to open here; the report is {address}"
