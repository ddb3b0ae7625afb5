"""Whose fault a failed try is, by SQLSTATE and constraint. Pure."""

import enum
from dataclasses import dataclass

import psycopg


class Owner(enum.Enum):
    """Who is at fault: the event is refused; a partition or database that refuses is spared for a while."""

    EVENT = "event"
    PARTITION = "partition"
    DATABASE = "database"
    LINK = "the connection was lost: whether the event is stored is unknown"
    POOL = "no connection: nothing was tried"


# Constraints that this service's own schema declares on the parent table.
OWN_CONSTRAINTS = frozenset({"audit_events_pkey"})
# The server answered, but no month can be written: read-only, or the table itself is not there.
_DATABASE_STATES = frozenset({"25006", "42P01", "42P10"})


@dataclass(frozen=True)
class Fault:
    """Why a try failed; `no_partition` when the month's partition is not there."""

    owner: Owner
    sqlstate: str | None
    message: str
    no_partition: bool = False


def classify(sqlstate: str | None, constraint: str | None, message: str, fatal: bool = False) -> Fault:
    """Find the owner; EVENT is provisional until a harmless row succeeds in the same month."""
    # Not by the class: one month's trigger may raise 57P01 while the connection lives on.
    if sqlstate is None or fatal:
        return Fault(Owner.LINK, sqlstate, message)
    if sqlstate in _DATABASE_STATES:
        return Fault(Owner.DATABASE, sqlstate, message)
    of_own_schema = sqlstate == "23502" or (sqlstate.startswith("23") and constraint in OWN_CONSTRAINTS)
    if sqlstate.startswith("22") or of_own_schema:
        return Fault(Owner.EVENT, sqlstate, message)
    return Fault(Owner.PARTITION, sqlstate, message, no_partition=sqlstate == "23514" and not constraint)


def fault_of(error: psycopg.Error) -> Fault:
    """Classify an exception of the driver."""
    message = error.diag.message_primary or str(error) or type(error).__name__
    if error.sqlstate is None and isinstance(error, psycopg.DataError):
        return Fault(Owner.EVENT, "22000", message)
    fatal = error.diag.severity_nonlocalized in ("FATAL", "PANIC")
    return classify(error.sqlstate, error.diag.constraint_name, message, fatal)
