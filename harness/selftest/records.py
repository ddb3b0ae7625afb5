"""Records of a selftest: which run was asked for, and what came of it, small enough to keep a thousand of them."""

from __future__ import annotations

import re
import textwrap
from dataclasses import dataclass
from typing import Any

from ..errors import HistoryError
from ..report.summary import masked, unknown_reasons
from ..results import RunResult
from ..values import Verdict

_SUMMARY_CHARACTERS = 240
_IDS_KEPT = 3
_REASONS_KEPT = 5
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f]")


@dataclass(frozen=True, order=True)
class Task:
    """One run to be: a defect in a scenario.  ``round`` counts the control's, from 1; a defect has round 0 only."""

    defect: str
    scenario: str
    round: int = 0

    def __str__(self) -> str:
        """Return it as the progress lines name it."""
        return f"{self.defect} in {self.scenario}" + (f", round {self.round}" if self.round else "")


@dataclass(frozen=True, kw_only=True)
class Caught:
    """One finding, shortened: the sentence, how many events it names, and the first few of them."""

    checker: str
    promise: int
    summary: str
    event_count: int = 0
    event_ids: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Record:
    """What one run came to.  ``folder`` is empty when the run's own files were deleted.

    ``setup_failed``: there was no run, since its environment could not be set up; it is UNKNOWN.
    """

    task: Task
    run: str
    verdict: Verdict
    seconds: float
    seed: int
    ended_at: str = ""
    caught: tuple[Caught, ...] = ()
    unknowns: tuple[str, ...] = ()
    repeat_command: str = ""
    folder: str = ""
    setup_failed: bool = False

    def to_json(self) -> dict[str, Any]:
        """Return it as one JSON object."""
        return {
            "defect": self.task.defect,
            "scenario": self.task.scenario,
            "round": self.task.round,
            "run": self.run,
            "verdict": self.verdict.name,
            "seconds": round(self.seconds, 3),
            "seed": self.seed,
            "ended_at": self.ended_at,
            "caught": [{**one.__dict__, "event_ids": list(one.event_ids)} for one in self.caught],
            "unknowns": list(self.unknowns),
            "repeat_command": self.repeat_command,
            "folder": self.folder,
            "setup_failed": self.setup_failed,
        }

    @classmethod
    def from_json(cls, data: Any) -> Record:
        """Read back what :meth:`to_json` gave; raises :class:`HistoryError` for anything else."""
        try:
            return cls(
                task=Task(data["defect"], data["scenario"], int(data["round"])),
                run=data["run"],
                verdict=Verdict[data["verdict"]],
                seconds=float(data["seconds"]),
                seed=int(data["seed"]),
                ended_at=data["ended_at"],
                caught=tuple(Caught(**{**one, "event_ids": tuple(one["event_ids"])}) for one in data["caught"]),
                unknowns=tuple(data["unknowns"]),
                repeat_command=data["repeat_command"],
                folder=data["folder"],
                setup_failed=bool(data["setup_failed"]),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise HistoryError(f"a stored run of the selftest cannot be read ({error!r})") from error


def record_of(task: Task, result: RunResult, ended_at: str) -> Record:
    """Shorten the result of a run; why it could not be set up is a reason for UNKNOWN like any other."""
    caught = tuple(
        Caught(
            checker=check.checker,
            promise=int(finding.promise),
            summary=_short(finding.summary),
            event_count=len(finding.event_ids),
            event_ids=finding.event_ids[:_IDS_KEPT],
        )
        for check in result.checks
        for finding in check.findings
    )
    problem = (f"set-up: {result.setup_error}",) if result.setup_error else ()
    reasons = (*problem, *unknown_reasons(result)) if result.verdict is Verdict.UNKNOWN else ()
    return Record(
        task=task,
        run=result.run,
        verdict=result.verdict,
        seconds=result.seconds,
        seed=result.seed,
        ended_at=ended_at,
        caught=caught if result.verdict is Verdict.FAIL else (),
        unknowns=tuple(_short(reason) for reason in reasons[:_REASONS_KEPT]),
        repeat_command=result.repeat_command,
        folder=result.folder.name,
        setup_failed=bool(result.setup_error),
    )


def _short(text: str) -> str:
    """Fit hostile text into a line of a terminal and of a file."""
    clean = _CONTROL.sub(" ", masked(text)).encode("utf-8", "replace").decode()
    return textwrap.shorten(clean, _SUMMARY_CHARACTERS, placeholder=" …")
