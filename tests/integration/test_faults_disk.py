"""The contract of the fault that needs a small disk under the queue, and what this machine cannot test."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.fault import Fault
from harness.faults.dlq import DlqDiskFull
from harness.stacks.base import Capability, remedy
from harness.stacks.service_extras import SMALL_DISK_FOLDER, SMALL_DISK_MB
from tests.integration import test_faults_contract as contract
from tests.integration.faults_cases_process import MISSING_HERE
from tests.integration.faults_lab import Lab, lab_environment

OVERRIDES = {SMALL_DISK_MB: "16", "DLQ_URL": f"sqlite:///{{workdir}}/{SMALL_DISK_FOLDER}/dlq.sqlite3"}


@pytest.fixture(scope="module")
def disk_lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    if os.geteuid() != 0:
        pytest.skip(remedy(frozenset({Capability.SMALL_DISK})))
    folder = tmp_path_factory.mktemp("disk")
    with asyncio.Runner() as runner:
        context = lab_environment(folder, None, OVERRIDES)
        environment = runner.run(context.__aenter__())
        try:
            if Capability.SMALL_DISK not in environment.capabilities:
                pytest.skip("mount -t tmpfs is not allowed here; run in a container with CAP_SYS_ADMIN")
            yield Lab(runner.run, environment, folder / "ledger")
        finally:
            runner.run(context.__aexit__(None, None, None))
    assert str(environment.workdir) not in Path("/proc/self/mountinfo").read_text()


@pytest.fixture
def fault() -> Fault:
    return DlqDiskFull()


def test_full_disk_bites_and_heals_and_heals_twice(disk_lab: Lab, fault: Fault) -> None:
    contract.test_fault_bites_and_heals_with_every_row_and_heals_twice(disk_lab, fault)


def test_full_disk_heals_without_an_inject_at_all(disk_lab: Lab, fault: Fault) -> None:
    contract.test_fault_heals_without_an_inject_at_all(disk_lab, fault)


@pytest.mark.parametrize("turns", [2, 10, 30])
def test_full_disk_heals_after_an_inject_cancelled_half_way(disk_lab: Lab, fault: Fault, turns: int) -> None:
    contract.test_fault_heals_after_an_inject_cancelled_half_way(disk_lab, fault, turns)


def test_full_disk_comes_back_from_json_as_it_was(fault: Fault) -> None:
    contract.test_fault_comes_back_from_json_as_it_was(fault)


@pytest.mark.parametrize("name", sorted(MISSING_HERE))
def test_fault_that_this_machine_cannot_play(name: str) -> None:
    pytest.skip(f"{name} {MISSING_HERE[name]}")
