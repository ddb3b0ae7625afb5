"""``harness run --keep``: what did not pass stays up as a lab, as it was judged; what passed or broke off is gone."""

from __future__ import annotations

import json
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness._wait import wait_until_sync
from harness.events import FaultMark, FaultStep, FinalRead, Invoke, PhaseMark
from harness.history import FILE_NAME, read_history
from harness.values import Phase
from tests.integration.lab_bench import ROOT, Bench, bench

SCENARIO = """
from harness.faults.noop import NoopDetach
from harness.faults.partition import DetachPartition
from harness.scenario import Load, Scenario
from harness.schedule import Schedule
from harness.values import Month

DECEMBER, JANUARY = Month(2025, 12), Month(2026, 1)
SCENARIO = Scenario(
    name="quick", claim="It holds.", requirements=(), load=Load(months=(DECEMBER, JANUARY)),
    schedule=Schedule.of({fault}), min_strict_events=20,
)
"""
BITES, NEVER_BITES = "DetachPartition(months=(DECEMBER,))", "NoopDetach(month=DECEMBER)"


@pytest.fixture
def user() -> Iterator[Bench]:
    """A user without any lab, with a scenario and a target that claims a smaller pool than its service has."""
    with bench() as made:
        (made.place / "quick.py").write_text(SCENARIO.format(fault=BITES))
        (made.place / "never.py").write_text(SCENARIO.format(fault=NEVER_BITES))
        text = (ROOT / "harness/targets/reference.toml").read_text().replace("{root}/../..", str(ROOT))
        assert "db_pool_max = 25" in text
        (made.place / "smaller.toml").write_text(text.replace("db_pool_max = 25", "db_pool_max = 24"))
        yield made


def arguments(user: Bench, scenario: str = "quick.py", *more: str) -> tuple[str, ...]:
    return ("run", "--scenarios", str(user.place / scenario), "--reports", str(user.reports), "--keep", *more)


def run_folder(user: Bench) -> Path:
    """The run that counts: one that was measured again counts by the second."""
    folders = sorted(path.parent for path in user.reports.glob(f"*-quick-*/{FILE_NAME}"))
    return [folder for folder in folders if not folder.name.endswith("-kept")][-1]


def test_what_failed_is_kept_as_it_was_judged_and_can_be_broken_again(user: Bench) -> None:
    played = user.harness(*arguments(user, "quick.py", "--target", str(user.place / "smaller.toml")))
    assert played.returncode == 1, played.stdout + played.stderr
    for needed in ("FAIL quick", "kept: the environment of quick", "lab quick is up", "harness lab down --name quick"):
        assert needed in played.stdout
    back = "harness lab inject detach-partition --partition 2025_12 --name quick"
    assert back in played.stdout
    assert user.listed() == {"quick": "up"}

    status = user.status()
    assert (status["load"], status["faults"], status["queue"]["depth"]) == (None, [], 0)
    rows = {table["name"]: table["rows"] for table in status["tables"]}
    folder = run_folder(user)
    of_run = [record.op for record in read_history(folder) if isinstance(record, Invoke)]
    assert rows["audit_events_2025_12"] > 20
    judged = (folder / FILE_NAME).read_bytes()

    user.lab(*back.split()[2:])
    user.lab("load", "--for", "3s", "--month", "2025_12")
    user.wait_sent(status["answers"]["202"] + 5, "202")
    assert user.status()["faults"][0]["number"] == 1, "the run's own fault was the first"
    user.lab("heal")
    user.lab("check", "--no-wait", code=1)
    (checked,) = user.reports.glob("*-check-*")
    records = read_history(checked)
    sent = [record.op for record in records if isinstance(record, Invoke)]
    assert len(set(sent)) == len(sent) > len(of_run), "what the run sent, and what came after it"
    assert sum(isinstance(record, FinalRead) for record in records) == 1
    assert [record.phase for record in records if isinstance(record, PhaseMark)] == list(Phase)
    healed = [record.fault for record in records if isinstance(record, FaultMark) and record.step is FaultStep.PROBED]
    assert healed == [0, 1]
    said = json.loads((checked / "result.json").read_text())
    assert not [check for check in said["checks"] if check["checker"] == "conservation" and check["verdict"] == "FAIL"]

    user.lab("down")
    user.assert_nothing_left()
    assert (folder / FILE_NAME).read_bytes() == judged, "what was judged stays as it was judged"
    again = user.harness("check", folder.name, "--reports", str(user.reports))
    assert again.returncode == 1


def test_what_proved_nothing_is_kept_as_well(user: Bench) -> None:
    stream = user.place / "events.ndjson"
    played = user.harness(*arguments(user, "never.py", "--events", str(stream)))
    assert played.returncode == 3, played.stdout + played.stderr
    assert user.listed() == {"quick": "up"}
    last = json.loads(stream.read_text(encoding="utf-8").splitlines()[-1])
    assert (last["event"], last["exit_code"]) == ("suite-finished", 3), "the lab lives on, and the stream has its end"
    assert (user.reports / "latest" / "junit.xml").exists()
    user.lab("down", "--all")
    user.assert_nothing_left()


def test_what_passed_leaves_nothing(user: Bench) -> None:
    played = user.harness(*arguments(user))
    assert played.returncode == 0, played.stdout + played.stderr
    assert "PASS quick" in played.stdout
    assert user.listed() == {}
    user.assert_nothing_left()


def test_a_slip_of_the_command_line_is_told_as_ever(user: Bench) -> None:
    played = user.harness("run", "no-such-scenario", "--keep", "--reports", str(user.reports))
    assert played.returncode == 2
    assert "There is no scenario named 'no-such-scenario'" in played.stderr


def started(user: Bench) -> subprocess.Popen[str]:
    """A run with ``--keep`` in mid-fault."""
    process = subprocess.Popen(
        user.command(*arguments(user)),
        cwd=ROOT,
        env=user.variables,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )

    def bites() -> bool:
        assert process.poll() is None, process.communicate()
        for path in user.reports.glob(f"*/{FILE_NAME}"):
            marks = [record.step for record in read_history(path.parent) if isinstance(record, FaultMark)]
            if FaultStep.CONFIRMED in marks:
                return True
        return False

    wait_until_sync(bites, what="a fault that bites", deadline_seconds=90, interval_seconds=0.1)
    return process


def test_ctrl_c_heals_and_ends_everything_and_keeps_nothing(user: Bench) -> None:
    process = started(user)
    process.send_signal(signal.SIGINT)
    said, _ = process.communicate(timeout=90)
    assert process.returncode == 130, said
    assert "Traceback" not in said
    marks = [record.step for record in read_history(run_folder(user)) if isinstance(record, FaultMark)]
    assert FaultStep.HEALED in marks
    assert user.listed() == {}
    user.assert_nothing_left()


def test_what_plays_ends_with_whoever_started_it(user: Bench) -> None:
    process = started(user)
    process.kill()
    process.communicate(timeout=90)
    user.assert_nothing_left()
    assert user.listed() == {}
