"""What a database that outlives the runner holds of others: its marker, their rows, their connections.

The marker table ``harness_target`` says that somebody who may decide it has given this database up to faults.  It
also names the run that has it, so that two runners, on whatever hosts, never damage one database at once, and so that
the next one learns of a ledger that was left open.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

import psycopg
from psycopg import AsyncConnection, sql

from .._wait import wait_until
from ..errors import HarnessError

MARKER = "harness_target"
MARK_SQL = (
    f"CREATE TABLE IF NOT EXISTS {MARKER} (token text PRIMARY KEY, run text NOT NULL DEFAULT '',"
    " ledger text NOT NULL DEFAULT '', host text NOT NULL DEFAULT '')"
)
"""What ``harness mark`` makes; docs/how-to/undo.md shows it for those who rather do it by hand."""

OUR_NAMES = r"\d{8}-\d{6}-[a-z0-9_-]+-[0-9a-f]{4}(-again)?"
EXTENSIONS = ("pg_buffercache", "amcheck", "pageinspect")
"""What faults may create to evict buffers and to verify; taken away again where it was not there before."""

_READ_TIMEOUT_MS = 20_000
_COUNT_FOREIGN = """
SELECT count(*) FROM (
    SELECT 1 FROM audit_events WHERE event_category <> 'harness_canary' AND correlation_id !~ %s LIMIT %s
) AS rows
"""
_CLIENTS = """
SELECT usename || CASE WHEN application_name = '' THEN '' ELSE ' (' || application_name || ')' END
FROM pg_stat_activity
WHERE datname = current_database() AND backend_type = 'client backend' AND pid <> pg_backend_pid()
  AND usename <> %s AND NOT (usename = current_user AND application_name LIKE 'harness%%')
ORDER BY 1
"""
_LEFTOVERS = """
SELECT pg_terminate_backend(pid) FROM pg_stat_activity
WHERE datname = current_database() AND backend_type = 'client backend' AND pid <> pg_backend_pid()
  AND usename = current_user AND application_name LIKE 'harness%'
"""


@dataclass(frozen=True)
class ServerFacts:
    """What one connection says of its server; the first two tell whether two ways lead to the same database."""

    system_identifier: str
    database: str
    version_num: int
    data_directory: str
    postmaster_started: int
    superuser: bool
    plays_service: bool
    can_evict: bool
    now: str
    extensions: tuple[str, ...]

    @property
    def identity(self) -> str:
        """The same for two ways to one database, and for no two databases."""
        return f"{self.system_identifier}/{self.database}"


@dataclass(frozen=True)
class Claim:
    """Which run has a marked database; ``run`` is "" when none does."""

    run: str
    ledger: str
    host: str


@asynccontextmanager
async def external_connection(conninfo: str, doing: str) -> AsyncIterator[AsyncConnection]:
    """Open an autocommit connection; whatever PostgreSQL says while ``doing`` is a :class:`HarnessError`."""
    try:
        connection = await AsyncConnection.connect(
            conninfo,
            autocommit=True,
            options=f"-c lock_timeout=2000 -c statement_timeout={_READ_TIMEOUT_MS}",
            connect_timeout=5,
        )
        try:
            yield connection
        finally:
            await connection.close()
    except (psycopg.Error, OSError) as error:
        raise HarnessError(
            f"Could not {doing}: {str(error).strip()}. Check database_url; its password comes from PGPASSWORD, "
            "PGPASSFILE or ~/.pgpass (where host and port of the proxy need a line of their own)."
        ) from error


async def server_facts(connection: AsyncConnection, service_role: str) -> ServerFacts:
    """Ask a server who it is and what it lets us do."""
    cursor = await connection.execute(
        "SELECT (SELECT system_identifier::text FROM pg_control_system()), current_database()::text,"
        " current_setting('server_version_num')::int, current_setting('data_directory', true),"
        " extract(epoch FROM pg_postmaster_start_time())::bigint,"
        " (SELECT rolsuper FROM pg_roles WHERE rolname = current_user),"
        " (SELECT coalesce(bool_or(pg_has_role(current_user, oid, 'MEMBER')), false) FROM pg_roles WHERE rolname = %s),"
        " EXISTS (SELECT 1 FROM pg_available_extensions WHERE name = 'pg_buffercache'), clock_timestamp()::text,"
        " array(SELECT extname::text FROM pg_extension)",
        (service_role,),
    )
    row = await cursor.fetchone()
    if row is None:
        raise HarnessError("The database did not say who it is.")
    identifier, database, version, data_directory, started, superuser, plays, evict, now, extensions = row
    return ServerFacts(
        str(identifier),
        str(database),
        int(version),
        str(data_directory or ""),
        int(started),
        bool(superuser),
        bool(plays),
        bool(superuser and evict and int(version) >= 170000),
        str(now),
        tuple(sorted(extensions)),
    )


async def claim_of(connection: AsyncConnection, token: str) -> Claim | None:
    """Return who has the marked database; None when no marker holds the token."""
    marked = await (await connection.execute("SELECT to_regclass(%s)", (MARKER,))).fetchone()
    if marked == (None,):
        return None
    row = await (
        await connection.execute("SELECT run, ledger, host FROM harness_target WHERE token = %s", (token,))
    ).fetchone()
    return None if row is None else Claim(*row)


async def take_claim(connection: AsyncConnection, token: str, claim: Claim) -> bool:
    """Take the database for a run, atomically; False when another has it."""
    cursor = await connection.execute(
        "UPDATE harness_target SET run = %s, ledger = %s, host = %s WHERE token = %s AND run = ''",
        (claim.run, claim.ledger, claim.host, token),
    )
    return cursor.rowcount == 1


async def drop_claim(connection: AsyncConnection, token: str, run: str = "") -> None:
    """Give the database free again: that of ``run``, of whatever run for ""; harmless when it is free."""
    await connection.execute(
        "UPDATE harness_target SET run = '', ledger = '', host = '' WHERE token = %s AND (%s = '' OR run = %s)",
        (token, run, run),
    )


def mark_statements(token: str, *, release: bool = False) -> list[str]:
    """Return what :func:`mark` executes."""
    quoted = sql.Literal(token).as_string()
    if release:
        return [f"UPDATE {MARKER} SET run = '', ledger = '', host = '' WHERE token = {quoted}"]  # noqa: S608
    return [MARK_SQL, f"INSERT INTO {MARKER} (token) VALUES ({quoted}) ON CONFLICT DO NOTHING"]  # noqa: S608


async def mark(conninfo: str, token: str, *, release: bool = False) -> None:
    """Make the marker table with the token; with ``release`` only forget which run has the database."""
    async with external_connection(conninfo, "mark the database") as connection:
        for statement in mark_statements(token, release=release):
            await connection.execute(statement.encode())


async def count_foreign_rows(connection: AsyncConnection, limit: int) -> int:
    """Count rows that no run of the harness wrote, up to one more than ``limit``."""
    if (await (await connection.execute("SELECT to_regclass('audit_events')")).fetchone()) == (None,):
        return 0
    ours = rf"^{OUR_NAMES}/-?\d+$"
    row = await (await connection.execute(_COUNT_FOREIGN, (ours, limit + 1))).fetchone()
    return int(row[0]) if row else 0


async def foreign_clients(connection: AsyncConnection, service_role: str) -> Sequence[str]:
    """Name the clients of the database that are neither the service nor the harness."""
    return [str(row[0]) for row in await (await connection.execute(_CLIENTS, (service_role,))).fetchall()]


async def rows_of_others(conninfo: str, since: str, run: str) -> int:
    """Count rows recorded since ``since`` that this run did not send, up to one; 0 when that cannot be read now."""
    try:
        async with external_connection(conninfo, "look for rows of others") as connection:
            await connection.execute("SET statement_timeout = 1000")
            await connection.execute("SET lock_timeout = 200")
            cursor = await connection.execute(
                "SELECT count(*) FROM (SELECT 1 FROM audit_events WHERE recorded_at >= %s::timestamptz"
                " AND event_category <> 'harness_canary' AND NOT starts_with(correlation_id, %s) LIMIT 1) AS rows",
                (since, f"{run}/"),
            )
            row = await cursor.fetchone()
            return int(row[0]) if row else 0
    except HarnessError:
        return 0


async def end_leftovers(conninfo: str) -> int:
    """End the backends that a dead runner left, lest a statement of theirs is carried out after its heal.

    Returns how many there were.  Raises :class:`HarnessError` when the database cannot be asked.
    """
    seen = 0
    async with external_connection(conninfo, "end what the dead runner left connected") as connection:

        async def none_left() -> bool:
            nonlocal seen
            ended = len(await (await connection.execute(_LEFTOVERS)).fetchall())
            seen = max(seen, ended)
            return ended == 0

        await wait_until(none_left, what="the dead runner's backends to end", deadline_seconds=10.0)
    return seen


async def tidy(connection: AsyncConnection, since: str, extensions: Sequence[str]) -> None:
    """Take away what the harness itself left: its canary rows, and extensions that were not there before."""
    await connection.execute(
        "DELETE FROM audit_events WHERE event_category = 'harness_canary' AND recorded_at >= %s::timestamptz", (since,)
    )
    for name in EXTENSIONS:
        if name not in extensions:
            await connection.execute(sql.SQL("DROP EXTENSION IF EXISTS {}").format(sql.Identifier(name)))
