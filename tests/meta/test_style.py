"""Rules of the house that no linter knows."""

from __future__ import annotations

import ast
import re
import subprocess

import pytest

from ._sources import ROOT, Source, sources

SLEEPS = re.compile(r"\b(?:time|asyncio|anyio|gevent)\.sleep\(")
MAX_FUNCTION_LINES = 60
MAX_MODULE_LINES = 400
MAX_SERVICE_LINES = 2000
ALL = ("harness", "service", "scenarios", "tests", "bench")


@pytest.mark.parametrize("source", sources(*ALL), ids=lambda source: source.module)
def test_nothing_sleeps_but_the_one_polling_loop(source: Source) -> None:
    if source.module != "harness._wait":
        assert not SLEEPS.search(source.text)


@pytest.mark.parametrize(
    "source", sources("harness", "service", "scenarios", "bench"), ids=lambda source: source.module
)
def test_functions_and_modules_stay_small(source: Source) -> None:
    assert source.text.count("\n") <= MAX_MODULE_LINES
    for node in ast.walk(source.tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            size = (node.end_lineno or node.lineno) - node.lineno + 1
            assert size <= MAX_FUNCTION_LINES, f"{source.path}:{node.lineno} {node.name} has {size} lines"


def test_the_reference_service_stays_minimal() -> None:
    # Every line counts, blank ones as well.
    assert sum(source.text.count("\n") for source in sources("service")) <= MAX_SERVICE_LINES


def test_no_file_names_a_place_outside_the_project() -> None:
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True).stdout
    paths = [ROOT / name for name in listed.decode().split("\0") if name]
    assert paths
    foreign = re.compile(r"(?<![\w.])/(?:work|root|farm)/|\.\./" + "shared" + r"|/tmp/" + "venv")
    named = []
    for path in paths:
        if path.is_file() and path.suffix in {".py", ".md", ".toml", ".ini", ".sql", ".yml", ".json", ""}:
            text = path.read_text(encoding="utf-8", errors="replace")
            named += [f"{path.relative_to(ROOT)}: {match[0]}" for match in foreign.finditer(text)]
    assert not named


def test_every_fault_says_what_the_service_must_survive() -> None:
    for source in sources("harness/faults"):
        if not source.path.name.startswith("_"):
            text = " ".join((ast.get_docstring(source.tree) or "").split())
            assert "service is expected" in text or "proves" in text or "prove" in text, source.module
