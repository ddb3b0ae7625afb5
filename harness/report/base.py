"""Reporter: writes one format of a judged run; one that fails never hides the verdict."""

from __future__ import annotations

import importlib
import sys
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Protocol, TextIO

from ..redaction import environment_secrets, masked, redact
from ..registry import Registry
from ..results import RunResult, SuiteResult
from ..rundata import Run

ERRORS_FILE = "report-errors.txt"
"""Written beside the reports when one of them failed, with the traceback."""

_MODULES = ("jsonfile", "junit", "markdown", "html", "index")


class Reporter(Protocol):
    """Writes one file about one run."""

    @property
    def name(self) -> str:
        """The name it is registered under and complained about by."""

    def write(self, result: RunResult, run: Run | None, folder: Path) -> Path:
        """Write into ``folder`` and return the file; ``run`` is None when set-up failed before any history.

        May raise anything: :func:`write_all` keeps it from the verdict.
        """


class SuiteReporter(Protocol):
    """Writes one file about all runs of a command."""

    @property
    def name(self) -> str:
        """The name it is registered under and complained about by."""

    def write(self, suite: SuiteResult, folder: Path) -> Path:
        """Write into ``folder`` and return the file; may raise anything."""


REPORTERS: Registry[Reporter] = Registry("reporter")
SUITE_REPORTERS: Registry[SuiteReporter] = Registry("suite reporter")


@dataclass(frozen=True)
class ReportFailure:
    """A reporter that could not write, and why."""

    reporter: str
    error: str


@dataclass(frozen=True)
class Written:
    """The files that were written, and the reporters that failed."""

    files: tuple[Path, ...]
    failures: tuple[ReportFailure, ...] = ()


def load_reporters() -> None:
    """Import the modules that register the reporters; late, since only a finished run needs them."""
    for module in _MODULES:
        importlib.import_module(f".{module}", __package__)


def write_all(result: RunResult, run: Run | None, folder: Path, *, stderr: TextIO | None = None) -> Written:
    """Write every report of one run.

    A reporter that fails is named on ``stderr`` (default: the process's), recorded with its traceback in
    ``report-errors.txt``, and the others go on.  Never raises for a reporter's error.
    """
    load_reporters()
    jobs = [(name, _job(reporter, result, run, folder)) for name, reporter in REPORTERS.items()]
    return _write(jobs, folder, stderr)


def write_suite(suite: SuiteResult, folder: Path, *, stderr: TextIO | None = None) -> Written:
    """Write every report of a suite, by the rule of :func:`write_all`."""
    load_reporters()
    jobs = [(name, _suite_job(reporter, suite, folder)) for name, reporter in SUITE_REPORTERS.items()]
    return _write(jobs, folder, stderr)


def _job(reporter: Reporter, result: RunResult, run: Run | None, folder: Path) -> Callable[[], Path]:
    return lambda: reporter.write(result, run, folder)


def _suite_job(reporter: SuiteReporter, suite: SuiteResult, folder: Path) -> Callable[[], Path]:
    return lambda: reporter.write(suite, folder)


def _write(jobs: list[tuple[str, Callable[[], Path]]], folder: Path, stderr: TextIO | None) -> Written:
    files: list[Path] = []
    failures: list[ReportFailure] = []
    for name, job in jobs:
        try:
            files.append(job())
        except Exception as error:  # noqa: BLE001  a report of any kind of failure is still owed
            failures.append(ReportFailure(name, f"{type(error).__name__}: {error}"))
            _record(name, error, folder, stderr or sys.stderr)
    return Written(tuple(files), tuple(failures))


def _record(name: str, error: Exception, folder: Path, stderr: TextIO) -> None:
    print(
        f"The reporter {name!r} failed ({type(error).__name__}: {error}); the verdict and the other reports "
        f"stand. See {ERRORS_FILE} beside them, then write them again with harness check.",
        file=stderr,
    )
    try:
        with (folder / ERRORS_FILE).open("a", encoding="utf-8", errors="backslashreplace") as file:
            told = "".join(traceback.format_exception(error))
            file.write(f"reporter {name}\n{masked(redact(told, environment_secrets()))}\n")
    except OSError as disk:
        print(f"{ERRORS_FILE} could not be written either: {disk}. Is the disk full?", file=stderr)


def write_text(path: Path, text: str) -> Path:
    """Write a report; characters that UTF-8 cannot hold (lone surrogates of hostile input) become ``?``.

    What it tells comes from a redacted history; no secret of this process's environment is written all the same.  What
    style and scripts of every page say is no secret, and a page without it would not work.
    """
    secrets = environment_secrets()
    if path.suffix == ".html":
        secrets = tuple(secret for secret in secrets if secret not in _assets())
    path.write_bytes(redact(text, secrets).encode("utf-8", "replace"))
    return path


@cache
def _assets() -> str:
    folder = resources.files(__package__).joinpath("assets")
    return "\n".join(asset.read_text(encoding="utf-8") for asset in folder.iterdir())
