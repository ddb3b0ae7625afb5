"""What the faults of partitions share: the polite way to take locks, and the way from months to tables.

Every statement that needs a heavy lock waits at most 100 ms for it and is tried again: a waiting ACCESS EXCLUSIVE
stops everyone queued behind it, and a fault must not disturb more than it declares.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import psycopg
from psycopg import AsyncConnection, sql

from .._wait import wait_until
from ..blast import BlastRadius, Edge, Write
from ..errors import DeadlineExceeded, FaultError, FaultNotConfirmed, HealFailed, SetupError
from ..fault import Scene
from ..probes.postgres import (
    PROBE_TIMEOUT_MS,
    TABLE,
    InsertResult,
    partitions_of,
    probe_insert,
    probe_read,
)
from ..values import Month

T = TypeVar("T")

DDL_LOCK_TIMEOUT_MS = 100
DDL_DEADLINE_SECONDS = 10.0
_PROBES_AT_ONCE = 4
"""Few, since connection slots may be what a fault took."""
ADMIN_OPTIONS = (
    f"-c lock_timeout={DDL_LOCK_TIMEOUT_MS} -c idle_in_transaction_session_timeout=0"
    # A heal must write under another fault that makes the whole server read-only, or its commits wait for a standby.
    " -c default_transaction_read_only=off -c synchronous_commit=local"
)
PARENT = sql.Identifier(TABLE)

_TRY_AGAIN = (
    psycopg.errors.LockNotAvailable,
    psycopg.errors.DeadlockDetected,
    psycopg.errors.ObjectInUse,
    psycopg.errors.CannotConnectNow,
)


@dataclass(frozen=True)
class Child:
    """One partition as the ledger keeps it: its table, its bounds as PostgreSQL prints them, its month."""

    name: str
    schema: str
    bounds: str
    month: Month

    @property
    def table(self) -> sql.Identifier:
        """The qualified name, ready for a statement."""
        return sql.Identifier(self.schema, self.name)

    def to_json(self) -> dict[str, str]:
        """Return it for the ledger."""
        return {"name": self.name, "schema": self.schema, "bounds": self.bounds, "month": self.month.label}

    @classmethod
    def from_json(cls, data: dict[str, str]) -> Child:
        """Read it back."""
        return cls(data["name"], data["schema"], data["bounds"], Month.parse(data["month"]))


@contextmanager
def failing_as(kind: type[FaultError], doing: str) -> Iterator[None]:
    """Turn whatever the database says while ``doing`` into ``kind``, with what to do next."""
    try:
        yield
    except (psycopg.Error, OSError, DeadlineExceeded, SetupError) as error:
        sqlstate = f" [{error.sqlstate}]" if isinstance(error, psycopg.Error) and error.sqlstate else ""
        raise kind(
            f"Could not {doing}: {str(error).strip() or type(error).__name__}{sqlstate}. "
            "Look at the PostgreSQL log among the run's artifacts; the undo ledger holds what was saved before."
        ) from error


async def uninterrupted(work: Awaitable[T]) -> T:
    """Await ``work`` to its end even when cancelled, and only then pass the cancellation on.

    Handles of the environment work in threads, which no cancellation stops: a heal that began meanwhile would be
    overtaken by the very inject that it undoes.
    """
    task = asyncio.ensure_future(work)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait([task])
        if not task.cancelled():
            # Asked for, so that an error of the abandoned work is not reported as never retrieved.
            task.exception()
        raise


@asynccontextmanager
async def admin(scene: Scene, *, application_name: str = "harness-fault") -> AsyncIterator[AsyncConnection]:
    """Open an autocommit connection of the harness's role that never waits long for a lock."""
    connection = await AsyncConnection.connect(
        scene.environment.database.admin_conninfo,
        autocommit=True,
        application_name=application_name,
        options=ADMIN_OPTIONS,
        connect_timeout=5,
    )
    try:
        yield connection
    finally:
        await connection.close()


async def retrying(work: Callable[[], Awaitable[T]], *, what: str) -> T:
    """Do ``work`` again and again until it gets its locks; raises DeadlineExceeded."""

    async def attempt() -> tuple[T] | None:
        try:
            return (await work(),)
        except _TRY_AGAIN:
            return None

    return (await wait_until(attempt, what=f"locks to {what}", deadline_seconds=DDL_DEADLINE_SECONDS))[0]


async def in_transaction(connection: AsyncConnection, work: Callable[[], Awaitable[T]], *, what: str) -> T:
    """Run ``work`` in one transaction, again until its locks are had; raises DeadlineExceeded."""

    async def attempt() -> T:
        async with connection.transaction():
            return await work()

    return await retrying(attempt, what=what)


async def lock_exclusively(connection: AsyncConnection, children: Sequence[Child], *, parent: bool = False) -> None:
    """Take ACCESS EXCLUSIVE on the children, in one statement, inside the caller's transaction.

    With ``parent`` the partitioned table is locked first.  Whoever needs both must ask in this order: an insert
    holds the parent while it waits for a child, so the other order is a deadlock.
    """
    tables = sql.SQL(", ").join([PARENT] * parent + [child.table for child in children])
    await connection.execute(sql.SQL("LOCK TABLE ONLY {} IN ACCESS EXCLUSIVE MODE").format(tables))


async def attached(connection: AsyncConnection) -> dict[Month, Child]:
    """Return the attached partitions that hold one whole month, by month."""
    return {
        child.month: Child(child.name, child.schema, child.bounds, child.month)
        for child in await partitions_of(connection)
        if child.month is not None and not child.detach_pending
    }


async def attached_names(connection: AsyncConnection) -> set[tuple[str, str]]:
    """Return schema and name of every child in the catalog, whatever its bounds, pending detaches too."""
    return {(child.schema, child.name) for child in await partitions_of(connection)}


async def children_of(connection: AsyncConnection, months: Sequence[Month]) -> list[Child]:
    """Return the partitions of ``months``, of every attached month for none; raises :class:`FaultError`."""
    present = await attached(connection)
    missing = [month.label for month in months if month not in present]
    if missing or not present:
        raise FaultError(
            f"There is no attached partition for {', '.join(missing) or 'any month'}; attached are "
            f"{', '.join(sorted(month.label for month in present)) or 'none'}. Name months that the service has "
            "created, or let it create them before the fault."
        )
    return [present[month] for month in (sorted(months) or sorted(present))]


def save_children(scene: Scene, children: Sequence[Child]) -> None:
    """Save the children that are about to be damaged."""
    scene.ledger.save("children", [child.to_json() for child in children])


def saved_children(scene: Scene) -> list[Child]:
    """Return the children saved by inject, none when it did not come that far."""
    saved: list[dict[str, str]] = scene.ledger.load("children") or []
    return [Child.from_json(data) for data in saved]


def saved_months(scene: Scene) -> list[Month]:
    """Return the months of those children."""
    return [child.month for child in saved_children(scene)]


def radius_of(months: Sequence[Month], *, read: bool = False, edge: Edge = Edge.DDL, lock: bool = False) -> BlastRadius:
    """Return the radius of a fault that stops every write of ``months`` (of all for none)."""
    return BlastRadius(months=frozenset(months) or None, write=Write.NO, read=read, edge=edge, outlives_clients=lock)


async def confirm_refused(
    scene: Scene,
    months: Sequence[Month],
    sqlstates: frozenset[str],
    *,
    attempts: int = 1,
    timeout_ms: int = PROBE_TIMEOUT_MS,
) -> str:
    """Insert into each month as the service, ``attempts`` times on fresh connections; return what was seen.

    Raises :class:`FaultNotConfirmed` when any insert succeeds or fails in another way than ``sqlstates``.
    """
    database = scene.environment.database
    tried = [month for month in months for _ in range(attempts)]
    results = await asyncio.gather(*(probe_insert(database, month.first_day, timeout_ms=timeout_ms) for month in tried))
    for month, result in zip(tried, results, strict=True):
        if result.sqlstate not in sqlstates:
            raise FaultNotConfirmed(
                f"The fault does not bite: an insert into {month} was {result}, where one of "
                f"{', '.join(sorted(sqlstates))} was due. A verdict on this run would mean nothing; "
                "check that the fault fits this PostgreSQL and that nothing repaired it."
            )
    return evidence(tried, results)


def evidence(tried: Sequence[Month], results: Sequence[InsertResult]) -> str:
    """One line that says what the probe inserts got."""
    seen: dict[str, list[str]] = {}
    for month, result in zip(tried, results, strict=True):
        seen.setdefault(str(result), []).append(month.label)
    return "; ".join(f"{', '.join(sorted(set(labels)))}: {len(labels)} x {what}" for what, labels in seen.items())


async def healthy(scene: Scene, months: Sequence[Month]) -> bool:
    """Tell whether each month takes an insert and can be read, as the service; a few months at a time."""
    database = scene.environment.database
    places = asyncio.Semaphore(_PROBES_AT_ONCE)

    async def well(month: Month) -> bool:
        async with places:
            return (await probe_insert(database, month.first_day)).accepted and await probe_read(database, month)

    return all(await asyncio.gather(*(well(month) for month in months)))


async def attach(connection: AsyncConnection, child: Child, table: sql.Identifier) -> None:
    """Attach ``table`` under the bounds of ``child``."""
    statement = sql.SQL("ALTER TABLE {} ATTACH PARTITION {} ").format(PARENT, table)
    await connection.execute(statement + trusted(child.bounds))


async def detach(
    connection: AsyncConnection, child: Child, *, concurrently: bool = False, finalize: bool = False
) -> None:
    """Detach the child; ``concurrently`` needs a connection without a transaction, ``finalize`` ends such a one."""
    how = " CONCURRENTLY" * concurrently + " FINALIZE" * finalize
    statement = sql.SQL("ALTER TABLE {} DETACH PARTITION {}").format(PARENT, child.table)
    await connection.execute(statement + trusted(how))


async def checks_of(connection: AsyncConnection, child: Child) -> list[str]:
    """Return the names of the CHECK constraints of the child's table."""
    cursor = await connection.execute(
        "SELECT conname FROM pg_constraint WHERE conrelid = to_regclass(%s) AND contype = 'c' ORDER BY conname",
        (child.table.as_string(),),
    )
    return [str(row[0]) for row in await cursor.fetchall()]


def must_exist(child: Child, present: bool) -> None:
    """Raise :class:`HealFailed` for a detached table that is gone."""
    if not present:
        raise HealFailed(
            f"The detached table {child.schema}.{child.name} is gone, so {child.month} cannot be attached again. "
            "Something else dropped it; its rows are lost."
        )


def trusted(text: str) -> sql.SQL:
    """Take SQL that PostgreSQL itself printed (bounds) as SQL."""
    verbatim: Any = text
    return sql.SQL(verbatim)


async def exists(connection: AsyncConnection, child: Child) -> bool:
    """Tell whether the child's table exists, attached or not."""
    cursor = await connection.execute("SELECT to_regclass(%s)", (child.table.as_string(),))
    row = await cursor.fetchone()
    return row is not None and row[0] is not None


async def oid_of(connection: AsyncConnection, child: Child) -> int:
    """Return the oid of the child's table; raises :class:`FaultError` when it is gone."""
    cursor = await connection.execute("SELECT to_regclass(%s)::oid", (child.table.as_string(),))
    row = await cursor.fetchone()
    if row is None or row[0] is None:
        raise FaultError(f"The table {child.schema}.{child.name} of {child.month} is gone.")
    return int(row[0])
