"""The contract of every fault, on real parts: it bites, it heals, it heals twice and after half an inject."""

from __future__ import annotations

import asyncio
import gc
import json
import weakref
from collections.abc import Coroutine

import pytest

from harness.fault import FAULTS, Fault, fault_from_json, fault_to_json
from harness.faults.creation import NAME_TAKEN, PreventPartitionCreation, UnmadeMonth
from harness.faults.database import KillDatabase, StopDatabase
from harness.faults.network import Bandwidth, Blackhole, DisableProxy, Latency, ResetConnections
from harness.faults.noop import NoopDetach
from harness.faults.partition import DetachAndRestoreCopy, DetachPartition, DropPartition, LockPartition
from harness.faults.process import CrashService
from harness.faults.storage import CorruptHeap, CorruptIndex
from harness.probes.postgres import probe_insert
from harness.stacks.base import Direction, Environment, StopMode
from tests.integration import faults_cases_process, faults_cases_storage, faults_lab
from tests.integration.faults_cases_database import DATABASE_CASES
from tests.integration.faults_cases_partition import PARTITION_CASES
from tests.integration.faults_cases_storage import STORAGE_CASES
from tests.integration.faults_lab import (
    DECEMBER,
    JANUARY,
    MISSING,
    NOVEMBER,
    ROWS_PER_MONTH,
    Lab,
    case_name,
    rows_of,
    schema_of,
    settled,
    undo_copy,
)

lab = faults_lab.lab
small_disk = faults_cases_storage.small_disk

FAULT_CASES: tuple[Fault, ...] = (
    DetachPartition(months=(DECEMBER,)),
    DetachPartition(),
    DetachAndRestoreCopy(month=DECEMBER),
    DropPartition(months=(DECEMBER,)),
    LockPartition(months=(DECEMBER,)),
    LockPartition(),
    PreventPartitionCreation(month=MISSING),
    PreventPartitionCreation(month=MISSING, how=NAME_TAKEN),
    UnmadeMonth(month=MISSING),
    CorruptHeap(months=(DECEMBER,)),
    CorruptHeap(),
    CorruptHeap(months=(DECEMBER,), pages="last"),
    CorruptIndex(months=(DECEMBER,)),
    StopDatabase(),
    StopDatabase(mode=StopMode.IMMEDIATE),
    KillDatabase(),
    Latency(delay_ms=30),
    Bandwidth(rate_kb_per_second=4),
    Blackhole(),
    ResetConnections(),
    ResetConnections(direction=Direction.DOWNSTREAM),
    DisableProxy(),
    CrashService(),
    *PARTITION_CASES,
    *STORAGE_CASES,
    *DATABASE_CASES,
    *faults_cases_process.CASES,
)


@pytest.mark.parametrize("fault", FAULT_CASES, ids=case_name)
def test_fault_bites_and_heals_with_every_row_and_heals_twice(lab: Lab, fault: Fault) -> None:
    async def play() -> None:
        environment, scene = lab.environment, lab.scene()
        rows, schema = await rows_of(environment), await schema_of(environment)
        assert len(rows) == 3 * ROWS_PER_MONTH
        try:
            await fault.inject(scene)
            assert await fault.confirm(scene)
            assert await unaffected_months_work(fault, environment)
        finally:
            await fault.heal(scene)
        await settled(fault, scene)
        assert await rows_of(environment) == rows
        await fault.heal(scene)
        assert await fault.probe(scene)
        assert await rows_of(environment) == rows
        await undo_copy(environment)
        assert await schema_of(environment) == schema
        assert await environment.proxy.is_enabled()
        assert not await environment.proxy.toxics()

    lab.run(play())


async def unaffected_months_work(fault: Fault, environment: Environment) -> bool:
    """Tell whether every month outside of the declared radius takes an insert."""
    radius = fault.radius(environment)
    spared = [month for month in (NOVEMBER, DECEMBER, JANUARY) if not radius.covers(month.first_day)]
    results = [await probe_insert(environment.database, month.first_day, proxied=True) for month in spared]
    return all(result.accepted for result in results)


@pytest.mark.parametrize("fault", FAULT_CASES, ids=case_name)
def test_fault_heals_without_an_inject_at_all(lab: Lab, fault: Fault) -> None:
    async def play() -> None:
        scene = lab.scene()
        before = await schema_of(lab.environment)
        await fault.heal(scene)
        assert await schema_of(lab.environment) == before

    lab.run(play())


@pytest.mark.parametrize("turns", [2, 10, 30])
@pytest.mark.parametrize("fault", FAULT_CASES, ids=case_name)
def test_fault_heals_after_an_inject_cancelled_half_way(lab: Lab, fault: Fault, turns: int) -> None:
    async def play() -> None:
        environment, scene = lab.environment, lab.scene()
        rows, schema = await rows_of(environment), await schema_of(environment)
        await cancelled_after(fault.inject(scene), turns)
        await fault.heal(scene)
        await settled(fault, scene)
        assert await rows_of(environment) == rows
        await undo_copy(environment)
        assert await schema_of(environment) == schema
        assert not await environment.proxy.toxics()

    lab.run(play())


async def cancelled_after(work: Coroutine[object, object, object], turns: int) -> None:
    """Run ``work`` for that many turns of the event loop that move it, then cancel it."""
    task = asyncio.ensure_future(work)
    done = asyncio.get_running_loop().create_future()
    _turn(task, turns, done)
    await done
    task.cancel()
    await asyncio.wait([task])
    if not task.cancelled():
        task.exception()


# It is no closure over itself: such a cycle would keep the task, so the frames it was cancelled in, so a connection
# that was being opened.  PostgreSQL then waits for its password, and DROP TABLESPACE waits for PostgreSQL: a minute.
def _turn(task: asyncio.Future[object], left: int, done: asyncio.Future[None]) -> None:
    if task.done() or left <= 0:
        done.set_result(None)
    else:
        asyncio.get_running_loop().call_later(0.001, _turn, task, left - 1, done)


def test_what_was_cancelled_half_way_is_let_go_of_without_the_collector() -> None:
    held: list[weakref.ref[asyncio.Event]] = []

    async def work() -> None:
        never = asyncio.Event()
        held.append(weakref.ref(never))
        await never.wait()

    async def play() -> bool:
        await cancelled_after(work(), 2)
        return held[0]() is None

    gc.disable()
    try:
        assert asyncio.run(play())
    finally:
        gc.enable()


def test_every_registered_fault_is_put_through_the_contract() -> None:
    assert set(FAULTS) == {fault.name for fault in FAULT_CASES} | {NoopDetach.name} | faults_cases_process.ELSEWHERE


@pytest.mark.parametrize("fault", FAULT_CASES, ids=case_name)
def test_fault_comes_back_from_json_as_it_was(fault: Fault) -> None:
    assert fault_from_json(json.loads(json.dumps(fault_to_json(fault)))) == fault
