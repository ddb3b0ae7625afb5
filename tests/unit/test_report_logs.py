"""The logs in the page: of all parts, in the order of time, redacted, bounded, and what is left out is said."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from harness import events as ev
from harness.report import logs
from harness.report.html import page
from harness.report.logs import Entry, Level, Logs, Part, bounded, clean, read_logs
from harness.rundata import build_run
from tests.unit import report_samples as samples
from tests.unit.test_report_html import read

POSTGRES = """\
2025-12-05 10:15:01.000 UTC [7] LOG:  database system is ready to accept connections
2025-12-05 10:15:02.500 UTC [8] slm_user@audit ERROR:  no partition of relation "audit_events" found for row
2025-12-05 10:15:02.500 UTC [8] slm_user@audit DETAIL:  Partition key of the failing row contains (2025-12-07).
2025-12-05 10:15:02.500 UTC [8] slm_user@audit STATEMENT:  INSERT INTO audit_events
\tVALUES ($1)
2025-12-05 10:15:02.600 UTC [9] harness@audit ERROR:  no partition of relation "audit_events" found for row
2025-12-05 10:15:09.000 UTC [9] harness@audit ERROR:  no partition of relation "audit_events" found for row
2025-12-05 10:15:09.500 UTC [9] [unknown]@[unknown] FATAL:  the database system is starting up
"""


def proxy(second: int, level: str, **fields: str) -> str:
    return json.dumps({"level": level, "time": f"2025-12-05T10:15:{second:02}Z", **fields})


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A run's folder with the logs of its other parts."""
    (tmp_path / "postgres.log").write_text(f"the disk is odd\n{POSTGRES}")
    lines = [
        proxy(1, "info", message="Started proxy", name="postgres"),
        proxy(3, "debug", method="GET", url="/proxies"),
    ]
    (tmp_path / "toxiproxy.log").write_text(
        "\n".join([*lines, "panic: oh", proxy(4, "error", message="no", err="broken")])
    )
    (tmp_path / "locust.log").write_text("[2025-12-05 11:15:02,1] vm/WARNING/locust.runners: CPU usage above 90%!\n\n")
    return tmp_path


def test_all_parts_are_in_one_list_in_the_order_of_time(folder: Path) -> None:
    run = build_run(
        [
            *samples.started().records,
            ev.LogLine(2.4, "ERROR", "Failed to write", 2, "23514", '{"partition": "2025_12"}'),
            ev.Note(3.5, "probe", "slow"),
            ev.ServiceMark(4.5, "ended"),
        ]
    )
    found = [(one.t, one.part, one.label, one.message, one.count) for one in read_logs(run, folder).entries]
    missing = 'no partition of relation "audit_events" found for row'
    assert found == [
        (1.0, "database", "LOG", "database system is ready to accept connections", 1),
        (1.0, "proxy", "INFO", "Started proxy name=postgres", 1),
        (2.4, "service", "ERROR", "Failed to write (+2 suppressed)", 1),
        (2.5, "database", "ERROR", missing, 2),
        (3.0, "proxy", "DEBUG", "method=GET url=/proxies", 1),
        (3.5, "harness", "WARNING", "probe: slow", 1),
        (4.0, "proxy", "ERROR", "no err=broken", 1),
        (4.5, "harness", "WARNING", "service ended", 1),
        (9.0, "database", "ERROR", missing, 1),
        (9.5, "database", "FATAL", "the database system is starting up", 1),
        (None, "database", "RAW", "the disk is odd", 1),
        (None, "proxy", "RAW", "panic: oh", 1),
        (None, "load", "WARNING", "CPU usage above 90%!", 1),
    ]


def test_what_belongs_to_a_line_of_the_database_stays_with_it(folder: Path) -> None:
    entries = read_logs(None, folder).entries
    (first, *_) = [one for one in entries if one.label == "ERROR" and one.part is Part.DATABASE]
    assert first.text.splitlines()[1:] == [
        "DETAIL: Partition key of the failing row contains (2025-12-07).",
        "STATEMENT: INSERT INTO audit_events",
        "VALUES ($1)",
    ]


def test_without_a_history_times_count_from_the_first_line(folder: Path) -> None:
    times = [one.t for one in read_logs(None, folder).entries if one.part is Part.DATABASE and one.t is not None]
    assert times == [0.0, 1.5, 8.0, 8.5]


def test_a_folder_without_logs_has_none(tmp_path: Path) -> None:
    assert read_logs(None, tmp_path / "nowhere") == Logs(())


def test_a_log_that_cannot_be_read_is_said(tmp_path: Path) -> None:
    (tmp_path / "postgres.log").mkdir()
    (remark,) = read_logs(None, tmp_path).remarks
    assert remark.startswith("postgres.log could not be read (")


def test_the_middle_of_a_long_file_is_not_read_and_that_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logs, "READ_BYTES", 400)
    stamp = "2025-12-05 10:15:{:02}.000 UTC [7] LOG:  line {}\n"
    (tmp_path / "postgres.log").write_text("".join(stamp.format(n, n) for n in range(60)))
    found = read_logs(None, tmp_path)
    texts = [one.text for one in found.entries]
    assert (texts[0], texts[-1]) == ("line 0", "line 59")
    assert len(texts) < 20
    assert re.fullmatch(r"postgres.log is long: [\d,]+ bytes in its middle were not read.", found.remarks[0])


@pytest.mark.parametrize(
    "text",
    [
        "postgresql://slm:hunter2x9@127.0.0.1/audit",
        "password=hunter2x9",
        "ALTER ROLE slm PASSWORD 'hunter2x9'",
        "Authorization: Bearer hunter2x9",
        '{"user": "slm", "token": "hunter2x9"}',
        '{"Password" : "hunter2x9"}',
    ],
)
def test_what_looks_like_a_credential_is_hidden(text: str) -> None:
    assert "hunter2x9" not in clean(text)
    assert "***" in clean(text)


def test_words_about_credentials_stay() -> None:
    said = 'password authentication failed for user "slm_user"; bearer token missing'
    assert clean(said) == said


def test_a_planted_password_of_any_log_is_in_no_page(folder: Path) -> None:
    secret = "hunter2x9"
    with (folder / "postgres.log").open("a") as file:
        file.write(f"2025-12-05 10:15:10.000 UTC [9] LOG:  connection postgresql://slm:{secret}@127.0.0.1/audit\n")
    with (folder / "toxiproxy.log").open("a") as file:
        file.write("\n" + proxy(5, "info", message=f"password={secret}"))
    run = build_run([*samples.started().records, ev.LogLine(1.0, "INFO", f"Authorization: Bearer {secret}")])
    for known in (run, None):
        text = page(samples.result_of(samples.PASSED, folder=folder), known)
        assert "Started proxy" in text
        assert secret not in text


def entry(t: float, label: str = "INFO", part: Part = Part.SERVICE, text: str = "x") -> Entry:
    return Entry(t=t, part=part, label=label, text=text, until=t)


def test_what_matters_most_is_kept_of_long_logs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logs, "LINES_SHOWN", 8)
    entries = (
        *(entry(float(t), "DEBUG", Part.PROXY) for t in range(5)),
        *(entry(float(t)) for t in range(10, 20)),
        *(entry(50.0 + t / 10) for t in range(3)),
        entry(70.0, "ERROR"),
        entry(71.0, "INFO", Part.HARNESS),
    )
    shown = bounded(Logs(entries), [(51.0, 52.0)])
    assert [one.t for one in shown.entries] == [10.0, 11.0, 19.0, 50.0, 50.1, 50.2, 70.0, 71.0]
    assert shown.left_out == {(Part.PROXY, Level.DEBUG): 5, (Part.SERVICE, Level.INFO): 7}


def test_a_long_text_counts_by_its_characters(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logs, "CHARACTERS_SHOWN", 10)
    shown = bounded(Logs((entry(1.0, text="four"), entry(2.0, text="five5"), entry(3.0, text="six666"))), [])
    assert [one.text for one in shown.entries] == ["four", "six666"]
    assert sum(shown.left_out.values()) == 1


def test_the_page_says_what_it_leaves_out_and_where_that_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logs, "LINES_SHOWN", 1)
    text = "".join(read(page(samples.result_of(samples.PASSED), samples.sample_run())).text)
    left = "8 of the harness's information, 1 of the harness's warnings, 1 of the service's errors"
    assert f"Left out of this page: {left}." in text
    assert "The whole logs are beside it: service.log, postgres.log" in text
    assert "Failed to write to partition" not in text


def test_a_line_says_its_level_by_more_than_colour_and_can_be_filtered() -> None:
    text = page(samples.result_of(samples.PASSED), samples.sample_run(hostile=samples.HOSTILE))
    row = re.search(r'<li data-item="" data-level="3" data-part="service">.*?</li>', text)
    assert row is not None
    assert "✗ ERROR" in row[0]
    assert "&lt;script&gt;" in row[0]
    assert "\x1b" not in row[0]
    assert '<option value="harness">harness</option>' in text
    assert '<option value="database">' not in text
