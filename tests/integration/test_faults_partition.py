"""What the faults of bounds, defaults, checks, triggers and idle holders promise beyond the common contract."""

from __future__ import annotations

import asyncio

import psycopg
import pytest

from harness.fault import Fault
from harness.faults import _holder
from harness.faults.bounds import START, AttachWrongBounds, InterruptDetach
from harness.faults.default import DetachWithDefault
from harness.faults.obstacles import HoldLockIdle, RefuseByCheck, RefuseByParentCheck
from harness.faults.triggers import RefuseByTrigger, SlowPartition
from tests.integration import faults_lab
from tests.integration.faults_lab import DECEMBER, JANUARY, Lab, Writers, case_name, clean, rows_of, schema_of

lab = faults_lab.lab

_REATTACH = """
ALTER TABLE audit_events ATTACH PARTITION audit_events_2025_12 FOR VALUES FROM ('2025-12-01') TO ('2026-01-01')
"""
_RESEND = """
INSERT INTO audit_events SELECT event_id, event_date, event_timestamp, version, event_type, event_category,
 {action}, event_outcome, correlation_id, event_data FROM audit_events_2025_12 ORDER BY event_id OFFSET {row} LIMIT 1
"""


@pytest.mark.parametrize(
    "fault",
    [
        InterruptDetach(month=DECEMBER),
        AttachWrongBounds(month=DECEMBER, missing=START),
        RefuseByCheck(months=(DECEMBER,)),
        RefuseByTrigger(months=(DECEMBER,)),
        HoldLockIdle(months=(DECEMBER,)),
    ],
    ids=case_name,
)
def test_no_write_succeeds_under_25_writers_while_the_fault_is_confirmed_and_none_is_lost(
    lab: Lab, fault: Fault
) -> None:
    async def play() -> None:
        scene, december, january = lab.scene(), Writers(lab.environment, DECEMBER), Writers(lab.environment, JANUARY)
        async with asyncio.TaskGroup() as group:
            for _ in range(25):
                group.create_task(december.write())
            group.create_task(january.write())
            try:
                await december.more(december.acknowledged, 100)
                await fault.inject(scene)
                await fault.confirm(scene)
                before = len(december.acknowledged)
                await december.more(december.refused, 50)
                await january.more(january.acknowledged, 20)
                assert len(december.acknowledged) == before
                await fault.heal(scene)
                await december.more(december.acknowledged, 100)
            finally:
                december.stop.set()
                january.stop.set()
                await fault.heal(scene)
        assert await fault.probe(scene)
        await nothing_lost(lab, december, january)

    lab.run(play())


@pytest.mark.parametrize(
    "fault", [DetachWithDefault(months=(DECEMBER,)), SlowPartition(months=(DECEMBER,), delay_ms=300)], ids=case_name
)
def test_fault_under_which_writes_succeed_heals_beneath_8_writers_and_loses_none(lab: Lab, fault: Fault) -> None:
    async def play() -> None:
        scene, december, january = lab.scene(), Writers(lab.environment, DECEMBER), Writers(lab.environment, JANUARY)
        async with asyncio.TaskGroup() as group:
            for _ in range(8):
                group.create_task(december.write())
            group.create_task(january.write())
            try:
                await fault.inject(scene)
                await fault.confirm(scene)
                await december.more(december.acknowledged, 20)
            finally:
                await fault.heal(scene)
                december.stop.set()
                january.stop.set()
        assert await fault.probe(scene)
        await nothing_lost(lab, december, january)

    lab.run(play())


async def nothing_lost(lab: Lab, *writers: Writers) -> None:
    rows = await rows_of(lab.environment)
    stored = [row[0] for row in rows]
    assert len(stored) == len(set(stored))
    assert {event_id for writer in writers for event_id in writer.acknowledged} <= set(stored)
    assert all(row[1] for row in rows)
    await clean(lab.environment)


def test_default_partition_is_a_trap_that_heal_empties_and_the_older_row_wins(lab: Lab) -> None:
    async def play() -> None:
        environment, scene = lab.environment, lab.scene()
        fault = DetachWithDefault(months=(DECEMBER,))
        rows, schema = await rows_of(environment), await schema_of(environment)
        await fault.inject(scene)
        try:
            with psycopg.connect(environment.database.admin_conninfo, autocommit=True) as admin:
                admin.execute(_RESEND.format(action="event_action", row=0))
                admin.execute(_RESEND.format(action="'contradicted'", row=1))
                with pytest.raises(psycopg.errors.CheckViolation) as refused:
                    admin.execute(_REATTACH)
                assert refused.value.sqlstate == "23514"
        finally:
            await fault.heal(scene)
        await fault.heal(scene)
        assert await rows_of(environment) == rows
        assert await schema_of(environment) == schema

    lab.run(play())
    assert [(len(rows.event_ids), rows.restored) for rows in lab.destroyed] == [(1, False)]


def test_default_partition_that_the_target_has_is_used_and_kept(lab: Lab) -> None:
    async def play() -> None:
        environment, scene = lab.environment, lab.scene()
        fault = DetachWithDefault(months=(DECEMBER,))
        rows = await rows_of(environment)
        with psycopg.connect(environment.database.admin_conninfo, autocommit=True) as admin:
            admin.execute("CREATE TABLE audit_events_rest PARTITION OF audit_events DEFAULT")
            admin.execute("ALTER TABLE audit_events_rest OWNER TO slm_user")
            try:
                await fault.inject(scene)
                assert "audit_events_rest" in await fault.confirm(scene)
                await fault.heal(scene)
                assert await fault.probe(scene)
                assert await rows_of(environment) == rows
                assert admin.execute("SELECT count(*) FROM audit_events_rest").fetchone() == (0,)
            finally:
                await fault.heal(scene)
                admin.execute("DROP TABLE audit_events_rest")

    lab.run(play())


def test_copy_of_the_parents_check_on_a_month_made_meanwhile_is_dropped_as_well(lab: Lab) -> None:
    async def play() -> None:
        environment, scene, fault = lab.environment, lab.scene(), RefuseByParentCheck()
        schema = await schema_of(environment)
        await fault.inject(scene)
        with psycopg.connect(environment.database.admin_conninfo, autocommit=True) as admin:
            admin.execute("CREATE TABLE audit_events_2026_02 (LIKE audit_events INCLUDING ALL)")
            admin.execute(
                "ALTER TABLE audit_events ATTACH PARTITION audit_events_2026_02"
                " FOR VALUES FROM ('2026-02-01') TO ('2026-03-01')"
            )
            await fault.heal(scene)
            checks = "SELECT count(*) FROM pg_constraint WHERE conname LIKE 'harness%'"
            assert admin.execute(checks).fetchone() == (0,)
            admin.execute("DROP TABLE audit_events_2026_02")
        assert await schema_of(environment) == schema

    lab.run(play())


def test_idle_holder_is_ended_when_its_connection_belongs_to_another_process(lab: Lab) -> None:
    async def play() -> None:
        fault, scene = HoldLockIdle(months=(DECEMBER,)), lab.scene()
        await fault.inject(scene)
        lost = _holder.let_go(scene)
        assert lost is not None
        await fault.heal(scene)
        assert await fault.probe(scene)
        await lost.close()

    lab.run(play())


def test_two_triggers_on_one_month_heal_one_by_one(lab: Lab) -> None:
    async def play() -> None:
        first, second = lab.scene(), lab.scene()
        slow, refusing = SlowPartition(months=(DECEMBER,), delay_ms=20), RefuseByTrigger(months=(DECEMBER,))
        await slow.inject(first)
        await refusing.inject(second)
        await refusing.heal(second)
        assert await slow.confirm(first)
        await slow.heal(first)
        assert await slow.probe(first)

    lab.run(play())
