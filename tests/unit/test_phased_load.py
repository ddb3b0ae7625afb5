"""Loads that follow each other in one run are one stream of operations, of which none is sent twice by accident."""

from __future__ import annotations

import asyncio
from pathlib import Path

from harness import events as ev
from harness._wait import wait_until
from harness.history import Clock, History, read_history
from harness.load.phased import PhasedLoad
from harness.rundata import Run, build_run
from harness.scenario import Load, LoadPhase
from harness.values import Month
from tests.unit.test_closed_load import serving

DECEMBER, JANUARY = Month(2025, 12), Month(2026, 1)
LOAD = Load(months=(DECEMBER, JANUARY), rate_per_writer=0.0, edge_rate_per_writer=0.0)
FIRST_OP = 41


def played(folder: Path) -> tuple[Run, list[int]]:
    """Two loads with a pause between them, the second into one month alone; and how many events each sent."""
    history = History(folder, Clock())
    history.add(ev.RunStarted(0.0, "run", "s", 1, "", "{}", "t", {}))
    sent: list[int] = []

    async def play(url: str) -> None:
        load = PhasedLoad(LOAD, 1, "run", history, lambda: url, client_timeout_seconds=5, first_op=FIRST_OP)

        async def some() -> None:
            before = load.tally.events

            async def enough() -> bool:
                return load.tally.events > before + 60

            await wait_until(enough, what="60 events", deadline_seconds=60)

        assert load.on is None
        await load.play(LOAD)
        assert load.months == (DECEMBER, JANUARY)
        await some()
        await load.rest()
        assert load.on is None
        assert not load.months
        sent.append(load.tally.events)
        await load.rest()
        second = LOAD.during(LoadPhase(from_seconds=0.0, months=(JANUARY,), rate_per_writer=0.0))
        await load.play(second)
        await some()
        # Another load takes the place of the one that is on.
        await load.play(second)
        await some()
        await load.stop()
        sent.append(load.tally.events)

    asyncio.run(serving(play))
    history.close()
    return build_run(read_history(folder)), sent


def test_operations_are_numbered_through_and_no_event_of_one_load_is_sent_by_the_next(tmp_path: Path) -> None:
    run, (first, all_of_them) = played(tmp_path)
    numbers = [operation.op for operation in run.operations]
    assert numbers == list(range(FIRST_OP, FIRST_OP + len(numbers)))
    writes = [operation for operation in run.operations if operation.kind is ev.OpKind.WRITE]
    assert len(writes) == all_of_them > first
    named = [operation.event_id for operation in writes if operation.event_id]
    assert len(set(named)) == len(named)
    assert all(operation.status for operation in run.operations), "each was answered before the next load began"


def test_a_load_keeps_to_its_months_and_its_writers_are_not_counted_twice(tmp_path: Path) -> None:
    run, _ = played(tmp_path)
    months = [operation.month for operation in run.operations]
    last_of_december = max(index for index, month in enumerate(months) if month == DECEMBER)
    assert set(months[last_of_december + 1 :]) == {JANUARY}
    assert len(months) - last_of_december > 100
    # Writers 1 to 4 of the second load are those of the first: never more at once than each load had.
    assert run.writers[DECEMBER] == 4
    assert run.writers[JANUARY] <= 8


def test_an_edge_slows_what_is_on_and_what_comes_next(tmp_path: Path) -> None:
    history = History(tmp_path, Clock())

    async def play(url: str) -> None:
        paced = Load(months=(DECEMBER,), rate_per_writer=1000.0, edge_rate_per_writer=0.5)
        load = PhasedLoad(paced, 1, "run", history, lambda: url, client_timeout_seconds=5)
        load.set_edge(True)
        await load.play(paced)
        loop = load._loop
        assert loop is not None
        assert loop.pace.interval_seconds == 2.0
        load.set_edge(False)
        assert loop.pace.interval_seconds == 0.001
        await load.abort()
        assert load.on is None

    asyncio.run(serving(play))
    history.close()


def test_a_phase_is_at_edges_no_quicker_than_elsewhere() -> None:
    load = Load(months=(DECEMBER,), edge_rate_per_writer=4.0)
    slow = load.during(LoadPhase(from_seconds=0.0, months=(DECEMBER,), rate_per_writer=0.5))
    assert slow.edge_rate_per_writer == 0.5
    unpaced = load.during(LoadPhase(from_seconds=0.0, months=(DECEMBER,), rate_per_writer=0.0))
    assert unpaced.edge_rate_per_writer == 4.0
