"""The contract of every fault, on real parts: it bites, it heals, it heals twice and after half an inject.

Once on the PostgreSQL that the embedded stack finds by itself, and once on each other one of this machine: the
directory in HARNESS_TEST_PG_BINDIR, else those of /usr/lib/postgresql.
"""

from __future__ import annotations

import asyncio
import os
import uuid
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import psycopg
import pytest

from harness._wait import pause, wait_until
from harness.errors import FaultNotConfirmed
from harness.fault import DestroyedRows, Fault, Scene, fault_to_json
from harness.faults import _holder
from harness.faults.creation import NAME_TAKEN, PreventPartitionCreation
from harness.faults.database import KillDatabase, StopDatabase
from harness.faults.network import Bandwidth, Blackhole, DisableProxy, Latency, ResetConnections
from harness.faults.noop import NoopDetach
from harness.faults.partition import DetachAndRestoreCopy, DetachPartition, DropPartition, LockPartition
from harness.faults.storage import CorruptHeap, CorruptIndex
from harness.ledger import LedgerEntry
from harness.probes.postgres import list_partitions, probe_insert, read_rows
from harness.stacks.base import Direction, Environment, StopMode
from harness.stacks.embedded import EmbeddedOptions, EmbeddedStack
from harness.targets.model import load_target
from harness.values import Month

T = TypeVar("T")

NOVEMBER, DECEMBER, JANUARY = Month(2025, 11), Month(2025, 12), Month(2026, 1)
MISSING = Month(2031, 5)
ROWS_PER_MONTH = 60

SILENT_SERVICE = """
import http.server, os, pathlib
class Ready(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200); self.end_headers(); self.wfile.write(b'{"status": "ok", "degraded": []}')
    def log_message(self, *said): pass
server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Ready)
part = pathlib.Path(os.environ["PORT_FILE"] + ".part")
part.write_text(str(server.server_address[1])); part.rename(os.environ["PORT_FILE"])
server.serve_forever()
"""

TARGET = """
name = "silent"
[launch]
command = ["{python}", "{root}/silent_service.py"]
[launch.environment]
PORT_FILE = "{port_file}"
"""

SCHEMA = """
SET ROLE slm_user;
CREATE TABLE audit_events (
    event_id uuid NOT NULL, event_date date NOT NULL, event_timestamp timestamptz NOT NULL, version text NOT NULL,
    event_type text NOT NULL, event_category text NOT NULL, event_action text NOT NULL, event_outcome text NOT NULL,
    correlation_id text NOT NULL, event_data jsonb NOT NULL, recorded_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (event_id, event_date)) PARTITION BY RANGE (event_date);
"""

FILL = """
INSERT INTO audit_events
SELECT gen_random_uuid(), %(first)s, %(first)s::timestamp AT TIME ZONE 'UTC' + interval '1 minute' * n, '1.0', 'test',
       'contract', 'fill', 'success', 'row-' || n, jsonb_build_object('amount', 1.10, 'text', repeat('x', 200))
FROM generate_series(1, %(rows)s) AS n
"""

INSERT = """
INSERT INTO audit_events (event_id, event_date, event_timestamp, version, event_type, event_category, event_action,
                          event_outcome, correlation_id, event_data)
VALUES (%(event_id)s, %(day)s, %(day)s::date, '1.0', 'press', 'contract', 'write', 'success', 'writer', '{"a": 1}')
"""

FAULT_CASES: tuple[Fault, ...] = (
    DetachPartition(months=(DECEMBER,)),
    DetachPartition(),
    DetachAndRestoreCopy(month=DECEMBER),
    DropPartition(months=(DECEMBER,)),
    LockPartition(months=(DECEMBER,)),
    LockPartition(),
    PreventPartitionCreation(month=MISSING),
    PreventPartitionCreation(month=MISSING, how=NAME_TAKEN),
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
)


def case_name(fault: Fault) -> str:
    """Name a case by its fault and the fields that differ from one case of it to the next."""
    data = fault_to_json(fault)
    return "-".join([str(data.pop("fault")), *(str(value) for value in data.values() if value)])


def other_postgres() -> list[Path]:
    """Return the other PostgreSQL installations to test on."""
    given = os.environ.get("HARNESS_TEST_PG_BINDIR")
    if given:
        return [Path(given)]
    return sorted(path.parent for path in Path("/usr/lib/postgresql").glob("*/bin/initdb"))


@dataclass
class Lab:
    """One running environment, the loop it lives in, and the rows that its table must hold."""

    run: Callable[[Coroutine[object, object, object]], object]
    environment: Environment
    folder: Path
    destroyed: list[DestroyedRows] = field(default_factory=list)

    def scene(self) -> Scene:
        """Return a scene with a fresh ledger entry."""

        async def report(rows: DestroyedRows) -> None:
            self.destroyed.append(rows)

        self.destroyed.clear()
        return Scene(self.environment, LedgerEntry(self.folder / uuid.uuid4().hex), report)


@asynccontextmanager
async def _environment(folder: Path, bindir: Path | None) -> AsyncIterator[Environment]:
    (folder / "silent_service.py").write_text(SILENT_SERVICE)
    (folder / "target.toml").write_text(TARGET)
    stack = EmbeddedStack(EmbeddedOptions(pg_bindir=bindir))
    async with stack.environment(
        load_target(folder / "target.toml"), name="faults", artifacts=folder / "artifacts", environment_overrides={}
    ) as environment:
        with psycopg.connect(environment.database.admin_conninfo) as connection:
            connection.execute(SCHEMA)
            for month in (NOVEMBER, DECEMBER, JANUARY):
                connection.execute(
                    f"CREATE TABLE audit_events_{month} PARTITION OF audit_events"
                    f" FOR VALUES FROM ('{month.first_day}') TO ('{month.end}')"
                )
                connection.execute(FILL, {"first": month.first_day, "rows": ROWS_PER_MONTH})
        yield environment


@pytest.fixture(scope="module", params=[None, *other_postgres()], ids=lambda path: "found" if path is None else str(path))
def lab(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """Start one environment for all tests of this file."""
    folder = tmp_path_factory.mktemp("faults")
    with asyncio.Runner() as runner:
        context = _environment(folder, request.param)
        environment = runner.run(context.__aenter__())
        try:
            yield Lab(runner.run, environment, folder / "ledger")
        finally:
            runner.run(context.__aexit__(None, None, None))


async def settled(fault: Fault, scene: Scene) -> None:
    """Wait until the fault's own probe says that all is well again."""
    await wait_until(lambda: fault.probe(scene), what=f"the probe of {fault.name}", deadline_seconds=20)


async def rows_of(environment: Environment) -> list[tuple[str, str, str]]:
    """Return what the table holds, in an order of its own."""
    rows = await read_rows(environment.database.admin_conninfo)
    return sorted((row.event_id, row.month, row.content) for row in rows)


async def schema_of(environment: Environment) -> list[tuple[object, ...]]:
    """Return the catalog's state that a heal must bring back."""
    async with await psycopg.AsyncConnection.connect(environment.database.admin_conninfo) as connection:
        cursor = await connection.execute(
            "SELECT relname, relkind, pg_get_userbyid(relowner), pg_get_expr(relpartbound, oid) FROM pg_class"
            " WHERE relnamespace = 'public'::regnamespace AND relname LIKE 'audit%' UNION ALL"
            " SELECT nspname, '', pg_get_userbyid(nspowner), nspacl::text FROM pg_namespace WHERE nspname = 'public'"
            " ORDER BY 1, 2"
        )
        return await cursor.fetchall()


async def undo_copy(environment: Environment) -> None:
    """Put the restored copy's month back to its first name, so that the tests stay independent."""
    async with await psycopg.AsyncConnection.connect(environment.database.admin_conninfo) as connection:
        restored = await (await connection.execute("SELECT to_regclass('audit_events_2025_12_restored')")).fetchone()
        if restored == (None,):
            return
        await connection.execute("DROP TABLE audit_events_2025_12")
        await connection.execute("ALTER TABLE audit_events_2025_12_restored RENAME TO audit_events_2025_12")
        await connection.execute(
            "ALTER INDEX audit_events_2025_12_restored_pkey RENAME TO audit_events_2025_12_pkey"
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
    loop, left = asyncio.get_running_loop(), turns
    done = loop.create_future()

    def turn() -> None:
        nonlocal left
        left -= 1
        if task.done() or left <= 0:
            done.set_result(None)
        else:
            loop.call_later(0.001, turn)

    loop.call_soon(turn)
    await done
    task.cancel()
    await asyncio.wait([task])
    if not task.cancelled():
        task.exception()


@dataclass
class Writers:
    """Writers on connections and prepared statements of their own, and what the database told them."""

    environment: Environment
    month: Month
    acknowledged: list[str] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)
    stop: asyncio.Event = field(default_factory=asyncio.Event)

    async def write(self) -> None:
        """Insert one row after the other until told to stop, reconnecting whenever the connection broke."""
        options = "-c lock_timeout=200 -c statement_timeout=1000 -c role=slm_user"
        conninfo = self.environment.database.admin_conninfo
        while not self.stop.is_set():
            try:
                async with await psycopg.AsyncConnection.connect(conninfo, options=options, autocommit=True) as link:
                    await self._insert(link)
            except psycopg.Error as error:
                self.refused.append(error.sqlstate or "broken")
                await pause(0.01)

    async def _insert(self, link: psycopg.AsyncConnection) -> None:
        while not self.stop.is_set():
            event_id = str(uuid.uuid4())
            try:
                await link.execute(INSERT, {"event_id": event_id, "day": self.month.first_day}, prepare=True)
            except psycopg.Error as error:
                if link.broken:
                    raise
                self.refused.append(error.sqlstate or "broken")
                await pause(0.01)
            else:
                self.acknowledged.append(event_id)

    async def more(self, answers: list[str], count: int) -> None:
        """Wait for ``count`` more entries in one of the two lists."""
        due = len(answers) + count

        async def enough() -> bool:
            return len(answers) >= due

        await wait_until(enough, what=f"{count} answers to the writers of {self.month}", deadline_seconds=30)


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


async def clean(environment: Environment) -> None:
    """Remove what the writers wrote, and the space it took."""
    async with await psycopg.AsyncConnection.connect(
        environment.database.admin_conninfo, autocommit=True
    ) as connection:
        await connection.execute("DELETE FROM audit_events WHERE event_type = 'press'")
        await connection.execute("VACUUM FULL audit_events")


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
