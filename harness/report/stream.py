"""The event stream of ``harness run --events``: one JSON object a line, written while the command runs.

It hears what the live console hears.  Each line is written whole, at once and unbuffered, so that a reader of the file
or pipe never waits for one.  A thread of its own writes them: a reader that is slow must not hold up the load whose
answers are timed.  One that goes away ends the stream, and not the suite.
"""

from __future__ import annotations

import json
import os
import queue
import sys
import threading
import time
from collections import Counter
from datetime import UTC, datetime
from typing import TextIO, cast

from ..errors import UsageError
from ..events import FaultMark, PhaseMark
from ..redaction import environment_secrets, masked, redact
from ..results import RunResult, SuiteBegun, SuiteResult
from ..scenario import Scenario
from ..values import utc_timestamp
from . import shapes
from .jsonfile import clocks_to_json, exit_code_of, finding_to_json, finite, verdict_of
from .summary import shown_path, unknown_reasons, verdict_headline

IDS_SHOWN = 20
"""Event ids a finding has here; result.json has all."""
PROGRESS_SECONDS = 1.0
PATIENCE_SECONDS = 10.0
"""How long the end of a command waits for a reader that takes nothing."""
_AGAIN = "-again"


def open_stream(where: str, stderr: TextIO | None = None) -> EventStream:
    """Open the stream to a file, which is made anew, or to standard output; raises :class:`UsageError`."""
    if where == "-":
        return EventStream(os.dup(1), stderr)
    try:
        return EventStream(os.open(where, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o644), stderr)
    except OSError as error:
        raise UsageError(
            f"--events {where} cannot be written ({error.strerror}); name a file in a folder that exists, or - for "
            "standard output."
        ) from error


class EventStream:
    """Writes the stream to an open file, by its descriptor; see :class:`harness.display.Display`."""

    def __init__(self, descriptor: int, stderr: TextIO | None = None) -> None:
        """Write nothing yet; what goes wrong with the file is said once on ``stderr`` (default: the process's)."""
        self._descriptor = descriptor
        self._stderr = stderr
        self._secrets = environment_secrets()
        self._lock = threading.RLock()
        self._lines = 0
        self._told: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        self._writer = threading.Thread(target=self._write_all, name="harness-events", daemon=True)
        self._writer.start()
        self._scenarios: dict[str, Scenario] = {}
        self._steps: dict[str, tuple[int, str]] = {}
        self._progress: dict[str, tuple[float, int]] = {}

    def suite_started(self, begun: SuiteBegun) -> None:
        """Tell what is about to be played."""
        with self._lock:
            event: shapes.SuiteStarted = {
                **self._head(),
                "event": "suite-started",
                "suite": begun.suite,
                "target": begun.target,
                "seed": begun.seed,
                "jobs": begun.jobs,
                "scenarios": [scenario.name for scenario in begun.scenarios],
                "skipped": [{"scenario": one.scenario.name, "reason": one.reason} for one in begun.skipped],
            }
            self._write(event)

    def scenario_started(self, run: str, scenario: Scenario) -> None:
        """Tell that a run begins."""
        with self._lock:
            self._scenarios[run] = scenario
            event: shapes.RunStarted = {
                **self._head(),
                "event": "run-started",
                "run": run,
                "scenario": scenario.name,
                "claim": scenario.claim,
                "requirements": list(scenario.requirements),
                "again": run.endswith(_AGAIN),
            }
            self._write(event)

    def step(self, run: str, number: int, text: str, events: int) -> None:
        """Tell a step that a run enters, once, and now and then how many events it has answered."""
        with self._lock:
            self._know(run)
            if self._steps.get(run) != (number, text):
                self._steps[run] = (number, text)
                event: shapes.Step = {**self._head(), "event": "step", "run": run, "number": number, "text": text}
                self._write(event)
            if events:
                self._tell_progress(run, events)

    def marked(self, run: str, mark: FaultMark | PhaseMark) -> None:
        """Tell that a fault, or the workload, has come to a step."""
        with self._lock:
            if isinstance(mark, PhaseMark):
                phase: shapes.PhaseEntered = {
                    **self._head(),
                    "event": "phase",
                    "run": run,
                    "t": mark.t,
                    "phase": str(mark.phase),
                }
                self._write(phase)
                return
            fault: shapes.FaultStepped = {
                **self._head(),
                "event": "fault",
                "run": run,
                "t": mark.t,
                "fault": mark.fault,
                "name": mark.name,
                "step": mark.step.value,
                "detail": mark.detail,
            }
            self._write(fault)

    def scenario_finished(self, result: RunResult) -> None:
        """Tell what a run broke, and its verdict."""
        with self._lock:
            for check in result.checks:
                for finding in check.findings:
                    told = finding_to_json(finding)
                    made: shapes.FindingMade = {
                        **self._head(),
                        "event": "finding",
                        "run": result.run,
                        "checker": check.checker,
                        "promise": told["promise"],
                        "promise_name": told["promise_name"],
                        "summary": told["summary"],
                        "events": len(finding.event_ids),
                        "event_ids": told["event_ids"][:IDS_SHOWN],
                    }
                    self._write(made)
            event: shapes.RunFinished = {
                **self._head(),
                "event": "run-finished",
                "run": result.run,
                "scenario": result.scenario.name,
                "verdict": verdict_of(result),
                "seconds": result.seconds,
                "findings": len(result.findings),
                "unknowns": list(unknown_reasons(result)),
                "setup_error": masked(result.setup_error),
                "clocks": [clocks_to_json(clocks) for clocks in result.clocks],
                "folder": shown_path(result.folder),
                "repeat_command": result.repeat_command,
            }
            self._write(event)

    def suite_finished(self, suite: SuiteResult) -> None:
        """Tell the decision: the last line."""
        counts: Counter[str] = Counter(verdict_of(result) for result in suite.runs)
        with self._lock:
            event: shapes.SuiteFinished = {
                **self._head(),
                "event": "suite-finished",
                "suite": suite.suite,
                "verdict": cast("shapes.Verdict", verdict_headline(suite.verdict).word),
                "exit_code": exit_code_of(suite),
                "seconds": suite.seconds,
                "counts": dict(counts),
                "folder": shown_path(suite.folder),
            }
            self._write(event)

    def broken_off(self, reason: str, exit_code: int) -> None:
        """Tell that the command ends without a decision: the last line."""
        with self._lock:
            event: shapes.BrokenOff = {
                **self._head(),
                "event": "broken-off",
                "reason": masked(reason),
                "exit_code": exit_code,
            }
            self._write(event)

    def close(self) -> None:
        """Write what is left to write, and close the file; harmless twice.

        A reader that takes nothing is not waited for longer than :data:`PATIENCE_SECONDS`.
        """
        self._told.put(None)
        self._writer.join(PATIENCE_SECONDS)
        if self._writer.is_alive():
            self._say(f"nobody read the last events within {PATIENCE_SECONDS:g} s")

    def _know(self, run: str) -> None:
        """A run that is played again was never announced: it goes by its first one's name with an ending."""
        first = run
        while first not in self._scenarios and first.endswith(_AGAIN):
            first = first.removesuffix(_AGAIN)
        if first != run and first in self._scenarios:
            self.scenario_started(run, self._scenarios[first])

    def _tell_progress(self, run: str, events: int) -> None:
        now = time.monotonic()
        last, told = self._progress.get(run, (-PROGRESS_SECONDS, 0))
        if events != told and now - last >= PROGRESS_SECONDS:
            self._progress[run] = (now, events)
            event: shapes.Progress = {**self._head(), "event": "progress", "run": run, "events": events}
            self._write(event)

    def _head(self) -> shapes.Head:
        self._lines += 1
        return {"schema_version": shapes.SCHEMA_VERSION, "seq": self._lines, "at": utc_timestamp(datetime.now(UTC))}

    def _write(self, event: shapes.Event) -> None:
        line = redact(json.dumps(finite(event), ensure_ascii=False, allow_nan=False), self._secrets)
        self._told.put(f"{line}\n".encode("utf-8", "replace"))

    def _write_all(self) -> None:
        """Write line after line until the stream is closed, or nobody is left who would read it."""
        try:
            while (line := self._told.get()) is not None:
                while line:
                    line = line[os.write(self._descriptor, line) :]
        except OSError as error:
            self._say(str(error.strerror))
        finally:
            os.close(self._descriptor)

    def _say(self, why: str) -> None:
        print(
            f"harness: the event stream ends here ({why}); the suite goes on, and its reports have all.",
            file=self._stderr or sys.stderr,
        )
