"""The service over HTTP, on a real PostgreSQL: batches, queries, wrong settings, the end by a signal."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import uuid
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest

from harness.errors import DeadlineExceeded
from harness.faults.storage import CorruptHeap
from harness.stacks.base import StopMode
from harness.values import Month
from service.config import Config, ConfigError, load
from tests.integration import service_lab
from tests.integration.service_lab import EVENTS, Lab, Service, day_in, event, until

lab, main = service_lab.lab, service_lab.main

NOVEMBER, DECEMBER, JANUARY, FEBRUARY, MARCH = service_lab.MONTHS
OVERFLOW = '{"n": 1e200000}'
ROOT = Path(__file__).parents[2]


def statuses(answer: httpx.Response) -> list[str]:
    return [item["status"] for item in answer.json()["results"]]


def raw(*events: str | dict[str, object]) -> bytes:
    """A batch of events, some of them texts that no JSON library would write."""
    return f"[{','.join(one if isinstance(one, str) else json.dumps(one) for one in events)}]".encode()


def overflowing(day: str) -> str:
    """An event with a number beyond PostgreSQL's numeric."""
    return json.dumps(event(day, event_data="HERE")).replace('"HERE"', OVERFLOW)


# Batches.


def test_results_are_in_the_order_of_the_events_whatever_becomes_of_them(lab: Lab, main: Service) -> None:
    days = [day_in(month) for month in (MARCH, DECEMBER, NOVEMBER, JANUARY, FEBRUARY)] * 6
    events = [event(day) for day in days]
    for index in (0, 7, 29):
        events[index]["event_outcome"] = "maybe"
    with lab.closed(JANUARY):
        answer = main.batch(events)
    assert answer.status_code == 207
    for index, (sent, item) in enumerate(zip(events, answer.json()["results"], strict=True)):
        if index in (0, 7, 29):
            assert item["status"] == "rejected"
            assert [error["field"] for error in item["errors"]] == ["event_outcome"]
        else:
            month = sent["event_timestamp"][:7].replace("-", "_")
            status = "queued" if month == JANUARY else "created"
            stamp = sent["event_timestamp"]
            assert item == {
                "status": status,
                "event_id": sent["event_id"],
                "event_timestamp": stamp,
                "partition": month,
            }
    main.until_well()
    accepted = [one["event_id"] for index, one in enumerate(events) if index not in (0, 7, 29)]
    assert sorted(lab.stored(accepted)) == sorted(accepted)


def test_the_status_of_a_batch_tells_of_all_its_items(lab: Lab, main: Service) -> None:
    known, bad = event(), event(event_outcome="maybe")
    assert main.post(known).status_code == 201
    other = {**known, "event_action": "other"}
    with lab.closed(JANUARY):
        spared = [event(day_in(JANUARY)) for _ in range(4)]
        cases: list[tuple[list[dict[str, object]], int, list[str]]] = [
            ([event(), event(day_in(MARCH))], 201, ["created"] * 2),
            ([spared[0]], 202, ["queued"]),
            ([event(), spared[1]], 202, ["created", "queued"]),
            ([event(), bad], 207, ["created", "rejected"]),
            ([other, spared[2]], 207, ["conflict", "queued"]),
            ([other, event(), bad], 207, ["conflict", "created", "rejected"]),
            ([bad, other], 400, ["rejected", "conflict"]),
            ([other], 400, ["conflict"]),
            ([bad, bad], 400, ["rejected", "rejected"]),
        ]
        for events, status, items in cases:
            answer = main.batch(events)
            assert (answer.status_code, statuses(answer)) == (status, items)
            assert all(set(item) == {"status", "errors"} for item in answer.json()["results"] if "errors" in item)
            assert "retry-after" not in answer.headers
        ids = [str(one["event_id"]) for one in (*spared[:3], bad)]
        assert lab.stored(ids) == []
        assert main.queued() == set(ids[:3])


def test_what_is_no_array_of_1_to_500_is_refused_as_a_whole(lab: Lab, main: Service) -> None:
    before = lab.sql("SELECT count(*) FROM audit_events")
    for body in ([], [event() for _ in range(501)], event(), "events", None, 1):
        answer = main.batch(body)
        assert answer.status_code == 400
        assert answer.headers["content-type"] == "application/problem+json"
        assert answer.json()["status"] == 400
        assert answer.json()["errors"]
    for content in (b"", b"[", b"[{}", b'[{"a": 1, "a": 2}]', b"[NaN]", b"\xff"):
        assert main.ask("POST", service_lab.BATCH, content=content).status_code == 400
    assert lab.sql("SELECT count(*) FROM audit_events") == before
    events = [event() for _ in range(500)]
    answer = main.batch(events)
    assert (answer.status_code, set(statuses(answer))) == (201, {"created"})
    assert len(lab.stored([one["event_id"] for one in events])) == 500


def test_items_that_are_no_events_are_rejected_alone(main: Service) -> None:
    answer = main.batch([1, event(), None, [event()], {}, "x"])
    assert answer.status_code == 207
    assert statuses(answer) == ["rejected", "created", "rejected", "rejected", "rejected", "rejected"]
    assert all(item.get("errors") for item in answer.json()["results"] if item["status"] == "rejected")


@pytest.mark.parametrize("month", [DECEMBER, JANUARY], ids=["stored", "queued"])
def test_the_same_identity_twice_in_a_batch_is_a_resend_or_a_conflict(lab: Lab, main: Service, month: str) -> None:
    def counted() -> dict[str, float]:
        return {
            outcome: main.metric("datastorage_events_total", outcome=outcome)
            for outcome in ("created", "queued", "duplicate", "rejected")
        }

    with lab.closed(JANUARY):
        # The first write finds the gate closed, so that all that is counted has one and the same way.
        main.post(event(day_in(month)))
        before, one, elsewhere = counted(), event(day_in(month)), f"{day_in(month)[:-2]}11"
        again, other = dict(one), {**one, "event_data": {"amount": 1.11}}
        same_number = {**one, "event_data": {"amount": 1.1000}}
        another_date = {**one, "event_timestamp": f"{elsewhere}T12:00:00Z"}
        answer = main.batch([one, again, other, same_number, another_date])
        status, first = ("created", 1) if month == DECEMBER else ("queued", 1)
        assert answer.status_code == 207
        assert statuses(answer) == [status, status, "conflict", status, status]
        assert answer.json()["results"][0] == answer.json()["results"][1]
        changed = {outcome: count - before[outcome] for outcome, count in counted().items() if count != before[outcome]}
        assert changed == {status: 1 + first, "duplicate": 2, "rejected": 1}
    main.until_well()
    assert lab.stored([one["event_id"]]) == [one["event_id"]] * 2
    rows = lab.sql("SELECT DISTINCT event_data::text FROM audit_events WHERE event_id = %s", [one["event_id"]])
    assert rows == [('{"amount": 1.1}',)]


def test_an_event_that_the_database_refuses_fails_no_other(lab: Lab, main: Service) -> None:
    good = [event() for _ in range(20)]
    bad = [overflowing("2025-12-10"), overflowing("2025-12-11"), overflowing(day_in(MARCH))]
    answer = main.ask("POST", service_lab.BATCH, content=raw(*good[:7], bad[0], *good[7:], bad[1], bad[2]))
    assert answer.status_code == 207
    expected = ["created"] * 20
    expected.insert(7, "rejected")
    assert statuses(answer) == [*expected, "rejected", "rejected"]
    assert [error["field"] for error in answer.json()["results"][7]["errors"]] == ["event_data"]
    assert len(lab.stored([one["event_id"] for one in good])) == 20
    assert main.ask("POST", service_lab.BATCH, content=raw(*bad)).status_code == 400
    alone = main.ask("POST", EVENTS, content=bad[0].encode())
    assert (alone.status_code, alone.json()["errors"][0]["field"]) == (400, "event_data")
    # It was the events' fault alone: no month is spared for it, nothing counted against one.
    assert main.ready()["status"] == "ok"
    assert main.metric("datastorage_partition_write_failures_total", partition=MARCH) == 0


def test_one_detached_month_fails_no_other(lab: Lab, main: Service) -> None:
    events = [event(day_in(month)) for month in service_lab.MONTHS * 4]
    with lab.detached(FEBRUARY):
        answer = main.batch(events)
        assert answer.status_code == 202
        of_month = {(item["partition"], item["status"]) for item in answer.json()["results"]}
        assert of_month == {(month, "queued" if month == FEBRUARY else "created") for month in service_lab.MONTHS}
        assert len(lab.stored([one["event_id"] for one in events])) == 16
    main.until_well()
    assert len(lab.stored([one["event_id"] for one in events])) == 20


def test_a_batch_into_a_full_queue_says_so_item_by_item(lab: Lab, main: Service) -> None:
    with lab.closed(JANUARY), lab.service({"DLQ_MAX_EVENTS": "2"}, well=False) as full:
        spared = [event(day_in(JANUARY)) for _ in range(4)]
        answer = full.batch([event(), *spared])
        assert (answer.status_code, statuses(answer)[0]) == (207, "created")
        items = list(zip(spared, answer.json()["results"][1:], strict=True))
        kept = [one for one, item in items if item["status"] == "queued"]
        refused = [one for one, item in items if item["status"] == "unavailable"]
        assert (len(kept), len(refused)) == (2, 2)
        assert all(item["outcome"] == "not_stored" and item["errors"] for one, item in items if one in refused)
        assert "retry-after" not in answer.headers
        for events in ([event(day_in(JANUARY))], [event(day_in(JANUARY)), event(event_outcome="maybe")]):
            answer = full.batch(events)
            assert (answer.status_code, statuses(answer)[0]) == (503, "unavailable")
            assert answer.json()["results"][0]["outcome"] == "not_stored"
            assert int(answer.headers["retry-after"]) >= 1
        # What is queued already is acknowledged again; what the table takes needs no queue.
        assert statuses(full.batch(kept)) == ["queued"] * 2
        assert full.batch([event()]).status_code == 201
    assert lab.stored([one["event_id"] for one in refused]) == []


@pytest.mark.parametrize("path", [EVENTS, service_lab.BATCH])
def test_a_body_over_5_mib_is_refused_and_one_below_is_read(main: Service, path: str) -> None:
    limit = 5 * 1024 * 1024
    before = main.metric("datastorage_events_total", outcome="rejected")
    answer = main.ask("POST", path, content=b" " * (limit + 1))
    assert (answer.status_code, answer.headers["content-type"]) == (413, "application/problem+json")
    assert main.metric("datastorage_events_total", outcome="rejected") == before + 1
    body = json.dumps(event()) if path == EVENTS else json.dumps([event()])
    assert main.ask("POST", path, content=body.rjust(limit)).status_code == 201


# Queries.


def found(answer: httpx.Response) -> list[str]:
    assert answer.status_code == 200, answer.text
    assert set(answer.json()) == {"events", "truncated", "unavailable_partitions"}
    return [one["event_id"] for one in answer.json()["events"]]


def test_ids_find_their_events_whole(main: Service) -> None:
    correlation = f"q-{uuid.uuid4()}"
    content = {"a": [1, None, {"ü\n": '\\ "', "x": 0.10}], "n": 12345678901234567890123}
    one = event("2025-12-10", correlation_id=correlation, event_data=content, version="2", event_outcome="failure")
    elsewhere = {**one, "event_timestamp": "2026-01-02T03:04:05.678901+02:00"}
    other = event(day_in(MARCH), correlation_id=correlation)
    assert main.batch([elsewhere, other, one]).status_code == 201
    answer = main.query(event_id=one["event_id"])
    assert found(answer) == [one["event_id"]] * 2
    assert answer.json()["events"] == [one, {**elsewhere, "event_timestamp": "2026-01-02T01:04:05.678901Z"}]
    assert (answer.json()["truncated"], answer.json()["unavailable_partitions"]) == (False, [])
    by_correlation = [one["event_id"], one["event_id"], other["event_id"]]
    assert found(main.query(correlation_id=correlation)) == by_correlation
    assert found(main.query(correlation_id=correlation, event_id=other["event_id"])) == [other["event_id"]]
    assert found(main.query(event_id=str(uuid.uuid4()))) == []


def test_a_range_holds_its_beginning_and_not_its_end(main: Service) -> None:
    correlation = f"q-{uuid.uuid4()}"
    stamps = [
        "2025-12-31T23:59:59.999999Z",
        "2026-01-01T00:00:00Z",
        "2026-01-01T00:00:00.000001Z",
        "2026-01-31T23:59:59.999999Z",
        "2026-02-01T00:00:00Z",
    ]
    events = [event(event_timestamp=stamp, correlation_id=correlation) for stamp in stamps]
    assert main.batch(list(reversed(events))).status_code == 201
    ids = [one["event_id"] for one in events]

    def within(**bounds: str) -> list[str]:
        named = {name.rstrip("_"): text for name, text in bounds.items()}
        return found(main.query(correlation_id=correlation, **named))

    assert within() == ids
    assert within(from_=stamps[1]) == ids[1:]
    assert within(to=stamps[4]) == ids[:4]
    assert within(from_=stamps[1], to=stamps[4]) == ids[1:4]
    assert within(from_=stamps[1], to=stamps[2]) == ids[1:2]
    assert within(from_=stamps[1], to=stamps[1]) == []
    assert within(from_=stamps[4], to=stamps[0]) == []
    assert within(from_="2026-01-01T02:00:00+02:00", to="2026-01-31T19:00:00-05:00") == ids[1:4]


def test_a_limit_cuts_the_earliest_by_time_and_id_and_says_so(main: Service) -> None:
    correlation = f"q-{uuid.uuid4()}"
    days = ["2025-12-20", "2025-11-20", "2026-01-20", "2025-12-20", "2025-12-20"]
    events = [event(day, correlation_id=correlation) for day in days]
    assert main.batch(events).status_code == 201
    ids = [one["event_id"] for one in sorted(events, key=lambda one: (one["event_timestamp"], one["event_id"]))]
    for limit in range(1, 7):
        answer = main.query(correlation_id=correlation, limit=str(limit))
        assert found(answer) == ids[:limit]
        assert answer.json()["truncated"] is (limit < 5)


def test_without_an_id_a_query_begins_31_days_ago_and_holds_100(main: Service) -> None:
    now, mark = datetime.now(UTC), f"d-{uuid.uuid4()}"
    ages = [timedelta(days=32), timedelta(days=30, hours=23), timedelta(seconds=5)]
    events = [event(event_timestamp=(now - age).isoformat(), correlation_id=mark) for age in ages]
    assert main.batch(events).status_code == 201
    ids = [one["event_id"] for one in events]
    assert [one for one in found(main.query()) if one in ids] == ids[1:]
    assert [one for one in found(main.query(**{"from": events[0]["event_timestamp"]})) if one in ids] == ids
    many = [event(event_timestamp=now.isoformat(), correlation_id=mark) for _ in range(105)]
    assert main.batch(many).status_code == 201
    assert len(found(main.query(correlation_id=mark))) == 100
    assert main.query().json()["truncated"] is True
    assert len(found(main.query(correlation_id=mark, limit="1000"))) == 108


@pytest.mark.parametrize(
    "query",
    [
        "colour=red",
        "event_id=7",
        "event_id=",
        "limit=0",
        "limit=1001",
        "limit=ten",
        "limit=-1",
        "from=yesterday",
        "from=2025-12-10",
        "from=2025-12-10T12:00:00",
        "to=2025-13-10T12:00:00Z",
        "correlation_id=",
        "limit=1&limit=2",
    ],
)
def test_a_query_that_is_not_known_or_wrong_is_refused(main: Service, query: str) -> None:
    answer = main.ask("GET", f"{EVENTS}?{query}")
    assert (answer.status_code, answer.headers["content-type"]) == (400, "application/problem+json")
    assert [error["field"] for error in answer.json()["errors"]] == [query.partition("=")[0]]


def test_unreadable_months_are_named_and_the_others_returned(lab: Lab, main: Service) -> None:
    correlation = f"q-{uuid.uuid4()}"
    events = [event(day_in(month), correlation_id=correlation) for month in service_lab.MONTHS]
    assert main.batch(events).status_code == 201
    ids = [one["event_id"] for one in events]
    scene, corrupt = lab.scene(), CorruptHeap(months=(Month(2026, 2),))
    lab.run(corrupt.inject(scene))
    try:
        with lab.detached(DECEMBER), lab.locked(JANUARY):
            answer = main.query(correlation_id=correlation)
            assert found(answer) == [ids[0], ids[4]]
            assert answer.json()["unavailable_partitions"] == [DECEMBER, JANUARY, FEBRUARY]
            answer = main.query(correlation_id=correlation, **{"from": "2026-03-01T00:00:00Z"})
            assert (found(answer), answer.json()["unavailable_partitions"]) == ([ids[4]], [])
            answer = main.query(correlation_id=correlation, to="2025-11-30T23:59:59Z")
            assert (found(answer), answer.json()["unavailable_partitions"]) == ([ids[0]], [])
    finally:
        lab.run(corrupt.heal(scene))
    until(lambda: main.query(correlation_id=correlation).json()["unavailable_partitions"] == [], "all to be readable")
    assert found(main.query(correlation_id=correlation)) == ids


def test_events_come_by_time_also_from_months_that_became_known_late(lab: Lab, main: Service) -> None:
    correlation = f"q-{uuid.uuid4()}"
    events = [event(day_in(month), correlation_id=correlation) for month in service_lab.MONTHS]
    assert main.batch(events[::-1]).status_code == 201
    with lab.service({"PARTITIONS_FROM": "2026-02"}) as later:
        assert found(later.query(correlation_id=correlation)) == [one["event_id"] for one in events]
        assert found(later.query(correlation_id=correlation, limit="1")) == [events[0]["event_id"]]


def test_a_range_that_ends_where_an_unreadable_month_begins_does_not_name_it(lab: Lab, main: Service) -> None:
    with lab.detached(DECEMBER):
        main.until_degraded(f"partition {DECEMBER}")
        bounds = {"from": "2025-11-01T00:00:00Z", "to": "2025-12-01T00:00:00Z"}
        assert main.query(**bounds).json()["unavailable_partitions"] == []


def test_queued_events_do_not_appear(lab: Lab, main: Service) -> None:
    one = event(day_in(JANUARY))
    with lab.closed(JANUARY):
        assert main.post(one).status_code == 202
        # The month refuses writes, and can be read: it is not among the unavailable ones.
        answer = main.query(event_id=one["event_id"])
        assert (found(answer), answer.json()["unavailable_partitions"]) == ([], [])
    main.until_well()
    assert found(main.query(event_id=one["event_id"])) == [one["event_id"]]


def test_without_a_database_a_query_is_unavailable(lab: Lab, main: Service) -> None:
    one = event()
    lab.run(lab.database.stop(StopMode.FAST))
    try:
        answer = main.query(event_id=one["event_id"])
        assert (answer.status_code, answer.headers["content-type"]) == (503, "application/problem+json")
        assert int(answer.headers["retry-after"]) >= 1
        assert main.post(one).status_code == 202
        assert main.until_degraded("database")["status"] == "degraded"
    finally:
        lab.run(lab.database.start())
    main.until_well()
    assert found(main.query(event_id=one["event_id"])) == [one["event_id"]]


# Settings.

NEEDED = {"DATABASE_URL": "postgresql://u:secret@127.0.0.1:1/audit", "DLQ_URL": "sqlite:///dlq.sqlite3"}
NUMBERS = ("", "x", "-1", "nan", "inf", "1e999", "0x10", "1,5")
WRONG: dict[str, tuple[str, ...]] = {
    "DATABASE_URL": ("", "nonsense", "mysql://u:secret@h/d", "postgresql://u:secret@h:port/d?nonsense=1"),
    "DLQ_URL": ("", "sqlite://dlq", "sqlite:///", "dlq.sqlite3", "redis://:secret@h/0"),
    "PORT": (*NUMBERS, "65536", "80.5"),
    "METRICS_PORT": (*NUMBERS, "65536"),
    "DB_POOL_MAX": (*NUMBERS, "0", "2.5", "1001"),
    "DB_ACQUIRE_TIMEOUT_SECONDS": (*NUMBERS, "0"),
    "DB_STATEMENT_TIMEOUT_SECONDS": (*NUMBERS, "0"),
    "DB_LOCK_TIMEOUT_SECONDS": (*NUMBERS, "0"),
    "REQUEST_DEADLINE_SECONDS": (*NUMBERS, "0", "0.5"),
    "DLQ_MAX_EVENTS": (*NUMBERS, "0.5"),
    "DLQ_MAX_ATTEMPTS": (*NUMBERS, "0"),
    "DLQ_RETRY_MIN_SECONDS": (*NUMBERS, "0", "2.1"),
    "DLQ_RETRY_MAX_SECONDS": (*NUMBERS, "0", "0.1"),
    "PARTITION_CHECK_SECONDS": (*NUMBERS, "0"),
    "PARTITIONS_FROM": ("x", "2025", "2025-13", "2025-00", "2025_11", "2025-11-01", "11-2025"),
    "PARTITIONS_AHEAD_MONTHS": (*NUMBERS, "1.5", "121"),
    "EVENT_MAX_AGE_DAYS": (*NUMBERS, "1.5", "100001"),
    "EVENT_MAX_AHEAD_DAYS": (*NUMBERS, "1.5", "100001"),
    "LOG_LEVEL": ("LOUD", "7"),
}
# Whatever text they hold is a text; an address or a path that does not work is found when it is used.
TEXTS = {"HOST", "PORT_FILE", "METRICS_HOST", "METRICS_TOKEN", "ADMIN_TOKEN"}
CASES = [(name, text) for name, texts in WRONG.items() for text in texts if text or name in NEEDED]


def test_every_setting_has_wrong_values_here() -> None:
    names = {name.upper() for name in Config.__dataclass_fields__}
    assert names - {"DLQ_PATH"} | {"DLQ_URL"} == set(WRONG) | TEXTS


@pytest.mark.parametrize(("name", "text"), CASES)
def test_a_wrong_value_is_refused_in_one_sentence(name: str, text: str) -> None:
    with pytest.raises(ConfigError) as refusal:
        load({**NEEDED, name: text})
    said = str(refusal.value)
    assert name in said
    assert said.endswith(".")
    assert "\n" not in said
    assert "secret" not in said


def start_wrongly(folder: Path, settings: dict[str, str]) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "service"],
        cwd=folder,
        env={"PYTHONPATH": str(ROOT), "PORT": "0", **settings},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_a_process_with_a_wrong_setting_ends_with_2_and_a_sentence(tmp_path: Path, lab: Lab) -> None:
    taken = lab.main.process.base_url.rpartition(":")[2]
    cases: list[tuple[str, dict[str, str]]] = [
        ("DATABASE_URL", {"DLQ_URL": NEEDED["DLQ_URL"]}),
        ("DB_POOL_MAX", {**NEEDED, "DB_POOL_MAX": "many"}),
        ("PORT", {**NEEDED, "PORT": taken}),
        ("no..host", {**NEEDED, "HOST": "no..host"}),
        ("METRICS_PORT", {**NEEDED, "METRICS_PORT": taken}),
        ("PORT_FILE", {**NEEDED, "PORT_FILE": str(tmp_path / "missing/port")}),
    ]
    processes = [(name, start_wrongly(tmp_path, settings)) for name, settings in cases]
    ends = []
    for name, process in processes:
        try:
            _, said = process.communicate(timeout=60)
        finally:
            process.kill()
        ends.append((name, process.returncode, said))
    for name, code, said in ends:
        assert (name, code) == (name, 2), said
        assert name in said
        assert said.count("\n") == 1
        assert said.endswith(".\n")
        assert "secret" not in said


def test_a_host_that_is_no_name_ends_with_2_and_a_sentence(tmp_path: Path) -> None:
    process = start_wrongly(tmp_path, {**NEEDED, "HOST": "ü..ü"})
    try:
        _, said = process.communicate(timeout=60)
    finally:
        process.kill()
    assert (process.returncode, said.count("\n")) == (2, 1), said


# The end.


def test_after_a_signal_requests_in_flight_finish_and_the_exit_is_0(lab: Lab, main: Service) -> None:
    patient = {"DB_LOCK_TIMEOUT_SECONDS": "20", "DB_STATEMENT_TIMEOUT_SECONDS": "20", "REQUEST_DEADLINE_SECONDS": "30"}
    one, batch = event(day_in(MARCH), event_type="held"), [event(day_in(MARCH), event_type="held"), event()]
    with lab.service(patient) as ending, ThreadPoolExecutor(4) as pool, httpx.Client(trust_env=False) as kept:
        ready = f"{ending.process.base_url}/health/ready"
        assert kept.get(ready).status_code == 200
        with lab.waiting_inserts(MARCH, "held") as waiting:
            single, several = pool.submit(ending.post, one), pool.submit(ending.batch, batch)
            until(lambda: waiting() == 2, "two requests to be in flight")
            ended = threading.Event()

            def end() -> int:
                code: int = lab.run(ending.process.terminate())
                ended.set()
                return code

            exit_code = pool.submit(end)
            until(lambda: refused_or_503(kept, ready), "readiness to end")
            with httpx.Client(trust_env=False) as fresh:
                until(lambda: refused_or_503(fresh, ready), "the listener to close")
            with pytest.raises(DeadlineExceeded):
                until(lambda: single.done() or several.done() or ended.is_set(), "an end that must not come", 2.0)
        assert single.result().status_code == 201
        assert several.result().status_code == 201
        assert exit_code.result() == 0
    ids = [one["event_id"], *(each["event_id"] for each in batch)]
    assert sorted(lab.stored(ids)) == sorted(ids)


def refused_or_503(client: httpx.Client, url: str) -> bool:
    try:
        return client.get(url).status_code == 503
    except httpx.TransportError:
        return True
