"""``harness assess`` and ``harness compare`` on a real run: a recovery by hand, timed."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
SCENARIO = "december-recovered-by-hand"


@dataclass(frozen=True)
class Place:
    """A folder, and the command as it is typed there."""

    folder: Path

    def harness(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        line = [sys.executable, "-m", "harness", *arguments, "--reports", str(self.folder / "r")]
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "TMPDIR": str(self.folder)}
        return subprocess.run(line, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300, check=False)

    def runs(self) -> list[str]:
        return sorted(path.parent.name for path in (self.folder / "r").glob("*/history.jsonl"))


@pytest.fixture(scope="module")
def place() -> Iterator[Place]:
    """A run of the scenario, and a copy of it."""
    folder = Path(tempfile.mkdtemp(prefix="assess-test-", dir="/tmp"))
    folder.chmod(0o777)
    place = Place(folder)
    done = place.harness("run", SCENARIO, "--seed", "7")
    assert done.returncode == 0, done.stdout + done.stderr
    name = place.runs()[-1]
    # A second run would take half a minute, and show only what differs by chance.
    shutil.copytree(folder / "r" / name, folder / "r" / f"{name}-copy")
    yield place
    shutil.rmtree(folder)


def test_every_step_of_an_operator_is_timed_beside_what_the_service_does(place: Place) -> None:
    done = place.harness("assess", "--json")
    data: dict[str, Any] = json.loads(done.stdout)
    recovery = data["recovery"]
    steps = {step["name"]: step for step in recovery["steps"]}
    assert list(steps) == ["select", "create", "load", "drain", "attach"]
    assert all(step["seconds"] > 0 for step in steps.values()), steps
    assert steps["select"]["said"].startswith("42P01")
    # Probes and load had written into December before it was dropped, and queued into it since.
    assert int(steps["load"]["said"].split()[0]) > 250
    assert int(steps["drain"]["said"].split()[0]) > 250
    assert recovery["by_hand_machine_seconds"] == pytest.approx(sum(step["seconds"] for step in steps.values()))
    assert recovery["drain_seconds"] is not None
    assert recovery["manual_minutes"] is None
    assert recovery["run"] in place.runs()


def test_a_feature_with_one_scenario_of_many_is_held_for_lack_of_evidence(place: Place) -> None:
    done = place.harness("assess")
    assert done.returncode == 3, done.stdout + done.stderr
    assert "? HOLD  4 of 4 features" in done.stdout
    assert "no run proves S3" in done.stdout
    assert "no run proves S5" not in done.stdout
    assert "operator minutes saved: not said" in done.stdout


def test_a_run_and_its_copy_are_compared_figure_by_figure_and_nothing_got_worse(place: Place) -> None:
    first, second = place.runs()[-2:]
    done = place.harness("compare", first, second, "--json", "--fail-on-regression")
    data = json.loads(done.stdout)
    (pair,) = data["pairs"]
    changes = {row["name"]: row["change"] for row in pair["rows"]}
    assert set(changes.values()) <= {"same", "unjudged", None}, changes
    # The samples of a busy machine may leave room for anything.
    assert done.returncode == data["exit_code"] in (0, 3), done.stdout + done.stderr
    rows = {row["name"]: row for row in pair["rows"]}
    assert rows["verdict"]["change"] == "same"
    assert rows["p50"]["first"] > 0
    assert rows["drained (events)"]["first"] > 250
    assert rows["202 inside"]["first"] == 1.0
    assert pair["differences"] == []
    assert pair["first"]["versions"]["cpus"] == str(os.cpu_count())
