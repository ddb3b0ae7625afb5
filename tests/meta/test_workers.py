"""What tests/conftest.py says about workers holds, and its names are those of files."""

from __future__ import annotations

import ast
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests import conftest

from ._sources import ROOT, sources

PROBE = """
import fcntl
from pathlib import Path

import pytest


def is_free(request, how):
    lock = Path(request.config.getoption("basetemp")).with_name("turn.lock")
    with lock.open("a") as file:
        try:
            fcntl.flock(file, how | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
    return True


@pytest.mark.alone
def test_alone(request):
    assert not is_free(request, fcntl.LOCK_SH)


def test_among_others(request):
    assert is_free(request, fcntl.LOCK_SH)
    assert not is_free(request, fcntl.LOCK_EX)
"""


def test_each_turn_is_held_while_its_test_runs_and_what_is_alone_comes_last(tmp_path: Path) -> None:
    shutil.copy(conftest.__file__, tmp_path / "conftest.py")
    (tmp_path / "test_probe.py").write_text(PROBE)
    (tmp_path / "pytest.ini").write_text("[pytest]\nmarkers =\n  alone\n")
    command = [sys.executable, "-m", "pytest", "-v", "-n", "1", "--dist", "loadscope"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False)
    assert "2 passed" in done.stdout, done.stdout + done.stderr
    assert done.stdout.index("PASSED test_probe.py::test_among_others") < done.stdout.index("test_probe.py::test_alone")


@pytest.mark.parametrize("place", sorted({*conftest.LONG, *conftest.SCATTERED, *conftest.BY_POSTGRESQL}))
def test_every_place_that_is_named_exists(place: str) -> None:
    assert list(ROOT.glob(f"{place}*"))


def test_scattered_tests_share_no_environment() -> None:
    scattered = [source for source in sources("tests") if str(source.path.relative_to(ROOT)) in conftest.SCATTERED]
    assert len(scattered) == len(conftest.SCATTERED)
    for source in scattered:
        scopes = [node for node in ast.walk(source.tree) if isinstance(node, ast.keyword) and node.arg == "scope"]
        assert not scopes, source.module
        assert not {name for name in source.imports() if name.endswith("_lab")}, source.module


def test_an_environment_is_one_workers_and_each_postgresql_has_its_own() -> None:
    here, there = (f"tests/integration/test_faults_probe.py::test_x[{name}-1]" for name in ("found", "/usr/pg/bin"))
    assert conftest.scope(here) == conftest.scope(here.replace("test_x", "test_y")) != conftest.scope(there)
    assert conftest.scope("tests/unit/test_core.py::test_x[a-1]") == "tests/unit/test_core.py"
    assert conftest.scope("tests/integration/test_cli.py::a") != conftest.scope("tests/integration/test_cli.py::b")
