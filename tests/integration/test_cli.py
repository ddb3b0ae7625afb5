"""The command line as its users meet it: real runs, real errors, and a runner that is killed."""

from __future__ import annotations

import json
import os
import pty
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from harness._wait import wait_until_sync
from harness.events import Complete, FaultMark, FaultStep, RunStarted
from harness.history import FILE_NAME, read_history
from harness.stacks.ports import reserve_port

ROOT = Path(__file__).parents[2]
NOOP = """
from harness.faults.noop import NoopDetach
from harness.scenario import Load, Scenario
from harness.schedule import Schedule
from harness.values import Month

SCENARIO = Scenario(
    name="noop", claim="A fault that never bites proves nothing.", requirements=(),
    load=Load(months=(Month(2025, 12), Month(2026, 1))), schedule=Schedule.of(NoopDetach(month=Month(2025, 12))),
    min_strict_events=20,
)
"""


@pytest.fixture
def place() -> Iterator[Path]:
    """A folder that PostgreSQL's user may enter; pytest's own is closed."""
    path = Path(tempfile.mkdtemp(prefix="cli-test-", dir="/tmp"))
    path.chmod(0o777)
    yield path
    shutil.rmtree(path)


def command(place: Path, *arguments: str, **extra: str) -> tuple[list[str], dict[str, str]]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "TMPDIR": str(place), **extra}
    return [sys.executable, "-m", "harness", *arguments], environment


def harness(place: Path, *arguments: str, **extra: str) -> subprocess.CompletedProcess[str]:
    line, environment = command(place, *arguments, **extra)
    return subprocess.run(line, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300, check=False)


def living_below(place: Path) -> list[str]:
    """Command lines of processes that work below ``place``: parts of an environment that should be gone."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                if (entry / "cwd").readlink().is_relative_to(place):
                    found.append((entry / "cmdline").read_bytes().replace(b"\0", b" ").decode())
            except OSError:
                continue
    return found


def roots_below(place: Path) -> list[Path]:
    return [path for path in place.iterdir() if path.name.startswith("ph-")]


def assert_one_paragraph(result: subprocess.CompletedProcess[str], *needed: str) -> None:
    assert result.returncode == 2, (result.stdout, result.stderr)
    assert "Traceback" not in result.stderr + result.stdout
    said = result.stderr + result.stdout
    for text in needed:
        assert text in said, said


def test_an_unknown_scenario_is_named_with_its_neighbours(place: Path) -> None:
    result = harness(place, "run", "december-detatched", "--reports", str(place / "r"))
    assert_one_paragraph(result, "december-detatched", "december-detached")


def test_a_keyword_that_matches_nothing_is_said(place: Path) -> None:
    assert_one_paragraph(harness(place, "run", "-k", "nothing_like_it"), "nothing_like_it", "harness list")


@pytest.mark.parametrize(
    ("text", "needed"),
    [
        ("name = ", "not valid TOML"),
        ('name = "x"\n[launch]\ncommand = "service"\n', "launch.command"),
        ('name = "x"\nurl = "http://h"\nlimit = 3\n', "unknown key limit"),
        ('name = "x"\n', "exactly one of"),
        ('name = "x"\n[launch]\ncommand = ["x", "{database}"]\n', "unknown placeholder"),
        ('name = "x"\nurl = "http://h"\n[limits]\ndb_pool_max = "many"\n', "limits.db_pool_max"),
    ],
)
def test_a_malformed_target_is_explained_with_file_and_key(place: Path, text: str, needed: str) -> None:
    target = place / "target.toml"
    target.write_text(text)
    assert_one_paragraph(harness(place, "run", "baseline", "--target", str(target)), "target.toml", needed)


def test_a_missing_target_is_said(place: Path) -> None:
    assert_one_paragraph(harness(place, "run", "baseline", "--target", str(place / "none.toml")), "none.toml")


def test_a_busy_port_ends_the_start_with_its_number(place: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        result = harness(place, "run", "baseline", "--pg-port", port, "--reports", str(place / "r"))
    assert_one_paragraph(result, port)
    assert not living_below(place)


def test_missing_programs_of_postgresql_are_said(place: Path) -> None:
    empty = place / "bin"
    empty.mkdir()
    result = harness(place, "run", "baseline", "--pg-bindir", str(empty), "--reports", str(place / "r"))
    assert_one_paragraph(result, str(empty))


def test_a_missing_program_of_the_target_is_said(place: Path) -> None:
    target = place / "target.toml"
    target.write_text('name = "x"\n[launch]\ncommand = ["{root}/no-such-program"]\n')
    result = harness(place, "run", "baseline", "--target", str(target), "--reports", str(place / "r"))
    assert_one_paragraph(result, "no-such-program")
    assert not living_below(place)


@contextmanager
def full_disk(place: Path) -> Iterator[Path]:
    """A file system of one megabyte."""
    small = place / "small"
    small.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m,mode=777", "tmpfs", str(small)], check=True)
    try:
        yield small
    finally:
        subprocess.run(["umount", str(small)], check=True)


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting a small file system needs root; run the tests as root")
def test_a_full_disk_at_start_is_said_with_its_remedy(place: Path) -> None:
    with full_disk(place) as small:
        result = harness(place, "run", "baseline", "--reports", str(place / "r"), TMPDIR=str(small))
    assert_one_paragraph(result, "disk is full", "TMPDIR")


def test_doctor_says_what_was_found(place: Path) -> None:
    result = harness(place, "doctor")
    assert result.returncode == 0, result.stdout + result.stderr
    assert "PostgreSQL" in result.stdout
    assert "Toxiproxy" in result.stdout


def test_help_names_the_commands_and_exit_codes(place: Path) -> None:
    said = harness(place, "--help").stdout
    assert all(word in said for word in ("run", "replay", "check", "doctor", "list", "3 inconclusive"))


@pytest.mark.parametrize("what", ["scenarios", "faults", "checkers"])
def test_everything_can_be_listed(place: Path, what: str) -> None:
    rows = json.loads(harness(place, "list", what, "--json").stdout)
    assert len(rows) >= 12
    assert all(row["text"] for row in rows)


def test_a_fault_that_never_bites_is_unknown_and_never_green(place: Path) -> None:
    (place / "scenarios").mkdir()
    (place / "scenarios" / "noop.py").write_text(NOOP)
    result = harness(place, "run", "--scenarios", str(place / "scenarios"), "--reports", str(place / "r"))
    assert result.returncode == 3, result.stdout + result.stderr
    assert "UNKNOWN" in result.stdout


def test_a_suite_cut_short_by_its_time_budget_is_told_and_never_green(place: Path) -> None:
    options = ("--shard", "1/2", "--time-budget", "0.000001", "--fail-fast", "--reports", str(place / "r"))
    result = harness(place, "run", "baseline", "december-detached", *options)
    assert result.returncode == 3, result.stdout + result.stderr
    assert "Not begun: the time budget of 1e-06 s was used up." in result.stdout
    assert "december-detached" not in result.stdout
    assert "UNKNOWN baseline (not begun)" in result.stdout
    assert "report.html" not in result.stdout
    (suite,) = (place / "r").glob("*-suite-*/suite.json")
    (told,) = json.loads(suite.read_text())["runs"]
    assert (told["scenario"], told["verdict"]) == ("baseline", "UNKNOWN")
    assert "not begun" in (suite.parent / "junit.xml").read_text().lower()
    assert "report.html" not in (suite.parent / "index.html").read_text()


def start_and_wait_for_the_fault(place: Path) -> tuple[subprocess.Popen[str], Path]:
    reports = place / "r"
    line, environment = command(place, "run", "december-detached", "--reports", str(reports), "--seed", "5")
    process = subprocess.Popen(
        line, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )

    def queueing() -> Path | None:
        assert process.poll() is None, process.communicate()
        for folder in reports.glob(f"*/{FILE_NAME}"):
            records = read_history(folder.parent)
            confirmed = any(isinstance(r, FaultMark) and r.step is FaultStep.CONFIRMED for r in records)
            if confirmed and sum(isinstance(r, Complete) and r.status == 202 for r in records) > 20:
                return folder.parent
        return None

    return process, wait_until_sync(queueing, what="202s in mid-fault", deadline_seconds=90, interval_seconds=0.1)


def test_a_killed_runner_leaves_nothing_and_a_history_that_can_be_judged(place: Path) -> None:
    process, folder = start_and_wait_for_the_fault(place)
    process.kill()
    process.communicate()
    wait_until_sync(
        lambda: not living_below(place) and not roots_below(place),
        what="the reaper to end every part and remove the root",
        deadline_seconds=20,
    )
    result = harness(place, "check", folder.name, "--reports", str(place / "r"))
    assert result.returncode == 3, result.stdout + result.stderr
    assert "UNKNOWN" in result.stdout
    assert (folder / "report.html").exists()


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_run_that_is_ended_in_mid_fault_heals_and_stops_everything(place: Path, how: signal.Signals) -> None:
    process, folder = start_and_wait_for_the_fault(place)
    process.send_signal(how)
    said, _ = process.communicate(timeout=60)
    assert process.returncode == 128 + how, said
    assert "Traceback" not in said
    steps = [r.step for r in read_history(folder) if isinstance(r, FaultMark)]
    assert FaultStep.HEALED in steps, "whether the run or its end came first, the fault is healed"
    assert not living_below(place)
    wait_until_sync(lambda: not roots_below(place), what="the root to be removed", deadline_seconds=10)
    assert read_history(folder)


def test_step_pauses_with_commands_to_look_and_a_stored_run_can_be_replayed_and_checked(place: Path) -> None:
    (place / "scenarios").mkdir()
    text = NOOP.replace("faults.noop import NoopDetach", "faults.partition import DetachPartition")
    text = text.replace("NoopDetach(month=Month(2025, 12))", "DetachPartition(months=(Month(2025, 12),))")
    (place / "scenarios" / "quick.py").write_text(text.replace('"noop"', '"quick"'))
    line, environment = command(
        place, "run", "--scenarios", str(place / "scenarios"), "--reports", str(place / "r"), "--seed", "11", "--step"
    )
    process = subprocess.Popen(
        line, cwd=ROOT, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    deadline = threading.Timer(120, process.kill)
    deadline.start()
    said, _ = process.communicate("\n" * 40)
    deadline.cancel()
    assert process.returncode == 0, said
    for needed in (
        "step 3: steady state",
        "step 5: injected and confirmed: look now",
        "psql '",
        "curl -s http://127.0.0.1:",
    ):
        assert needed in said
    (history,) = (place / "r").glob(f"*/{FILE_NAME}")
    again = harness(place, "check", history.parent.name, "--reports", str(place / "r"))
    assert again.returncode == 0, again.stdout + again.stderr
    repeated = harness(place, "replay", history.parent.name, "--reports", str(place / "r"))
    assert repeated.returncode == 0, repeated.stdout + repeated.stderr
    assert len(list((place / "r").glob(f"*-quick-*/{FILE_NAME}"))) == 2


def test_ctrl_c_at_a_step_is_heard_without_enter(place: Path) -> None:
    arguments = ("run", "december-detached", "--reports", str(place / "r"), "--step")
    line, environment = command(place, *arguments)
    controller, terminal = pty.openpty()
    process = subprocess.Popen(line, cwd=ROOT, env=environment, stdin=terminal, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    os.write(controller, b"\n" * 4)
    for said in process.stdout:
        if "step 5: about to inject" in said:
            break
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)
    os.close(controller)
    os.close(terminal)
    assert process.returncode == 130
    assert not living_below(place)


def test_stepping_without_a_terminal_is_refused_once_the_input_ends(place: Path) -> None:
    line, environment = command(place, "run", "baseline", "--reports", str(place / "r"), "--step")
    ended = subprocess.run(
        line,
        cwd=ROOT,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert_one_paragraph(ended, "--step", "terminal")


def test_a_replay_judges_the_same_target_again(place: Path) -> None:
    (place / "scenarios").mkdir()
    bare = NOOP.replace("Schedule.of(NoopDetach(month=Month(2025, 12)))", "Schedule()")
    (place / "scenarios" / "noop.py").write_text(bare)
    target = place / "other.toml"
    reference = (ROOT / "harness/targets/reference.toml").read_text(encoding="utf-8")
    target.write_text(reference.replace("{root}/../..", str(ROOT)).replace('"reference"', '"other"'))
    arguments = ("--reports", str(place / "r"))
    first = harness(place, "run", "--scenarios", str(place / "scenarios"), "--target", str(target), *arguments)
    assert first.returncode == 0, first.stdout + first.stderr
    (folder,) = [path.parent for path in (place / "r").glob(f"*/{FILE_NAME}")]
    assert harness(place, "replay", folder.name, *arguments).returncode == 0
    runs = [read_history(path.parent)[0] for path in (place / "r").glob(f"*/{FILE_NAME}")]
    assert [run.target for run in runs if isinstance(run, RunStarted)] == ["other", "other"]
    target.unlink()
    assert_one_paragraph(harness(place, "replay", folder.name, *arguments), "other.toml", "--target")


def test_a_service_that_somebody_else_started_is_judged_by_its_url(place: Path) -> None:
    (place / "scenarios").mkdir()
    text = NOOP.replace("faults.noop import NoopDetach", "faults.partition import DetachPartition")
    text = text.replace("NoopDetach(month=Month(2025, 12))", "DetachPartition(months=(Month(2025, 12),))")
    (place / "scenarios" / "quick.py").write_text(text)
    # Below the ports that the kernel hands out, and reserved, so that nobody else has it when the service starts.
    reserved = reserve_port()
    port = reserved.port
    (place / "target.toml").write_text(f'name = "mine"\nurl = "http://127.0.0.1:{port}"\n')
    arguments = ("--scenarios", str(place / "scenarios"), "--reports", str(place / "r"))
    line, environment = command(place, "run", *arguments, "--target", str(place / "target.toml"))
    harnessed = subprocess.Popen(
        line, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert harnessed.stderr is not None
    invitation = next(said for said in harnessed.stderr if "DATABASE_URL=" in said)
    settings = {
        "DATABASE_URL": invitation.partition("DATABASE_URL=")[2].strip(),
        "DLQ_URL": f"sqlite:///{place}/dlq.sqlite3",
        "PORT": str(port),
        "PARTITIONS_FROM": "2025-11",
        "EVENT_MAX_AGE_DAYS": "3650",
        "EVENT_MAX_AHEAD_DAYS": "3650",
    }
    service = subprocess.Popen(
        [sys.executable, "-m", "service"], cwd=ROOT, env={**os.environ, **settings}, stdout=subprocess.DEVNULL
    )
    try:
        said, errors = harnessed.communicate(timeout=120)
        assert harnessed.returncode == 0, said + errors
        assert service.poll() is None, "the service is its owner's to end"
    finally:
        service.kill()
        service.wait()
        reserved.close()
    (result,) = (place / "r").glob("*-noop-*/result.json")
    assert any("log" in item["needs"] for item in json.loads(result.read_text())["not_checked"])


def test_no_password_is_in_any_artifact_even_when_the_service_prints_it(place: Path) -> None:
    (place / "scenarios").mkdir()
    bare = NOOP.replace("Schedule.of(NoopDetach(month=Month(2025, 12)))", "Schedule()")
    (place / "scenarios" / "noop.py").write_text(bare)
    reference = (ROOT / "harness/targets/reference.toml").read_text(encoding="utf-8")
    talkative = json.dumps(["sh", "-c", "echo secret-is $DATABASE_URL; exec {python} -m service"])
    text = reference.replace('["{python}", "-m", "service"]', talkative).replace("{root}/../..", str(ROOT))
    (place / "target.toml").write_text(text)
    arguments = ("--scenarios", str(place / "scenarios"), "--reports", str(place / "r"))
    result = harness(place, "run", *arguments, "--target", str(place / "target.toml"))
    assert result.returncode == 1, result.stdout + result.stderr
    assert "log lines hold a credential" in result.stdout
    (log,) = (place / "r").glob("*/service.log")
    (printed,) = [line for line in log.read_text().splitlines() if line.startswith("secret-is ")]
    assert printed.startswith("secret-is postgresql://slm_user:***@127.0.0.1:")
