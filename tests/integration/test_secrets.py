"""A password or token planted anywhere in a run's surroundings is in no file of its reports, however it ends."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import duckdb
import pytest

from harness._wait import wait_until_sync
from harness.columnar import convert
from harness.events import Complete
from harness.history import FILE_NAME, read_history
from harness.redaction import GUESSED, spellings
from harness.session import REFERENCE_TARGET
from harness.stacks.embedded import EmbeddedStack
from harness.targets.model import load_target
from tests.integration.commands import ROOT, command, harness, open_place, quick_options, write_quick
from tests.integration.lab_bench import bench

CALLER = {
    "PLANTED_API_TOKEN": "pl4nted-of-caller",
    "SOME_SECRET": 'q"uoted <pl4nted> & ünique',
    "UPSTREAM": "https://me:pl4nted%2Din-url@upstream/x",
    "PGPASSWORD": "pl4nted-pgpassword",
    "DATABASE_URL": "postgresql://me:pl4nted-database-url@elsewhere/db",
    "WORDY_CALLER_PAT": "planted-secret-token",
    "CARD_SECRET": "1234567890123456",
}
TARGET = {
    "PARTNER_PASSWORD": "pl4nted-of-target",
    "PARTNER": "https://u:pl4nted-partner@partner/x",
    "ADMIN_TOKEN": "pl4nted-admin-token",
    "METRICS_TOKEN": "pl4nted-metrics-token",
    "WORDY_TARGET_PASS": "correct-horse-battery-staple",
}
SCENARIO = {"SCENARIO_PASSPHRASE": "pl4nted of scenario 1", "SECRET_KEY": "my-super-secret-password"}
LAB = {"LAB_TOKEN": "planted-lab-token", "LAB_UPSTREAM": "https://me:planted-lab-url@upstream/x"}
PLANTED = (
    *(CALLER[name] for name in ("PLANTED_API_TOKEN", "SOME_SECRET", "PGPASSWORD", "WORDY_CALLER_PAT", "CARD_SECRET")),
    *("pl4nted%2Din-url", "pl4nted-in-url", "pl4nted-database-url"),
    *(TARGET[name] for name in ("PARTNER_PASSWORD", "ADMIN_TOKEN", "METRICS_TOKEN", "WORDY_TARGET_PASS")),
    *("pl4nted-partner", *SCENARIO.values(), LAB["LAB_TOKEN"], "planted-lab-url"),
)
PRINTED = (
    *("PLANTED_API_TOKEN", "SOME_SECRET", "WORDY_CALLER_PAT", "CARD_SECRET", "PARTNER_PASSWORD", "ADMIN_TOKEN"),
    *("WORDY_TARGET_PASS", *SCENARIO),
)
"""Variables that a service prints, each on a line of its own."""


@pytest.fixture
def place() -> Iterator[Path]:
    with open_place("secrets-test-") as path:
        write_quick(path, **SCENARIO)
        yield path


def write_target(place: Path, script: str) -> str:
    """A target whose service begins by telling all that it knows."""
    text = REFERENCE_TARGET.read_text(encoding="utf-8").replace("{root}/../..", str(ROOT))
    text = text.replace('["{python}", "-m", "service"]', json.dumps(["sh", "-c", script]))
    planted = "".join(f"{name} = {json.dumps(value)}\n" for name, value in TARGET.items())
    text = text.replace("[launch.environment]\n", f"[launch.environment]\n{planted}")
    text += f'\n[tokens]\nadmin = "{TARGET["ADMIN_TOKEN"]}"\nmetrics = "{TARGET["METRICS_TOKEN"]}"\n'
    path = place / "target.toml"
    path.write_text(text, encoding="utf-8")
    return str(path)


def of_the_database() -> tuple[str, ...]:
    """The passwords that the harness itself gave PostgreSQL's roles."""
    return EmbeddedStack().prepare(load_target(REFERENCE_TARGET)).template.passwords


def leaks(reports: Path) -> list[str]:
    """Files below the reports, with the secret that each holds in any spelling, Parquet and names included."""
    secrets = [one.encode() for one in spellings((*PLANTED, *of_the_database()))]
    found = []
    for path in sorted(path for path in reports.rglob("*") if path.is_file()):
        data = path.read_bytes() + path.name.encode()
        if path.suffix == ".parquet":
            rows = duckdb.execute("SELECT * FROM read_parquet(?)", [str(path)]).fetchall()
            data += repr(rows).encode()
        found += [f"{path.relative_to(reports)}: {secret!r}" for secret in secrets if secret in data]
    return found


def test_no_planted_secret_is_in_any_file_of_a_run_whose_service_prints_all_of_them(place: Path) -> None:
    target = write_target(place, "env; echo Authorization: Bearer $ADMIN_TOKEN; exec {python} -m service")
    reports = place / "r"
    reports.mkdir()
    step, stream = reports / "step.md", reports / "events.ndjson"
    options = (*quick_options(place), "--target", target, "--events", str(stream))
    result = harness(place, "run", *options, **CALLER, GITHUB_STEP_SUMMARY=str(step))
    assert result.returncode == 1, result.stdout + result.stderr
    assert "log lines hold a credential" in result.stdout
    (log,) = reports.glob("*/service.log")
    printed = log.read_text(encoding="utf-8").splitlines()
    for name in PRINTED:
        assert f"{name}=***" in printed, "it did print it"
    assert "PARTNER=https://u:***@partner/x" in printed
    assert any(line.startswith("DATABASE_URL=postgresql://slm_user:***@127.0.0.1:") for line in printed)
    told = json.loads((log.parent / "result.json").read_text(encoding="utf-8"))["scenario"]["service_environment"]
    assert told == dict.fromkeys(SCENARIO, GUESSED)
    convert.columns_of(log.parent)
    assert list(reports.rglob("*.parquet"))
    for path in (step, stream, log.with_name("summary.md"), log.with_name("junit.xml"), log.with_name("report.html")):
        assert path.stat().st_size
    assert leaks(reports) == []
    again = harness(place, "check", "last", "--reports", str(reports), **CALLER)
    assert again.returncode == 1, again.stdout + again.stderr
    assert leaks(reports) == []
    assert not [secret for secret in PLANTED if secret in result.stdout + result.stderr + again.stdout]


def test_no_planted_secret_is_told_of_a_service_that_does_not_start(place: Path) -> None:
    target = write_target(place, "env; echo the dsn was $DATABASE_URL; exit 3")
    result = harness(place, "run", *quick_options(place), "--target", target, **CALLER)
    assert result.returncode == 2, result.stdout + result.stderr
    (log,) = (place / "r").glob("*/service.log")
    printed = log.read_text(encoding="utf-8").splitlines()
    for name in PRINTED:
        assert f"{name}=***" in printed, "it did print it"
    assert leaks(place / "r") == []
    said = result.stdout + result.stderr
    assert "the dsn was postgresql://slm_user:***@" in said
    assert not [secret for secret in (*PLANTED, *of_the_database()) if secret in said]


def test_a_killed_runners_logs_are_redacted_when_its_run_is_judged(place: Path) -> None:
    target = write_target(place, "env; exec {python} -m service")
    line, environment = command(place, "run", *quick_options(place), "--target", target, **CALLER)
    process = subprocess.Popen(
        line, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )

    def answered() -> Path | None:
        assert process.poll() is None, process.communicate()
        for history in (place / "r").glob(f"*/{FILE_NAME}"):
            if sum(isinstance(record, Complete) for record in read_history(history.parent)) > 20:
                return history.parent
        return None

    folder = wait_until_sync(answered, what="answers", deadline_seconds=90, interval_seconds=0.1)
    process.kill()
    process.communicate()
    assert CALLER["PLANTED_API_TOKEN"] in (folder / "service.log").read_text(encoding="utf-8"), "nobody was left to"
    judged = harness(place, "check", folder.name, "--reports", str(place / "r"), **CALLER)
    assert judged.returncode == 3, judged.stdout + judged.stderr
    printed = (folder / "service.log").read_text(encoding="utf-8").splitlines()
    assert [name for name in PRINTED if f"{name}=***" not in printed] == []
    assert leaks(place / "r") == []


def test_no_secret_of_a_lab_is_in_its_files_or_its_recording_and_a_kill_leaves_none_in_its_logs() -> None:
    with bench() as user:
        target = write_target(user.place, "env; exec {python} -m service")
        given = [part for name, value in LAB.items() for part in ("--service-env", f"{name}={value}")]
        user.lab("up", "--target", target, *given)
        user.lab("load", "--for", "2s")
        user.wait_sent(20)
        user.lab("check", "--no-wait", code=None)
        recorded = user.place / "mine.py"
        assert "set LAB_TOKEN where you replay it" in user.lab("record", str(recorded))
        assert f'"LAB_TOKEN": "{GUESSED}"' in recorded.read_text(encoding="utf-8")
        assert "planted-lab" not in recorded.read_text(encoding="utf-8")
        (folder,) = (path for path in user.reports.glob("*-lab-lab-*") if "-check-" not in path.name)
        os.kill(user.pid(), signal.SIGKILL)
        assert LAB["LAB_TOKEN"] in (folder / "service.log").read_text(encoding="utf-8"), "nobody was left to"
        user.lab("down")
        printed = (folder / "service.log").read_text(encoding="utf-8").splitlines()
        assert {"LAB_TOKEN=***", "WORDY_TARGET_PASS=***", "LAB_UPSTREAM=https://me:***@upstream/x"} <= set(printed)
        assert list(user.reports.glob("*-check-*/report.html"))
        assert leaks(user.reports) == []
        refused = user.harness("run", "mine", "--scenarios", str(recorded), "--reports", str(user.reports))
        assert refused.returncode == 2, refused.stdout + refused.stderr
        assert "without the value of LAB_TOKEN, LAB_UPSTREAM for its service" in refused.stdout + refused.stderr
