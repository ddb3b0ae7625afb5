"""The examples of docs/how-to/gate.md for CI: their commands, with their files, run by a shell as they are written."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from harness.checking import CheckResult
from tests.unit import gate_samples as samples
from tests.unit.gate_samples import BOOKS, lost, slow, store
from tests.unit.gate_site import Site, healthy, serving

from .examples import HOW_TO, fences
from .pages import ROOT

PAGE = HOW_TO / "gate.md"
FILES = {kind.partition("file=")[2]: text for kind, text in fences(PAGE) if kind.startswith("toml file=")}
GITHUB, GITLAB = (yaml.safe_load(text) for kind, text in fences(PAGE) if kind == "yaml")
LAST, PRODUCTION = (
    line for step in GITHUB["jobs"]["gate"]["steps"] if (line := step.get("run", "")).startswith("harness gate")
)
(AGAINST_MAIN,) = (line for line in GITLAB["gate"]["script"] if line.startswith("harness gate"))
README_LINE = next(
    line.partition("#")[0].strip()
    for line in (ROOT / "README.md").read_text(encoding="utf-8").splitlines()
    if line.startswith("harness gate last")
)


@pytest.fixture
def site() -> Iterator[Site]:
    with serving() as made:
        made.answer = healthy
        yield made


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """Where a job of CI runs: the files of the page, and the harness on PATH."""
    for name, text in FILES.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    program = tmp_path / "bin" / "harness"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -m harness "$@"\n', encoding="utf-8")
    program.chmod(0o755)
    return tmp_path


def suite(place: Path, name: str, *checks: CheckResult) -> None:
    """What ``harness run`` leaves: a suite of one run."""
    run = store(place / "reports", f"{name}-run", *checks)
    samples.store_suite(place / "reports", f"{name}-suite-aaaa", run)


def ended(place: Path, line: str, **variables: str) -> int:
    """Play a line as a step of a job does; return its exit code."""
    environment = {
        "PATH": f"{place / 'bin'}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
        "HOME": str(place),
        "LANG": "C.UTF-8",
    }
    done = subprocess.run(
        ["sh", "-e", "-c", line],
        cwd=place,
        env={**environment, **variables},
        check=False,
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=120,
    )
    print(done.stdout, done.stderr)
    return done.returncode


def test_the_page_shows_each_file_that_its_commands_need() -> None:
    assert set(FILES) == {"gate.toml", "production.toml"}
    assert "--config production.toml" in PRODUCTION
    assert "--config" not in LAST + AGAINST_MAIN + README_LINE


@pytest.mark.parametrize("line", [LAST, AGAINST_MAIN, README_LINE], ids=["github", "gitlab", "readme"])
def test_a_suite_that_kept_everything_passes_with_the_file_and_not_without_it(place: Path, line: str) -> None:
    suite(place, "20251205-110000")
    assert ended(place, line) == 0
    (place / "gate.toml").unlink()
    assert ended(place, line) == 3


@pytest.mark.parametrize("line", [LAST, AGAINST_MAIN, README_LINE], ids=["github", "gitlab", "readme"])
def test_a_suite_that_lost_an_event_fails(place: Path, line: str) -> None:
    suite(place, "20251205-110000", lost(1))
    assert ended(place, line) == 1


def test_what_the_main_branch_has_too_is_let_through(place: Path) -> None:
    suite(place, "20251205-110000", BOOKS, slow(0.3))
    assert ended(place, AGAINST_MAIN) == 1
    (place / "reports" / "gate.json").rename(place / "main-gate.json")
    suite(place, "20251206-110000", BOOKS, slow(0.4))
    assert ended(place, AGAINST_MAIN) == 0
    suite(place, "20251207-110000", BOOKS, slow(0.4), lost(1))
    assert ended(place, AGAINST_MAIN) == 1


def test_production_is_judged_by_its_own_file(place: Path, site: Site) -> None:
    assert ended(place, PRODUCTION, PROMETHEUS_URL=site.url) == 0
    assert any('job="audit-service"' in one["query"] for one in site.asked)
    # A variable that is not set is no Prometheus without failures.
    assert ended(place, PRODUCTION, PROMETHEUS_URL="") == 2
