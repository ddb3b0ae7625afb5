"""Blocks of the how-to pages, and their code as if it lay where the page says."""

from __future__ import annotations

import sys
import types
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from markdown_it import MarkdownIt

from harness.fault import FAULTS

from .pages import ROOT

HOW_TO = ROOT / "docs" / "how-to"
FAULT_NAME = "revoke-insert"
FAULT_MODULE = "harness.faults.example_of_the_documentation"


def code_of(page: Path) -> str:
    """Return the only Python on a page."""
    (code,) = (text for kind, text in fences(page) if kind == "python")
    return code


def fences(page: Path) -> Iterator[tuple[str, str]]:
    """Yield every fenced block of a page: its kind with what else stands there, and its text."""
    for token in MarkdownIt().parse(page.read_text(encoding="utf-8")):
        if token.type == "fence":
            yield token.info.strip(), token.content


@contextmanager
def documented_fault() -> Iterator[types.ModuleType]:
    """Import the fault of the how-to page beside the other faults, and forget it afterwards."""
    module = types.ModuleType(FAULT_MODULE)
    module.__package__ = FAULT_MODULE.rpartition(".")[0]
    sys.modules[FAULT_MODULE] = module
    try:
        exec(code_of(HOW_TO / "fault.md"), module.__dict__)
        yield module
    finally:
        del sys.modules[FAULT_MODULE]
        FAULTS._things.pop(FAULT_NAME, None)
