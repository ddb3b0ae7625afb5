"""Plan: which pool sizes are asked about and how, and the folder in which a sweep is stored run by run.

A folder ``sweep-…-pool-…`` below the reports has ``sweep.json`` (what was asked), ``points.jsonl`` (a line a run that
ended), ``runs/`` (the runs) and, made of these at the end, ``pool.json`` and ``pool.html``.  The target files are in
the user's cache: they have the tokens and passwords of the target's own file, and reports are passed on.
"""

from __future__ import annotations

import fcntl
import json
import os
import random
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any

from .. import __version__
from ..discovery import Scenarios
from ..errors import HistoryError, UsageError
from ..faults.network import Latency
from ..report.series import RUNS, SWEEP
from ..scenario import Scenario
from ..schedule import Schedule
from ..stacks.cache import user_cache
from ..suite import new_run_id
from ..targets.model import Target
from ..targets.written import write_changed

FORMAT = 1
"""Version of the files that are JSON; it grows when a field changes its meaning or goes."""
MOST_CONNECTIONS = 1000


@dataclass(frozen=True, kw_only=True)
class Question:
    """What a sweep asks.  ``sizes`` rise; ``present`` is the target's own maximum, which is one of them.

    ``events`` are those that each month owes in each condition; ``delay_ms`` of None leaves the scenario's own fault.
    """

    sizes: tuple[int, ...]
    present: int
    users: int
    delay_ms: int | None
    events: int
    rounds: int
    seed: int
    scenario: str
    scenarios: str
    target: str
    variable: str
    pg_bindir: str = ""

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON."""
        return {**self.__dict__, "sizes": list(self.sizes)}

    @classmethod
    def from_json(cls, data: Any) -> Question:
        """Read back what :meth:`to_json` gave; raises :class:`HistoryError` for anything else."""
        try:
            return cls(**{**data, "sizes": tuple(int(size) for size in data["sizes"])})
        except (KeyError, TypeError, ValueError) as error:
            raise HistoryError(f"its question cannot be read ({error!r})") from error


@dataclass(frozen=True, order=True)
class Task:
    """One run to be: a round, counted from 1, and a size."""

    round: int
    size: int

    def __str__(self) -> str:
        """Return it as the progress lines name it."""
        return f"pool of {self.size}" + (f", round {self.round}" if self.round > 1 else "")


@dataclass(frozen=True)
class Played:
    """A run that ended: its task, and the name of its folder below ``runs``."""

    task: Task
    run: str


def sizes_of(text: str, present: int) -> tuple[int, ...]:
    """Read ``5,10,25``; the present maximum is added, since the question is about it.  Raises :class:`UsageError`."""
    try:
        sizes = {int(part) for part in text.split(",")}
    except ValueError as error:
        raise UsageError(f"--sizes {text!r} is no list of whole numbers; give one such as 5,10,25,50.") from error
    if not all(1 <= size <= MOST_CONNECTIONS for size in sizes):
        raise UsageError(f"--sizes {text!r} has a size that no pool can have; give sizes from 1 to {MOST_CONNECTIONS}.")
    if max(sizes) <= present:
        raise UsageError(
            f"--sizes {text!r} has none above the present maximum of {present}, so it cannot say what raising it would "
            "bring; add one."
        )
    return tuple(sorted(sizes | {present}))


def tasks_of(question: Question) -> tuple[Task, ...]:
    """Lay out the runs.

    The sizes come in another order in each round: in a rising one a machine that slows down would look like a pool that
    is too large.
    """
    chance = random.Random(question.seed)
    tasks: list[Task] = []
    for number in range(1, question.rounds + 1):
        tasks += [Task(number, size) for size in chance.sample(question.sizes, len(question.sizes))]
    return tuple(tasks)


def scenario_of(question: Question, scenarios: Scenarios, size: int) -> Scenario:
    """Make the scenario of one size of the one that the question names; raises :class:`UsageError`.

    What that scenario proves of its own pool (an extra checker) is not asked of the others.
    """
    base = scenarios.get(question.scenario)
    if base.load.late_months or base.load.batch_writers or base.load.poison_share:
        raise UsageError(
            f"The scenario {base.name} has batches, poison or late months, which the {question.users} users of a sweep "
            "do not send; name another with --scenario."
        )
    schedule = base.schedule
    if question.delay_ms is not None:
        schedule = Schedule.of(Latency(delay_ms=question.delay_ms)) if question.delay_ms else Schedule()
    return replace(
        base,
        name=f"sweep-pool-{size}",
        claim=f"{question.users} users on a pool of {size}: how long they wait, and how long their writes take.",
        requirements=(),
        load=replace(base.load, locust_users=question.users, rate_per_writer=0.0),
        schedule=schedule,
        extra_checkers=(),
        exclusive=True,
        judge_latency=False,
        min_strict_events=question.events,
    )


def write_target(question: Question, base: Target, size: int, folder: Path) -> Path:
    """Write the target file of one size: the variable set, and the limit that the target is judged by."""

    def change(raw: dict[str, Any]) -> None:
        raw["name"] = f"{base.name} (pool of {size})"
        raw["launch"].setdefault("environment", {})[question.variable] = str(size)
        raw.setdefault("limits", {})["db_pool_max"] = size

    return write_changed(base, change, folder / f"pool-{size}.toml")


class Store:
    """One sweep's folder."""

    def __init__(self, folder: Path, question: Question, played: list[Played]) -> None:
        """Take what :func:`create` or :func:`load` found."""
        self.folder = folder
        self.question = question
        self.played = played
        self._file: IO[str] | None = None

    @property
    def runs_folder(self) -> Path:
        """Where the runs are."""
        return self.folder / RUNS

    @property
    def targets_folder(self) -> Path:
        """Where the target files of the sizes are."""
        return user_cache() / SWEEP.cache / self.folder.name

    def left(self) -> list[Task]:
        """Return what is still to play."""
        done = {one.task for one in self.played}
        return [task for task in tasks_of(self.question) if task not in done]

    @contextmanager
    def opened(self) -> Iterator[None]:
        """Hold the folder, so that one process at a time adds to it; raises :class:`UsageError` when one does."""
        self.runs_folder.mkdir(exist_ok=True)
        with (self.folder / SWEEP.lines).open("a", encoding="utf-8") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise UsageError(f"Another process adds to {self.folder} now; wait until it ends.") from error
            self._file = file
            try:
                yield
            finally:
                self._file = None

    def add(self, played: Played) -> None:
        """Write one run down at once; only while :meth:`opened`."""
        if self._file is None:
            raise HistoryError(f"{self.folder} is not opened for adding")
        line = {"round": played.task.round, "size": played.task.size, "run": played.run}
        # The newline first: what a killed process left of a line is then a line of its own, which nobody can read.
        self._file.write("\n" + json.dumps(line) + "\n")
        self._file.flush()
        os.fsync(self._file.fileno())
        self.played.append(played)


def create(reports: Path, question: Question) -> Store:
    """Make the folder of a new sweep; raises :class:`UsageError` where nothing can be written."""
    folder = reports / f"{SWEEP.prefix}{new_run_id('pool')}"
    try:
        folder.mkdir(parents=True)
    except OSError as error:
        raise UsageError(
            f"Reports cannot be written to {reports} ({error.strerror}); name another folder with --reports."
        ) from error
    header = {
        "format": FORMAT,
        "created_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "harness": __version__,
        "question": question.to_json(),
    }
    (folder / SWEEP.header).write_text(json.dumps(header, indent=2) + "\n", encoding="utf-8")
    return Store(folder, question, [])


def load(folder: Path) -> Store:
    """Read a stored sweep; raises :class:`HistoryError` naming the file and the remedy."""
    try:
        header = json.loads((folder / SWEEP.header).read_text(encoding="utf-8"))
        if header["format"] != FORMAT:
            raise HistoryError(f"it has format {header['format']}, and this version reads format {FORMAT}")
        question = Question.from_json(header["question"])
        points = folder / SWEEP.lines
        lines = points.read_text(encoding="utf-8").splitlines() if points.is_file() else []
    except (OSError, ValueError, KeyError, TypeError, HistoryError) as error:
        raise HistoryError(f"The sweep {folder} cannot be resumed: {error}. Begin one without --resume.") from error
    return Store(folder, question, [played for line in lines if (played := _played(line)) is not None])


def _played(line: str) -> Played | None:
    """Read a line; what a killed process left half is none, and is played again."""
    try:
        data = json.loads(line)
        return Played(Task(int(data["round"]), int(data["size"])), str(data["run"]))
    except (ValueError, KeyError, TypeError):
        return None
