"""The registry of planted defects, and that each can be planted and changes the service."""

import asyncio
import contextlib
import io
import json
import os
import sqlite3
import sys
import traceback
import warnings
from collections.abc import Callable, Coroutine, Iterator
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

import harness.checkers  # noqa: F401  (fills the registry)
import tests.selftest.defects.__main__ as planting
from harness.checking import CHECKERS
from harness.discovery import load_scenarios
from service.database import Fault, Owner
from service.dlq import SqliteQueue
from service.drainer import Drainer
from service.logs import Log
from service.models import TEXT_FIELDS, Event, make_event
from tests.selftest.defects import DEFECTS, Defect, queueing
from tests.selftest.defects.registry import defect

SCENARIOS = load_scenarios(Path(__file__).parents[2] / "scenarios")
NO_PARTITION = Fault(Owner.PARTITION, "23514", "no partition", no_partition=True)
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
    assert _in_a_child(lambda: _changes(one)) == ""


def test_the_control_changes_nothing() -> None:
    assert "changed nothing" in _in_a_child(lambda: _changes(DEFECTS["control"]))


def test_a_deleted_queue_acknowledges_into_nothing_for_three_seconds_from_its_deletion_on(tmp_path: Path) -> None:
    """Not from the last look on, which may have been nearly three seconds ago."""

    async def play() -> str:
        now = [0.0]
        vars(queueing)["time"] = SimpleNamespace(monotonic=lambda: now[0])
        file = tmp_path / "dlq.sqlite3"
        queue = SqliteQueue(str(file), 100, Log(io.StringIO(), "INFO"))
        await queue.enqueue([(_event(0), NO_PARTITION)], 5.0)
        for each in list(tmp_path.iterdir()):
            each.unlink()
        said = ""
        for number, (at, anew) in enumerate(((2.9, False), (5.8, False), (6.0, True)), 1):
            now[0] = at
            await queue.enqueue([(_event(number), NO_PARTITION)], 5.0)
            said += "" if file.exists() == anew else f"at {at} s the file is there: {not anew}. "
        await queue.close()
        return said

    assert _in_a_child(lambda: _planted("deleted-queue-noticed-late", play())) == ""


def test_a_drain_that_removes_first_has_the_whole_queue_in_its_hands_and_writes_little_of_it_at_once(
    tmp_path: Path,
) -> None:
    """The kill comes as soon as the queue shrinks, and the statement that it meets is ended by the server."""

    async def play() -> str:
        queue = SqliteQueue(str(tmp_path / "dlq.sqlite3"), 1000, Log(io.StringIO(), "INFO"))
        await queue.enqueue([(_event(number), NO_PARTITION) for number in range(300)], 5.0)
        seen: list[tuple[int, int]] = []

        async def killed(key: str, month: object, events: list[Event], *_: object) -> None:
            seen.append((len(events), sum(queue.pending.values())))
            raise asyncio.CancelledError

        months = SimpleNamespace(asked_at=0.0)
        parts = SimpleNamespace(
            queue=queue, store=killed, months=months, metrics=None, database=SimpleNamespace(limits=())
        )
        with contextlib.suppress(asyncio.CancelledError):
            await Drainer(cast("Any", parts))._move(cast("Any", SimpleNamespace(name="2025_12", batch=64)))
        await queue.close()
        return "" if seen == [(20, 0)] else f"a statement of, and still queued: {seen}"

    assert _in_a_child(lambda: _planted("drain-removes-first", play())) == ""


def _planted(name: str, play: Coroutine[Any, Any, str]) -> str:
    DEFECTS[name].plant()
    return asyncio.run(play)


def _event(number: int) -> Event:
    stamp = datetime(2025, 12, 1, tzinfo=UTC)
    return make_event(f"00000000-0000-4000-8000-{number:012}", stamp, ["text"] * len(TEXT_FIELDS), "{}")


def _changes(one: Defect) -> str:
    before = dict(_parts())
    one.plant()
    return "" if dict(_parts()) != before else "planting it changed nothing"


def _in_a_child(work: Callable[[], str]) -> str:
    """Plant in a forked process, since it could not be taken back here. Returns what is wrong, empty for nothing."""
    reader, writer = os.pipe()
    with warnings.catch_warnings():
        # The child neither waits for a thread of the parent nor takes a lock of its.
        warnings.simplefilter("ignore", DeprecationWarning)
        child = os.fork()
    if child == 0:
        said = ""
        try:
            said = work()
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
