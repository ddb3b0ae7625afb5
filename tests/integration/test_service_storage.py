"""Where the service keeps events, on real parts: a queue file that fails, the way back into the table, the months."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg
import pytest

from harness._wait import wait_until_sync
from harness.faults.creation import NAME_TAKEN, REVOKE_CREATE, PreventPartitionCreation
from harness.stacks.runtime_user import runtime_user, unreachable_part
from harness.values import Month
from tests.integration import service_lab
from tests.integration.service_lab import BACK_SECONDS, Lab, Service, child, day_in, event, in_file, until

lab, main = service_lab.lab, service_lab.main

NOVEMBER, DECEMBER, JANUARY, FEBRUARY, MARCH = service_lab.MONTHS
SPARED = day_in(JANUARY)
PATIENT = {"DB_LOCK_TIMEOUT_SECONDS": "20", "DB_STATEMENT_TIMEOUT_SECONDS": "20", "REQUEST_DEADLINE_SECONDS": "60"}
ROOT = Path(__file__).parents[2]


@contextmanager
def spare_service(lab: Lab, settings: Mapping[str, str] | None = None, **more: Any) -> Iterator[Service]:
    """A service for which January refuses all events, so that they need the queue."""
    with lab.closed(JANUARY), lab.service(settings, well=False, **more) as service:
        until(lambda: service.status(JANUARY) == "unavailable", "the refusal to be noticed")
        yield service


@pytest.fixture
def spare(lab: Lab) -> Iterator[Service]:
    with spare_service(lab) as service:
        yield service


def queue_one(service: Service) -> str:
    """Write an event that needs the queue; it must be accepted."""
    one = event(SPARED)
    assert service.post(one).status_code == 202
    return str(one["event_id"])


def is_refused(service: Service) -> str:
    """Write an event that needs the queue: refused with an outcome, while the table goes on and readiness tells."""
    one = event(SPARED)
    answer = service.post(one)
    assert (answer.status_code, answer.headers["content-type"]) == (503, "application/problem+json")
    assert int(answer.headers["retry-after"]) >= 1
    assert answer.json()["outcome"] in ("not_stored", "unknown")
    assert service.post(event()).status_code == 201
    assert service.until_degraded("dlq")["status"] == "degraded"
    return str(one["event_id"])


def conserved(lab: Lab, service: Service, *ids: str) -> None:
    """January takes events again: each of these must get into the table, once."""
    lab.open_gate(JANUARY)
    service.until_well()
    assert sorted(lab.stored(ids)) == sorted(ids)


# A queue file that fails.


def test_a_locked_file_is_refused_and_used_again(lab: Lab, spare: Service) -> None:
    kept = queue_one(spare)
    with closing(sqlite3.connect(spare.queue, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        lost = is_refused(spare)
        assert spare.queued() == {kept}
        other.execute("ROLLBACK")
    again = spare.until_answer(202, SPARED, BACK_SECONDS)
    until(lambda: "dlq" not in spare.ready()["degraded"], "the queue to be well")
    assert in_file(spare.queue) == spare.queued() == {kept, again}
    conserved(lab, spare, kept, again)
    assert lab.stored([lost]) == []


def test_a_queue_at_its_capacity_is_refused_and_used_again(lab: Lab) -> None:
    with spare_service(lab, {"DLQ_MAX_EVENTS": "2"}) as spare:
        first = event(SPARED)
        assert [spare.post(first).status_code, spare.post(event(SPARED)).status_code] == [202, 202]
        lost = is_refused(spare)
        assert "full" in spare.ready()["evidence"]["dlq"]
        assert spare.post(first).status_code == 202
        assert len(in_file(spare.queue)) == 2
        lab.open_gate(JANUARY)
        spare.until_well()
        lab.close_gate(JANUARY)
        until(lambda: spare.status(JANUARY) == "unavailable", "the refusal to be noticed")
        conserved(lab, spare, queue_one(spare), first["event_id"])
        assert lab.stored([lost]) == []


SMALL_DISK = "mount -t tmpfs -o size=1m tmpfs {place} && exec {python} -m service"
UNSHARE = ["unshare", "--map-root-user", "--mount"]


def test_a_full_disk_is_refused_and_used_again(lab: Lab, tmp_path: Path) -> None:
    try:
        subprocess.run([*UNSHARE, "mount", "-t", "tmpfs", "tmpfs", str(tmp_path)], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"no small disk can be mounted ({error}); run as root, or allow user namespaces (util-linux)")
    # The disk is mounted for the service's process alone and goes with it.
    shell = ["sh", "-c", SMALL_DISK.format(place=tmp_path, python=sys.executable)]
    with spare_service(lab, command=[*UNSHARE, *shell], queue=tmp_path / "dlq.sqlite3") as spare:
        disk = Path(f"/proc/{spare.process.pid}/root{tmp_path}")
        kept = {queue_one(spare)}
        filler = disk / "filler"
        with filler.open("wb", buffering=0) as file, suppress(OSError):
            while file.write(bytes(4096)):
                pass
        assert shutil.disk_usage(disk).free == 0
        large = {"text": "x" * 50_000}
        answers: list[tuple[str, int]] = []

        def refused() -> bool:
            one = event(SPARED, event_data=large)
            answers.append((one["event_id"], spare.post(one).status_code))
            return answers[-1][1] == 503

        until(refused, "the disk to be full")
        is_refused(spare)
        kept |= {event_id for event_id, status in answers if status == 202}
        assert spare.queued() >= kept
        filler.unlink()
        kept.add(spare.until_answer(202, SPARED, BACK_SECONDS))
        conserved(lab, spare, *kept)
        lost = {event_id for event_id, status in answers if status == 503}
        assert not lost & set(lab.stored(list(lost)))


def files(queue: Path, *suffixes: str) -> list[Path]:
    return [Path(f"{queue}{suffix}") for suffix in suffixes]


ALL = ("", "-wal", "-shm", "-lock")


def put_a_directory_there(queue: Path) -> Callable[[], None]:
    for path in files(queue, *ALL):
        path.unlink(missing_ok=True)
    queue.mkdir()
    return queue.rmdir


def put_a_file_for_its_directory(queue: Path) -> Callable[[], None]:
    shutil.rmtree(queue.parent)
    queue.parent.write_text("no directory")
    return queue.parent.unlink


@pytest.mark.parametrize("spoil", [put_a_directory_there, put_a_file_for_its_directory])
def test_a_place_that_cannot_hold_a_file_is_refused_and_used_again(
    lab: Lab, tmp_path: Path, spoil: Callable[[Path], Callable[[], None]]
) -> None:
    (tmp_path / "queue").mkdir()
    with spare_service(lab, queue=tmp_path / "queue/dlq.sqlite3") as spare:
        queue_one(spare)
        mend = spoil(spare.queue)
        lost = is_refused(spare)
        mend()
        kept = spare.until_answer(202, SPARED, BACK_SECONDS)
        assert in_file(spare.queue) == spare.queued() == {kept}
        conserved(lab, spare, kept)
        assert lab.stored([lost]) == []


AS_NOBODY = "import os, runpy; os.setgroups([]); os.setgid({0.gid}); os.setuid({0.uid}); {1}"
RUN = "runpy.run_module('service', run_name='__main__')"


def test_a_place_without_permission_is_refused_and_used_again(lab: Lab) -> None:
    user = runtime_user()
    for path in (Path(sys.executable).resolve(), Path(json.__file__), Path(psycopg.__file__), ROOT / "service/app.py"):
        if unreachable_part(path, user) is not None:
            pytest.skip(f"{user.name} cannot read {path}; make it readable, or run as an ordinary user")
    # Permissions do not bind root, so root hands the service to the user who runs PostgreSQL.
    command = [sys.executable, "-c", AS_NOBODY.format(user, RUN)] if user.switches else None
    place = lab.environment.workdir.parent / "given"
    place.mkdir()
    os.chown(place, user.uid, user.gid)
    with spare_service(lab, {"PORT_FILE": ""}, command=command, queue=place / "dlq.sqlite3") as spare:
        kept = queue_one(spare)
        assert in_file(spare.queue) == {kept}
        place.chmod(0o555)
        for path in files(spare.queue, *ALL):
            if path.exists():
                path.chmod(0o444)
        # An open file stays writable; one that has to be opened again does not.
        lab.run(spare.process.terminate())
        lab.run(spare.process.start())
        until(lambda: spare.status(JANUARY) == "unavailable", "the refusal to be noticed")
        lost = is_refused(spare)
        place.chmod(0o755)
        for path in files(spare.queue, *ALL):
            if path.exists():
                path.chmod(0o644)
        again = spare.until_answer(202, SPARED, BACK_SECONDS)
        assert in_file(spare.queue) == spare.queued() == {kept, again}
        conserved(lab, spare, kept, again)
        assert lab.stored([lost]) == []


@dataclass
class Writers:
    """Writers of events that need the queue: when each began (monotonic seconds), its id and status."""

    service: Service
    answers: list[tuple[float, str, int]] = field(default_factory=list)
    stop: threading.Event = field(default_factory=threading.Event)

    def write(self) -> None:
        while not self.stop.is_set():
            began, one = time.monotonic(), event(SPARED)
            self.answers.append((began, one["event_id"], self.service.post(one).status_code))

    def accepted(self, since: float = 0.0) -> set[str]:
        return {event_id for began, event_id, status in self.answers if status == 202 and began >= since}

    @contextmanager
    def at_work(self, count: int = 3) -> Iterator[None]:
        with ThreadPoolExecutor(count) as pool:
            jobs = [pool.submit(self.write) for _ in range(count)]
            try:
                until(lambda: len(self.accepted()) >= 10, "events to be accepted")
                yield
            finally:
                self.stop.set()
        for job in jobs:
            job.result()
        assert {status for _, _, status in self.answers} <= {202, 503}


@pytest.mark.parametrize("suffixes", [("",), ("", "-wal"), ALL, ("-wal",), ("-lock",)], ids="+".join)
def test_what_is_accepted_after_a_file_was_deleted_is_in_the_new_one(
    lab: Lab, spare: Service, suffixes: tuple[str, ...]
) -> None:
    writers = Writers(spare)
    with writers.at_work():
        for path in files(spare.queue, *suffixes):
            path.unlink()
        deleted = time.monotonic()
        until(lambda: len(writers.accepted(deleted)) >= 20, "the queue to be used again", BACK_SECONDS)
    accepted = writers.accepted() if suffixes == ("-lock",) else writers.accepted(deleted)
    assert accepted <= in_file(spare.queue)
    assert accepted <= spare.queued()
    assert spare.depth(JANUARY) == len(in_file(spare.queue))
    until(lambda: "dlq" not in spare.ready()["degraded"], "the queue to be well")
    conserved(lab, spare, *accepted)


LONG_QUEUE = 150_000


def test_a_file_deleted_while_it_is_opened_is_made_anew(lab: Lab, main: Service) -> None:
    with lab.service() as service:
        lab.run(service.process.terminate())
        with closing(sqlite3.connect(service.queue)) as db, db:
            columns = ", ".join(f'"{row[1]}"' for row in db.execute("PRAGMA table_info(events)") if row[1] != "seq")
            values = {"partition": JANUARY, "state": "dead", "reason": "poison", "message": "", "event": ""}
            names = [name.strip('"') for name in columns.split(", ")]
            row = [values.get(name, 0) for name in names]
            statement = f"INSERT INTO events ({columns}) VALUES ({', '.join('?' * len(row))})"
            db.executemany(statement, (row for _ in range(LONG_QUEUE)))
        with ThreadPoolExecutor(1) as pool:
            job = pool.submit(lab.run, service.process.start())
            log = files(service.queue, "-wal")[0]
            wait_until_sync(log.exists, what="the file to be opened", deadline_seconds=20, interval_seconds=0.001)
            for path in files(service.queue, *ALL):
                path.unlink(missing_ok=True)
            job.result()
        with lab.closed(JANUARY):
            until(lambda: "database" not in service.ready()["degraded"], "the database to be found")
            kept = service.until_answer(202, SPARED, BACK_SECONDS)
            assert service.queue.exists()
            assert kept in in_file(service.queue)


def test_a_second_process_accepts_nothing_until_the_first_is_gone(lab: Lab, spare: Service) -> None:
    with lab.service(queue=spare.queue, well=False) as second:
        until(lambda: second.status(JANUARY) == "unavailable", "the refusal to be noticed")
        writers = Writers(spare)
        with writers.at_work():
            for _ in range(10):
                is_refused(second)
        assert 503 not in {status for _, _, status in writers.answers}
        lab.run(spare.process.kill())
        taken_over = second.until_answer(202, SPARED, BACK_SECONDS)
        assert second.queued() == writers.accepted() | {taken_over}
        conserved(lab, second, *writers.accepted(), taken_over)


def test_without_its_lock_file_the_queue_still_has_one_owner(lab: Lab, spare: Service) -> None:
    with lab.service(queue=spare.queue, well=False) as second:
        until(lambda: second.status(JANUARY) == "unavailable", "the refusal to be noticed")
        first, other = Writers(spare), Writers(second)
        with first.at_work():
            files(spare.queue, "-lock")[0].unlink()
            deleted = time.monotonic()
            with ThreadPoolExecutor(1) as pool:
                job = pool.submit(other.write)
                until(lambda: len(first.accepted(deleted) | other.accepted()) >= 30, "one to be the owner")
                other.stop.set()
                job.result()
        accepted = first.accepted() | other.accepted()
        assert accepted == in_file(spare.queue) & accepted
        ends = sorted(one.post(event(SPARED)).status_code for one in (spare, second))
        assert ends == [202, 503]
        lab.open_gate(JANUARY)
        until(lambda: not in_file(spare.queue), "the queue to be empty")
        assert sorted(lab.stored(list(accepted))) == sorted(accepted)


def numbers_in(path: Path) -> set[int]:
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as db:
        return {row[0] for row in db.execute("SELECT seq FROM events")}


def test_a_file_deleted_while_it_is_drained_loses_nothing_that_came_after(lab: Lab) -> None:
    with spare_service(lab, PATIENT) as spare:
        lab.close_gate(FEBRUARY)
        old = [event(day_in(FEBRUARY), event_type="held") for _ in range(3)]
        assert [spare.post(one).status_code for one in old] == [202] * 3
        with lab.waiting_inserts(FEBRUARY, "held") as waiting:
            until(lambda: waiting() >= 1, "the drain to be under way")
            given = numbers_in(spare.queue)
            for path in files(spare.queue, *ALL):
                path.unlink()
            new = [spare.until_answer(202, SPARED, BACK_SECONDS) for _ in range(3)]
            # The drain under way will remove its own by number.
            assert len(given) == len(numbers_in(spare.queue)) == 3
            assert not given & numbers_in(spare.queue)
        until(lambda: len(lab.stored([one["event_id"] for one in old])) == 3, "the drain to end")
        assert in_file(spare.queue) == spare.queued() == set(new)
        conserved(lab, spare, *new, *(one["event_id"] for one in old))


# The way back.


def test_a_conflict_found_while_draining_is_a_dead_letter_and_the_stored_row_stays(lab: Lab, main: Service) -> None:
    with lab.service() as service:
        stored = event(SPARED)
        assert service.post(stored).status_code == 201
        with lab.closed(JANUARY):
            other, neighbour = {**stored, "event_action": "other"}, event(SPARED)
            assert service.post(other).status_code == 202
            assert service.post(neighbour).status_code == 202
        service.until_well()
        (dead,) = service.dead()
        assert (dead["event_id"], dead["state"]) == (stored["event_id"], "dead")
        assert service.metric("datastorage_dlq_dead_letters", reason="conflict") == 1
        rows = lab.sql("SELECT event_action FROM audit_events WHERE event_id = %s", [stored["event_id"]])
        assert rows == [("write",)]
        assert lab.stored([neighbour["event_id"]]) == [neighbour["event_id"]]
        assert service.post(stored).status_code == 201
        assert service.post(other).status_code == 409


def test_poison_is_a_dead_letter_after_its_attempts_and_the_rest_is_stored(lab: Lab, main: Service) -> None:
    with lab.service() as service:
        good = [event(SPARED) for _ in range(40)]
        poison = event(SPARED, event_type="poison")
        with lab.closed(JANUARY):
            assert service.batch([*good[:13], poison, *good[13:]]).status_code == 202
        with lab.closed(JANUARY, "22003", kind="poison"):
            service.until_well()
            assert len(lab.stored([one["event_id"] for one in good])) == 40
            (dead,) = service.dead()
            assert (dead["event_id"], dead["attempts"]) == (poison["event_id"], 3)
            assert dead["last_error"]["sqlstate"] == "22003"
            assert service.metric("datastorage_dlq_dead_letters", reason="poison") == 1
            assert service.metric("datastorage_dlq_drain_failures_total", partition=JANUARY) == 3
            assert service.status(JANUARY) == "healthy"


def test_events_that_their_month_refuses_one_by_one_hold_up_no_other(lab: Lab, main: Service) -> None:
    with lab.service() as service:
        good = [event(SPARED) for _ in range(120)]
        bad = [event(SPARED, event_type="refused") for _ in range(4)]
        with lab.closed(JANUARY):
            assert service.batch([*good[:50], *bad[:2], *good[50:90], *bad[2:], *good[90:]]).status_code == 202
        with lab.closed(JANUARY, kind="refused"):
            until(lambda: len(lab.stored([one["event_id"] for one in good])) == 120, "the others to be stored")
            # Stored comes before removed from the queue.
            until(lambda: service.depth(JANUARY) == 4, "the others to leave the queue")
        service.until_well()
        assert len(lab.stored([one["event_id"] for one in bad])) == 4


def test_a_month_that_refuses_is_not_drained_while_another_is(lab: Lab, main: Service) -> None:
    with lab.service() as service, lab.closed(JANUARY), lab.closed(FEBRUARY):
        january, february = ([event(day_in(month)) for _ in range(5)] for month in (JANUARY, FEBRUARY))
        assert service.batch([*january, *february]).status_code == 202
        lab.open_gate(FEBRUARY)
        until(lambda: len(lab.stored([one["event_id"] for one in february])) == 5, "the healed month to drain")
        assert service.depth(JANUARY) == 5
        assert service.status(JANUARY) == "unavailable"
        assert service.metric("datastorage_dlq_drain_failures_total", partition=JANUARY) == 0
        lab.open_gate(JANUARY)
        service.until_well()
        assert len(lab.stored([one["event_id"] for one in january])) == 5


GARBAGE: tuple[str, ...] = (
    "garbage",
    "",
    "[]",
    "7",
    '{"event_id":"00000000-0000-4000-8000-000000000000","event_timestamp":"2026-01-1',
    '{"event_id":"00000000-0000-4000-8000-000000000000","event_timestamp":"2026-01-99T00:00:00Z"}',
    json.dumps(event(SPARED)),
)


@contextmanager
def with_garbage(lab: Lab, *garbage: str | bytes) -> Iterator[tuple[Service, list[str]]]:
    """A service that finds garbage in its queue file when it starts again; yields it, and ids that are whole there."""
    with lab.service() as service:
        with lab.closed(JANUARY), lab.closed(FEBRUARY):
            whole = [event(day_in(month)) for month in (JANUARY, JANUARY, FEBRUARY)]
            spoiled = [event(SPARED) for _ in garbage]
            assert service.batch([whole[0], *spoiled, *whole[1:]]).status_code == 202
            lab.run(service.process.terminate())
            with closing(sqlite3.connect(service.queue)) as db, db:
                for text, one in zip(garbage, spoiled, strict=True):
                    changed = db.execute("UPDATE events SET event = ? WHERE instr(event, ?)", [text, one["event_id"]])
                    assert changed.rowcount == 1
        lab.run(service.process.start())
        yield service, [one["event_id"] for one in whole]


def is_set_aside(lab: Lab, service: Service, count: int, whole: list[str]) -> None:
    until(lambda: sorted(lab.stored(whole)) == sorted(whole), "the other events to be stored", BACK_SECONDS)
    until(lambda: len(service.dead()) == count, "the garbage to be dead letters", BACK_SECONDS)
    assert all(one["attempts"] and one["last_error"]["message"] for one in service.dead())
    service.until_well()
    assert service.post(event(SPARED)).status_code == 201


def test_garbage_in_the_queue_file_is_dead_letters_and_blocks_nobody(lab: Lab, main: Service) -> None:
    with with_garbage(lab, *GARBAGE) as (service, whole):
        is_set_aside(lab, service, len(GARBAGE), whole)


@pytest.mark.parametrize(
    "garbage",
    [
        '{"event_id":"00000000-0000-4000-8000-000000000000"}',
        b"\xff\xfe",
    ],
    ids=["no date", "binary"],
)
def test_garbage_that_looks_like_the_fault_of_another_blocks_nobody(
    lab: Lab, main: Service, garbage: str | bytes
) -> None:
    with with_garbage(lab, garbage) as (service, whole):
        is_set_aside(lab, service, 1, whole)


def test_a_page_of_dead_letters_is_json_also_with_garbage_among_them(lab: Lab, main: Service) -> None:
    with with_garbage(lab, "garbage") as (service, _):
        until(service.dead, "the garbage to be a dead letter")
        page = service.ask("GET", "/api/v1/dlq/events?include=event")
        assert page.status_code == 200
        assert json.loads(page.content)["events"]


# The months.


PENDING = "SELECT inhrelid::regclass::text FROM pg_inherits WHERE inhdetachpending"
TABLES = "SELECT relname FROM pg_class WHERE relkind = 'r' AND relname LIKE 'audit_events_2025_12%'"


@contextmanager
def half_detached(lab: Lab) -> Iterator[None]:
    """December's detachment is begun concurrently and interrupted."""
    with lab.connect() as reader, lab.connect() as detacher, reader.transaction():
        reader.execute("SELECT FROM audit_events LIMIT 1")
        # The first half is committed; the second waits for the reader until its time is up.
        detacher.execute("SET lock_timeout = '300ms'")
        with pytest.raises(psycopg.errors.LockNotAvailable):
            detacher.execute(f"ALTER TABLE audit_events DETACH PARTITION {child(DECEMBER)} CONCURRENTLY".encode())
    try:
        assert lab.sql(PENDING) == [(child(DECEMBER),)]
        yield
    finally:
        if lab.sql(PENDING):
            lab.sql(f"ALTER TABLE audit_events DETACH PARTITION {child(DECEMBER)} FINALIZE")
        bounds = "FOR VALUES FROM ('2025-12-01') TO ('2026-01-01')"
        lab.sql(f"ALTER TABLE audit_events ATTACH PARTITION {child(DECEMBER)} {bounds}")


def test_a_half_detached_month_is_reported_without_traffic_and_never_shadowed(lab: Lab, main: Service) -> None:
    one = event("2025-12-20")
    with half_detached(lab):
        assert main.until_degraded(f"partition {DECEMBER}")["evidence"][f"partition {DECEMBER}"]
        assert main.status(DECEMBER) == "unavailable"
        assert main.post(one).status_code == 202
        until(lambda: unreadable(main) == [DECEMBER], "the month to be reported unreadable")
        # Neither asked for nor after a restart a table is put in its place.
        lab.run(main.process.terminate())
        lab.run(main.process.start())
        said = main.until_degraded(f"partition {DECEMBER}")
        until(lambda: "database" not in main.ready()["degraded"], "the database to be found")
        assert said["evidence"][f"partition {DECEMBER}"]
        assert lab.sql(TABLES) == [(child(DECEMBER),)]
        assert lab.sql(PENDING) == [(child(DECEMBER),)]
        assert unreadable(main) == [DECEMBER]
        lab.sql(f"ALTER TABLE audit_events DETACH PARTITION {child(DECEMBER)} FINALIZE")
        assert main.post(event("2025-12-20")).status_code == 202
    main.until_well()
    assert lab.stored([one["event_id"]]) == [one["event_id"]]


def unreadable(service: Service) -> list[str]:
    answer = service.query(**{"from": "2025-11-01T00:00:00Z", "to": "2026-03-31T00:00:00Z"})
    assert answer.status_code == 200
    return list(answer.json()["unavailable_partitions"])


def test_a_month_known_to_be_gone_by_a_write_is_named_by_queries_at_once(lab: Lab, main: Service) -> None:
    with lab.service({"PARTITION_CHECK_SECONDS": "60"}) as service, lab.detached(MARCH):
        assert service.post(event(day_in(MARCH))).status_code == 202
        assert service.status(MARCH) == "unavailable"
        assert unreadable(service) == [MARCH]


def test_idle_months_leave_an_open_one_its_probes(lab: Lab, main: Service) -> None:
    # Many months to be looked at soon are as good as very many to be looked at late.
    with lab.service({"PARTITION_CHECK_SECONDS": "0.05"}) as service:
        with lab.closed(MARCH):
            assert service.post(event(day_in(MARCH))).status_code == 202
        until(lambda: service.status(MARCH) == "healthy", "the repair to be noticed", BACK_SECONDS)


@contextmanager
def refused_by_check(lab: Lab, month: str) -> Iterator[str]:
    lab.sql(f"ALTER TABLE {child(month)} ADD CONSTRAINT closed CHECK (false) NOT VALID")
    try:
        yield "23514"
    finally:
        lab.sql(f"ALTER TABLE {child(month)} DROP CONSTRAINT closed")


@contextmanager
def refused_by_trigger(lab: Lab, month: str) -> Iterator[str]:
    with lab.closed(month, "XX002"):
        yield "XX002"


@pytest.mark.parametrize("damage", [refused_by_check, refused_by_trigger])
def test_a_damaged_month_is_noticed_without_traffic_and_its_repair_too(
    lab: Lab, main: Service, damage: Callable[[Lab, str], Any]
) -> None:
    before = main.metric("datastorage_partition_write_failures_total", partition=MARCH)
    with damage(lab, MARCH) as sqlstate:
        said = main.until_degraded(f"partition {MARCH}")
        assert sqlstate in said["evidence"][f"partition {MARCH}"]
        assert said["degraded"] == [f"partition {MARCH}"]
        assert main.status(MARCH) == "unavailable"
    until(lambda: main.status(MARCH) == "healthy", "the repair to be noticed", BACK_SECONDS)
    assert main.ready() == {"status": "ok", "degraded": [], "evidence": {}}
    assert main.metric("datastorage_partition_write_failures_total", partition=MARCH) == before


@pytest.mark.parametrize(("year", "how"), [(2031, REVOKE_CREATE), (2032, NAME_TAKEN)])
def test_a_month_whose_creation_is_prevented_is_created_later(lab: Lab, main: Service, year: int, how: str) -> None:
    month, scene = Month(year, 5), lab.scene()
    fault, one = PreventPartitionCreation(month=month, how=how), event(f"{year}-05-10")
    lab.run(fault.inject(scene))
    try:
        assert main.post(one).status_code == 202
        until(lambda: main.logged(f"Partition audit_events_{month} could not be created"), "the failure to be logged")
        assert main.post(event()).status_code == 201
        assert main.post(one).status_code == 202
        assert main.status(str(month)) == "unavailable"
        assert f"partition {month}" in main.ready()["degraded"]
    finally:
        lab.run(fault.heal(scene))
    main.until_well()
    assert main.post(one).status_code == 201
    assert lab.stored([one["event_id"]]) == [one["event_id"]]
    assert lab.sql("SELECT count(*) FROM audit_partitions WHERE month = %s", [str(month)]) == [(1,)]


def test_creating_a_month_waits_for_no_writer_and_makes_none_wait(lab: Lab, main: Service) -> None:
    insert = (
        "INSERT INTO audit_events SELECT gen_random_uuid(), '2025-12-10', '2025-12-10', '1.0', 'open', 'c', 'a',"
        " 'success', 'x', '{}'"
    )
    with lab.connect() as writer, writer.transaction(force_rollback=True):
        writer.execute(insert.encode())
        one = event("2033-07-10")
        assert main.post(one).status_code == 202
        until(lambda: lab.stored([one["event_id"]]), "the new month to take the event")
        assert main.post(event("2033-07-11")).status_code == 201
        assert [main.post(event(day_in(month))).status_code for month in service_lab.MONTHS] == [201] * 5
