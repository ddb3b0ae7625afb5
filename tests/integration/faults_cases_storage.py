"""The faults of files and disks that the contract puts through, and when a case cannot run here."""

from __future__ import annotations

import pytest

from harness.fault import Fault
from harness.faults.files import MoveHeapFile, RemoveHeapFile, TruncateFiles, UnreadableHeapFile
from harness.faults.fullness import FillDataDirectory, FillTablespace
from harness.faults.replaced import ReplaceHeapFile
from harness.faults.storage import TearPage, ZeroIndex
from harness.stacks import host
from tests.integration.faults_lab import DECEMBER

STORAGE_CASES: tuple[Fault, ...] = (
    ZeroIndex(months=(DECEMBER,)),
    TearPage(months=(DECEMBER,)),
    TruncateFiles(months=(DECEMBER,)),
    TruncateFiles(months=(DECEMBER,), what="index"),
    RemoveHeapFile(months=(DECEMBER,)),
    RemoveHeapFile(),
    UnreadableHeapFile(months=(DECEMBER,)),
    MoveHeapFile(months=(DECEMBER,)),
    ReplaceHeapFile(month=DECEMBER),
    FillTablespace(months=(DECEMBER,)),
    FillTablespace(),
    FillDataDirectory(),
)


@pytest.fixture(autouse=True)
def small_disk(request: pytest.FixtureRequest) -> None:
    """Skip the cases of full disks where no small file system can be mounted, and say what is missing."""
    parameters = getattr(getattr(request.node, "callspec", None), "params", {})
    missing = lacks_mount() if isinstance(parameters.get("fault"), FillTablespace | FillDataDirectory) else ""
    if missing:
        pytest.skip(missing)


def lacks_mount() -> str:
    """Return what keeps a small file system from being mounted here, nothing when one can be."""
    return host.lacking(FillTablespace.needs)
