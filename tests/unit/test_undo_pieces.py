"""The ledger, the plans, and what ends a run before its time."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from pathlib import Path

import pytest

import harness.faults  # noqa: F401  (fills the registry)
from harness import guard
from harness._wait import pause
from harness.errors import LedgerBusy, RunAborted, TargetError, UsageError
from harness.fault import PLANS, plan_of
from harness.faults.noop import NoopDetach
from harness.faults.partition import DetachPartition
from harness.ledger import FOLDER, EntryState, Holder, Ledger, open_ledgers
from harness.schedule import Schedule
from harness.stacks import watchdog
from harness.stacks.external_checks import database_key
from harness.stacks.external_parts import living, pid_in
from harness.targets.model import load_target
from harness.values import Month

DECEMBER = Month(2025, 12)
EXTERNAL = """
name = "copy"
url = "http://127.0.0.1:8080"
[external]
database_url = "host=127.0.0.1 dbname=audit"
token = "t"
toxiproxy_url = "http://127.0.0.1:8474"
proxy_name = "postgres"
"""


def test_a_ledger_is_open_until_it_is_finished_and_its_entries_until_they_are_healed(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "run" / FOLDER)
    assert ledger.record is None
    ledger.finish()
    ledger.begin("run", {"stack": "embedded", "root": "/nowhere"})
    assert [found.folder for found in open_ledgers(tmp_path)] == [ledger.folder]
    entry = ledger.entry(0, "detach-partition")
    entry.mark(EntryState.INJECTING, {"fault": "detach-partition", "months": ["2025_12"]})
    entry.save("children", [1])
    entry.mark(EntryState.INJECTED)
    assert [found.state for found in ledger.open_entries()] == [EntryState.INJECTED]
    assert entry.fault == {"fault": "detach-partition", "months": ["2025_12"]}
    assert entry.saved == ("children.json",)
    entry.mark(EntryState.HEALED)
    assert not ledger.open_entries()
    assert len(ledger.entries()) == 1
    ledger.finish()
    assert not open_ledgers(tmp_path)
    assert (ledger.folder.stat().st_mode & 0o077) == 0


def test_a_ledger_is_held_by_one_and_the_other_learns_by_whom(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "run" / FOLDER)
    with ledger.held(Holder.RUN):
        with pytest.raises(LedgerBusy, match=f"process {os.getpid()}") as busy, ledger.held(Holder.HEAL):
            pass
        assert busy.value.running
    with ledger.held(Holder.HEAL):
        with pytest.raises(LedgerBusy, match="being healed") as busy, ledger.held(Holder.HEAL):
            pass
        assert not busy.value.running


def test_a_plan_tells_statements_and_a_fault_without_one_is_told_by_its_docstrings() -> None:
    lines = plan_of(DetachPartition(months=(DECEMBER,)))
    assert "inject: ALTER TABLE audit_events DETACH PARTITION audit_events_2025_12" in lines
    assert [line.split(":")[0] for line in lines] == sorted(
        (line.split(":")[0] for line in lines), key=["inject", "confirm", "heal", "probe"].index
    )
    assert NoopDetach.name not in set(PLANS)
    assert plan_of(NoopDetach(month=DECEMBER))[0] == "inject: Do nothing."


def test_a_reason_ends_the_block_after_it_has_cleaned_up() -> None:
    cleaned: list[str] = []

    async def reason() -> str:
        return "because"

    async def play() -> None:
        async with guard.aborting(reason, interval_seconds=0.01):
            try:
                await pause(10)
            finally:
                await pause(0.01)
                cleaned.append("yes")

    with pytest.raises(RunAborted, match="because"):
        asyncio.run(play())
    assert cleaned == ["yes"]


def test_a_halt_file_refuses_runs_wherever_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    guard.refuse_when_halted(tmp_path)
    monkeypatch.setenv(guard.HALT_VARIABLE, str(tmp_path / "stop"))
    guard.refuse_when_halted(tmp_path)
    (tmp_path / "stop").touch()
    with pytest.raises(UsageError, match="stop"):
        guard.refuse_when_halted(tmp_path / "reports")


def test_faults_need_a_target_that_allows_them(tmp_path: Path) -> None:
    path = tmp_path / "target.toml"
    path.write_text(EXTERNAL)
    schedule = Schedule.of(DetachPartition())
    with pytest.raises(UsageError, match="allow_faults"):
        guard.refuse_forbidden_faults(load_target(path), schedule)
    guard.refuse_forbidden_faults(load_target(path), Schedule())
    path.write_text("allow_faults = true\n" + EXTERNAL)
    guard.refuse_forbidden_faults(load_target(path), schedule)


@pytest.mark.parametrize(
    ("text", "needed"),
    [
        (EXTERNAL.replace('token = "t"', ""), "external.token"),
        (EXTERNAL + 'colour = "red"\n', "external.colour"),
        (EXTERNAL + 'service_start = "sh"\n', "external.service_start"),
        (EXTERNAL + "max_foreign_rows = -1\n", "external.max_foreign_rows"),
        ("allow_faults = 1\n" + EXTERNAL, "allow_faults"),
    ],
)
def test_a_malformed_external_table_is_explained(tmp_path: Path, text: str, needed: str) -> None:
    path = tmp_path / "target.toml"
    path.write_text(text)
    with pytest.raises(TargetError, match=needed):
        load_target(path)


def test_two_ways_of_writing_one_database_are_one() -> None:
    assert database_key("host=h port=5432 dbname=audit user=a") == database_key("postgresql://b@h/audit")
    assert database_key("host=h dbname=audit") != database_key("host=h dbname=other")


def test_the_watchdog_acts_on_the_end_of_its_runner_and_not_on_a_farewell(tmp_path: Path) -> None:
    for farewell in (b"", watchdog.FAREWELL):
        mark = tmp_path / f"healed-{len(farewell)}"
        read_fd, pipe_fd = os.pipe()
        process = subprocess.Popen(
            [
                *(sys.executable, "-I", "-S", watchdog.__file__, str(read_fd), str(tmp_path / "log")),
                *(sys.executable, "-c", f"open({str(mark)!r}, 'w')"),
            ],
            pass_fds=(read_fd,),
        )
        os.close(read_fd)
        os.write(pipe_fd, farewell)
        os.close(pipe_fd)
        assert process.wait(timeout=20) == 0
        assert mark.exists() == (not farewell)


def test_a_process_lives_until_it_has_ended_waited_for_or_not(tmp_path: Path) -> None:
    assert living(os.getpid())
    assert not living(None)
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    (tmp_path / "pid").write_text(f"{process.pid}\n")
    assert pid_in(tmp_path / "pid") == process.pid
    process.kill()
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    assert pid_in(tmp_path / "pid") is None
    process.communicate()
    assert pid_in(tmp_path / "none") is None
