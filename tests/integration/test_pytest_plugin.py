"""Scenarios as pytest items: collected, selected, run in the background, reported with findings."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from importlib.metadata import entry_points
from pathlib import Path
from xml.etree import ElementTree

import pytest

ROOT = Path(__file__).parents[2]
SCENARIOS = """
from harness.faults.noop import NoopDetach
from harness.faults.partition import DetachPartition
from harness.scenario import Load, Scenario
from harness.schedule import Schedule
from harness.values import Month

DECEMBER = Month(2025, 12)
LOAD = Load(months=(DECEMBER, Month(2026, 1)))
SCENARIOS = (
    Scenario(name="really-detached", claim="It bites.", requirements=("S3",), load=LOAD, min_strict_events=20,
             schedule=Schedule.of(DetachPartition(months=(DECEMBER,)))),
    Scenario(name="never-detached", claim="It does not bite.", requirements=(), load=LOAD, min_strict_events=20,
             schedule=Schedule.of(NoopDetach(month=DECEMBER))),
)
"""


@pytest.fixture
def project() -> Iterator[Path]:
    """Another repository with scenarios of its own, in a place PostgreSQL's user may enter."""
    path = Path(tempfile.mkdtemp(prefix="plugin-test-", dir="/tmp"))
    path.chmod(0o777)
    (path / "pytest.ini").write_text("[pytest]\nscenario_paths = claims\nfilterwarnings = error\n")
    (path / "claims").mkdir()
    (path / "claims" / "detaching.py").write_text(SCENARIOS)
    yield path
    shutil.rmtree(path)


def run_pytest(project: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    installed = any(point.name == "partition-harness" for point in entry_points(group="pytest11"))
    plugin = [] if installed else ["-p", "harness.pytest_plugin"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "TMPDIR": str(project)}
    command = [sys.executable, "-m", "pytest", *plugin, *arguments]
    return subprocess.run(
        command, cwd=project, env=environment, capture_output=True, text=True, timeout=240, check=False
    )


def test_only_pass_passes_and_the_reason_replaces_the_traceback(project: Path) -> None:
    result = run_pytest(project, "--junit-xml=junit.xml", "--harness-seed=3")
    assert result.returncode == 1, result.stdout + result.stderr
    assert "1 failed, 1 passed" in result.stdout
    assert "UNKNOWN  never-detached" in result.stdout
    assert "harness run never-detached --seed 3 --scenarios claims" in result.stdout
    assert "Traceback" not in result.stdout
    xml = (project / "junit.xml").read_text()
    (passed,) = ElementTree.fromstring(xml).iterfind(".//testcase[@name='really-detached']")
    assert [p.get("value") for p in passed.iterfind(".//property[@name='requirement']")] == ["S3"]
    assert len(list((project / "reports").glob("*/report.html"))) == 2
    assert not [path for path in project.iterdir() if path.name.startswith("ph-")]


def test_scenarios_are_collected_only_from_their_folders_and_by_claim_as_well(project: Path) -> None:
    result = run_pytest(project, "--collect-only", "-q", "-k", "really")
    assert result.returncode == 0, result.stdout + result.stderr
    assert "claims/detaching.py::really-detached" in result.stdout
    assert "never-detached" not in result.stdout


def test_workers_of_xdist_are_refused_since_each_would_run_all(project: Path) -> None:
    result = run_pytest(project, "-n", "2")
    assert result.returncode == 1, result.stdout + result.stderr
    assert "2 failed" in result.stdout
    assert "Run pytest without -n" in result.stdout
    assert "Traceback" not in result.stdout
    assert not (project / "reports").exists()
