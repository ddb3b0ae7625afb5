"""Whose fault an error is."""

import pytest

from service.database import Owner, classify


@pytest.mark.parametrize(
    ("sqlstate", "constraint", "owner"),
    [
        ("22003", None, Owner.EVENT),
        ("22P02", None, Owner.EVENT),
        ("23502", None, Owner.EVENT),
        ("23505", "audit_events_pkey", Owner.EVENT),
        ("23505", "somebodys_index", Owner.PARTITION),
        ("23514", None, Owner.PARTITION),
        ("23514", "only_the_child_has_it", Owner.PARTITION),
        ("XX001", None, Owner.PARTITION),
        ("XX002", None, Owner.PARTITION),
        ("58P01", None, Owner.PARTITION),
        ("42501", None, Owner.PARTITION),
        ("53100", None, Owner.PARTITION),
        ("55P03", None, Owner.PARTITION),
        ("57014", None, Owner.PARTITION),
        ("25006", None, Owner.DATABASE),
        ("42P01", None, Owner.DATABASE),
        ("53300", None, Owner.PARTITION),
        ("57P01", None, Owner.PARTITION),
        ("08006", None, Owner.PARTITION),
        (None, None, Owner.LINK),
    ],
)
def test_an_error_belongs_to_its_owner(sqlstate: str | None, constraint: str | None, owner: Owner) -> None:
    assert classify(sqlstate, constraint, "said the server").owner is owner


def test_what_ends_the_connection_is_the_links_fault_whatever_its_state() -> None:
    assert classify("57P01", None, "terminating connection", fatal=True).owner is Owner.LINK
    assert classify("XX000", None, "out of order", fatal=True).owner is Owner.LINK


def test_only_a_23514_without_a_constraint_means_that_the_partition_is_missing() -> None:
    assert classify("23514", None, "").no_partition
    assert not classify("23514", "child_check", "").no_partition
