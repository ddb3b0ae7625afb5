"""What a process holds, read from the system that runs it: this very process, and one that is gone."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from harness.events import AttachedTable, PartitionsSample, ProcessSample
from harness.jsonlines import decode, encode
from harness.probes.process import read_process

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="there is no /proc to read; only Linux has it")


def test_a_living_process_has_memory_threads_and_descriptors_that_are_counted(tmp_path: Path) -> None:
    before = read_process(1.0, os.getpid())
    with (tmp_path / "a").open("w"), (tmp_path / "b").open("w"):
        during = read_process(2.0, os.getpid())
    assert during.descriptors == before.descriptors + 2
    assert (before.t, before.pid, before.threads >= 1, before.memory_bytes > 2**20) == (1.0, os.getpid(), True, True)


@pytest.mark.parametrize(("pid", "told"), [(None, 0), (2**30, 2**30)])
def test_a_process_that_is_not_there_is_absent_and_nothing_raises(pid: int | None, told: int) -> None:
    assert read_process(1.0, pid) == ProcessSample(1.0, told)


def test_samples_come_back_from_the_history() -> None:
    catalog = PartitionsSample(1.0, (AttachedTable(7, "audit_events_2025_12", "2025_12"),), "", 0.01)
    for record in (catalog, PartitionsSample(2.0, error="55P03"), ProcessSample(1.0, 7, 2**20, 30, 4)):
        assert decode(encode(record)) == record
