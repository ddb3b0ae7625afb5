"""Faults under 25 writers, overlapping faults, and what one family alone promises."""

from __future__ import annotations

import asyncio

import psycopg
import pytest

from harness.errors import FaultNotConfirmed
from harness.fault import Fault
from harness.faults import _holder
from harness.faults.database import KillDatabase
from harness.faults.network import Blackhole, Latency
from harness.faults.noop import NoopDetach
from harness.faults.partition import DetachAndRestoreCopy, DetachPartition, DropPartition, LockPartition
from harness.faults.storage import CorruptHeap, CorruptIndex
from harness.faults.triggers import SlowPartition
from harness.probes.postgres import list_partitions
from harness.values import Month
from tests.integration import faults_lab
from tests.integration.faults_lab import (
    DECEMBER,
    JANUARY,
    ROWS_PER_MONTH,
    Lab,
    Writers,
    case_name,
    clean,
    rows_of,
    settled,
    undo_copy,
)

lab = faults_lab.lab


@pytest.mark.parametrize(
    "fault",
    [
        CorruptHeap(months=(DECEMBER,)),
        CorruptIndex(months=(DECEMBER,)),
        DetachPartition(months=(DECEMBER,)),
        DropPartition(months=(DECEMBER,)),
        LockPartition(months=(DECEMBER,)),
    ],
    ids=case_name,
)
def test_no_write_succeeds_under_25_writers_while_the_fault_is_confirmed_and_none_is_lost(
    lab: Lab, fault: Fault
) -> None:
    async def play() -> None:
        environment, scene = lab.environment, lab.scene()
        december, january = Writers(environment, DECEMBER), Writers(environment, JANUARY)
        async with asyncio.TaskGroup() as group:
            for _ in range(25):
                group.create_task(december.write())
            group.create_task(january.write())
            try:
                await december.more(december.acknowledged, 200)
                await fault.inject(scene)
                await fault.confirm(scene)
                before = len(december.acknowledged)
                await december.more(december.refused, 100)
                await january.more(january.acknowledged, 20)
                assert len(december.acknowledged) == before
                await fault.heal(scene)
                await december.more(december.acknowledged, 200)
            finally:
                december.stop.set()
                january.stop.set()
                await fault.heal(scene)
        assert await fault.probe(scene)
        stored = [row[0] for row in await rows_of(environment)]
        assert len(stored) == len(set(stored))
        lost = (set(december.acknowledged) | set(january.acknowledged)) - set(stored)
        assert not lost
        await clean(environment)

    lab.run(play())


def test_fault_that_does_nothing_is_not_confirmed(lab: Lab) -> None:
    async def play() -> None:
        fault, scene = NoopDetach(month=DECEMBER), lab.scene()
        await fault.inject(scene)
        with pytest.raises(FaultNotConfirmed, match="2025_12 was accepted"):
            await fault.confirm(scene)
        await fault.heal(scene)
        assert await fault.probe(scene)

    lab.run(play())


def test_dropped_rows_are_reported_as_destroyed_and_then_as_restored(lab: Lab) -> None:
    async def play() -> None:
        fault, scene = DropPartition(months=(DECEMBER,)), lab.scene()
        await fault.inject(scene)
        await fault.heal(scene)
        await fault.heal(scene)

    lab.run(play())
    assert [(len(rows.event_ids), rows.restored) for rows in lab.destroyed] == [
        (ROWS_PER_MONTH, False),
        (ROWS_PER_MONTH, True),
    ]


def test_restored_copy_holds_the_month_beside_the_detached_original(lab: Lab) -> None:
    async def play() -> None:
        environment, scene = lab.environment, lab.scene()
        fault = DetachAndRestoreCopy(month=DECEMBER)
        await fault.inject(scene)
        await fault.heal(scene)
        partitions = await list_partitions(environment.database.admin_conninfo)
        assert [child.name for child in partitions if child.month == DECEMBER] == ["audit_events_2025_12_restored"]
        await undo_copy(environment)

    lab.run(play())


def test_a_restored_copy_has_the_triggers_of_the_original(lab: Lab) -> None:
    async def play() -> None:
        slow, slow_scene = SlowPartition(months=(DECEMBER,), delay_ms=60), lab.scene()
        copied, scene = DetachAndRestoreCopy(month=DECEMBER), lab.scene()
        await slow.inject(slow_scene)
        await copied.inject(scene)
        await copied.heal(scene)
        assert "2025_12" in await slow.confirm(slow_scene), "a row of the copy is late as well"
        await slow.heal(slow_scene)
        assert await slow.probe(slow_scene)
        await undo_copy(lab.environment)

    lab.run(play())


def test_heap_of_an_empty_month_can_be_corrupted(lab: Lab) -> None:
    async def play() -> None:
        environment, scene = lab.environment, lab.scene()
        month = Month(2026, 2)
        with psycopg.connect(environment.database.admin_conninfo) as connection:
            connection.execute(
                "SET ROLE slm_user; CREATE TABLE audit_events_2026_02 PARTITION OF audit_events"
                " FOR VALUES FROM ('2026-02-01') TO ('2026-03-01')"
            )
        fault = CorruptHeap(months=(month,))
        await fault.inject(scene)
        await fault.confirm(scene)
        await fault.heal(scene)
        assert await fault.probe(scene)
        with psycopg.connect(environment.database.admin_conninfo) as connection:
            connection.execute("DROP TABLE audit_events_2026_02")

    lab.run(play())


def test_lock_is_released_when_its_connection_belongs_to_another_process(lab: Lab) -> None:
    async def play() -> None:
        fault, scene = LockPartition(months=(DECEMBER,)), lab.scene()
        await fault.inject(scene)
        lost = _holder.let_go(scene)
        assert lost is not None
        await fault.heal(scene)
        assert await fault.probe(scene)
        await lost.close()

    lab.run(play())


def test_overlapping_heap_and_index_damage_heal_in_reverse_order(lab: Lab) -> None:
    async def play() -> None:
        environment, first, second = lab.environment, lab.scene(), lab.scene()
        rows = await rows_of(environment)
        heap, index = CorruptHeap(months=(DECEMBER,)), CorruptIndex(months=(DECEMBER,))
        await heap.inject(first)
        await index.inject(second)
        await index.heal(second)
        assert not await heap.probe(first)
        await heap.heal(first)
        assert await heap.probe(first)
        assert await rows_of(environment) == rows

    lab.run(play())


def test_healing_one_network_fault_leaves_an_overlapping_one(lab: Lab) -> None:
    async def play() -> None:
        first, second = lab.scene(), lab.scene()
        slow, dark = Latency(delay_ms=10), Blackhole()
        await slow.inject(first)
        await dark.inject(second)
        await dark.heal(second)
        assert sorted(await lab.environment.proxy.toxics()) == ["latency-downstream", "latency-upstream"]
        await slow.heal(first)
        assert await slow.probe(first)

    lab.run(play())


def test_heap_damage_outlives_a_killed_server_and_still_heals(lab: Lab) -> None:
    async def play() -> None:
        environment, first, second = lab.environment, lab.scene(), lab.scene()
        rows = await rows_of(environment)
        heap, kill = CorruptHeap(months=(DECEMBER,)), KillDatabase()
        await heap.inject(first)
        await kill.inject(second)
        await kill.heal(second)
        await settled(kill, second)
        assert await heap.confirm(first)
        await heap.heal(first)
        await settled(heap, first)
        assert await rows_of(environment) == rows

    lab.run(play())
