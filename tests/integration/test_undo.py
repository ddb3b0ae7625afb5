"""Undo that survives: runners killed in mid-fault, on parts that outlive them."""

from __future__ import annotations

import asyncio
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import TypeVar

import psycopg
import pytest

from harness._wait import pause, wait_until, wait_until_sync
from harness.events import FaultMark, FaultStep
from harness.fault import Fault, fault_to_json
from harness.faults.database import KillDatabase, StopDatabase
from harness.faults.network import Blackhole, DisableProxy, Latency
from harness.faults.partition import DetachPartition, DropPartition, LockPartition
from harness.faults.process import CrashService
from harness.faults.sessions import LimitRoleConnections, TerminateBackends
from harness.faults.storage import CorruptHeap, CorruptIndex
from harness.history import FILE_NAME, read_history
from harness.ledger import FOLDER, EntryState, Ledger, open_ledgers
from harness.stacks.external_parts import living
from harness.values import Month
from tests.integration.undo_lab import ROOT, TOKEN, UndoLab, undo_lab

T = TypeVar("T")
Run = Callable[[Coroutine[object, object, T]], T]
DECEMBER = Month(2025, 12)
DETACH = DetachPartition(months=(DECEMBER,))
KILLED: tuple[tuple[Fault, ...], ...] = (
    (DETACH,),
    (DropPartition(months=(DECEMBER,)),),
    (LockPartition(months=(DECEMBER,)),),
    (CorruptHeap(months=(DECEMBER,)),),
    (CorruptIndex(months=(DECEMBER,)),),
    (Latency(delay_ms=30),),
    (Blackhole(),),
    (DisableProxy(),),
    (StopDatabase(),),
    (KillDatabase(),),
    (CrashService(),),
    (DETACH, KillDatabase(), Latency(delay_ms=30)),
    # The table cannot be attached before its page is repaired, which is healed after it.
    (CorruptHeap(months=(DECEMBER,), pages="last"), DetachPartition()),
    # Both are seen through a login of the service's own.
    (LimitRoleConnections(), TerminateBackends()),
)


@pytest.fixture(scope="module")
def loop() -> Iterator[asyncio.Runner]:
    with asyncio.Runner() as runner:
        yield runner


@pytest.fixture(scope="module")
def lab(loop: asyncio.Runner) -> Iterator[UndoLab]:
    """The parts, once for all tests: each must leave them whole for the next."""
    folder = Path(tempfile.mkdtemp(prefix="undo-test-", dir="/tmp"))
    folder.chmod(0o755)
    context = undo_lab(folder)
    lab = loop.run(context.__aenter__())
    yield lab
    loop.run(context.__aexit__(None, None, None))
    shutil.rmtree(folder)


@pytest.fixture
def whole(loop: asyncio.Runner, lab: UndoLab) -> Iterator[None]:
    """Whatever the test does, afterwards everything is as it was, plus what was acknowledged."""
    before = loop.run(lab.catalog())
    yield
    loop.run(lab.drained())
    assert loop.run(lab.is_whole(before)) == []
    assert not open_ledgers(lab.reports)


def said_until(process: subprocess.Popen[str], word: str) -> list[str]:
    """Read a runner's lines up to one."""
    lines: list[str] = []
    assert process.stdout is not None
    for line in process.stdout:
        lines.append(line)
        if line.strip() == word:
            return lines
    raise AssertionError(f"the runner never said {word}: {''.join(lines)}")


def names(number: int = 0) -> str:
    return f"20260101-000000-kill-{random.randrange(16**6):06x}-{number:04x}"


def as_json(faults: tuple[Fault, ...]) -> str:
    return json.dumps([fault_to_json(fault) for fault in faults])


@pytest.mark.parametrize(
    ("faults", "how"),
    # The other half of the combinations is bench.kills's.
    [(faults, ("watchdog", "by hand")[number % 2]) for number, faults in enumerate(KILLED)],
    ids=lambda part: part if isinstance(part, str) else "+".join(fault.name for fault in part),
)
def test_a_runner_killed_in_mid_fault_leaves_everything_whole(
    loop: asyncio.Runner, lab: UndoLab, whole: None, faults: tuple[Fault, ...], how: str
) -> None:
    name = names()

    async def play() -> None:
        async with lab.writing():
            extra = {"HARNESS_WATCHDOG": "off"} if how == "by hand" else {}
            process = lab.runner(name, as_json(faults), hold_seconds=60, **extra)
            await asyncio.to_thread(said_until, process, "begins")
            if how == "watchdog":
                await asyncio.to_thread(said_until, process, "injected")
            else:
                await pause(random.uniform(0.0, 0.5))
            process.kill()
            await asyncio.to_thread(process.communicate)
            if how == "by hand":
                healed = await asyncio.to_thread(lab.harness, "heal", "--reports", str(lab.reports))
                assert healed.returncode == 0, healed.stdout + healed.stderr
            ledger = Ledger(lab.reports / name / FOLDER)

            async def finished() -> bool:
                record = ledger.record
                return record is not None and not record.open

            log = lab.reports / name / FOLDER / "watchdog.log"
            try:
                await wait_until(finished, what="the undo", deadline_seconds=60, interval_seconds=0.1)
            finally:
                print(log.read_text() if log.exists() else "")
            assert {entry.state for entry in ledger.entries()} <= {EntryState.HEALED}

    loop.run(play())
    again = lab.harness("heal", name, "--reports", str(lab.reports))
    assert again.returncode == 0
    assert "nothing is left" in again.stdout


def test_a_heal_that_fails_goes_on_is_reported_and_is_repeated(loop: asyncio.Runner, lab: UndoLab, whole: None) -> None:
    name = names()
    faults = as_json((DETACH, Latency(delay_ms=20)))
    process = lab.runner(name, faults, hold_seconds=60, HARNESS_WATCHDOG="off")
    said_until(process, "injected")
    process.kill()
    process.communicate()
    conninfo = lab.environment.database.admin_conninfo
    with psycopg.connect(conninfo, autocommit=True) as link:
        # Without its table the month cannot be attached again.
        link.execute("ALTER TABLE audit_events_2025_12 RENAME TO hidden")
    planned = lab.harness("heal", name, "--dry-run", "--reports", str(lab.reports))
    assert planned.returncode == 0
    assert planned.stdout.index("01-latency") < planned.stdout.index("00-detach-partition")
    first = lab.harness("heal", name, "--reports", str(lab.reports))
    assert first.returncode == 1, first.stdout + first.stderr
    assert "01-latency: healed" in first.stdout
    assert "00-detach-partition: FAILED" in first.stdout
    refused = lab.harness("run", "baseline", "--target", str(lab.target), "--reports", str(lab.reports))
    assert refused.returncode == 2
    assert f"harness heal {lab.reports / name}" in " ".join((refused.stdout + refused.stderr).split())
    elsewhere = lab.harness("run", "baseline", "--target", str(lab.target), "--reports", str(lab.folder / "other"))
    assert elsewhere.returncode == 2, "the database itself knows whose it is"
    assert name in elsewhere.stdout + elsewhere.stderr
    with psycopg.connect(conninfo, autocommit=True) as link:
        link.execute("ALTER TABLE hidden RENAME TO audit_events_2025_12")
    second = lab.harness("heal", "--reports", str(lab.reports))
    assert second.returncode == 0, second.stdout + second.stderr
    assert "01-latency" not in second.stdout


def test_a_living_run_is_left_alone_and_takes_its_database(loop: asyncio.Runner, lab: UndoLab, whole: None) -> None:
    name = names()
    process = lab.runner(name, as_json((Latency(delay_ms=20),)), hold_seconds=60)
    said_until(process, "injected")
    healed = lab.harness("heal", "--reports", str(lab.reports))
    assert healed.returncode == 0
    assert "still runs" in healed.stdout
    assert loop.run(_toxics(lab))
    said, _ = process.communicate(timeout=60)
    assert process.returncode == 0, said


async def _toxics(lab: UndoLab) -> list[str]:
    return list(await lab.environment.proxy.toxics())


def started_run(lab: UndoLab, *arguments: str) -> tuple[subprocess.Popen[str], Path]:
    """Start a whole run of the command line and wait until its fault is confirmed."""
    process = subprocess.Popen(
        [
            *(sys.executable, "-m", "harness", "run", *arguments),
            *("--target", str(lab.target), "--reports", str(lab.reports)),
        ],
        cwd=ROOT,
        env=lab.variables,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    known = set(lab.reports.glob(f"*/{FILE_NAME}"))

    def bites() -> Path | None:
        assert process.poll() is None, process.communicate()
        for path in set(lab.reports.glob(f"*/{FILE_NAME}")) - known:
            records = read_history(path.parent)
            if any(isinstance(r, FaultMark) and r.step is FaultStep.CONFIRMED for r in records):
                return path.parent
        return None

    return process, wait_until_sync(bites, what="a confirmed fault", deadline_seconds=90, interval_seconds=0.1)


def closed(folder: Path) -> bool:
    record = Ledger(folder / FOLDER).record
    return record is not None and not record.open


_OWNER = """
import asyncio, sys
from pathlib import Path
from tests.integration.undo_lab import undo_lab

async def main():
    async with undo_lab(Path(sys.argv[1])) as lab:
        print(lab.pid_file.read_text().strip(), flush=True)
        await asyncio.Event().wait()

asyncio.run(main())
"""


def test_a_lab_whose_owner_was_killed_leaves_no_service() -> None:
    folder = Path(tempfile.mkdtemp(prefix="undo-test-", dir="/tmp"))
    folder.chmod(0o755)
    command = [sys.executable, "-c", _OWNER, str(folder)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as owner:
        assert owner.stdout is not None
        service = int(owner.stdout.readline())
        assert living(service)
        owner.kill()

    async def gone() -> bool:
        return not living(service)

    try:
        asyncio.run(wait_until(gone, what="the lab's reaper to end the service", deadline_seconds=30))
    finally:
        if living(service):
            os.kill(service, signal.SIGKILL)
        shutil.rmtree(folder)


def test_a_whole_run_is_killed_and_the_watchdog_heals(lab: UndoLab, whole: None) -> None:
    process, folder = started_run(lab, "december-detached", "--seed", "5")
    process.kill()
    process.communicate()
    wait_until_sync(lambda: closed(folder), what="the watchdog", deadline_seconds=60, interval_seconds=0.1)


@pytest.mark.parametrize("times", [1, 2])
def test_ctrl_c_once_and_twice_heals(lab: UndoLab, whole: None, times: int) -> None:
    process, folder = started_run(lab, "december-detached", "--seed", str(60 + times))
    process.send_signal(signal.SIGINT)
    if times == 2:
        wait_until_sync(
            lambda: (
                any(isinstance(r, FaultMark) and r.step is FaultStep.HEALING for r in read_history(folder))
                or process.poll() is not None
            ),
            what="the heal to begin",
            deadline_seconds=20,
            interval_seconds=0.001,
        )
        process.send_signal(signal.SIGINT)
    said, _ = process.communicate(timeout=60)
    assert process.returncode == 130, said
    assert "Traceback" not in said
    steps = [r.step for r in read_history(folder) if isinstance(r, FaultMark)]
    assert FaultStep.HEALED in steps
    assert closed(folder), "by the run itself, not by its watchdog"


def test_a_halt_file_stops_a_run_which_heals_and_refuses_new_ones(lab: UndoLab, whole: None) -> None:
    process, folder = started_run(lab, "december-detached", "--seed", "7")
    halt = lab.reports / "HALT"
    halt.touch()
    try:
        said, _ = process.communicate(timeout=60)
        assert process.returncode == 3, said
        assert "HALT" in said
        steps = [r.step for r in read_history(folder) if isinstance(r, FaultMark)]
        assert FaultStep.HEALED in steps
        refused = lab.harness("run", "baseline", "--reports", str(lab.reports))
        assert refused.returncode == 2
        assert str(halt) in refused.stderr
    finally:
        halt.unlink()


def test_rows_of_somebody_else_end_a_run_which_heals(lab: UndoLab, whole: None) -> None:
    process, folder = started_run(lab, "december-detached", "--seed", "8")
    with psycopg.connect(lab.environment.database.admin_conninfo, autocommit=True) as link:
        link.execute(
            "INSERT INTO audit_events SELECT gen_random_uuid(), '2026-01-05', '2026-01-05', '1.0', 't', 'theirs', 'a',"
            " 'success', 'somebody else', '{}'"
        )
    said, _ = process.communicate(timeout=60)
    assert process.returncode == 3, said
    assert "Somebody else writes" in said
    steps = [r.step for r in read_history(folder) if isinstance(r, FaultMark)]
    assert FaultStep.HEALED in steps


def test_a_scenario_passes_on_parts_that_outlive_the_runner(lab: UndoLab, whole: None) -> None:
    result = lab.harness("run", "december-detached", "--target", str(lab.target), "--reports", str(lab.reports))
    assert result.returncode == 0, result.stdout + result.stderr
    stored = "".join(path.read_text(errors="replace") for path in lab.reports.glob("*-december-detached-*/**/*.js*"))
    assert not [password for password in lab.passwords if password in stored]


def test_what_logs_in_as_the_service_is_refused_where_that_cannot_be(lab: UndoLab, whole: None) -> None:
    owner = psycopg.conninfo.conninfo_to_dict(lab.environment.database.admin_conninfo)["password"]
    # The password of one role for all of them, as PGPASSWORD is: such a fault could never be seen to be healed.
    variables = {"PGPASSWORD": str(owner), "PGPASSFILE": "/dev/null"}
    result = lab.harness(
        *("run", "backends-terminated", "--target", str(lab.target), "--reports", str(lab.reports)), **variables
    )
    said = " ".join((result.stdout + result.stderr).split())
    assert result.returncode == 2, said
    assert "service-login: give the password of external.service_role" in said
    assert "Traceback" not in said
    plan = lab.harness("run", "december-detached", "--target", str(lab.target), "--dry-run", **variables)
    assert 'password authentication failed for user "slm_user"' in plan.stdout


def refusal(lab: UndoLab, target: str, *arguments: str) -> str:
    """The words with which a run on a changed target file is refused."""
    path = lab.folder / "changed.toml"
    path.write_text(target)
    result = lab.harness("run", "december-detached", "--target", str(path), "--reports", str(lab.reports), *arguments)
    assert result.returncode == 2, result.stdout + result.stderr
    assert "Traceback" not in result.stderr
    return " ".join((result.stdout + result.stderr).split())


def test_what_was_not_given_up_is_refused(lab: UndoLab, whole: None) -> None:
    text = lab.target.read_text()
    assert "allow_faults = true" in refusal(lab, text.replace("allow_faults = true", ""))
    assert "harness mark" in refusal(lab, text.replace(TOKEN, "another"))
    assert "password" in refusal(lab, text.replace("dbname=", "password=x dbname="))
    assert "proxy" in refusal(lab, text.replace('proxy_name = "', 'proxy_name = "no-'))
    assert "cannot be read as that of a running server" in refusal(
        lab, text.replace('data_dir = "', f'data_dir = "{lab.folder}/other')
    )
    assert "unknown key" in refusal(lab, text + "colour = 1\n")
    assert "--pg-port" in refusal(lab, text, "--pg-port", "15999")


def test_rows_and_clients_of_others_are_refused_unless_forced(lab: UndoLab, whole: None) -> None:
    text = lab.target.read_text()
    conninfo = psycopg.conninfo.make_conninfo(lab.environment.database.admin_conninfo, application_name="reporting")
    with psycopg.connect(conninfo, autocommit=True) as link:
        assert "reporting" in refusal(lab, text)
        link.execute(
            "INSERT INTO audit_events SELECT gen_random_uuid(), '2026-01-05', '2026-01-05', '1.0', 't', 'theirs', 'a',"
            " 'success', 'somebody else', '{}' FROM generate_series(1, 3)"
        )
    limited = f"{text}max_foreign_rows = 2\n"
    assert "more than 2 rows" in refusal(lab, limited)
    (lab.folder / "changed.toml").write_text(limited)
    planned = lab.harness(
        *("run", "december-detached", "--target", str(lab.folder / "changed.toml"), "--dry-run", "--force"),
        *("--reports", str(lab.reports)),
    )
    assert planned.returncode == 0, planned.stdout + planned.stderr
    assert "DETACH PARTITION" in planned.stdout
    with psycopg.connect(lab.environment.database.admin_conninfo, autocommit=True) as link:
        link.execute("DELETE FROM audit_events WHERE event_category = 'theirs'")


def test_an_embedded_run_that_was_killed_is_gone(lab: UndoLab) -> None:
    reports = lab.folder / "embedded"
    process = subprocess.Popen(
        [sys.executable, "-m", "harness", "run", "december-detached", "--reports", str(reports)],
        cwd=ROOT,
        env=lab.variables,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    entry = wait_until_sync(
        lambda: list(reports.glob(f"*/{FOLDER}/00-*/_entry.json")),
        what="a fault",
        deadline_seconds=90,
        interval_seconds=0.02,
    )
    process.kill()
    process.wait()
    root = Path(str((Ledger(entry[0].parents[1]).record or pytest.fail("no record")).environment["root"]))
    wait_until_sync(lambda: not root.exists(), what="the reaper", deadline_seconds=20)
    healed = lab.harness("heal", "--reports", str(reports))
    assert healed.returncode == 0
    assert "gone with its environment" in healed.stdout
    assert not open_ledgers(reports)


def test_heal_names_what_it_does_not_know(lab: UndoLab) -> None:
    unknown = lab.harness("heal", "no-such-run", "--reports", str(lab.reports))
    assert unknown.returncode == 2
    assert "no-such-run" in unknown.stderr
