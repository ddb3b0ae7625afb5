"""The command line as a child process, in a folder that PostgreSQL's user may enter."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).parents[2]
QUICK = """
from harness.faults.partition import DetachPartition
from harness.scenario import Load, Scenario
from harness.schedule import Schedule
from harness.values import Month

SCENARIO = Scenario(
    name="quick", claim="A detached month goes to the queue.", requirements=("S3",),
    load=Load(months=(Month(2025, 12), Month(2026, 1))),
    schedule=Schedule.of(DetachPartition(months=(Month(2025, 12),))), min_strict_events=20,
    service_environment={environment},
)
"""


@contextmanager
def open_place(prefix: str) -> Iterator[Path]:
    """A folder with a scenario named quick in ``scenarios``; pytest's own folder is closed to others."""
    path = Path(tempfile.mkdtemp(prefix=prefix, dir="/tmp"))
    path.chmod(0o777)
    (path / "scenarios").mkdir()
    write_quick(path)
    try:
        yield path
    finally:
        shutil.rmtree(path)


def write_quick(place: Path, **environment: str) -> None:
    """Write the scenario, with an environment for its service."""
    (place / "scenarios" / "quick.py").write_text(QUICK.format(environment=repr(environment)))


def command(place: Path, *arguments: str, **extra: str) -> tuple[list[str], dict[str, str]]:
    """What to run, and in which environment."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "TMPDIR": str(place), **extra}
    for name in ("BROWSER", "CI", "GITHUB_STEP_SUMMARY", "HARNESS_KEEP_RUNS"):
        if name not in extra:
            environment.pop(name, None)
    return [sys.executable, "-m", "harness", *arguments], environment


def quick_options(place: Path) -> tuple[str, ...]:
    """Options of ``run`` for the scenario of the place, stored below it."""
    return ("--scenarios", str(place / "scenarios"), "--reports", str(place / "r"))


def harness(place: Path, *arguments: str, **extra: str) -> subprocess.CompletedProcess[str]:
    """Run a command to its end."""
    line, environment = command(place, *arguments, **extra)
    return subprocess.run(line, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300, check=False)
