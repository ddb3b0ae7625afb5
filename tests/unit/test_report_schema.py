"""What programs read: JSON and the event stream are as their published schemas say, and these as the code does."""

from __future__ import annotations

import asyncio
import dataclasses
import enum
import io
import json
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, get_args

import jsonschema_rs
import pytest
from click.testing import CliRunner

from harness import events as ev
from harness._wait import wait_until_sync
from harness.checking import REACHED_PREFIX, SOMETIMES, CheckResult, Finding
from harness.cli import cli
from harness.errors import UsageError
from harness.gate import Exit
from harness.outputs import reason_of
from harness.report import base, schema, shapes
from harness.report.jsonfile import result_to_json, suite_to_json
from harness.report.stream import EventStream, open_stream
from harness.results import RunResult, Skipped, SuiteBegun, SuiteResult
from harness.rundata import Run
from harness.values import Promise
from tests.unit import report_samples as samples

DOCUMENTED = Path(__file__).parents[2] / "docs" / "reference"
SAMPLE = Path(__file__).parents[2] / "reports" / "sample"
SKIPPED = Skipped(samples.SCENARIO, "needs service-clock")


def refused(kind: str, data: Any, *, closed: bool = True) -> Sequence[str]:
    """What the schema has against JSON; a closed one also has something against fields that it does not know."""
    plain = json.loads(json.dumps(data))
    found = jsonschema_rs.validator_for(schema.schema_of(kind, closed=closed)).iter_errors(plain)
    return [f"{error.instance_path}: {error.message}" for error in found]


@pytest.mark.parametrize("kind", schema.KINDS)
def test_the_published_schema_is_the_one_that_the_code_makes_and_is_a_schema(kind: str) -> None:
    published = schema.published(kind)
    assert published == schema.schema_text(kind), "write it anew: python -m tests.docs"
    assert (DOCUMENTED / schema.file_name(kind)).read_text(encoding="utf-8") == published
    jsonschema_rs.meta.validate(json.loads(published))


@pytest.mark.parametrize("kind", schema.KINDS)
def test_the_command_prints_it(kind: str) -> None:
    assert CliRunner().invoke(cli, ["schema", kind]).output == schema.published(kind)


def test_the_command_has_all_kinds() -> None:
    command = cli.commands["schema"]
    assert tuple(command.params[0].type.choices) == tuple(schema.KINDS)  # type: ignore[attr-defined]
    assert CliRunner().invoke(cli, ["schema", "run"]).exit_code == Exit.USAGE
    with pytest.raises(UsageError, match="no schema of 'run'; known are result, suite, events, gate"):
        schema.published("run")


RESULTS = {
    "passed": samples.result_of(samples.PASSED),
    "failed": samples.result_of(samples.lost(hostile=samples.HOSTILE), samples.UNDECIDED, samples.NOT_CHECKED),
    "infinite": samples.result_of(CheckResult("isolation", facts={"ratio": float("inf"), "none": float("nan")})),
    "timed": samples.result_of(CheckResult("isolation", findings=(Finding(Promise.ISOLATION, "late", (), t=1.0),))),
    "set-up": samples.result_of(setup_error="no disk"),
    "nothing": samples.result_of(),
}


@pytest.mark.parametrize("run", [samples.sample_run(), None], ids=["history", "none"])
@pytest.mark.parametrize("result", RESULTS.values(), ids=RESULTS)
def test_each_result_is_as_its_schema_says_with_no_field_that_it_lacks(
    tmp_path: Path, result: RunResult, run: Run | None
) -> None:
    base.write_all(result, run, tmp_path)
    assert refused("result", json.loads((tmp_path / "result.json").read_text())) == []


def test_the_sample_that_is_kept_is_as_the_schema_says() -> None:
    assert refused("result", json.loads((SAMPLE / "result.json").read_text(encoding="utf-8"))) == []


@pytest.mark.parametrize(
    "suite",
    [
        samples.suite_of(*RESULTS.values()),
        samples.suite_of(),
        dataclasses.replace(samples.suite_of(samples.result_of(samples.PASSED)), skipped=(SKIPPED,), full=True),
    ],
    ids=["mixed", "empty", "skipped"],
)
def test_each_suite_is_as_its_schema_says_with_no_field_that_it_lacks(tmp_path: Path, suite: SuiteResult) -> None:
    base.write_suite(suite, tmp_path)
    assert refused("suite", json.loads((tmp_path / "suite.json").read_text())) == []


def test_a_state_that_is_owed_is_told() -> None:
    never = CheckResult("reached", facts={f"{REACHED_PREFIX}{next(iter(SOMETIMES))}": 0.0})
    suite = dataclasses.replace(samples.suite_of(samples.result_of(never)), full=True)
    told = suite_to_json(suite)
    assert refused("suite", told) == []
    assert [one["owed"] for one in told["reached"]].count(True) == 1
    assert (told["verdict"], told["exit_code"]) == ("UNKNOWN", Exit.INCONCLUSIVE)


def _spoilt_by_a_missing_field(data: Any) -> None:
    del data["seed"]


def _spoilt_by_a_word(data: Any) -> None:
    data["verdict"] = "GREEN"


def _spoilt_by_a_type(data: Any) -> None:
    data["checks"][0]["facts"]["p99_ratio"] = "1.25"


def _spoilt_deep_down(data: Any) -> None:
    del data["faults"][0]["probed"]


@pytest.mark.parametrize("spoil", [_spoilt_by_a_missing_field, _spoilt_by_a_word, _spoilt_by_a_type, _spoilt_deep_down])
def test_the_published_schema_refuses_what_is_not_as_it_says(spoil: Callable[[Any], None]) -> None:
    data = json.loads(json.dumps(result_to_json(samples.result_of(samples.PASSED), samples.sample_run())))
    assert refused("result", data, closed=False) == []
    spoil(data)
    assert len(refused("result", data, closed=False)) == 1


def test_a_later_field_is_no_reason_to_refuse_but_is_seen_here() -> None:
    data = {**suite_to_json(samples.suite_of()), "colour": "green"}
    assert refused("suite", data, closed=False) == []
    assert refused("suite", data) != []


def test_the_steps_of_a_fault_are_those_of_the_history() -> None:
    assert get_args(shapes.FaultStep) == tuple(step.value for step in ev.FaultStep)
    assert issubclass(ev.FaultStep, enum.Enum)


@contextmanager
def streamed(tmp_path: Path) -> Iterator[tuple[EventStream, Callable[[], list[dict[str, Any]]]]]:
    """A stream into a file, and what is in it once it is closed."""
    path = tmp_path / "events.ndjson"
    stream = open_stream(str(path))

    def lines() -> list[dict[str, Any]]:
        stream.close()
        return lines_in(path)

    try:
        yield stream, lines
    finally:
        stream.close()


def lines_in(path: Path) -> list[dict[str, Any]]:
    text = path.read_text(encoding="utf-8")
    assert text == "" or text.endswith("\n")
    return [json.loads(line) for line in text.splitlines()]


def play(stream: EventStream) -> None:
    """Tell a stream everything that there is to tell."""
    suite = samples.suite_of(samples.result_of(samples.lost(count=30, hostile=samples.HOSTILE), samples.UNDECIDED))
    stream.suite_started(
        SuiteBegun(
            suite="suite-1", target="reference", seed=7, jobs=2, scenarios=(samples.SCENARIO,), skipped=(SKIPPED,)
        )
    )
    stream.scenario_started("run-1", samples.SCENARIO)
    stream.step("run-1", 4, "load", 0)
    stream.step("run-1", 4, "load", 120)
    for step in ev.FaultStep:
        stream.marked("run-1", ev.FaultMark(4.0, 0, "detach-partition", step, "why"))
    stream.marked("run-1", ev.PhaseMark(4.0, "during"))
    stream.step("run-1-again", 1, "validate", 0)
    stream.scenario_finished(suite.runs[0])
    stream.suite_finished(suite)
    stream.broken_off("ended by a signal", 143)


def test_every_line_is_as_its_schema_says_and_each_kind_comes(tmp_path: Path) -> None:
    with streamed(tmp_path) as (stream, lines):
        play(stream)
        told = lines()
    for line in told:
        assert refused("events", line) == []
    kinds = schema.schema_of("events")["$defs"].values()
    known = {each for one in kinds for each in one["properties"].get("event", {}).get("enum", ())}
    assert {line["event"] for line in told} == known
    assert [line["seq"] for line in told] == list(range(1, len(told) + 1))


def test_a_line_of_no_known_kind_is_refused(tmp_path: Path) -> None:
    with streamed(tmp_path) as (stream, lines):
        play(stream)
        told = lines()
    assert refused("events", {**told[0], "event": "suite-began"}, closed=False) != []


def test_each_line_is_there_while_the_command_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "events.ndjson"

    def there(*kinds: str) -> None:
        wait_until_sync(
            lambda: [line["event"] for line in lines_in(path)] == list(kinds),
            what=f"{kinds} in the stream",
            deadline_seconds=10,
        )

    with streamed(tmp_path) as (stream, _):
        stream.scenario_started("run-1", samples.SCENARIO)
        there("run-started")
        stream.step("run-1", 3, "steady state", 0)
        there("run-started", "step")


def test_a_reader_that_takes_nothing_holds_nobody_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("harness.report.stream.PATIENCE_SECONDS", 0.1)
    reader, writer = os.pipe()
    stderr = io.StringIO()
    stream = EventStream(writer, stderr)
    for _ in range(50):
        play(stream)
    stream.close()
    assert "nobody read the last events" in stderr.getvalue()
    os.close(reader)


def test_a_step_is_told_once_and_progress_seldom(tmp_path: Path) -> None:
    with streamed(tmp_path) as (stream, lines):
        stream.scenario_started("run-1", samples.SCENARIO)
        stream.step("run-1", 4, "load", 0)
        for events in range(1, 200):
            stream.step("run-1", 4, "load", events)
        kinds = [line["event"] for line in lines()]
    assert kinds.count("step") == 1
    assert 1 <= kinds.count("progress") < 100


def test_a_run_that_is_played_again_is_announced(tmp_path: Path) -> None:
    with streamed(tmp_path) as (stream, lines):
        stream.scenario_started("run-1", samples.SCENARIO)
        stream.step("run-1-again", 1, "validate", 0)
        stream.step("run-1-again-again", 1, "validate", 0)
        started = [(line["run"], line["again"]) for line in lines() if line["event"] == "run-started"]
    assert started == [("run-1", False), ("run-1-again", True), ("run-1-again-again", True)]


def test_a_finding_names_the_first_events_and_how_many_there_are(tmp_path: Path) -> None:
    with streamed(tmp_path) as (stream, lines):
        stream.scenario_finished(samples.result_of(samples.lost(count=30)))
        finding, finished = lines()
    assert (finding["events"], len(finding["event_ids"])) == (30, 20)
    assert (finished["event"], finished["verdict"], finished["findings"]) == ("run-finished", "FAIL", 1)


def test_a_reader_that_goes_away_ends_the_stream_and_nothing_else() -> None:
    reader, writer = os.pipe()
    stderr = io.StringIO()
    stream = EventStream(writer, stderr)
    stream.scenario_started("run-1", samples.SCENARIO)
    os.close(reader)
    play(stream)
    stream.close()
    assert stderr.getvalue().count("the event stream ends here") == 1


def test_a_place_that_cannot_be_written_is_said_before_anything_is_played(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"--events .*no-such-folder.* cannot be written"):
        open_stream(str(tmp_path / "no-such-folder" / "events.ndjson"))


@pytest.mark.parametrize(
    ("error", "said", "code"),
    [
        (UsageError("No scenario matches."), "No scenario matches.", 2),
        (SystemExit(143), "ended by a signal", 143),
        (KeyboardInterrupt(), "ended by Ctrl-C", 130),
        (ZeroDivisionError("by zero"), "the harness itself failed: ZeroDivisionError: by zero", 3),
        (asyncio.CancelledError(), "the harness itself failed: CancelledError: ", 3),
    ],
)
def test_what_breaks_a_command_off_is_told(error: BaseException, said: str, code: int) -> None:
    assert reason_of(error) == (said, code)
