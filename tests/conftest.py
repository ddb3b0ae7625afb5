"""How the tests share a machine: what goes to which worker of pytest-xdist, in which order, and what must run alone.

Without workers (``-n 0``, or no ``-n`` at all) there is one test at a time, in the same order.
"""

from __future__ import annotations

import fcntl
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

ALONE = "alone"
# The longest first, so that none trails behind the others.
LONG = (
    "tests/selftest/test_defects.py",
    "tests/docs/test_tutorial.py",
    "tests/integration/test_cli.py",
    "tests/integration/test_exits.py",
    "tests/integration/test_secrets.py",
    "tests/integration/test_outputs.py",
    "tests/integration/test_pytest_plugin.py",
    "tests/integration/test_lab_sequences.py",
    "tests/integration/test_prometheus.py",
    "tests/integration/test_service_storage.py",
    "tests/integration/test_faults_contract.py",
    "tests/service/test_openapi.py",
    "tests/integration",
    "tests/service",
)
# Each of their tests starts what it needs, so that any worker can take any of them.
SCATTERED = (
    "tests/integration/test_cli.py",
    "tests/integration/test_exits.py",
    "tests/integration/test_outputs.py",
    "tests/integration/test_secrets.py",
    "tests/integration/test_lab.py",
    "tests/integration/test_lab_keep.py",
    "tests/integration/test_lab_sequences.py",
    "tests/integration/test_pytest_plugin.py",
    "tests/integration/test_stack_embedded.py",
    "tests/integration/test_stack_reaper.py",
    "tests/service/test_openapi.py",
)
# An environment for each PostgreSQL; its name is the first part of a test's parameters.
BY_POSTGRESQL = ("tests/integration/test_faults_", "tests/service/test_partitions.py")


def scope(nodeid: str) -> str:
    """Name what must run in one worker together with a test, since they share an environment."""
    module, _, test = nodeid.partition("::")
    if module in SCATTERED:
        return nodeid
    if module.startswith(BY_POSTGRESQL):
        return f"{module}::{test.partition('[')[2].partition('-')[0]}"
    return module


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> object:
    """Hand out by :func:`scope`."""
    from xdist.scheduler import LoadScopeScheduling

    scheduling = LoadScopeScheduling(config, log)
    scheduling._split_scope = scope
    return scheduling


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the longest first, and last what must run alone."""

    def turn(item: pytest.Item) -> int:
        if item.get_closest_marker(ALONE):
            return len(LONG) + 1
        return next((n for n, place in enumerate(LONG) if item.nodeid.startswith(place)), len(LONG))

    items.sort(key=turn)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """Let a test that is marked ``alone`` wait until no other worker runs one, and keep them waiting meanwhile."""
    with _turn(item):
        return (yield)


@contextmanager
def _turn(item: pytest.Item) -> Iterator[None]:
    if not hasattr(item.config, "workerinput"):
        yield
        return
    # A worker's own folder lies in that of the session.
    lock = Path(item.config.getoption("basetemp")).with_name("turn.lock")
    with lock.open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX if item.get_closest_marker(ALONE) else fcntl.LOCK_SH)
        yield


@pytest.fixture(scope="session", autouse=True)
def _a_defect_fails_its_test() -> Iterator[None]:
    """Have a command that fails by what nobody foresaw fail its test: 3, its exit code, is expected by many."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("harness.cli.end", _raising_defects)
        yield


def _raising_defects(error: BaseException) -> int:
    from harness import ending
    from harness.errors import Defect, HarnessError

    if not isinstance(error, HarnessError) and ending.code_of(error) == Defect.exit_code:
        raise error
    return ending.end(error)
