"""The registry of planted defects, and that each can be planted and changes the service."""

import json
import os
import sqlite3
import sys
import traceback
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest

import harness.checkers  # noqa: F401  (fills the registry)
import tests.selftest.defects.__main__ as planting
from harness.checking import CHECKERS
from harness.discovery import load_scenarios
from tests.selftest.defects import DEFECTS, Defect
from tests.selftest.defects.registry import defect

SCENARIOS = load_scenarios(Path(__file__).parents[2] / "scenarios")
PLANTED = [one for one in DEFECTS.values() if one.name != "control"]


def test_there_are_defects_of_every_promise_and_a_control() -> None:
    assert len(PLANTED) >= 85
    assert DEFECTS["control"].promise == 0
    assert {one.promise for one in PLANTED} == set(range(1, 10))


@pytest.mark.parametrize("one", PLANTED, ids=lambda one: one.name)
def test_a_defect_says_what_it_breaks_and_what_catches_it(one: Defect) -> None:
    assert one.description.endswith(".")
    assert one.scenarios
    assert set(one.scenarios) <= set(SCENARIOS)
    assert one.checkers
    assert set(one.checkers) <= set(CHECKERS)


def test_no_two_defects_do_the_same() -> None:
    assert len({one.description for one in PLANTED}) == len({one.plant for one in PLANTED}) == len(PLANTED)


@pytest.mark.parametrize("one", PLANTED, ids=lambda one: one.name)
def test_a_defect_can_be_planted_and_changes_the_service(one: Defect) -> None:
    assert _in_a_child(one) == ""


def test_the_control_changes_nothing() -> None:
    assert "changed nothing" in _in_a_child(DEFECTS["control"])


def _in_a_child(one: Defect) -> str:
    """Plant in a forked process, since it could not be taken back here. Returns what is wrong, empty for nothing."""
    reader, writer = os.pipe()
    with warnings.catch_warnings():
        # The child neither waits for a thread of the parent nor takes a lock of its.
        warnings.simplefilter("ignore", DeprecationWarning)
        child = os.fork()
    if child == 0:
        said = ""
        try:
            before = dict(_parts())
            one.plant()
            said = "" if dict(_parts()) != before else "planting it changed nothing"
        except BaseException:  # noqa: BLE001 - told to the parent, whose test it is
            said = traceback.format_exc()
        finally:
            os.write(writer, said.encode()[-4000:])
            os._exit(0)
    os.close(writer)
    with os.fdopen(reader, encoding="utf-8") as told:
        said = told.read()
    os.waitpid(child, 0)
    return said


def _parts() -> Iterator[tuple[str, object]]:
    """What the service is made of: everything in its modules, their classes, and their tables."""
    yield "sqlite3.connect", sqlite3.connect
    for module in [module for name, module in sys.modules.items() if name.startswith("service.")]:
        for name, value in vars(module).items():
            yield f"{module.__name__}.{name}", value
            if isinstance(value, type):
                yield from ((f"{module.__name__}.{name}.{part}", each) for part, each in vars(value).items())
            elif isinstance(value, dict):
                yield f"{module.__name__}.{name} within", repr(value)


def test_a_name_is_taken_once() -> None:
    with pytest.raises(ValueError, match="exists already"):
        defect("control", promise=0)(lambda: None)


def test_an_unknown_name_is_refused_with_the_known_ones(capsys: pytest.CaptureFixture[str]) -> None:
    assert planting.main(["no-such-defect"]) == 2
    assert "drainer-off" in capsys.readouterr().err


def test_the_list_is_json_of_all_but_the_planting(capsys: pytest.CaptureFixture[str]) -> None:
    assert planting.main(["--json"]) == 0
    listed = json.loads(capsys.readouterr().out)
    assert [one["name"] for one in listed] == list(DEFECTS)
    wanted = {"name", "promise", "description", "scenarios", "checkers", "names_events", "quick"}
    assert all(set(one) == wanted for one in listed)
