"""The SQLite queue on real files: what is acknowledged is there, what cannot be stored is refused."""

import asyncio
import contextlib
import io
import sqlite3
import uuid
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from service.database import Fault, Owner
from service.dlq import DeadLetterQueue, DlqError, SqliteQueue
from service.logs import Log
from service.models import CONFLICT, Event, Outcome, Status, make_event

QUEUED, KNOWN = Outcome(Status.QUEUED), Outcome(Status.QUEUED, duplicate=True)
WHY = Fault(Owner.PARTITION, "23514", "no partition")


def event(event_id: str | None = None, kind: str = "t", day: int = 10, month: int = 12) -> Event:
    stamp = datetime(2025, month, day, 12, tzinfo=UTC)
    return make_event(event_id or str(uuid.uuid4()), stamp, ["1.0", kind, "c", "a", "success", "x"], '{"n":1.5}')


async def enqueue(queue: DeadLetterQueue, one: Event, timeout_seconds: float = 5) -> Outcome:
    (outcome,) = await queue.enqueue([(one, WHY)], timeout_seconds)
    return outcome


def run(path: Path, body: Callable[[SqliteQueue], Awaitable[None]], capacity: int = 1000) -> None:
    async def all_of_it() -> None:
        queue = SqliteQueue(str(path), capacity, Log(io.StringIO(), "INFO"))
        try:
            await body(queue)
        finally:
            await queue.close()

    asyncio.run(all_of_it())


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "dlq.sqlite3"


def on_disk(path: Path) -> set[str]:
    db = sqlite3.connect(path)
    try:
        return {Event(row[0]).event_id for row in db.execute("SELECT event FROM events")}
    finally:
        db.close()


def test_an_acknowledged_event_is_committed_and_survives(path: Path) -> None:
    events = [event() for _ in range(50)]

    async def fill(queue: SqliteQueue) -> None:
        receipts = await asyncio.gather(*[enqueue(queue, one) for one in events])
        assert set(receipts) == {QUEUED}
        assert on_disk(path) == {one.event_id for one in events}

    async def look(queue: SqliteQueue) -> None:
        await queue.check()
        assert queue.pending == {"2025_12": 50}
        assert queue.oldest_age_seconds > 0
        assert all(queue.may_hold(one) for one in events)
        assert not queue.may_hold(event())
        entries = await queue.due("2025_12", 100)
        assert [entry.event for entry in entries] == events
        assert (entries[0].sqlstate, entries[0].message) == ("23514", "no partition")

    run(path, fill)
    run(path, look)


def test_the_same_identity_is_stored_once_and_other_content_is_a_conflict(path: Path) -> None:
    async def body(queue: SqliteQueue) -> None:
        first = event()
        assert await enqueue(queue, first) == QUEUED
        assert await enqueue(queue, first) == KNOWN
        assert await enqueue(queue, event(first.event_id, kind="other")) == CONFLICT
        assert await enqueue(queue, event(first.event_id, day=11)) == QUEUED
        assert queue.pending == {"2025_12": 2}

    run(path, body)


def test_a_full_queue_refuses_and_takes_again_when_there_is_room(path: Path) -> None:
    async def body(queue: SqliteQueue) -> None:
        kept = event()
        await enqueue(queue, kept)
        await enqueue(queue, event())
        assert queue.full
        refused = await enqueue(queue, event())
        assert (refused.status, refused.stored) == (Status.UNAVAILABLE, "not_stored")
        assert await enqueue(queue, kept) == KNOWN
        await queue.remove(await queue.due("2025_12", 1))
        assert await enqueue(queue, event()) == QUEUED

    run(path, body, capacity=2)


def test_a_locked_file_is_refused_as_not_stored_and_used_again_afterwards(path: Path) -> None:
    async def body(queue: SqliteQueue) -> None:
        await enqueue(queue, event())
        other = sqlite3.connect(path, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        lost = event()
        with pytest.raises(DlqError) as refusal:
            await enqueue(queue, lost)
        assert refusal.value.outcome == "not_stored"
        assert not queue.available
        other.execute("ROLLBACK")
        other.close()
        assert await enqueue(queue, event()) == QUEUED
        assert queue.available
        assert queue.pending == {"2025_12": 2}
        assert lost.event_id not in on_disk(path)

    run(path, body)


def test_a_caller_who_gave_up_before_its_turn_knows_that_nothing_was_stored(path: Path) -> None:
    async def body(queue: SqliteQueue) -> None:
        await queue.check()
        other = sqlite3.connect(path, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        ahead = asyncio.create_task(enqueue(queue, event()))
        done, _ = await asyncio.wait([ahead], timeout=0.05)
        assert not done
        late = event()
        with pytest.raises(DlqError) as refusal:
            await enqueue(queue, late, 0.01)
        assert refusal.value.outcome == "not_stored"
        other.execute("ROLLBACK")
        other.close()
        await ahead
        await queue.check()
        assert late.event_id not in on_disk(path)

    run(path, body)


def test_a_deleted_file_is_made_anew_and_nothing_goes_into_the_deleted_one(path: Path) -> None:
    async def body(queue: SqliteQueue) -> None:
        before, after = event(), event()
        await enqueue(queue, before)
        for name in ("", "-wal", "-shm"):
            path.with_name(path.name + name).unlink(missing_ok=True)
        assert await enqueue(queue, after) == QUEUED
        assert on_disk(path) == {after.event_id}
        assert queue.pending == {"2025_12": 1}

    run(path, body)


def test_a_file_deleted_between_the_insert_and_its_answer_acknowledges_nothing(path: Path) -> None:
    async def body(queue: SqliteQueue) -> None:
        await queue.check()
        one = event()

        def store_then_delete(db: sqlite3.Connection) -> Outcome:
            outcome = queue._insert(db, one, WHY)
            path.unlink()
            return outcome

        with pytest.raises(DlqError) as refusal:
            await queue._do(store_then_delete)
        assert refusal.value.outcome == "unknown"
        assert await enqueue(queue, one) == QUEUED
        assert on_disk(path) == {one.event_id}

    run(path, body)


def test_a_deleted_log_of_the_file_loses_nothing(path: Path) -> None:
    async def body(queue: SqliteQueue) -> None:
        before, after = event(), event()
        await enqueue(queue, before)
        path.with_name(path.name + "-wal").unlink()
        assert await enqueue(queue, after) == QUEUED
        assert on_disk(path) == {before.event_id, after.event_id}

    run(path, body)


def test_a_queue_without_its_directory_refuses_until_it_is_back(tmp_path: Path) -> None:
    blocker = tmp_path / "place"
    blocker.write_text("a file where the directory should be")

    async def body(queue: SqliteQueue) -> None:
        with pytest.raises(DlqError) as refusal:
            await enqueue(queue, event())
        assert refusal.value.outcome == "not_stored"
        blocker.unlink()
        assert await enqueue(queue, event()) == QUEUED

    run(blocker / "dlq.sqlite3", body)


def test_failed_attempts_wait_for_their_time_and_the_last_makes_a_dead_letter(path: Path) -> None:
    async def body(queue: SqliteQueue) -> None:
        await enqueue(queue, event())
        (entry,) = await queue.due("2025_12", 10)
        error = Fault(Owner.EVENT, "22003", "value overflows numeric format")
        await queue.put_back([entry], error, 2**40, None)
        assert await queue.due("2025_12", 10) == []
        (waiting,) = await queue.page(None, 0, 10)
        assert (waiting.attempts, waiting.sqlstate, waiting.state) == (1, "22003", "pending")
        await queue.put_back([entry], error, 0, "poison")
        assert await queue.due("2025_12", 10) == []
        assert [one.state for one in await queue.page("dead", 0, 10)] == ["dead"]
        assert queue.dead == {"poison": 1}
        assert queue.pending == {}
        assert queue.oldest_age_seconds == 0

    run(path, body)


def test_a_file_that_was_opened_for_reading_only_is_used_again_once_it_can_be_written(path: Path) -> None:
    async def body(queue: SqliteQueue) -> None:
        await enqueue(queue, event())
        # As it is when SQLite opens a file that cannot be written: it says nothing until somebody writes.
        await queue._do(lambda db: db.execute("PRAGMA query_only=1"))
        with pytest.raises(DlqError, match="readonly"):
            await enqueue(queue, event())
        assert await enqueue(queue, event()) == QUEUED
        assert queue.pending == {"2025_12": 2}

    run(path, body)


def test_a_duplicate_does_not_make_a_queue_available_that_takes_no_write(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    connect = sqlite3.connect

    def for_reading(name: str, **options: Any) -> sqlite3.Connection:
        """As SQLite opens a file that cannot be written: it may even begin to write there."""
        opened: sqlite3.Connection = connect(f"file:{name}?mode=ro", uri=True, **options)
        return opened

    async def body(queue: SqliteQueue) -> None:
        held = event()
        await enqueue(queue, held)
        assert queue.available
        with monkeypatch.context() as read_only:
            read_only.setattr(sqlite3, "connect", for_reading)
            queue._close()
            with pytest.raises(DlqError, match="readonly"):
                await enqueue(queue, event())
            with contextlib.suppress(DlqError):
                await enqueue(queue, held)
            assert not queue.available, "nothing was written"
        await queue.check()
        assert queue.available

    run(path, body)


def test_what_is_known_of_those_who_left_does_not_grow_while_another_stays(path: Path) -> None:
    async def body(queue: SqliteQueue) -> None:
        stuck = event(month=11)
        await enqueue(queue, stuck)
        known = []
        for _ in range(4):
            await queue.enqueue([(event(), WHY) for _ in range(6000)], 60)
            while entries := await queue.due("2025_12", 2000):
                await queue.remove(entries)
            known.append(sum(queue._filter))
        assert max(known[1:]) < 17_000
        assert queue.may_hold(stuck)

    run(path, body, capacity=10**6)


def test_a_dead_letter_that_somebody_else_left_without_a_reason_stops_nobody(path: Path) -> None:
    async def fill(queue: SqliteQueue) -> None:
        await enqueue(queue, event())

    async def look(queue: SqliteQueue) -> None:
        assert await enqueue(queue, event()) == QUEUED
        assert queue.dead == {"poison": 1}

    run(path, fill)
    with sqlite3.connect(path) as other:
        other.execute("UPDATE events SET state = 'dead'")
    other.close()
    run(path, look)


def test_the_entries_of_another_file_are_not_those_of_this_one(path: Path) -> None:
    kept = event()

    async def fill(queue: SqliteQueue) -> None:
        await enqueue(queue, kept)

    async def swap(queue: SqliteQueue) -> None:
        await enqueue(queue, event())
        entries = await queue.due("2025_12", 1)
        for name in ("", "-wal", "-shm"):
            path.with_name(path.name + name).unlink(missing_ok=True)
        path.with_name("aside").replace(path)
        await queue.remove(entries)
        assert on_disk(path) == {kept.event_id}

    run(path, fill)
    path.replace(path.with_name("aside"))
    run(path, swap)


def test_pages_follow_each_other_without_gap_or_repeat(path: Path) -> None:
    async def body(queue: SqliteQueue) -> None:
        events = [event(month=11 + n % 2) for n in range(25)]
        for one in events:
            await enqueue(queue, one)
        seen: list[str] = []
        after = 0
        while page := await queue.page("pending", after, 10):
            seen += [entry.event.event_id for entry in page]
            after = page[-1].seq
        assert seen == [one.event_id for one in sorted(events, key=lambda one: one.month)]

    run(path, body)
