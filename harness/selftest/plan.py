"""Plan: which runs a selftest is made of, and how long what is left of them may take."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..checking import CHECKERS
from ..discovery import Scenarios
from ..errors import HistoryError, UsageError
from ..scenario import Scenario
from ..suite import paced_seconds
from ..values import Verdict
from .catalogue import Catalogue, Defect
from .records import Record, Task

QUICK_BUDGET_SECONDS = 540.0
"""When a quick selftest begins nothing more, so that what plays then ends within ten minutes."""

_EDGE_SECONDS = 5.0
_OTHER_SECONDS = 10.0
"""About what starting, final reads and judging add to the pace of a scenario."""


@dataclass(frozen=True, kw_only=True)
class Selection:
    """What a user chose to play; it is stored, so that a resumed selftest goes on with it.

    ``control`` is how many rounds of the whole suite are played without a defect; None: one, of the scenarios that the
    chosen defects are played in.
    """

    defects: tuple[str, ...] = ()
    keyword: str = ""
    scenarios: tuple[str, ...] = ()
    whole_suite: bool = False
    quick: bool = False
    control: int | None = None

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON."""
        return {**self.__dict__, "defects": list(self.defects), "scenarios": list(self.scenarios)}

    @classmethod
    def from_json(cls, data: Any) -> Selection:
        """Read back what :meth:`to_json` gave; raises :class:`HistoryError` for anything else."""
        try:
            return cls(**{**data, "defects": tuple(data["defects"]), "scenarios": tuple(data["scenarios"])})
        except (KeyError, TypeError) as error:
            raise HistoryError(f"a stored selection of the selftest cannot be read ({error!r})") from error


@dataclass(frozen=True, kw_only=True)
class Plan:
    """The defects that are asked about, and every run of them and of the control."""

    defects: tuple[Defect, ...]
    tasks: tuple[Task, ...]


def make_plan(catalogue: Catalogue, scenarios: Scenarios, selection: Selection) -> Plan:
    """Lay out the runs, the defects' before the control's; raises :class:`UsageError` for a name nobody knows."""
    chosen = catalogue.select(selection.defects, selection.keyword)
    if selection.quick and not selection.defects:
        chosen = tuple(one for one in chosen if one.quick) or chosen
    defects = tuple(one for one in chosen if not one.is_control)
    for one in defects:
        _refuse_unknown(catalogue, one, scenarios)
    named = tuple(scenarios.get(name).name for name in selection.scenarios)
    everything = named or tuple(scenarios)
    tasks = [
        Task(one.name, name) for one in defects for name in _scenarios_of(one, scenarios, named, everything, selection)
    ]
    if selection.control is None and defects:
        names: Iterable[str] = dict.fromkeys(task.scenario for task in tasks)
        tasks += [Task(catalogue.control.name, name, 1) for name in names]
    else:
        rounds = 1 if selection.control is None else selection.control
        tasks += [Task(catalogue.control.name, name, number + 1) for number in range(rounds) for name in everything]
    return Plan(defects=defects, tasks=tuple(tasks))


def _refuse_unknown(catalogue: Catalogue, defect: Defect, scenarios: Scenarios) -> None:
    """Refuse what could never be caught, since nobody has the scenario or the checker meant for it."""
    try:
        for name in defect.scenarios:
            scenarios.get(name)
        for name in defect.checkers:
            CHECKERS.get(name)
    except UsageError as error:
        raise UsageError(f"{catalogue.path}: the defect {defect.name}: {error}") from error


def _scenarios_of(
    defect: Defect, scenarios: Scenarios, named: Sequence[str], everything: Sequence[str], selection: Selection
) -> Sequence[str]:
    """Return those that a defect is played in: those named, the whole suite, its own, or the cheapest of its own."""
    if named or selection.whole_suite:
        return everything
    if selection.quick:
        own = [scenarios.get(name) for name in defect.scenarios]
        return [min(own, key=lambda scenario: (scenario.exclusive, weight_seconds(scenario, 1))).name]
    return [scenarios.get(name).name for name in defect.scenarios]


def left_of(tasks: Iterable[Task], records: Iterable[Record], *, retry_unknown: bool) -> list[Task]:
    """Return what is still to play; ``retry_unknown`` has defects played again whose last run could not be judged.

    A control run that took place is never repeated: it counts, whatever came of it.
    """
    last = {record.task: record for record in records}

    def again(record: Record) -> bool:
        return record.setup_failed or (record.verdict is Verdict.UNKNOWN and record.task.round == 0)

    return [task for task in tasks if task not in last or (retry_unknown and again(last[task]))]


def weight_seconds(scenario: Scenario, jobs: int) -> float:
    """Return about how long a run keeps the machine: an exclusive one keeps all places."""
    return (paced_seconds(scenario, _EDGE_SECONDS) + _OTHER_SECONDS) * (jobs if scenario.exclusive else 1)


class Progress:
    """Counts what is done, and tells from its pace how long the rest may take."""

    def __init__(self, weights: Mapping[Task, float]) -> None:
        """Take every run that is to be played, with what it weighs."""
        self._weights = dict(weights)
        self._whole = sum(weights.values())
        self._count = len(weights)

    def done(self, task: Task, elapsed_seconds: float) -> str:
        """Take one off, and say how far all is: ``12/83, about 7 min left``."""
        self._weights.pop(task, None)
        left = sum(self._weights.values())
        finished = self._whole - left
        place = f"{self._count - len(self._weights)}/{self._count}"
        if not self._weights or finished <= 0:
            return place
        return f"{place}, about {_span(elapsed_seconds * left / finished)} left"


def _span(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
