"""Code of the how-to pages, as if it lay where the page says."""

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
    fences = (token for token in MarkdownIt().parse(page.read_text(encoding="utf-8")) if token.type == "fence")
    (code,) = (token.content for token in fences if token.info.strip() == "python")
    return code


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
