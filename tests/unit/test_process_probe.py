"""What a process holds, read from the system that runs it: this very process, and one that is gone."""

from __future__ import annotations

import os
import socket
import sys
from pathlib import Path

import pytest

from harness.events import AttachedTable, PartitionsSample, ProcessSample
from harness.jsonlines import decode, encode
from harness.probes.process import database_sockets, read_process

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


@pytest.mark.parametrize(
    ("family", "host"), [(socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::ffff:127.0.0.1")], ids=["IPv4", "IPv6"]
)
def test_the_sockets_of_a_process_to_a_port_are_counted(family: socket.AddressFamily, host: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        assert database_sockets(os.getpid(), port) == 0
        try:
            client = socket.socket(family)
        except OSError:
            pytest.skip("this kernel has no IPv6; it needs ipv6.disable=0")
        with client:
            client.connect((host, port))
            assert database_sockets(os.getpid(), port) == 1


@pytest.mark.parametrize("pid", [None, 2**30])
def test_sockets_of_no_process_cannot_be_known(pid: int | None) -> None:
    assert database_sockets(pid, 5432) == -1


def test_samples_come_back_from_the_history() -> None:
    catalog = PartitionsSample(1.0, (AttachedTable(7, "audit_events_2025_12", "2025_12"),), "", 0.01)
    for record in (catalog, PartitionsSample(2.0, error="55P03"), ProcessSample(1.0, 7, 2**20, 30, 4)):
        assert decode(encode(record)) == record
