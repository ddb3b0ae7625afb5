"""Secrets where environments are written down, and in logs that a killed process left: by name, whatever the value."""

from __future__ import annotations

import asyncio
import dataclasses
import json
from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from click.testing import CliRunner

from harness import events as ev
from harness.cli import cli
from harness.concealing import conceal, secrets_left
from harness.discovery import load_scenarios, with_own_secrets
from harness.dryrun import lines_of
from harness.errors import SetupError, UsageError
from harness.history import FILE_NAME, Clock
from harness.jsonlines import encode
from harness.lab.recording import source_of, unwritten
from harness.lab.snapshot import started_as
from harness.redaction import GUESSED, given_back, kept_back
from harness.report import base
from harness.results import RunResult
from harness.rundata import Run, build_run
from harness.runner import RunObserver, RunPlan, run_scenario, run_started
from harness.scenario import Scenario, retold
from harness.session import REFERENCE_TARGET
from harness.stacks.base import Environment
from harness.targets.model import load_target
from tests.unit import report_samples as samples
from tests.unit import stored_samples

SECRETS = {
    "API_TOKEN": "planted-secret-token",
    "POSTGRES_PASSWORD": "postgres",
    "AUDIT_KEY": "audit_events",
    "CARD_SECRET": "1234567890123456",
    "PIN_SECRET": "1234",
}
PLAIN = {"DLQ_MAX_EVENTS": "120", "TOKEN_FILE": "tokens.txt", "EMPTY_TOKEN": ""}
IN_A_URL = {"UPSTREAM": "https://me:planted-url-password@upstream/x"}
WITH_SECRETS = dataclasses.replace(samples.SCENARIO, service_environment={**SECRETS, **PLAIN, **IN_A_URL})
KEPT_BACK = {**dict.fromkeys(SECRETS, GUESSED), **PLAIN, "UPSTREAM": f"https://me:{GUESSED}@upstream/x"}
VALUES = ("planted-secret-token", "planted-url-password", "1234567890123456")


def without_values(text: str) -> bool:
    return not [value for value in VALUES if value in text]


def environment_in(scenario_json: str) -> Any:
    return json.loads(scenario_json)["service_environment"]


def test_what_is_named_like_a_secret_is_kept_back_whatever_its_value_is_and_given_back() -> None:
    told = kept_back(WITH_SECRETS.service_environment)
    assert told == KEPT_BACK
    assert kept_back(told) == told
    assert given_back(told, WITH_SECRETS.service_environment) == WITH_SECRETS.service_environment
    assert given_back(told, {"API_TOKEN": "x", "DLQ_MAX_EVENTS": "7"}) == {**KEPT_BACK, "API_TOKEN": "x"}


def test_no_first_record_tells_a_secret_of_the_service_and_it_can_still_be_replayed(tmp_path: Path) -> None:
    target = load_target(REFERENCE_TARGET)
    plan = RunPlan("run", tmp_path, WITH_SECRETS, target, 7, "")
    environment = cast("Environment", SimpleNamespace(database=SimpleNamespace(version_num=180000)))
    first = run_started(plan, Clock(), environment)
    of_lab = started_as(first, WITH_SECRETS)
    for record in (first, of_lab):
        assert environment_in(record.scenario_json) == KEPT_BACK
        assert without_values(encode(record))
    source = source_of(dataclasses.replace(WITH_SECRETS, schedule=samples.SCENARIO.schedule), "As it was.")
    (tmp_path / "own.py").write_text(source)
    assert with_own_secrets(Scenario.from_json(of_lab.scenario_json), tmp_path) == WITH_SECRETS


def test_a_history_of_an_earlier_version_is_shown_without_what_it_tells(tmp_path: Path) -> None:
    sample = samples.started()
    first = cast("ev.RunStarted", sample.records[0])
    sample.records[0] = dataclasses.replace(first, scenario_json=json.dumps(WITH_SECRETS.to_json()))
    run: Run = build_run([*sample.records, ev.PhaseMark(0.2, "before")])
    base.write_all(dataclasses.replace(samples.result_of(), scenario=WITH_SECRETS), run, tmp_path)
    assert environment_in(_scenario(tmp_path)) == KEPT_BACK
    assert "The scenario as it was played" in (tmp_path / "report.html").read_text()
    assert all(without_values(path.read_text()) for path in tmp_path.iterdir() if path.is_file())


def _scenario(folder: Path) -> str:
    return json.dumps(json.loads((folder / "result.json").read_text())["scenario"])


def test_a_result_without_a_history_tells_no_secret_either(tmp_path: Path) -> None:
    result = dataclasses.replace(samples.result_of(setup_error="no"), scenario=WITH_SECRETS)
    base.write_all(result, None, tmp_path)
    assert environment_in(_scenario(tmp_path)) == KEPT_BACK


def test_what_is_no_scenario_is_shown_as_it_is() -> None:
    assert retold("[1]") == [1]
    assert retold('{"service_environment": {"A_TOKEN": 5, "N": 1}}') == {
        "service_environment": {"A_TOKEN": GUESSED, "N": "1"}
    }
    with pytest.raises(ValueError, match="Expecting property name"):
        retold("{")


def test_a_dry_run_tells_the_names_alone() -> None:
    said = "\n".join(lines_of(WITH_SECRETS, load_target(REFERENCE_TARGET)))
    assert f"API_TOKEN={GUESSED}" in said
    assert "DLQ_MAX_EVENTS=120" in said
    assert without_values(said)


def test_a_recording_has_the_names_of_secrets_and_says_so(tmp_path: Path) -> None:
    told = Scenario.from_json(json.dumps(WITH_SECRETS.told_json()))
    path = tmp_path / "recorded.py"
    path.write_text(source_of(told, "As it was."))
    assert without_values(path.read_text())
    assert load_scenarios(path).get(WITH_SECRETS.name).service_environment == KEPT_BACK
    notes = unwritten(WITH_SECRETS)
    assert [note.split()[3] for note in notes] == [*SECRETS, "UPSTREAM"]
    assert notes[0] == "the value of API_TOKEN is a secret and not written down; set API_TOKEN where you replay it"


class Asked:
    """A stack that only writes down which variables it was to give the service."""

    name = "asked"

    def __init__(self) -> None:
        self.overrides: list[Mapping[str, str]] = []

    def environment(self, *_: object, **asked: Any) -> AbstractAsyncContextManager[Environment]:
        self.overrides.append(asked["environment_overrides"])
        raise SetupError("enough was seen")


def play(folder: Path, scenario: Scenario, stack: Asked) -> RunResult:
    async def never(*_: object) -> RunResult:
        raise AssertionError("there is nothing to judge")

    plan = RunPlan("run", folder, scenario, load_target(REFERENCE_TARGET), 7, "")
    return asyncio.run(run_scenario(plan, stack, RunObserver(), never))


def test_what_was_kept_back_is_taken_from_the_environment_and_refused_without(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scenario = dataclasses.replace(samples.SCENARIO, service_environment={"A_TOKEN": GUESSED, "SIZE": "1"})
    stack = Asked()
    monkeypatch.delenv("A_TOKEN", raising=False)
    refused = play(tmp_path / "1", scenario, stack)
    assert "without the value of A_TOKEN for its service; set a variable of that name" in refused.setup_error
    assert stack.overrides == []
    monkeypatch.setenv("A_TOKEN", "planted-secret-token")
    assert "enough was seen" in play(tmp_path / "2", scenario, stack).setup_error
    assert stack.overrides == [{"A_TOKEN": "planted-secret-token", "SIZE": "1"}]


def test_a_replay_without_a_file_of_its_scenario_takes_the_values_from_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stored = dataclasses.replace(samples.SCENARIO, name="lab-mine", service_environment={"A_TOKEN": GUESSED})
    monkeypatch.delenv("A_TOKEN", raising=False)
    with pytest.raises(UsageError, match=r"no folder of scenarios.*without the value of A_TOKEN.*set a variable"):
        with_own_secrets(stored, tmp_path / "gone")
    monkeypatch.setenv("A_TOKEN", "planted-secret-token")
    assert with_own_secrets(stored, tmp_path / "gone") is stored


def killed(place: Path, environment: Mapping[str, str]) -> Path:
    """The folder of a run whose runner was killed: a history that names target and scenario, and a log."""
    target = place / "target.toml"
    target.write_text(
        'name = "mine"\n[launch]\ncommand = ["x"]\n[launch.environment]\nDB_PASS = "correct-horse-battery-staple"\n'
        'UPSTREAM = "https://u:planted-in-target@h"\n[tokens]\nadmin = "planted"\n'
    )
    scenario = dataclasses.replace(samples.SCENARIO, service_environment=dict(environment))
    first = cast("ev.RunStarted", samples.started().records[0])
    begun = dataclasses.replace(first, scenario_json=json.dumps(scenario.told_json()), target_path=str(target))
    folder = place / "run"
    folder.mkdir()
    (folder / FILE_NAME).write_text(f'{encode(begun)}\n{{"record": "Inv')
    return folder


def test_logs_of_a_killed_run_are_redacted_by_what_its_target_and_its_scenario_say(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CALLER_KEY", "my-super-secret-password")
    folder = killed(tmp_path, {"API_TOKEN": "planted-of-scenario"})
    (tmp_path / "scenarios").mkdir()
    own = dataclasses.replace(samples.SCENARIO, service_environment={"API_TOKEN": "planted-of-scenario"})
    (tmp_path / "scenarios" / "own.py").write_text(source_of(own, "Mine."))
    told = ("correct-horse-battery-staple", "planted-in-target", "planted", "my-super-secret-password")
    (folder / "service.log").write_text("\n".join(f"I know {secret}" for secret in (*told, "planted-of-scenario")))
    conceal(folder)
    assert (folder / "service.log").read_text().splitlines() == ["I know ***"] * 5


@pytest.mark.parametrize("spoilt", ["target.toml", "run/history.jsonl"])
def test_what_cannot_be_read_any_more_leaves_the_environment_and_the_shapes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, spoilt: str
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CALLER_KEY", "my-super-secret-password")
    folder = killed(tmp_path, {"API_TOKEN": "planted-of-scenario"})
    (tmp_path / spoilt).write_text("[")
    (folder / "service.log").write_text("my-super-secret-password\nAPI_TOKEN=planted of scenario\n")
    conceal(folder)
    assert (folder / "service.log").read_text() == "***\nAPI_TOKEN=***\n"
    assert GUESSED not in secrets_left(folder).guessed


def test_a_check_redacts_the_logs_by_the_target_that_the_history_names(tmp_path: Path) -> None:
    target = tmp_path / "target.toml"
    target.write_text('name = "t"\n[launch]\ncommand = ["x"]\n[launch.environment]\nA_KEY = "correct-horse-battery"\n')
    folder = stored_samples.store(tmp_path, "20260201-000000-mine-aaaa")
    history = folder / FILE_NAME
    lines = history.read_text().splitlines()
    lines[0] = json.dumps({**json.loads(lines[0]), "target_path": str(target)})
    history.write_text("\n".join(lines) + "\n")
    (folder / "service.log").write_text("it was correct-horse-battery\nGITHUB_PAT=planted\n")
    CliRunner().invoke(cli, ["check", folder.name, "--reports", str(tmp_path)])
    assert (folder / "result.json").exists()
    assert (folder / "service.log").read_text() == "it was ***\nGITHUB_PAT=***\n"


def test_a_page_keeps_its_own_words_whatever_stands_in_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    word = "border-radius"
    assert word in base._assets()
    monkeypatch.setenv("STYLE_KEY", word)
    monkeypatch.setenv("API_TOKEN", "planted-secret-token")
    page = base.write_text(tmp_path / "x.html", f"{word} planted-secret-token").read_text()
    told = base.write_text(tmp_path / "x.json", f"{word} planted-secret-token").read_text()
    assert (page, told) == (f"{word} ***", "*** ***")
