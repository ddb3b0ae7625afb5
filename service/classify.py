"""Whose fault an error of the database is: the event's, its partition's, or the database's. Pure."""

import enum
from dataclasses import dataclass

import psycopg


class Owner(enum.Enum):
    """Who is at fault, and so what happens to the event: refused, or queued."""

    EVENT = "event"
    PARTITION = "partition"
    DATABASE = "database"


# Constraints that this service's own schema declares on the parent table.
OWN_CONSTRAINTS = frozenset({"audit_events_pkey"})
_NO_CONNECTION_CLASSES = ("08", "28", "57P", "3D")
# The server answered, but no month can be written: read-only, or the table itself is not there.
_DATABASE_STATES = frozenset({"25006", "42P01", "42P10"})
# Serialization and deadlock errors come and go by themselves: only a row of them opens a breaker.
_TRANSIENT_STATES = frozenset({"40001", "40P01"})
TRANSIENT_THRESHOLD = 3


@dataclass(frozen=True)
class Fault:
    """One classified error; `lost` when the connection or the server is gone."""

    owner: Owner
    sqlstate: str | None
    message: str
    lost: bool = False
    no_partition: bool = False

    @property
    def threshold(self) -> int:
        """How many of these in a row open the month's breaker."""
        return TRANSIENT_THRESHOLD if self.sqlstate in _TRANSIENT_STATES else 1


def classify(sqlstate: str | None, constraint: str | None, message: str) -> Fault:
    """The owner of an error by its SQLSTATE and constraint.

    A fault of owner EVENT is provisional: the caller must see a harmless row succeed in the same month,
    else the value error is the partition's.
    """
    if sqlstate is None or sqlstate == "53300" or sqlstate.startswith(_NO_CONNECTION_CLASSES):
        return Fault(Owner.DATABASE, sqlstate, message, lost=True)
    if sqlstate in _DATABASE_STATES:
        return Fault(Owner.DATABASE, sqlstate, message)
    if sqlstate.startswith("22") or sqlstate == "23502":
        return Fault(Owner.EVENT, sqlstate, message)
    if sqlstate.startswith("23") and constraint in OWN_CONSTRAINTS:
        return Fault(Owner.EVENT, sqlstate, message)
    no_partition = sqlstate == "23514" and not constraint
    return Fault(Owner.PARTITION, sqlstate, message, no_partition=no_partition)


def fault_of(error: psycopg.Error) -> Fault:
    """Classify an exception of the driver."""
    message = error.diag.message_primary or str(error) or type(error).__name__
    if error.sqlstate is None and isinstance(error, psycopg.DataError):
        return Fault(Owner.EVENT, "22000", message)
    return classify(error.sqlstate, error.diag.constraint_name, message)
