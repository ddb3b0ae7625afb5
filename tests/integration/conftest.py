"""What the tests with real parts share."""

from __future__ import annotations

import pytest

from harness.session import REFERENCE_TARGET
from harness.stacks.embedded import EmbeddedStack
from harness.targets.model import load_target


@pytest.fixture(scope="session", autouse=True)
def prepared() -> None:
    """Have Toxiproxy and PostgreSQL's template made before the first deadline runs, whichever test comes first."""
    EmbeddedStack().prepare(load_target(REFERENCE_TARGET))
