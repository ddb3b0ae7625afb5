"""Months from bounds: the dates by themselves, and what PostgreSQL makes of service/sql/catalog.sql on real partitions.

Each case has a schema of its own on the servers that the tests of faults run on, so that the oldest one must read it
as well.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from typing import Any

import psycopg
import pytest

from service.database import sql
from service.partitions import first_day
from tests.integration import faults_lab
from tests.integration.faults_lab import Lab

lab = faults_lab.lab

DECEMBER, JANUARY, FEBRUARY, MARCH = "2025_12", "2026_01", "2026_02", "2026_03"
# As the service's own sessions, which read dates as PostgreSQL prints them.
OPTIONS = "-c DateStyle=ISO -c TimeZone=UTC -c lock_timeout=2s"
TABLES = """
CREATE SCHEMA catalog;
CREATE TABLE audit_events (event_id uuid, event_date date) PARTITION BY RANGE (event_date);
CREATE TABLE audit_partitions (month text PRIMARY KEY);
"""


def test_a_month_begins_with_its_first_day() -> None:
    assert first_day("2028_02") == date(2028, 2, 1)


@dataclass(frozen=True)
class Catalog:
    """A partitioned table in a schema of its own, and what the service sees of it."""

    connection: psycopg.Connection[Any]

    def run(self, statement: str) -> None:
        self.connection.execute(statement.encode())

    def attach(self, name: str, bounds: str) -> None:
        self.run(f"CREATE TABLE {name} PARTITION OF audit_events {bounds}")

    def hold(self, name: str, low: str, high: str) -> None:
        self.attach(name, f"FOR VALUES FROM ('{low}') TO ('{high}')")

    def seen(self, *asked: str) -> dict[str, tuple[bool, str, str, bool]]:
        """By month: ever attached, first and last day that is missing (empty: none), whether any day is attached."""
        rows = self.connection.execute(sql("catalog").encode(), [list(asked)]).fetchall()
        assert [row[0] for row in rows] == sorted({row[0] for row in rows})
        return {month: (known, str(low or ""), str(high or ""), partly) for month, known, low, high, partly in rows}


@contextmanager
def session(lab: Lab) -> Iterator[psycopg.Connection[Any]]:
    conninfo = lab.environment.database.admin_conninfo
    with psycopg.connect(conninfo, autocommit=True, options=f"{OPTIONS} -c search_path=catalog") as connection:
        yield connection


@pytest.fixture
def catalog(lab: Lab) -> Iterator[Catalog]:
    with session(lab) as connection:
        connection.execute(TABLES)
        try:
            yield Catalog(connection)
        finally:
            connection.execute("DROP SCHEMA catalog CASCADE")


WHOLE = (False, "", "", True)
NOTHING = {DECEMBER: (False, "2025-12-01", "2025-12-31", False), FEBRUARY: (False, "2026-02-01", "2026-02-28", False)}


def test_a_month_with_its_own_bounds_is_whole_whatever_its_table_is_called(catalog: Catalog) -> None:
    catalog.hold("audit_events_2026_02_restored", "2025-12-01", "2026-01-01")
    assert catalog.seen(FEBRUARY) == {DECEMBER: WHOLE, FEBRUARY: NOTHING[FEBRUARY]}


def test_without_a_partition_or_even_a_table_every_day_is_missing(catalog: Catalog) -> None:
    assert catalog.seen() == {}
    assert catalog.seen(FEBRUARY, DECEMBER) == NOTHING
    catalog.run("DROP TABLE audit_events")
    assert catalog.seen(FEBRUARY, DECEMBER) == NOTHING


def test_what_was_ever_attached_is_seen_without_being_asked_for(catalog: Catalog) -> None:
    catalog.run(f"INSERT INTO audit_partitions VALUES ('{DECEMBER}'), ('{JANUARY}')")
    catalog.hold("held", "2026-01-01", "2026-02-01")
    assert catalog.seen() == {DECEMBER: (True, "2025-12-01", "2025-12-31", False), JANUARY: (True, "", "", True)}


@pytest.mark.parametrize(
    ("low", "high", "missing"),
    [
        ("2025-12-01", "2025-12-16", ("2025-12-16", "2025-12-31")),
        ("2025-12-16", "2026-01-01", ("2025-12-01", "2025-12-15")),
        ("2025-12-02", "2026-01-01", ("2025-12-01", "2025-12-01")),
        ("2025-12-01", "2025-12-31", ("2025-12-31", "2025-12-31")),
        ("2025-12-10", "2025-12-11", ("2025-12-01", "2025-12-31")),
    ],
)
def test_wrong_bounds_hold_a_part_of_the_month(catalog: Catalog, low: str, high: str, missing: tuple[str, str]) -> None:
    catalog.hold("wrong", low, high)
    assert catalog.seen() == {DECEMBER: (False, *missing, True)}


def test_bounds_that_are_a_day_off_hold_parts_of_two_months(catalog: Catalog) -> None:
    catalog.hold("shifted", "2025-12-02", "2026-01-02")
    assert catalog.seen(JANUARY) == {
        DECEMBER: (False, "2025-12-01", "2025-12-01", True),
        JANUARY: (False, "2026-01-02", "2026-01-31", True),
    }


def test_one_partition_may_hold_two_months_and_two_partitions_one(catalog: Catalog) -> None:
    catalog.hold("wide", "2026-02-01", "2026-04-01")
    catalog.hold("early", "2025-12-01", "2025-12-10")
    catalog.hold("late", "2025-12-10", "2026-01-01")
    assert catalog.seen(JANUARY, MARCH) == {
        DECEMBER: WHOLE,
        JANUARY: (False, "2026-01-01", "2026-01-31", False),
        FEBRUARY: WHOLE,
        MARCH: WHOLE,
    }


def test_a_gap_in_the_middle_is_told_by_its_days(catalog: Catalog) -> None:
    catalog.hold("early", "2025-12-01", "2025-12-05")
    catalog.hold("late", "2025-12-20", "2026-01-01")
    assert catalog.seen() == {DECEMBER: (False, "2025-12-05", "2025-12-19", True)}


def test_open_bounds_hold_everything_on_their_side(catalog: Catalog) -> None:
    catalog.attach("before", "FOR VALUES FROM (MINVALUE) TO ('2026-01-01')")
    catalog.attach("after", "FOR VALUES FROM ('2026-02-10') TO (MAXVALUE)")
    assert catalog.seen(DECEMBER, JANUARY, MARCH) == {
        DECEMBER: WHOLE,
        JANUARY: (False, "2026-01-01", "2026-01-31", False),
        FEBRUARY: (False, "2026-02-01", "2026-02-09", True),
        MARCH: WHOLE,
    }
    catalog.run("DROP TABLE before, after")
    catalog.attach("everything", "FOR VALUES FROM (MINVALUE) TO (MAXVALUE)")
    assert catalog.seen(DECEMBER) == {DECEMBER: WHOLE}
    catalog.run("DROP TABLE everything")
    catalog.attach("infinite", "FOR VALUES FROM ('-infinity') TO ('infinity')")
    assert catalog.seen(DECEMBER) == {DECEMBER: WHOLE}


def test_a_default_partition_holds_no_month(catalog: Catalog) -> None:
    catalog.attach("rest", "DEFAULT")
    catalog.hold("held", "2026-01-01", "2026-02-01")
    assert catalog.seen(DECEMBER) == {DECEMBER: NOTHING[DECEMBER], JANUARY: WHOLE}


def test_a_pending_detachment_counts_as_missing(lab: Lab, catalog: Catalog) -> None:
    catalog.hold("december", "2025-12-01", "2026-01-01")
    catalog.hold("january", "2026-01-01", "2026-02-01")
    with session(lab) as reader, reader.transaction():
        reader.execute("SELECT FROM audit_events")
        catalog.run("SET lock_timeout = '200ms'")
        with pytest.raises(psycopg.errors.LockNotAvailable):
            catalog.run("ALTER TABLE audit_events DETACH PARTITION december CONCURRENTLY")
    assert catalog.seen(DECEMBER) == {DECEMBER: NOTHING[DECEMBER], JANUARY: WHOLE}
    catalog.run("ALTER TABLE audit_events DETACH PARTITION december FINALIZE")
    assert catalog.seen(DECEMBER) == {DECEMBER: NOTHING[DECEMBER], JANUARY: WHOLE}


def test_a_locked_table_is_no_obstacle(lab: Lab, catalog: Catalog) -> None:
    catalog.hold("december", "2025-12-01", "2026-01-01")
    with session(lab) as holder, holder.transaction():
        holder.execute("LOCK TABLE audit_events, december IN ACCESS EXCLUSIVE MODE")
        assert catalog.seen() == {DECEMBER: WHOLE}
