"""The faults of files and disks that the contract puts through, and when a case cannot run here."""

from __future__ import annotations

from harness.fault import Fault
from harness.faults.files import MoveHeapFile, RemoveHeapFile, TruncateFiles, UnreadableHeapFile
from harness.faults.fullness import FillDataDirectory, FillTablespace
from harness.faults.replaced import ReplaceHeapFile
from harness.faults.storage import TearPage, ZeroIndex
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
