"""What is typed for a fault is that fault, with values of its own types, or a sentence that says what is wanted."""

from __future__ import annotations

import dataclasses
import shlex

import pytest

import harness.faults  # noqa: F401  (fills the registry)
from harness.errors import UsageError
from harness.fault import FAULTS, Fault
from harness.faults.database import StopDatabase
from harness.faults.dlq import DlqFull
from harness.faults.network import Latency
from harness.faults.partition import DetachPartition
from harness.faults.replaced import ReplaceHeapFile
from harness.lab.parameters import build_fault, inject_command, month_of, shown_parameters
from harness.stacks.base import Direction, StopMode
from harness.values import Month

DECEMBER, JANUARY = Month(2025, 12), Month(2026, 1)
TYPED: tuple[tuple[str, tuple[str, ...], tuple[str, ...], Fault], ...] = (
    ("detach-partition", ("2025-12",), (), DetachPartition(months=(DECEMBER,))),
    ("detach-partition", ("2025_12", "2026_01"), (), DetachPartition(months=(DECEMBER, JANUARY))),
    ("detach-partition", (), ("months=2025_12, 2026-01",), DetachPartition(months=(DECEMBER, JANUARY))),
    ("detach-partition", (), (), DetachPartition()),
    ("latency", (), ("delay_ms=20",), Latency(delay_ms=20)),
    (
        "latency",
        (),
        ("delay_ms = 20", "directions=upstream"),
        Latency(delay_ms=20, directions=(Direction.UPSTREAM,)),
    ),
    ("replace-heap-file", ("2025_12",), ("restore=no",), ReplaceHeapFile(month=DECEMBER, restore=False)),
    ("stop-database", (), ("mode=immediate",), StopDatabase(mode=StopMode.IMMEDIATE)),
    ("dlq-full", (), ("detach=False",), DlqFull(detach=False)),
)


@pytest.mark.parametrize(("name", "partitions", "settings", "fault"), TYPED, ids=lambda value: str(value)[:30])
def test_what_is_typed_is_the_fault_and_the_command_that_is_shown_makes_it_again(
    name: str, partitions: tuple[str, ...], settings: tuple[str, ...], fault: Fault
) -> None:
    assert build_fault(name, partitions, settings) == fault
    words = shlex.split(inject_command(fault, "mine"))
    assert words[:4] == ["harness", "lab", "inject", name]
    assert words[-2:] == ["--name", "mine"]
    given = list(zip(words[4::2], words[5::2], strict=True))
    again = build_fault(
        name,
        [value for option, value in given if option == "--partition"],
        [value for option, value in given if option == "--set"],
    )
    assert again == fault


@pytest.mark.parametrize(
    ("name", "partitions", "settings", "said"),
    [
        ("detach-partitoin", (), (), "did you mean detach-partition"),
        ("detach-partition", ("December",), (), "is not a month"),
        ("detach-partition", ("2025_13",), (), "is not a month"),
        ("detach-partition", ("2025_12",), ("months=2026_01",), "by --partition and by --set months"),
        ("latency", ("2025_12",), ("delay_ms=1",), "not one of a partition"),
        ("replace-heap-file", (), (), "give --partition, such as --partition 2025_12"),
        ("replace-heap-file", ("2025_12", "2026_01"), (), "one partition at a time"),
        ("latency", (), (), r"needs delay_ms: give --set delay_ms=20"),
        ("latency", (), ("delay_ms",), "write --set key=value"),
        ("latency", (), ("delay=20",), "no parameter 'delay'; did you mean delay_ms"),
        ("latency", (), ("colour=red",), "it has delay_ms, directions, round_trips"),
        ("latency", (), ("delay_ms=soon",), "must be a whole number, not 'soon'"),
        ("latency", (), ("delay_ms=1", "delay_ms=2"), "set twice"),
        ("latency", (), ("delay_ms=1", "directions=sideways"), "one of upstream, downstream, not 'sideways'"),
        ("dlq-full", (), ("detach=perhaps",), "must be true or false"),
        ("stop-database", (), ("mode=gently",), "one of fast, immediate"),
        ("pass-month-end", (), ("seconds_before=soon",), "must be a number"),
        ("crash-service", (), ("x=1",), "it takes none"),
    ],
)
def test_a_slip_is_said_with_what_is_wanted(
    name: str, partitions: tuple[str, ...], settings: tuple[str, ...], said: str
) -> None:
    with pytest.raises(UsageError, match=said):
        build_fault(name, partitions, settings)


def test_what_a_fault_still_needs_is_named_with_the_option_that_gives_it() -> None:
    for name, kind in FAULTS.items():
        owed = [each for each in dataclasses.fields(kind) if each.default is dataclasses.MISSING]  # type: ignore[arg-type]
        if owed:
            with pytest.raises(UsageError, match=r"--partition|--set"):
                build_fault(name, (), ())
        else:
            assert build_fault(name, (), ()).name == name


def test_parameters_are_shown_as_they_are_typed() -> None:
    assert shown_parameters(Latency(delay_ms=20, directions=(Direction.UPSTREAM,))) == (
        "delay_ms=20 directions=upstream round_trips=1"
    )
    assert shown_parameters(DetachPartition()) == ""
    assert shown_parameters(ReplaceHeapFile(month=DECEMBER, restore=False)) == "month=2025_12 restore=false"


def test_a_month_is_typed_with_either_dash() -> None:
    assert month_of("2025-12") == month_of("2025_12") == DECEMBER
