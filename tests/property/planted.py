"""Anomalies that exactly one promise forbids, each for the checker that is meant to find it, in any honest run."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from dataclasses import dataclass

from hypothesis import strategies as st

from harness import events as ev
from harness.blast import BlastRadius, Write
from harness.values import Month

from ..unit.histories import MONTHS, History
from .observations import Plan
from .spoils import SPOILS, Spoil

MIDST_SECONDS = 2.0
"""After a fault's begin, or before its end, everything has noticed it."""


@dataclass(frozen=True)
class Known:
    """A plan with what a planted anomaly has to know of it."""

    plan: Plan
    month: Month
    """The one that the fault reaches."""
    begin: float
    end: float

    @property
    def other(self) -> Month:
        """The month that no fault reaches."""
        return next(month for month in MONTHS if month != self.month)

    @property
    def midst(self) -> float:
        """A time at which the fault is on."""
        return self.begin + MIDST_SECONDS


@dataclass(frozen=True)
class Planted:
    """One anomaly: who finds it, by which words, what it does, and who else must see it."""

    checker: str
    says: str
    spoil: Callable[[History, int, Known], None]
    also: frozenset[str] = frozenset()


def runs() -> st.SearchStrategy[Known]:
    """Runs with one fault that stops the writes of one month, which are queued meanwhile."""

    def known(month: Month, begin: int, lasts: int, every: int, recorded: bool) -> Known:
        radius = BlastRadius(months=frozenset({month}), write=Write.NO)
        start, end = float(begin), float(begin + lasts)
        plan = Plan(
            faults=((radius, start, end),), every=every, restarted_at=None, recorded=recorded, judge_latency=False
        )
        return Known(plan, month, start, end)

    return st.builds(known, st.just(MONTHS[0]), st.integers(7, 8), st.integers(6, 7), st.integers(4, 12), st.booleans())


def _any(name: str, number: int | None = None) -> Callable[[History, int, Known], None]:
    """A spoil wherever it happens to strike, or at one place."""
    spoil: Spoil = SPOILS[name]
    return lambda history, chosen, known: spoil(history, chosen if number is None else number)


def _scenario(**changes: object) -> Callable[[History, int, Known], None]:
    """The scenario asked for something else."""

    def spoil(history: History, number: int, known: Known) -> None:
        record = history.records[0]
        assert isinstance(record, ev.RunStarted)
        changed = json.dumps({**json.loads(record.scenario_json), **changes})
        history.records[0] = dataclasses.replace(record, scenario_json=changed)

    return spoil


def _not_looked(capability: str) -> Callable[[History, int, Known], None]:
    def spoil(history: History, number: int, known: Known) -> None:
        history.without(capability)

    return spoil


def _mark_missing(step: str) -> Callable[[History, int, Known], None]:
    return lambda history, number, known: history.drop(ev.FaultMark, lambda mark: mark.step == step)


def _writes(history: History, month: Month, start: float, end: float) -> list[int]:
    wanted = {r.op for r in history.records if isinstance(r, ev.Invoke) and r.kind is ev.OpKind.WRITE and not r.batch}
    return [op for op in history.ops(month, start, end) if op in wanted]


def _spread(history: History, number: int, known: Known) -> None:
    """A write into a month that no fault reaches is queued while the fault is on."""
    sent = _writes(history, known.other, known.midst, known.end - MIDST_SECONDS)
    history.answer(sent[number % len(sent)], 202)


def _server_error(history: History, number: int, known: Known) -> None:
    """A write in peace is answered 500."""
    sent = _writes(history, known.month, 1.0, known.begin - MIDST_SECONDS)
    history.answer(sent[number % len(sent)], 500, type=ev.Completion.INFO)


def _slow_fallback(history: History, number: int, known: Known) -> None:
    """A queued write takes far longer than the time-outs allow."""
    sent = _writes(history, known.month, known.midst, known.end - MIDST_SECONDS)
    op = sent[number % len(sent)]
    begun = history.invoke(op).t
    history.edit(ev.Complete, lambda record: record.op == op, t=begun + 7.0)


def _no_steady_state(history: History, number: int, known: Known) -> None:
    history.add(ev.Note(known.end + 3.0, "recovery", "writes fail"))


def _poison_stored(history: History, number: int, known: Known) -> None:
    """An event that no table takes was refused and is stored."""
    history.row(history.op(known.begin - 1.0, known.month, 400, kind=ev.OpKind.POISON))


def _held_descriptors(history: History, number: int, known: Known) -> None:
    """Descriptors that came with the fault are not given back."""
    held = 200 + number % 50
    history.edit(ev.ProcessSample, lambda sample: sample.t > known.begin, descriptors=held)


def _pool_full(history: History, number: int, known: Known) -> None:
    SPOILS["unknown partition in use"](history, number)
    for place, record in enumerate(history.records):
        if isinstance(record, ev.MetricsSample):
            series = {**record.series, "datastorage_db_connections_in_use": 25.0}
            history.records[place] = dataclasses.replace(record, series=series)


def _long_waits(history: History, number: int, known: Known) -> None:
    """Some acquisitions of the last scrapes took longer than any bucket up to the time-out."""
    wait = "datastorage_db_connection_wait_duration_seconds"
    changes = (f"{wait}_count", f'{wait}_bucket{{le="+Inf"}}')
    for place, record in enumerate(history.records):
        if isinstance(record, ev.MetricsSample) and record.t >= known.midst:
            more = {name: record.series[name] + 3 for name in changes}
            history.records[place] = dataclasses.replace(record, series={**record.series, **more})


def _unknown_series(history: History, number: int, known: Known) -> None:
    """A rule asks for a series that nobody exports."""
    text = "groups:\n- name: g\n  rules:\n  - alert: A\n    expr: nobody_exports_this_total > 0\n"
    history.add(ev.RulesRead(0.0, "alerts.yml", "rules", text))


PLANTED: dict[str, Planted] = {
    "a fault that was not confirmed": Planted("confirmed", "not confirmed", _mark_missing("confirmed")),
    "a fault that was never healed": Planted("confirmed", "heal", _mark_missing("healed")),
    "a run broken off": Planted("evidence", "broken off", _any("broken off", 24)),
    "a log that nobody may read": Planted("reads", "every line", _not_looked("logs"), frozenset({"logs"})),
    "fewer events than asked for": Planted("strictness", "Too few", _scenario(min_strict_events=1000)),
    "a lost row": Planted("conservation", "lost", _any("lost row")),
    "a stranger": Planted("conservation", "nobody sent", _any("stranger")),
    "a doubled row": Planted("duplicates", "more than once", _any("doubled row")),
    "a server error": Planted("honest-status", "500", _server_error, frozenset({"metrics"})),
    "a flawed answer": Planted("answers", "wrong form", _any("flawed answer")),
    "a flawed batch": Planted("answers", "batch answered", _any("flawed batch")),
    "a slow query": Planted("reads-back", "deadline", _any("query slow")),
    "a fault that spreads": Planted("isolation", "202", _spread, frozenset({"metrics"})),
    "a slow fallback": Planted("fallback", "took", _slow_fallback, frozenset({"metrics"})),
    "no steady state": Planted("recovery", "steady state", _no_steady_state),
    "poison in the table": Planted("poison", "stored in it", _poison_stored, frozenset({"conservation", "metrics"})),
    "dead letters that are none": Planted("metrics", "dead", _any("dead letters")),
    "a line with a password": Planted("logs", "", _any("line with a password")),
    "a series that nobody exports": Planted("observability", "nobody_exports", _unknown_series),
    "readiness that names too much": Planted("readiness", "", _any("names the database")),
    "too many connections": Planted("bounds", "connections", _any("too many connections")),
    "a queue over its bound": Planted(
        "capacity", "capacity", _any("queue over its bound"), frozenset({"metrics", "recovery"})
    ),
    "descriptors that are kept": Planted("leaks", "descriptors", _held_descriptors),
    "a locked parent": Planted("partition-hygiene", "locked", _any("locked parent")),
    "a partition of two months": Planted("partition-hygiene", "bounds", _any("partition of two months")),
    "a pool in full use": Planted("reached", "pool_exhausted", _pool_full, frozenset({"metrics", "exhaustion"})),
    "waits beyond the time-out": Planted("exhaustion", "waits", _long_waits, frozenset({"metrics", "leaks"})),
    "a drain that was not met": Planted("interrupted", "nothing had been", _scenario(schedule=[{"after_healing": 1}])),
}
"""What is planted, by name."""
