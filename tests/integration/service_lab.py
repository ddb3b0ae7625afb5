"""What the tests of the service share: an environment, more services on its database, and gates before the months.

A gate is a trigger on each partition that asks a table what to do: nothing, refuse with a SQLSTATE, or wait.  So a
month is broken and mended by one row, without a lock, for all events or for those of one type.
"""

from __future__ import annotations

import asyncio
import json
import sqlite3
import uuid
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

import httpx
import psycopg
import pytest
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample

from harness._wait import wait_until_sync
from harness.fault import DestroyedRows, Scene
from harness.ledger import LedgerEntry
from harness.session import REFERENCE_TARGET
from harness.stacks.base import Environment
from harness.stacks.embedded import EmbeddedStack
from harness.stacks.postgres_server import EmbeddedPostgres
from harness.stacks.service_process import LaunchedService
from harness.targets.model import load_target

T = TypeVar("T")

EVENTS, BATCH = "/api/v1/audit/events", "/api/v1/audit/events/batch"
MONTHS = ("2025_11", "2025_12", "2026_01", "2026_02", "2026_03")
REFUSED = "XX001"
WAIT = "wait"
PATIENCE_SECONDS = 20.0
# The contract's bound for a queue that can be used again.
BACK_SECONDS = 5.0
SETTINGS = {
    "DB_POOL_MAX": "6",
    "DB_LOCK_TIMEOUT_SECONDS": "0.5",
    "DLQ_MAX_ATTEMPTS": "3",
    "DLQ_RETRY_MAX_SECONDS": "0.4",
    "PARTITION_CHECK_SECONDS": "1.5",
}
GATE = """
CREATE TABLE gate (month text NOT NULL, kind text, answer text NOT NULL);
GRANT SELECT ON gate TO slm_user;
CREATE FUNCTION pass_gate() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE found text;
BEGIN
    SELECT answer INTO found FROM gate WHERE month = TG_ARGV[0] AND coalesce(kind, NEW.event_type) = NEW.event_type;
    IF found = 'wait' THEN
        PERFORM pg_advisory_xact_lock_shared(1);
    ELSIF found IS NOT NULL THEN
        RAISE EXCEPTION 'the gate is closed' USING ERRCODE = found;
    END IF;
    RETURN NEW;
END $$;
"""


def event(day: str = "2025-12-10", **fields: object) -> dict[str, Any]:
    """Return an event of noon of a day, valid unless ``fields`` make it otherwise."""
    return {
        "event_id": str(uuid.uuid4()),
        "event_timestamp": f"{day}T12:00:00Z",
        "event_type": "test",
        "event_category": "lab",
        "event_action": "write",
        "event_outcome": "success",
        "correlation_id": "lab",
        "event_data": {"amount": 1.10},
        **fields,
    }


def day_in(month: str) -> str:
    """Return a day of a month such as 2025_12."""
    return f"{month.replace('_', '-')}-10"


def until(condition: Callable[[], T | None], what: str, deadline_seconds: float = PATIENCE_SECONDS) -> T:
    """Wait until a condition returns something truthy."""
    return wait_until_sync(condition, what=what, deadline_seconds=deadline_seconds, interval_seconds=0.05)


@dataclass(frozen=True)
class Service:
    """A running service, by what it shows to the outside."""

    process: LaunchedService
    http: httpx.Client
    queue: Path

    def ask(self, method: str, path: str, **more: Any) -> httpx.Response:
        """Send a request to the present process."""
        return self.http.request(method, self.process.base_url + path, **more)

    def post(self, body: object) -> httpx.Response:
        """Write one event."""
        return self.ask("POST", EVENTS, json=body)

    def batch(self, body: object) -> httpx.Response:
        """Write several events."""
        return self.ask("POST", BATCH, json=body)

    def query(self, **parameters: str) -> httpx.Response:
        """Read events."""
        return self.ask("GET", EVENTS, params=parameters)

    def dead(self) -> list[dict[str, Any]]:
        """Return the dead letters."""
        return list(self.ask("GET", "/api/v1/dlq/events?state=dead&limit=1000").json()["events"])

    def queued(self) -> set[str]:
        """Return the ids of all pending events, page by page."""
        ids, asked = set[str](), {"state": "pending"}
        while True:
            page = self.ask("GET", "/api/v1/dlq/events", params=asked).json()
            ids |= {one["event_id"] for one in page["events"]}
            if page["next_cursor"] is None:
                return ids
            asked["cursor"] = page["next_cursor"]

    def depth(self, month: str) -> int:
        """Return how many events of a month are pending."""
        return int(self.ask("GET", "/api/v1/dlq").json()["partitions"].get(month, 0))

    def ready(self) -> dict[str, Any]:
        """Return what readiness says, whatever its status."""
        said: dict[str, Any] = self.ask("GET", "/health/ready").json()
        return said

    def samples(self, name: str) -> list[Sample]:
        """Return all samples of one name, of one scrape."""
        families = text_string_to_metric_families(self.http.get(self.process.metrics_url).text)
        return [sample for family in families for sample in family.samples if sample.name == name]

    def metric(self, name: str, **labels: str) -> float:
        """Return one sample, which must exist."""
        (value,) = [sample.value for sample in self.samples(name) if sample.labels == labels]
        return float(value)

    def status(self, month: str) -> str:
        """Return the one status of a month that is 1."""
        statuses = [
            sample.labels["status"]
            for sample in self.samples("datastorage_partition_status")
            if sample.labels["partition"] == month and sample.value == 1
        ]
        assert len(statuses) == 1
        return statuses[0]

    def until_degraded(self, *names: str) -> dict[str, Any]:
        """Wait until readiness names these, and return what it says."""
        return until(lambda: said if set(names) <= set((said := self.ready())["degraded"]) else None, f"{names}")

    def until_well(self, deadline_seconds: float = PATIENCE_SECONDS) -> None:
        """Wait until nothing is degraded and nothing pending."""

        def well() -> bool:
            return bool(self.ready()["status"] == "ok" and self.ask("GET", "/api/v1/dlq").json()["depth"] == 0)

        until(well, f"{self.process.base_url} to be well", deadline_seconds)

    def until_answer(self, status: int, day: str, deadline_seconds: float = PATIENCE_SECONDS) -> str:
        """Write fresh events until one gets this status; return its id.  The others before it must be refused."""

        def answered() -> str | None:
            one = event(day)
            got = self.post(one).status_code
            assert got in (status, 503)
            return str(one["event_id"]) if got == status else None

        return until(answered, f"an answer {status}", deadline_seconds)

    def logged(self, message: str) -> list[dict[str, Any]]:
        """Return the log lines that begin with a text."""
        lines = self.process.log_path.read_text().splitlines()
        parsed = [json.loads(line) for line in lines if line.startswith("{")]
        return [line for line in parsed if str(line["message"]).startswith(message)]


@dataclass
class Lab:
    """One environment for the tests of a module, the loop it lives in, and its first service."""

    run: Callable[[Coroutine[Any, Any, Any]], Any]
    environment: Environment
    database: EmbeddedPostgres
    http: httpx.Client
    main: Service
    folder: Path
    _numbers: Iterator[int] = field(default_factory=lambda: iter(range(1000)))

    def sql(self, statement: str, values: Sequence[object] | None = None) -> list[tuple[Any, ...]]:
        """Run one statement as superuser, on a connection of its own."""
        with self.connect() as connection:
            cursor = connection.execute(statement.encode(), values)
            return cursor.fetchall() if cursor.description else []

    @contextmanager
    def connect(self) -> Iterator[psycopg.Connection]:
        """Connect as superuser; each statement commits by itself."""
        with closing(psycopg.connect(self.database.admin_conninfo, autocommit=True)) as connection:
            yield connection

    def stored(self, event_ids: Sequence[str]) -> list[str]:
        """Return which of these ids the table has, each as often as it has it."""
        rows = self.sql("SELECT event_id::text FROM audit_events WHERE event_id = ANY(%s::uuid[])", [list(event_ids)])
        return [row[0] for row in rows]

    def close_gate(self, month: str, answer: str = REFUSED, kind: str | None = None) -> None:
        """Have a month refuse events, all or those of one type, or wait."""
        self.open_gate(month)
        self.sql("INSERT INTO gate VALUES (%s, %s, %s)", [month, kind, answer])

    def open_gate(self, month: str) -> None:
        """Have a month take events."""
        self.sql("DELETE FROM gate WHERE month = %s", [month])

    @contextmanager
    def closed(self, month: str, answer: str = REFUSED, kind: str | None = None) -> Iterator[None]:
        """A gate closed for a while."""
        self.close_gate(month, answer, kind)
        try:
            yield
        finally:
            self.open_gate(month)

    @contextmanager
    def waiting_inserts(self, month: str, kind: str) -> Iterator[Callable[[], int]]:
        """Inserts of one type wait inside; yields how many do at present."""
        waiting = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND objid = 1 AND NOT granted"
        with self.connect() as holder:
            holder.execute("SELECT pg_advisory_lock(1)")
            with self.closed(month, WAIT, kind):
                yield lambda: int(self.sql(waiting)[0][0])

    @contextmanager
    def detached(self, month: str) -> Iterator[None]:
        """A month without its partition."""
        ((bounds,),) = self.sql(
            "SELECT pg_get_expr(relpartbound, oid) FROM pg_class WHERE relname = %s", [child(month)]
        )
        self.sql(f"ALTER TABLE audit_events DETACH PARTITION {child(month)}")
        try:
            yield
        finally:
            self.sql(f"ALTER TABLE audit_events ATTACH PARTITION {child(month)} {bounds}")

    @contextmanager
    def locked(self, month: str) -> Iterator[None]:
        """A month under a lock that excludes readers too."""
        with self.connect() as holder, holder.transaction():
            holder.execute(f"LOCK TABLE {child(month)} IN ACCESS EXCLUSIVE MODE".encode())
            yield

    def scene(self) -> Scene:
        """Return where a fault of the harness acts."""

        async def report(rows: DestroyedRows) -> None:
            raise AssertionError(f"no fault here destroys rows: {rows}")

        return Scene(self.environment, LedgerEntry(self.folder / uuid.uuid4().hex), report)

    @contextmanager
    def service(
        self,
        settings: Mapping[str, str] | None = None,
        *,
        command: Sequence[str] | None = None,
        queue: Path | None = None,
        well: bool = True,
    ) -> Iterator[Service]:
        """Run one more service on the same database, with a queue of its own unless one is given.

        Where something is broken from the start it is ``well`` never, and has only to have found the database.
        """
        place = self.environment.workdir.parent / f"other-{next(self._numbers)}" / "service"
        place.mkdir(parents=True)
        path = queue or place / "dlq.sqlite3"
        target = self.environment.target
        assert target.launch is not None
        launch = target.launch if command is None else replace(target.launch, command=tuple(command))
        process = LaunchedService(
            target,
            launch,
            database_url=self.database.service_url(self.database.port),
            workdir=place,
            log_path=self.folder / f"{place.parent.name}.log",
            root=self.environment.workdir.parent,
            overrides={**SETTINGS, "DLQ_URL": f"sqlite:///{path}", **(settings or {})},
        )
        try:
            self.run(process.start())
            service = Service(process, self.http, path)
            until(lambda: "database" not in service.ready()["degraded"], "the database to be found")
            if well:
                service.until_well()
            yield service
        finally:
            # Its orderly end is a test of its own, and here only time.
            self.run(process.kill())


def child(month: str) -> str:
    """Return the name of a month's table."""
    return f"audit_events_{month}"


def in_file(path: Path) -> set[str]:
    """Return the ids that are durably in a queue file, as another process reads it."""
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as db:
        return {json.loads(row[0])["event_id"] for row in db.execute("SELECT event FROM events")}


@contextmanager
def open_lab(folder: Path, overrides: Mapping[str, str] | None = None) -> Iterator[Lab]:
    """Start PostgreSQL and a service, and put a gate before each month."""
    with ExitStack() as stack:
        runner = stack.enter_context(asyncio.Runner())
        http = stack.enter_context(httpx.Client(timeout=20, trust_env=False))
        context = EmbeddedStack().environment(
            load_target(REFERENCE_TARGET),
            name="service",
            artifacts=folder,
            environment_overrides={**SETTINGS, **(overrides or {})},
        )
        environment = runner.run(context.__aenter__())
        stack.callback(lambda: runner.run(context.__aexit__(None, None, None)))
        database, process = environment.database, environment.service
        assert isinstance(database, EmbeddedPostgres)
        assert isinstance(process, LaunchedService)
        main = Service(process, http, environment.workdir / "dlq.sqlite3")
        lab = Lab(runner.run, environment, database, http, main, folder)
        lab.sql(GATE)
        for month in MONTHS:
            name = child(month)
            lab.sql(f"CREATE TRIGGER gate BEFORE INSERT ON {name} FOR EACH ROW EXECUTE FUNCTION pass_gate('{month}')")
        yield lab


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """One environment for all tests of this file."""
    with open_lab(tmp_path_factory.mktemp("service")) as made:
        yield made


@pytest.fixture
def main(lab: Lab) -> Service:
    """The first service, well at the beginning, so that no test inherits what another left."""
    lab.main.until_well()
    return lab.main
