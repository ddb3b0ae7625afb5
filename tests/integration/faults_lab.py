"""The environment that the tests of faults share, on the PostgreSQL found first and on each other one.

The others are the directory in HARNESS_TEST_PG_BINDIR, else those of /usr/lib/postgresql.  Beside PostgreSQL and
Toxiproxy runs a service that does nothing, so that only the faults move the database.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import uuid
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TypeVar

import psycopg
import pytest

from harness._wait import pause, wait_until
from harness.errors import FaultError
from harness.fault import DestroyedRows, Fault, Scene, fault_to_json
from harness.faults._dlq_file import open_in
from harness.faults._service import life_of
from harness.ledger import LedgerEntry
from harness.probes.postgres import read_rows
from harness.stacks.base import Environment
from harness.stacks.embedded import EmbeddedOptions, EmbeddedStack
from harness.stacks.service_extras import CLOCK
from harness.targets.model import load_target
from harness.values import Month

T = TypeVar("T")

NOVEMBER, DECEMBER, JANUARY = Month(2025, 11), Month(2025, 12), Month(2026, 1)
MISSING = Month(2031, 5)
ROWS_PER_MONTH = 60

TARGET = """
name = "silent"
[launch]
command = ["{python}", "{root}/silent_service.py"]
[launch.environment]
PORT_FILE = "{port_file}"
DATABASE_URL = "{database_url}"
DLQ_URL = "sqlite:///{workdir}/dlq.sqlite3"
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
async def lab_environment(
    folder: Path, bindir: Path | None, overrides: Mapping[str, str] | None = None
) -> AsyncIterator[Environment]:
    """Start the lab's environment with its table filled."""
    shutil.copy(Path(__file__).with_name("silent_service.py"), folder)
    (folder / "target.toml").write_text(TARGET)
    stack = EmbeddedStack(EmbeddedOptions(pg_bindir=bindir))
    async with stack.environment(
        load_target(folder / "target.toml"),
        name="faults",
        artifacts=folder / "artifacts",
        environment_overrides=overrides or {},
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


@pytest.fixture(
    scope="module", params=[None, *other_postgres()], ids=lambda path: "found" if path is None else str(path)
)
def lab(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """Start one environment for all tests of this file."""
    folder = tmp_path_factory.mktemp("faults")
    with asyncio.Runner() as runner:
        context = lab_environment(folder, request.param, {CLOCK: "1"})
        environment = runner.run(context.__aenter__())
        try:
            yield Lab(runner.run, environment, folder / "ledger")
        finally:
            runner.run(context.__aexit__(None, None, None))


async def settled(fault: Fault, scene: Scene) -> None:
    """Wait until the fault's own probe says that all is well again, and the service has its queue open.

    A queue that was deleted is made anew some milliseconds later, of which the probe says nothing; a fault of the
    queue that begins sooner finds no file, or acts on files that are about to be replaced.
    """
    await wait_until(lambda: fault.probe(scene), what=f"the probe of {fault.name}", deadline_seconds=20)
    await wait_until(
        partial(has_queue_open, scene), what=f"the queue open in the service after {fault.name}", deadline_seconds=20
    )


async def has_queue_open(scene: Scene) -> bool:
    """Tell whether the service has opened both files of its queue under their present names, if it runs and has any."""
    pid, path = scene.environment.service.pid, scene.environment.dlq_file
    if pid is None or path is None:
        return True
    try:
        return all(open_in(life_of(pid), path, (suffix,)) for suffix in ("", "-wal"))
    except (OSError, FaultError):  # Files and descriptors come and go, and so may a service that is restarted.
        return False


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
            " UNION ALL SELECT conrelid::regclass::text, contype, conname, convalidated::text FROM pg_constraint"
            " WHERE connamespace = 'public'::regnamespace AND contype = 'c' UNION ALL"
            " SELECT tgrelid::regclass::text, 't', tgname, tgenabled::text FROM pg_trigger WHERE NOT tgisinternal"
            " UNION ALL SELECT proname, 'f', '', '' FROM pg_proc WHERE proname LIKE 'harness%'"
            " ORDER BY 1, 2"
        )
        return await cursor.fetchall()


async def undo_copy(environment: Environment) -> None:
    """Put the restored copy's month back to its first name, so that the tests stay independent."""
    async with await psycopg.AsyncConnection.connect(environment.database.admin_conninfo) as connection:
        restored = await (await connection.execute("SELECT to_regclass('audit_events_2025_12_restored')")).fetchone()
        if restored == (None,):
            return
        await connection.execute("DROP TABLE IF EXISTS audit_events_2025_12")
        await connection.execute("ALTER TABLE audit_events_2025_12_restored RENAME TO audit_events_2025_12")
        await connection.execute("ALTER INDEX audit_events_2025_12_restored_pkey RENAME TO audit_events_2025_12_pkey")


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


async def clean(environment: Environment) -> None:
    """Remove what the writers wrote, and the space it took."""
    async with await psycopg.AsyncConnection.connect(
        environment.database.admin_conninfo, autocommit=True
    ) as connection:
        await connection.execute("DELETE FROM audit_events WHERE event_type = 'press'")
        await connection.execute("VACUUM FULL audit_events")
