"""Runs tests in forked children: what is slow to import is imported once, and each child swaps one module's source.

A child is forked before anything of the checkers or their tests is imported, so that every name that is imported from
the swapped module, wherever, is of the mutated one.
"""

from __future__ import annotations

import ast
import contextlib
import importlib
import importlib.abc
import importlib.machinery
import importlib.util
import json
import os
import select
import signal
import sys
import time
import traceback
import types
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

Told = dict[str, Any]
"""What a child tells its parent, as JSON."""
OWN = ("harness", "tests", "bench", "service", "scenarios", "gevent", "locust", "conftest", "__main__")
"""Packages that a parent must not import for its children: those under test, and those that change others."""
_PYTEST = ("-x", "-q", "-p", "no:cacheprovider", "--assert=plain", "--no-header", "--tb=line", "-r", "N")


@dataclass(frozen=True)
class Ended:
    """How a child ended; ``told`` is None when its time was up, or when it died of an error."""

    told: Told | None
    timed_out: bool = False
    error: str = "it said nothing"


class Swap(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Finds one module before anybody else does, and runs a tree in place of its source."""

    def __init__(self, name: str, path: Path, tree: ast.Module) -> None:
        self._name, self._path, self._tree = name, path, tree

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: types.ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        """The module's own spec, with this loader."""
        if fullname != self._name:
            return None
        return importlib.util.spec_from_file_location(fullname, self._path, loader=self)

    def exec_module(self, module: types.ModuleType) -> None:
        """Run the tree."""
        exec(compile(self._tree, str(self._path), "exec"), module.__dict__)


class Watch:
    """A pytest plugin that keeps the wanted tests, cheapest first, and notes their times, failure and lines."""

    def __init__(self, wanted: Sequence[str] | None, traced: Path | None = None) -> None:
        self._turn = None if wanted is None else {nodeid: turn for turn, nodeid in enumerate(wanted)}
        self._traced = None if traced is None else f"{traced}{os.sep}"
        self._seen: dict[types.CodeType, _Lines | None] = {}
        self.failed = ""
        self.tests: list[Told] = []

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        """Keep what is wanted."""
        turn = self._turn
        if turn is not None:
            items[:] = sorted((item for item in items if item.nodeid in turn), key=lambda item: turn[item.nodeid])

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Generator[None, object, object]:
        """Note which lines the whole test runs, its fixtures included, and its CPU time."""
        self._seen = {}
        begun = time.process_time()
        if self._traced is not None:
            sys.settrace(self._call)
        try:
            return (yield)
        finally:
            sys.settrace(None)
            lines = [(each.stem, line) for each in self._seen.values() if each for line in each.run]
            self.tests.append({"id": item.nodeid, "seconds": time.process_time() - begun, "lines": lines})

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Note the first failure."""
        if report.failed and not self.failed:
            self.failed = f"{report.nodeid}: {str(report.longrepr).strip().splitlines()[-1]}"

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        """Note a module that cannot be imported any more."""
        if report.failed and not self.failed:
            self.failed = f"{report.nodeid}: {str(report.longrepr).strip().splitlines()[-1]}"

    def _call(self, frame: types.FrameType, event: str, argument: object) -> Callable[..., Any] | None:
        if frame.f_code not in self._seen:
            ours = self._traced is not None and frame.f_code.co_filename.startswith(self._traced)
            self._seen[frame.f_code] = _Lines.of(frame.f_code) if ours else None
        lines = self._seen[frame.f_code]
        return lines.line(frame, event, argument) if lines is not None and lines.left else None


class _Lines:
    """The lines of one function: those that a test ran, and how many it did not."""

    def __init__(self, stem: str, left: set[int]) -> None:
        self.stem, self.left = stem, left
        self.run: set[int] = set()

    @classmethod
    def of(cls, code: types.CodeType) -> _Lines:
        """None of its lines was run yet."""
        return cls(Path(code.co_filename).stem, {line for _, _, line in code.co_lines() if line is not None})

    def line(self, frame: types.FrameType, event: str, argument: object) -> Callable[..., Any]:
        """Note a line; the signature is that of a trace function."""
        self.left.discard(frame.f_lineno)
        self.run.add(frame.f_lineno)
        return self.line


def run_tests(files: Iterable[str], watch: Watch) -> Told:
    """Run pytest in this process, with few examples that are the same each time."""
    from hypothesis import HealthCheck, Phase, settings

    settings.register_profile(
        "mutations",
        derandomize=True,
        database=None,
        deadline=None,
        max_examples=50,
        phases=(Phase.explicit, Phase.generate),
        suppress_health_check=list(HealthCheck),
    )
    settings.load_profile("mutations")
    code = pytest.main([*_PYTEST, *sorted(set(files))], plugins=[watch])
    return {"code": int(code), "failed": watch.failed, "tests": watch.tests}


def loaded() -> list[str]:
    """Modules that this process imported and that any parent may import as well."""
    return sorted(name for name in sys.modules if name.partition(".")[0] not in OWN)


def warm(names: Iterable[str]) -> None:
    """Import what every child would import, as far as that works without its tests."""
    for name in names:
        with contextlib.suppress(Exception):
            importlib.import_module(name)


@dataclass
class _Child:
    key: int
    pid: int
    pipe: int
    begun: float
    text: bytes = b""


def run_forked(tasks: Sequence[Callable[[], Told]], *, jobs: int, seconds: float) -> Iterator[tuple[int, Ended]]:
    """Run each task in a child of its own, so many at once; tell each one's number and end as it comes."""
    waiting = list(enumerate(tasks))
    running: dict[int, _Child] = {}
    try:
        while waiting or running:
            while waiting and len(running) < jobs:
                child = _fork(*waiting.pop(0))
                running[child.pipe] = child
            for pipe in select.select(list(running), [], [], 0.5)[0]:
                part = os.read(pipe, 1 << 16)
                running[pipe].text += part
                if not part:
                    yield _ended(running.pop(pipe), timed_out=False)
            for child in [one for one in running.values() if time.monotonic() - one.begun > seconds]:
                os.kill(child.pid, signal.SIGKILL)
                yield _ended(running.pop(child.pipe), timed_out=True)
    finally:
        for child in running.values():
            os.kill(child.pid, signal.SIGKILL)
            _ended(child, timed_out=True)


def _ended(child: _Child, *, timed_out: bool) -> tuple[int, Ended]:
    os.close(child.pipe)
    os.waitpid(child.pid, 0)
    if timed_out or not child.text:
        return child.key, Ended(None, timed_out)
    told, error = json.loads(child.text)
    return child.key, Ended(told, error=error)


def _fork(key: int, task: Callable[[], Told]) -> _Child:
    ours, theirs = os.pipe()
    sys.stdout.flush()
    sys.stderr.flush()
    pid = os.fork()
    if pid:
        os.close(theirs)
        return _Child(key, pid, ours, time.monotonic())
    try:
        os.close(ours)
        silent = os.open(os.devnull, os.O_WRONLY)
        os.dup2(silent, 1)
        os.dup2(silent, 2)
        with os.fdopen(theirs, "wb") as out:
            try:
                text = json.dumps([task(), ""])
            except BaseException:  # noqa: BLE001 - whatever it is, the parent must hear of it
                text = json.dumps([None, traceback.format_exc()])
            out.write(text.encode())
    finally:
        # A child must not run what its parent would do at its end.
        os._exit(0)
