"""What must hold before the harness acts on parts that are not its own, and what it may do there.

Each refusal names what was found and the way on.  ``--force`` passes over rows and clients of others, never over the
marker: that is how whoever owns a database says that it may be damaged.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from ..errors import HarnessError, UsageError
from ..probes.foreign import (
    MARKER,
    ServerFacts,
    claim_of,
    count_foreign_rows,
    external_connection,
    foreign_clients,
    server_facts,
)
from ..targets.model import External, Target
from . import host
from .base import Capability, remedy
from .external_parts import pid_in
from .service_process import ask_ready
from .toxiproxy_client import ProxyState, ToxiproxyClient, ToxiproxyError

_ANYWHERE = ("", "0.0.0.0", "::", "[::]")  # noqa: S104  (compared with, never bound)


@dataclass(frozen=True)
class Found:
    """What a look at the parts came to: facts, capabilities, the proxy's address, and a line for each check."""

    facts: ServerFacts
    capabilities: frozenset[Capability]
    proxy: tuple[str, int]
    lines: tuple[str, ...]


def database_key(conninfo: str) -> str:
    """Name the database of a connection string without asking it, so that it may be down."""
    given = conninfo_to_dict(conninfo)
    where = given.get("hostaddr") or given.get("host") or "local"
    return f"{where}:{given.get('port') or 5432}/{given.get('dbname') or given.get('user') or ''}"


async def look(target: Target, settings: External, *, force: bool) -> Found:
    """Check everything, changing nothing; raises :class:`UsageError` with the remedy for what forbids a run."""
    _refuse_password(settings)
    lines: list[str] = []
    try:
        async with external_connection(settings.database_url, "connect to the target's database") as connection:
            facts = await server_facts(connection, settings.service_role)
            await _marker(connection, settings, facts, lines)
            if not facts.plays_service:
                raise UsageError(
                    f"The role of database_url may not SET ROLE {settings.service_role}, so no fault could be seen as "
                    f"the service sees it; GRANT {settings.service_role} to it, or give external.service_role."
                )
            await _others(connection, settings, lines, force=force)
    except UsageError:
        raise
    except HarnessError as error:
        raise UsageError(str(error)) from error
    proxy = await _proxy(settings, facts, lines)
    logs_in = await _logs_in(settings, proxy, lines)
    await _service(target, lines)
    capabilities = _capabilities(target, settings, facts, logs_in=logs_in)
    lines.append(f"what may be done there: {', '.join(sorted(capabilities))}")
    return Found(facts, capabilities, proxy, tuple(lines))


def _refuse_password(settings: External) -> None:
    try:
        given = conninfo_to_dict(settings.database_url)
    except psycopg.Error as error:
        raise UsageError(f"external.database_url is no connection string: {error}.") from error
    if given.get("password"):
        raise UsageError(
            "external.database_url holds a password, which would go into the undo ledger. Take it out and give it by "
            "PGPASSWORD, PGPASSFILE or ~/.pgpass."
        )
    for key, url in (("toxiproxy_url", settings.toxiproxy_url), ("metrics_url", settings.metrics_url)):
        if urlsplit(url).password:
            raise UsageError(
                f"external.{key} holds a password, which would go into the undo ledger. Take it out, and let the "
                "address be reached without one from this host."
            )


async def _marker(
    connection: psycopg.AsyncConnection, settings: External, facts: ServerFacts, lines: list[str]
) -> None:
    claim = await claim_of(connection, settings.token)
    if claim is None:
        raise UsageError(
            f"The database {facts.database} has no table {MARKER} that holds this target's token, so nobody has said "
            "that it may be damaged. If it may: harness mark --database-url … --token … (docs/how-to/undo.md)."
        )
    if claim.run:
        raise UsageError(
            f"The run {claim.run} on {claim.host} has this database and has not given it back. If it still runs, wait "
            f"for it; otherwise undo what it left, on that host: harness heal {claim.ledger}. If that ledger no longer "
            "exists, look the database over and then: harness mark --release --database-url … --token …"
        )
    lines.append(f"the marker of {facts.database} holds the token, and no other run has the database")


async def _others(connection: psycopg.AsyncConnection, settings: External, lines: list[str], *, force: bool) -> None:
    clients = await foreign_clients(connection, settings.service_role)
    rows = await count_foreign_rows(connection, settings.max_foreign_rows)
    if clients and not force:
        raise UsageError(
            f"Others are connected to the database: {', '.join(clients)}. Disconnect them, or give --force."
        )
    if rows > settings.max_foreign_rows and not force:
        raise UsageError(
            f"audit_events holds more than {settings.max_foreign_rows} rows that the harness did not write, so this "
            "may be a database that matters. Use a copy, raise external.max_foreign_rows, or pass over it with --force."
        )
    lines.append(f"clients of others: {', '.join(clients) or 'none'}; rows of others: {rows}")


async def _proxy(settings: External, facts: ServerFacts, lines: list[str]) -> tuple[str, int]:
    client = ToxiproxyClient(settings.toxiproxy_url)
    try:
        state = await asyncio.to_thread(client.state, settings.proxy_name)
        toxics = await asyncio.to_thread(client.toxics, settings.proxy_name)
    except ToxiproxyError as error:
        raise UsageError(
            f"The proxy {settings.proxy_name} of {settings.toxiproxy_url} cannot be asked: {error} Check "
            "external.toxiproxy_url and external.proxy_name."
        ) from error
    if not state.enabled or toxics:
        what = "is disabled" if not state.enabled else f"has toxics ({', '.join(toxic.name for toxic in toxics)})"
        raise UsageError(
            f"The proxy {settings.proxy_name} {what}: somebody uses it, or a run left it so. harness heal, or enable "
            "it and remove its toxics."
        )
    host, port = _address(settings, state)
    try:
        async with external_connection(
            _way(settings, (host, port)), f"connect through the proxy {settings.proxy_name}"
        ) as connection:
            behind = await server_facts(connection, settings.service_role)
    except HarnessError as error:
        raise UsageError(str(error)) from error
    if behind.identity != facts.identity:
        raise UsageError(
            f"The proxy {settings.proxy_name} leads to another database ({behind.identity}) than database_url "
            f"({facts.identity}); correct one of the two."
        )
    lines.append(f"the proxy {settings.proxy_name} at {host}:{port} leads to that database and has no toxic")
    return host, port


def _way(settings: External, proxy: tuple[str, int], **others: str) -> str:
    host, port = proxy
    return make_conninfo(
        settings.database_url, host=host, hostaddr=None, port=port, application_name="harness", **others
    )


async def _logs_in(settings: External, proxy: tuple[str, int], lines: list[str]) -> bool:
    """Tell whether the service's role is let in here; a heal that asked for it only afterwards would never end."""
    role = settings.service_role
    try:
        async with external_connection(_way(settings, proxy, user=role), f"log in as {role}"):
            pass
    except HarnessError as error:
        lines.append(f"{error} No fault that needs it can act: {remedy(frozenset({Capability.SERVICE_LOGIN}))}")
        return False
    lines.append(f"the service's role {role} logs in through the proxy")
    return True


def _address(settings: External, state: ProxyState) -> tuple[str, int]:
    host = state.listen.rpartition(":")[0]
    if host in _ANYWHERE:
        host = urlsplit(settings.toxiproxy_url).hostname or "127.0.0.1"
    return host.strip("[]"), state.port


async def _service(target: Target, lines: list[str]) -> None:
    said, ok = await asyncio.to_thread(ask_ready, f"{target.url.rstrip('/')}/health/ready")
    if not ok:
        raise UsageError(
            f"The service at {target.url} is not ready ({said}), so nothing could be told from a fault. Mend it first."
        )
    lines.append(f"the service at {target.url} is ready")


def _capabilities(target: Target, settings: External, facts: ServerFacts, *, logs_in: bool) -> frozenset[Capability]:
    local = bool(settings.data_dir) and _is_here(Path(settings.data_dir), facts)
    granted = {
        Capability.SQL: target.reads.sql,
        Capability.FILES: local and facts.superuser,
        Capability.EVICT: facts.can_evict,
        Capability.KILLABLE_DATABASE: local,
        Capability.KILLABLE_SERVICE: bool(
            settings.service_start and settings.service_pid_file and pid_in(Path(settings.service_pid_file))
        ),
        Capability.SERVICE_LOGIN: logs_in,
        Capability.PROXIED: True,
        Capability.DLQ: target.reads.dlq,
        Capability.METRICS: target.reads.metrics,
        Capability.LOGS: target.reads.logs,
        Capability.MOUNT: local and Capability.MOUNT in host.granted(),
    }
    return frozenset(capability for capability, has in granted.items() if has)


def _is_here(data_dir: Path, facts: ServerFacts) -> bool:
    """Tell whether the directory is that of the very server that answered; raise :class:`UsageError` when not."""
    pid_file = data_dir / "postmaster.pid"
    try:
        started = int(pid_file.read_text().splitlines()[2])
    except (OSError, ValueError, IndexError) as error:
        raise UsageError(
            f"external.data_dir {data_dir} cannot be read as that of a running server ({error}); run the harness on "
            "that host as root or as its owner, or leave the key out."
        ) from error
    if pid_in(pid_file) is None or abs(started - facts.postmaster_started) > 2:
        raise UsageError(
            f"external.data_dir {data_dir} belongs to another server than database_url leads to (which says "
            f"{facts.data_directory or 'nothing of its own'}); correct one of the two."
        )
    return True
