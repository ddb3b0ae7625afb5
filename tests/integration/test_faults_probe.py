"""What harness.probes.postgres reads, on a real PostgreSQL."""

from __future__ import annotations

import asyncio
import json
from decimal import Decimal

import psycopg
import pytest

from harness.errors import HarnessError
from harness.faults.network import Blackhole
from harness.faults.partition import LockPartition
from harness.probes.connections import ConnectionCounter, Held
from harness.probes.postgres import (
    cut_after,
    insert_canary,
    list_partitions,
    open_probe,
    partition_rows,
    probe_insert,
    read_rows,
)
from harness.stacks.postgres_server import EmbeddedPostgres
from tests.integration import faults_lab
from tests.integration.faults_lab import DECEMBER, ROWS_PER_MONTH, Lab, rows_of

lab = faults_lab.lab


def test_rows_keep_exact_decimals_and_the_fields_of_the_contract(lab: Lab) -> None:
    async def play() -> None:
        rows = await read_rows(lab.environment.database.admin_conninfo)
        row = next(row for row in rows if row.month == DECEMBER.label)
        content = json.loads(row.content, parse_float=Decimal)
        assert content["event_data"]["amount"].as_tuple() == Decimal("1.10").as_tuple()
        assert content["event_timestamp"].endswith(".000000Z")
        assert content["event_id"] == row.event_id
        assert content["correlation_id"] == row.correlation_id
        assert len(content) == 9

    lab.run(play())


def test_rows_of_the_canary_are_not_read(lab: Lab) -> None:
    async def play() -> None:
        connection = await open_probe(lab.environment.database, proxied=False)
        await insert_canary(connection, DECEMBER.first_day)
        await connection.commit()
        await connection.close()
        assert len(await rows_of(lab.environment)) == 3 * ROWS_PER_MONTH
        with psycopg.connect(lab.environment.database.admin_conninfo) as admin:
            admin.execute("DELETE FROM audit_events WHERE event_category = 'harness_canary'")

    lab.run(play())


def test_probe_insert_leaves_no_row(lab: Lab) -> None:
    async def play() -> None:
        assert (await probe_insert(lab.environment.database, DECEMBER.first_day, proxied=True)).accepted
        with psycopg.connect(lab.environment.database.admin_conninfo) as admin:
            row = admin.execute("SELECT count(*) FROM audit_events WHERE event_category = 'harness_canary'").fetchone()
            assert row == (0,)

    lab.run(play())


def test_default_partition_is_flagged_and_has_no_month(lab: Lab) -> None:
    async def play() -> None:
        conninfo = lab.environment.database.admin_conninfo
        with psycopg.connect(conninfo) as admin:
            admin.execute("CREATE TABLE audit_events_rest PARTITION OF audit_events DEFAULT")
        try:
            found = {child.name: child for child in await list_partitions(conninfo)}
            assert found["audit_events_rest"].is_default
            assert found["audit_events_rest"].month is None
            assert found["audit_events_2025_12"].month == DECEMBER
            assert {row.name: row.month for row in await partition_rows(conninfo)}["audit_events_rest"] == ""
        finally:
            with psycopg.connect(conninfo) as admin:
                admin.execute("DROP TABLE audit_events_rest")

    lab.run(play())


def test_connections_of_the_services_role_are_counted(lab: Lab) -> None:
    async def play() -> None:
        database = lab.environment.database
        assert isinstance(database, EmbeddedPostgres)
        counter = ConnectionCounter(database)
        before = (await counter.count()).backends
        async with await psycopg.AsyncConnection.connect(database.service_url(database.port)) as service:
            assert await counter.count() == Held(before + 1)
            await service.execute("LOCK TABLE ONLY audit_events IN SHARE UPDATE EXCLUSIVE MODE")
            assert not (await counter.count()).locking_parent
            await service.execute("LOCK TABLE ONLY audit_events IN ACCESS EXCLUSIVE MODE")
            assert (await counter.count()).locking_parent
        await counter.close()

    lab.run(play())


def test_children_are_listed_while_one_of_them_is_locked(lab: Lab) -> None:
    async def play() -> None:
        fault, scene = LockPartition(months=(DECEMBER,)), lab.scene()
        counter = ConnectionCounter(lab.environment.database)
        await fault.inject(scene)
        try:
            sample = await counter.children(1.0)
        finally:
            await fault.heal(scene)
            await counter.close()
        assert (sample.t, sample.error) == (1.0, "")
        assert DECEMBER.label in {child.month for child in sample.children}

    lab.run(play())


def test_locked_table_is_unreadable_and_not_empty(lab: Lab) -> None:
    async def play() -> None:
        fault, scene = LockPartition(months=(DECEMBER,)), lab.scene()
        await fault.inject(scene)
        try:
            with pytest.raises(HarnessError, match="55P03"):
                await read_rows(lab.environment.database.admin_conninfo)
        finally:
            await fault.heal(scene)

    lab.run(play())


def test_cut_holds_its_deadline_where_nobody_answers(lab: Lab) -> None:
    async def play() -> None:
        fault, scene = Blackhole(), lab.scene()
        connection = await open_probe(lab.environment.database, proxied=True)
        await fault.inject(scene)
        try:
            async with asyncio.timeout(5):
                with pytest.raises(TimeoutError, match="no answer within"), cut_after(connection, 0.2):
                    await insert_canary(connection, DECEMBER.first_day)
        finally:
            await connection.close()
            await fault.heal(scene)

    lab.run(play())
