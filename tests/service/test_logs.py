"""Log lines: none of the occurrences is lost by the limit."""

import io
import json

from service.logs import Log


def test_lines_and_suppressed_add_up_to_the_occurrences() -> None:
    now = 0.0
    stream = io.StringIO()
    log = Log(stream, "INFO", lambda: now)
    for _ in range(250):
        log.error("it failed", sqlstate="XX001")
        log.info("another message")
        now += 0.01
    log.flush()
    now += 2
    log.flush()
    log.flush()
    lines = [json.loads(line) for line in stream.getvalue().splitlines()]
    for message in ("it failed", "another message"):
        mine = [line for line in lines if line["message"] == message]
        assert len(mine) + sum(line.get("suppressed", 0) for line in mine) == 250
        assert len(mine) == 4
    assert {line["level"] for line in lines} == {"ERROR", "INFO"}


def test_what_is_held_back_is_written_when_the_process_ends() -> None:
    stream = io.StringIO()
    log = Log(stream, "INFO", lambda: 0.0)
    for _ in range(3):
        log.info("again")
    log.flush()
    assert len(stream.getvalue().splitlines()) == 1
    log.flush(everything=True)
    lines = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert [line.get("suppressed", 0) for line in lines] == [0, 1]


def test_lines_below_the_level_are_not_written() -> None:
    stream = io.StringIO()
    Log(stream, "ERROR", lambda: 0.0).info("quiet")
    assert stream.getvalue() == ""
