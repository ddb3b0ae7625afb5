"""A lab as its users meet it: broken and mended by hand from any terminal, judged like a run, and gone when it ends."""

from __future__ import annotations

import json
import os
import signal
import socket
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness._wait import wait_until_sync
from harness.events import FaultMark, FaultStep, RunStarted
from harness.history import read_history
from harness.lab.client import ask_folder
from harness.lab.protocol import Access, AskAccess
from harness.lab.state import LabFolder
from harness.ledger import FOLDER, Ledger
from tests.hearing import hearing
from tests.integration.lab_bench import ROOT, Bench, bench


@pytest.fixture
def user() -> Iterator[Bench]:
    """A user without any lab."""
    with bench() as made:
        yield made


def december(status: dict[str, object]) -> dict[str, object]:
    tables = status["tables"]
    assert isinstance(tables, list)
    found: dict[str, object] = next(table for table in tables if table["name"] == "audit_events_2025_12")
    return found


def ended_watch(user: Bench, by: signal.Signals) -> int:
    """Watch a lab until a signal, and return the exit code."""
    watch = subprocess.Popen(
        hearing("lab", "status", "--watch"), cwd=ROOT, env=user.variables, stdout=subprocess.PIPE, text=True
    )
    try:
        assert watch.stdout is not None
        assert watch.stdout.readline().startswith("lab lab: ")
        watch.send_signal(by)
        watch.communicate(timeout=30)
    finally:
        watch.kill()
    return watch.returncode


def verdict_in(folder: Path) -> str:
    return str(json.loads((folder / "result.json").read_text())["verdict"])


def test_december_is_broken_by_hand_looked_at_mended_judged_recorded_and_replayed(user: Bench, tmp_path: Path) -> None:
    said = user.lab("up", "--seed", "7")
    for needed in ("lab lab is up", "psql", "curl -s http://127.0.0.1:", "tail -f", "harness lab down"):
        assert needed in said
    # Another terminal, in another folder, sees the same lab.
    assert "lab lab: reference, up " in user.harness("lab", "status", cwd=tmp_path).stdout
    before = user.status()
    assert (december(before)["attached"], before["faults"], before["queue"]["depth"]) == (True, [], 0)
    socket_path = next(user.place.glob("ph-*/lab/socket"))
    assert stat.S_IMODE(socket_path.stat().st_mode) == 0o600
    assert stat.S_IMODE(socket_path.parent.stat().st_mode) == 0o700

    assert "load on for 300 s: 150 events a second" in user.lab(
        "load", "--for", "5m", "--rate", "150", "--month", "2025-12", "--month", "2026_01"
    )
    user.wait_sent(700)
    said = user.lab("inject", "detach-partition", "--partition", "2025_12")
    assert "detach-partition months=2025_12 bites: " in said
    assert "23514" in said
    assert "UNKNOWN" not in said, "there was control enough"
    user.wait_sent(50, "202")
    broken = user.status()
    assert december(broken)["attached"] is False
    assert broken["queue"]["depth"] > 0
    assert [fault["name"] for fault in broken["faults"]] == ["detach-partition"]
    assert "is on already" in user.lab("inject", "detach-partition", "--partition", "2025_12", code=2)

    user.wait_sent(450, "202")
    assert "healed, and a probe sees health" in user.lab("heal", "detach-partition")
    assert "no fault is on" in user.lab("heal")
    said = user.lab("check")
    assert "PASS lab-lab" in said
    mended = user.status()
    assert (december(mended)["attached"], mended["queue"]["depth"], mended["faults"]) == (True, 0, [])

    rows = user.lab("psql", "--", "-AtXc", "SELECT count(*) > 0 FROM audit_events_2025_12")
    assert rows.strip() == "t"
    assert "DLQ fallback activated for partition 2025_12" in user.lab("logs", "-n", "100000")

    recorded = tmp_path / "by_hand.py"
    said = user.lab("record", str(recorded), "--max-gap", "3s")
    assert f"harness run by-hand --scenarios {recorded}" in said
    assert "is there already" in user.lab("record", str(recorded), code=2)
    assert "ends; its history stays in" in user.lab("down")
    user.assert_nothing_left()

    replayed = user.harness("run", "by-hand", "--scenarios", str(recorded), "--reports", str(user.reports))
    assert replayed.returncode == 0, replayed.stdout + replayed.stderr
    (checked,) = [path for path in user.reports.glob("*-check-*") if verdict_in(path) == "PASS"]
    judged = user.harness("check", checked.name, "--reports", str(user.reports))
    assert judged.returncode == 0, "a check of the lab is a run like any other"


def test_what_was_done_is_on_disk_as_of_every_run_and_no_password_is(user: Bench) -> None:
    user.lab("up")
    user.lab("inject", "latency", "--set", "delay_ms=20")
    (folder,) = user.reports.glob("*-lab-lab-*")
    password = ask_folder(LabFolder(user.labs / "lab"), AskAccess(), Access, print).password
    assert len(password) > 8
    user.lab("load", "--for", "2s")
    user.wait_sent(20)
    assert "latency was never healed" in user.lab("check", "--no-wait", code=3)
    ledger = Ledger(folder / FOLDER)
    assert [entry.fault["fault"] for entry in ledger.entries()] == ["latency"]
    assert "is a lab that lives as process" in user.harness("heal", "--reports", str(user.reports)).stdout
    user.lab("down")
    records = read_history(folder)
    assert isinstance(records[0], RunStarted)
    steps = [record.step for record in records if isinstance(record, FaultMark)]
    assert FaultStep.CONFIRMED in steps
    assert FaultStep.HEALED in steps, "what was on is undone first: some faults are at work in the daemon itself"
    assert ledger.record is not None
    assert not ledger.record.open
    stored = [path for path in user.reports.rglob("*") if path.is_file()]
    assert any(path.name == "report.html" for path in stored)
    assert not [path for path in stored if password.encode() in path.read_bytes()]
    user.assert_nothing_left()


def test_a_fault_that_does_not_bite_is_undone_and_slips_are_said(user: Bench) -> None:
    user.lab("up")
    said = user.lab("inject", "noop-detach", "--partition", "2025_12", code=3)
    assert "noop-detach did not bite" in said
    assert "It was undone." in said
    assert user.status()["faults"] == []
    assert "did you mean detach-partition" in user.lab("inject", "detach-partitoin", code=2)
    assert "not one of a partition" in user.lab(
        "inject", "latency", "--partition", "2025_12", "--set", "delay_ms=1", code=2
    )
    assert "HARNESS_CLOCK" in user.lab("inject", "shift-clock", "--set", "days=1", code=2)
    assert "does not list 2031_05" in user.lab("load", "--month", "2031-05", code=2)
    assert "No load was on so far" in user.lab("record", str(user.place / "x.py"), code=2)
    assert "No fault 'latency' is on" not in user.lab("heal", "latency"), "with nothing on there is nothing to miss"
    user.lab("inject", "latency", "--set", "delay_ms=20")
    user.lab("inject", "detach-partition", "--partition", "2025_12")
    assert "2 faults are on: 1 (latency), 2 (detach-partition)" in user.lab("heal", code=2)
    assert "No fault 'lock-partition' is on" in user.lab("heal", "lock-partition", code=2)
    assert user.lab("heal", "--all").count("healed, and a probe sees health") == 2
    user.lab("inject", "stop-database")
    said = user.lab("status")
    assert "tables    cannot be read: " in said, "a database that is down is no reason to see nothing"
    assert "stop-database mode=fast, on for" in said
    assert user.lab("heal").count("healed") == 1
    assert user.status()["database_problem"] == ""
    user.lab("check", "--no-wait", code=3)
    user.lab("down")
    user.assert_nothing_left()


def test_a_fault_that_cannot_be_healed_is_1_until_it_can(user: Bench) -> None:
    user.lab("up")
    user.lab("inject", "detach-partition", "--partition", "2025_12")
    # Without its table the month cannot be attached again.
    user.lab("psql", "--", "-qXc", "ALTER TABLE audit_events_2025_12 RENAME TO hidden")
    for which in ((), ("detach-partition",), ("--all",)):
        assert "detach-partition is NOT healed: " in user.lab("heal", *which, code=1)
    assert [fault["name"] for fault in user.status()["faults"]] == ["detach-partition"]
    user.lab("psql", "--", "-qXc", "ALTER TABLE hidden RENAME TO audit_events_2025_12")
    assert "detach-partition: healed, and a probe sees health" in user.lab("heal")
    assert user.status()["faults"] == []
    assert 'relation "hidden" does not exist' in user.lab("psql", "--", "-qXc", "SELECT 1 FROM hidden", code=1)
    user.lab("down")
    user.assert_nothing_left()


def test_a_killed_daemon_leaves_nothing_but_its_name_which_is_told_as_dead_and_cleared(user: Bench) -> None:
    user.lab("up")
    user.lab("load")
    user.lab("inject", "detach-partition", "--partition", "2025_12")
    user.wait_sent(20)
    pid = user.pid()
    os.kill(pid, signal.SIGKILL)
    wait_until_sync(
        lambda: not list(user.processes()) and not list(user.place.glob("ph-*")),
        what="the reaper",
        deadline_seconds=20,
        interval_seconds=0.1,
    )
    assert user.listed() == {"lab": "dead"}
    assert "daemon of the lab lab has died" in user.lab("status", "--name", "lab", code=2)
    assert "No lab is up" in user.lab("status", code=2)
    assert "lab: cleared away" in user.lab("list", "--prune")
    assert user.listed() == {}
    user.assert_nothing_left()
    assert "nothing is left to heal" in user.harness("heal", "--reports", str(user.reports)).stdout
    (folder,) = user.reports.glob("*-lab-lab-*")
    assert user.harness("check", folder.name, "--reports", str(user.reports)).returncode == 3


def test_a_dead_lab_gives_its_name_to_the_next_and_what_does_not_answer_is_ended_by_kill(user: Bench) -> None:
    user.lab("up")
    os.kill(user.pid(), signal.SIGKILL)
    assert "had died; what was left of it is gone" in user.lab("up")
    assert user.listed() == {"lab": "up"}
    os.kill(user.pid(), signal.SIGSTOP)
    assert "lab: down" in user.lab("down", "--kill")
    user.assert_nothing_left()


def test_a_dead_lab_goes_by_down(user: Bench) -> None:
    user.lab("up")
    os.kill(user.pid(), signal.SIGKILL)
    assert "lab: down" in user.lab("down")
    user.assert_nothing_left()


def test_a_signal_ends_a_lab_in_good_order(user: Bench) -> None:
    user.lab("up")
    os.kill(user.pid(), signal.SIGTERM)
    user.assert_nothing_left()


def test_a_lab_left_alone_for_its_max_age_ends_itself(user: Bench) -> None:
    user.lab("up", "--max-age", "10s")
    user.lab("inject", "detach-partition", "--partition", "2025_12")
    assert user.status()["ends_in_seconds"] == 10.0
    user.assert_nothing_left()
    assert "No lab is up" in user.lab("status", code=2)
    (folder,) = user.reports.glob("*-lab-lab-*")
    assert "nobody used it for 10 s" in (folder / "history.jsonl").read_text()


def test_a_watch_looks_again_and_again_and_ends_with_its_lab_which_a_halt_file_ends(user: Bench) -> None:
    user.lab("up")
    watch = subprocess.Popen(
        user.command("lab", "status", "--watch", "--interval", "0.2s"),
        cwd=ROOT,
        env=user.variables,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert watch.stdout is not None
    for _ in range(2):
        assert any(line.startswith("lab lab: ") for line in iter(watch.stdout.readline, ""))
    for by, code in ((signal.SIGINT, 0), (signal.SIGTERM, 143), (signal.SIGHUP, 129)):
        assert ended_watch(user, by) == code, "only Ctrl-C is how a watch is meant to end"
    (user.reports / "HALT").touch()
    rest, _ = watch.communicate(timeout=30)
    assert watch.returncode == 0
    assert "the lab lab has ended" in rest
    assert "Traceback" not in rest
    user.assert_nothing_left()
    assert "Runs are halted by the file" in user.lab("up", code=2)
    user.assert_nothing_left()


def test_several_labs_have_names_and_nobody_guesses_which_is_meant(user: Bench) -> None:
    user.lab("up", "--name", "east")
    assert "A lab named east is up already" in user.lab("up", "--name", "east", code=2)
    user.lab("up", "--name", "west")
    assert user.listed() == {"east": "up", "west": "up"}
    assert "Several labs are up: east, west" in user.lab("status", code=2)
    user.lab("inject", "detach-partition", "--partition", "2025_12", "--name", "east")
    assert december(user.status("--name", "east"))["attached"] is False
    assert december(user.status("--name", "west"))["attached"] is True
    user.lab("down", "--name", "east")
    assert user.status()["name"] == "west", "the only one is meant again"
    user.lab("down", "--all")
    user.assert_nothing_left()


def test_a_start_that_fails_is_told_and_leaves_nothing(user: Bench) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        assert port in user.lab("up", "--pg-port", port, code=2)
    target = user.place / "target.toml"
    target.write_text('name = "x"\n[launch]\ncommand = ["{root}/no-such-program"]\n')
    assert "no-such-program" in user.lab("up", "--target", str(target), code=2)
    target.write_text('name = "x"\n')
    assert "exactly one of" in user.lab("up", "--target", str(target), code=2)
    assert user.listed() == {}
    user.assert_nothing_left()


@pytest.mark.parametrize(("by", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_a_signal_while_it_starts_ends_the_start(user: Bench, by: signal.Signals, code: int) -> None:
    # Its service never listens, so that the start cannot be over before the signal comes.
    target = user.place / "target.toml"
    target.write_text('name = "x"\n[launch]\ncommand = ["sleep", "600"]\n')
    starting = subprocess.Popen(
        hearing("lab", "up", "--target", str(target), "--reports", str(user.reports)),
        cwd=ROOT,
        env=user.variables,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    wait_until_sync(lambda: list(user.place.glob("ph-*")), what="a root", deadline_seconds=60, interval_seconds=0.01)
    starting.send_signal(by)
    said, _ = starting.communicate(timeout=60)
    assert starting.returncode == code, said
    user.assert_nothing_left()
    assert user.listed() == {}
