"""What the faults of sessions, server and network owe beyond the contract: nothing left, by the ledger alone."""

from __future__ import annotations

import asyncio

import psycopg
import pytest

from harness._wait import wait_until
from harness.errors import FaultNotConfirmed
from harness.fault import Fault, Scene
from harness.faults import _holder, flapping, sessions
from harness.faults._login import open_login
from harness.faults.commit import CutCommit
from harness.faults.sessions import TakeConnectionSlots, TerminateBackends
from harness.faults.toxics import Slicer
from harness.stacks.base import Environment
from tests.integration import faults_lab
from tests.integration.faults_cases_database import DATABASE_CASES
from tests.integration.faults_lab import DECEMBER, Lab, Writers, case_name, settled

lab = faults_lab.lab

LEFT = {
    "settings by ALTER SYSTEM": "SELECT name FROM pg_file_settings WHERE sourcefile LIKE '%postgresql.auto.conf'",
    "roles of faults": "SELECT rolname FROM pg_roles WHERE rolname LIKE 'harness_%'",
    "limits of roles": "SELECT rolname FROM pg_roles WHERE rolconnlimit <> -1 AND rolname !~ '^pg_'",
    "settings of roles": "SELECT setdatabase::text FROM pg_db_role_setting",
    "triggers": "SELECT tgname FROM pg_trigger WHERE NOT tgisinternal",
    "functions": "SELECT proname FROM pg_proc WHERE proname LIKE 'harness_%'",
    "rows of probes": "SELECT event_id::text FROM audit_events WHERE event_category = 'harness_canary'",
    "sessions": "SELECT application_name FROM pg_stat_activity WHERE application_name IN"
    " ('harness-slots', 'harness-terminator')",
    "commits that wait": "SELECT pid::text FROM pg_stat_activity WHERE wait_event = 'SyncRep'",
}


async def left(environment: Environment) -> dict[str, list[tuple[object, ...]]]:
    """Return what a fault left in the server, by kind."""
    async with await psycopg.AsyncConnection.connect(environment.database.admin_conninfo) as connection:
        found = {what: await (await connection.execute(query)).fetchall() for what, query in LEFT.items()}
    return {what: rows for what, rows in found.items() if rows}


@pytest.mark.parametrize("fault", DATABASE_CASES, ids=case_name)
def test_fault_is_healed_from_its_ledger_alone_and_leaves_nothing(lab: Lab, fault: Fault) -> None:
    async def play() -> None:
        environment, scene = lab.environment, lab.scene()
        folder = scene.ledger.folder
        await fault.inject(scene)
        # What another process would not have: put aside, and closed only afterwards.
        held, taken = _holder.let_go(scene), sessions._TAKEN.pop(folder, [])
        task = flapping._FLAPPING.pop(folder, None)
        try:
            await fault.heal(scene)
            await settled(fault, scene)
            if task is not None:
                await asyncio.wait([task], timeout=5)
                assert task.done()
            assert await environment.proxy.is_enabled()
            assert not await environment.proxy.toxics()
        finally:
            for connection in (held, *taken):
                if connection is not None:
                    await connection.close()
        assert await left(environment) == {}

    lab.run(play())


def test_a_cut_commit_of_a_writer_is_stored_though_nobody_heard(lab: Lab) -> None:
    async def play() -> None:
        fault, scene = CutCommit(), lab.scene()
        await fault.inject(scene)
        evidence = await fault.confirm(scene)
        await fault.heal(scene)
        assert "its row is there" in evidence
        assert await left(lab.environment) == {}

    lab.run(play())


def test_writers_of_another_role_are_spared_by_the_end_of_the_services_sessions(lab: Lab) -> None:
    async def play() -> None:
        fault, scene = TerminateBackends(), lab.scene()
        writers = Writers(lab.environment, DECEMBER)
        async with asyncio.TaskGroup() as group:
            group.create_task(writers.write())
            try:
                await writers.more(writers.acknowledged, 5)
                await fault.inject(scene)
                await fault.confirm(scene)
                await fault.heal(scene)
                await writers.more(writers.acknowledged, 5)
            finally:
                writers.stop.set()
        assert writers.refused == []
        async with await psycopg.AsyncConnection.connect(lab.environment.database.admin_conninfo) as connection:
            await connection.execute("DELETE FROM audit_events WHERE correlation_id = 'writer'")

    lab.run(play())


def test_a_session_of_the_service_that_slipped_in_is_no_proof_and_is_ended(lab: Lab) -> None:
    async def play() -> None:
        fault, scene = TakeConnectionSlots(), lab.scene()
        try:
            await fault.inject(scene)
            await sessions._TAKEN[scene.ledger.folder].pop().close()
            slipped = await logged_in(scene)
            with pytest.raises(FaultNotConfirmed, match="1 sessions of the service's role came in"):
                await fault.confirm(scene)
            assert await fault.confirm(scene)
            with pytest.raises(psycopg.OperationalError):
                await slipped.execute("SELECT 1")
            await slipped.close()
        finally:
            await fault.heal(scene)
        await settled(fault, scene)

    lab.run(play())


async def logged_in(scene: Scene) -> psycopg.AsyncConnection:
    """Log in as the service as soon as there is a slot for it."""

    async def login() -> psycopg.AsyncConnection | None:
        try:
            return await open_login(scene)
        except psycopg.OperationalError:
            return None

    found = await wait_until(login, what="a slot for the service", deadline_seconds=10)
    assert found is not None
    return found


def test_slices_are_counted_as_toxiproxy_makes_them() -> None:
    assert Slicer(average_bytes=100, delay_us=1)._slices(600) == 8
    assert Slicer(average_bytes=100, delay_us=1)._slices(101) == 1
