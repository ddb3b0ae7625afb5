"""What each fault does, statement by statement, for ``--dry-run``.

Names of partitions are those that the reference service gives; the faults themselves read them from the catalog.  A
fault without a plan here is told by the docstrings of its verbs (:func:`harness.fault.plan_of`).
"""

from __future__ import annotations

from collections.abc import Sequence

from ..fault import PLANS
from ..stacks.base import Capability, Environment
from ..values import Month
from .creation import NAME_TAKEN, PreventPartitionCreation
from .database import KillDatabase, StopDatabase
from .network import Bandwidth, Blackhole, DisableProxy, Latency, ResetConnections
from .partition import DetachAndRestoreCopy, DetachPartition, DropPartition, LockPartition
from .process import CrashService
from .storage import CorruptHeap, CorruptIndex

_POLITE = "SET lock_timeout = 100 ms, and again for up to 10 s"
_INSERT = "as slm_user: BEGIN; INSERT INTO audit_events … one row of {month}; ROLLBACK"


def _tables(months: Sequence[Month]) -> list[str]:
    return [f"audit_events_{month}" for month in months] or ["each partition of audit_events"]


def _bounds(months: Sequence[Month]) -> list[str]:
    return [f"FOR VALUES FROM ('{month.first_day}') TO ('{month.end}')" for month in months] or ["its saved bounds"]


def _refused(months: Sequence[Month], states: str) -> list[str]:
    said = ", ".join(str(month) for month in months) or "each month"
    return [f"confirm: {_INSERT.format(month=said)} is refused with {states}"]


def _attached(months: Sequence[Month], tables: Sequence[str]) -> list[str]:
    return [
        f"heal: ALTER TABLE audit_events ATTACH PARTITION {table} {bounds}"
        for table, bounds in zip(tables, _bounds(months), strict=True)
    ]


@PLANS.register(DetachPartition.name)
def _detach(fault: DetachPartition, environment: Environment | None) -> tuple[str, ...]:
    tables = _tables(fault.months)
    return (
        f"inject: BEGIN ({_POLITE})",
        *(f"inject: ALTER TABLE audit_events DETACH PARTITION {table}" for table in tables),
        "inject: COMMIT",
        *_refused(fault.months, "23514"),
        *_attached(fault.months, tables),
    )


@PLANS.register(DetachAndRestoreCopy.name)
def _restored_copy(fault: DetachAndRestoreCopy, environment: Environment | None) -> tuple[str, ...]:
    (table,) = _tables((fault.month,))
    copy = f"{table}_restored"
    return (
        f"inject: ALTER TABLE audit_events DETACH PARTITION {table} ({_POLITE})",
        *_refused((fault.month,), "23514"),
        f"heal: CREATE TABLE {copy} (LIKE audit_events INCLUDING ALL); ALTER TABLE {copy} OWNER TO slm_user",
        f"heal: INSERT INTO {copy} SELECT * FROM {table}",  # noqa: S608  (told, never executed)
        f"heal: CREATE TRIGGER … ON {copy} for each trigger of {table}'s own",
        *_attached((fault.month,), (copy,)),
    )


@PLANS.register(DropPartition.name)
def _drop(fault: DropPartition, environment: Environment | None) -> tuple[str, ...]:
    tables = _tables(fault.months)
    return (
        f"inject: BEGIN; LOCK TABLE ONLY audit_events, {', '.join(tables)} IN ACCESS EXCLUSIVE MODE ({_POLITE})",
        *(f"inject: COPY {table} TO the ledger" for table in tables),
        *(f"inject: DROP TABLE {table}" for table in tables),
        "inject: COMMIT",
        *_refused(fault.months, "23514"),
        *(
            f"heal: CREATE TABLE {table} (LIKE audit_events INCLUDING ALL); COPY {table} FROM the ledger"
            for table in tables
        ),
        *_attached(fault.months, tables),
    )


@PLANS.register(LockPartition.name)
def _lock(fault: LockPartition, environment: Environment | None) -> tuple[str, ...]:
    tables = ", ".join(_tables(fault.months))
    return (
        f"inject: BEGIN; LOCK TABLE ONLY {tables} IN ACCESS EXCLUSIVE MODE ({_POLITE}), and stay in the transaction",
        *_refused(fault.months, "55P03 or 57014"),
        "heal: close that connection; SELECT pg_terminate_backend(its saved pid, if it is still that backend)",
    )


@PLANS.register(PreventPartitionCreation.name)
def _prevent(fault: PreventPartitionCreation, environment: Environment | None) -> tuple[str, ...]:
    (table,) = _tables((fault.month,))
    if fault.how == NAME_TAKEN:
        inject, heal = [f"inject: CREATE TABLE {table} (taken boolean)"], [f"heal: DROP TABLE {table}"]
        state = "42P07"
    else:
        inject = [
            "inject: ALTER SCHEMA public OWNER TO CURRENT_USER",
            "inject: REVOKE CREATE ON SCHEMA public FROM each role that has it; GRANT USAGE to slm_user",
        ]
        heal = [
            "heal: GRANT CREATE ON SCHEMA public TO each role that had it",
            "heal: ALTER SCHEMA public OWNER TO its saved owner; compare owner and grants with the saved ones",
        ]
        state = "42501"
    return (*inject, f"confirm: CREATE TABLE {table} as slm_user: {state}", *_refused((fault.month,), "23514"), *heal)


@PLANS.register(CorruptHeap.name)
def _heap(fault: CorruptHeap, environment: Environment | None) -> tuple[str, ...]:
    pages = "its last page" if fault.pages == "last" else "every page"
    return (
        *_pages(_tables(fault.months), pages, environment),
        *_refused(fault.months, "XX001"),
        "heal: under the same lock, write the saved bytes over the pages that still bear the damage; verify_heapam()",
    )


@PLANS.register(CorruptIndex.name)
def _index(fault: CorruptIndex, environment: Environment | None) -> tuple[str, ...]:
    indexes = [f"{table}_pkey" for table in _tables(fault.months)]
    return (
        *_pages(indexes, "every page", environment),
        *_refused(fault.months, "XX001 or XX002"),
        *(f"heal: REINDEX INDEX {index}; bt_index_check()" for index in indexes),
    )


def _pages(relations: Sequence[str], pages: str, environment: Environment | None) -> list[str]:
    damage = [f"inject: save {pages} of {name} in the ledger, overwrite its header on disk" for name in relations]
    if environment is not None and not (
        Capability.EVICT in environment.capabilities and environment.database.version_num >= 170000
    ):
        return ["inject: stop PostgreSQL (fast)", *damage, "inject: start PostgreSQL"]
    return [
        "inject: CREATE EXTENSION IF NOT EXISTS pg_buffercache; CHECKPOINT",
        f"inject: LOCK the partitions IN ACCESS EXCLUSIVE MODE ({_POLITE}); CHECKPOINT; evict their buffers",
        *damage,
        "inject: COMMIT (PostgreSQL 15 and 16: stop, damage and start instead)",
    ]


@PLANS.register(StopDatabase.name)
def _stop(fault: StopDatabase, environment: Environment | None) -> tuple[str, ...]:
    signal = "SIGINT" if fault.mode == "fast" else "SIGQUIT"
    return (
        f"inject: kill -{signal} postmaster, and wait until it is gone",
        "confirm: no postmaster; an insert through the proxy gets no connection",
        "heal: start the postmaster as it was started, and wait until it is ready",
    )


@PLANS.register(KillDatabase.name)
def _kill(fault: KillDatabase, environment: Environment | None) -> tuple[str, ...]:
    return (
        "inject: kill -SIGKILL postmaster and every backend, and wait until they are gone",
        "confirm: no postmaster; an insert through the proxy gets no connection",
        "heal: start the postmaster as it was started, which recovers from its log",
    )


def _toxic(*lines: str) -> tuple[str, ...]:
    return (*(f"inject: POST /proxies/PROXY/toxics {line}" for line in lines), "heal: DELETE those toxics by name")


@PLANS.register(Latency.name)
def _latency(fault: Latency, environment: Environment | None) -> tuple[str, ...]:
    return _toxic(*(f"{way}: latency {fault.delay_ms} ms" for way in fault.directions))


@PLANS.register(Bandwidth.name)
def _bandwidth(fault: Bandwidth, environment: Environment | None) -> tuple[str, ...]:
    return _toxic(*(f"{way}: bandwidth {fault.rate_kb_per_second} kB/s" for way in ("upstream", "downstream")))


@PLANS.register(Blackhole.name)
def _blackhole(fault: Blackhole, environment: Environment | None) -> tuple[str, ...]:
    return _toxic(*(f"{way}: timeout 0" for way in ("upstream", "downstream")))


@PLANS.register(ResetConnections.name)
def _reset(fault: ResetConnections, environment: Environment | None) -> tuple[str, ...]:
    return _toxic(f"{fault.direction}: reset_peer 0")


@PLANS.register(DisableProxy.name)
def _disable(fault: DisableProxy, environment: Environment | None) -> tuple[str, ...]:
    return (
        "inject: POST /proxies/PROXY {enabled: false}",
        "confirm: an insert through the proxy is refused",
        "heal: POST /proxies/PROXY {enabled: true}",
    )


@PLANS.register(CrashService.name)
def _crash(fault: CrashService, environment: Environment | None) -> tuple[str, ...]:
    return ("inject: kill -SIGKILL the service; start it again", "heal: start the service if it is down")
