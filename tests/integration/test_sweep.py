"""``harness sweep pool`` on real parts: two sizes, each with its exposure, and an answer or why there is none."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
ALLOWED = 97
"""Connections of ordinary roles in the embedded PostgreSQL: 100 but for three that are a superuser's."""


@pytest.fixture
def place() -> Iterator[Path]:
    """A folder that PostgreSQL's user may enter; pytest's own is closed."""
    path = Path(tempfile.mkdtemp(prefix="sweep-test-", dir="/tmp"))
    path.chmod(0o777)
    yield path
    shutil.rmtree(path)


def sweep(place: Path, *arguments: str) -> tuple[subprocess.CompletedProcess[str], dict[str, Any]]:
    """Sweep, and read what was stored of it."""
    line = [sys.executable, "-m", "harness", "sweep", "pool", "--reports", str(place / "r"), *arguments]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "TMPDIR": str(place)}
    done = subprocess.run(line, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=600, check=False)
    (stored,) = (place / "r").glob("sweep-*/pool.json")
    return done, json.loads(stored.read_text())


@pytest.mark.alone
def test_two_sizes_are_played_measured_and_answered_or_the_reason_is_given(place: Path) -> None:
    # Some six seconds in each condition: enough for intervals, and no more.
    done, data = sweep(place, "--sizes", "40", "--seed", "7", "--events", "1100")
    # A machine that stalls leaves a run UNKNOWN, which is 3; nothing else may go wrong.
    assert done.returncode in (0, 3), done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    assert sorted(run["size"] for run in data["runs"]) == [25, 40]
    assert {run["verdict"] for run in data["runs"]} <= {"PASS", "UNKNOWN"}, data["runs"]
    assert {(one["size"], one["condition"]) for one in data["figures"]} == {
        (size, condition) for size in (25, 40) for condition in ("database as it is", "under latency")
    }
    for one in data["figures"]:
        assert "does not heed" not in one["problem"]
        if one["problem"]:
            continue
        assert one["writes"] >= 2000
        assert one["exposure_seconds"] > 1
        p50, p95, p99 = (one["quantiles"][share]["seconds"] for share in ("0.5", "0.95", "0.99"))
        assert 0 < p50 <= p95 <= p99
        assert one["mean_wait_seconds"] >= 0
        # One that is just being replaced is listed beside its successor.
        assert 0 < one["backends"] <= one["size"] + 2
        assert one["cpu"]["machine_share"] > 0
        assert one["cpu"]["postgres_cores"] > 0
        if one["condition"] == "under latency":
            assert p50 >= 0.05, "25 ms there and 25 ms back"
    for one in data["answers"]:
        assert one["sentence"].startswith({"raise": "Yes", "keep": "No", "cannot tell": "Cannot tell"}[one["advice"]])
    told = all(one["advice"] != "cannot tell" for one in data["answers"])
    assert data["exit_code"] == done.returncode == (0 if told else 3)
    (page,) = (place / "r").glob("sweep-*/pool.html")
    assert all(run["run"] in page.read_text() for run in data["runs"])
    for run in data["runs"]:
        seen = json.loads((page.parent / "runs" / run["run"] / "cpu.json").read_text())
        assert seen["connection_limit"] == ALLOWED
        assert (page.parent / "runs" / run["run"] / "report.html").is_file()
