"""A runner that is killed, or that another user runs, leaves nothing behind."""

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

import harness
from harness._wait import wait_until_sync
from harness.stacks import host, reaper
from harness.stacks.base import Capability, remedy
from harness.stacks.ports import is_listening, reserve_given_port
from harness.stacks.runtime_user import RuntimeUser, runtime_user, unreachable_part
from harness.stacks.toxiproxy_binary import PROGRAM, obtain_binary

PROJECT = Path(harness.__file__).parent.parent

# A shell without job control lets what it starts in the background ignore SIGINT, and that is inherited.
RUNNER = """
import asyncio, json, os, signal, sys
from pathlib import Path
signal.signal(signal.SIGINT, signal.default_int_handler)
import harness
from harness.stacks.embedded import EmbeddedStack
from harness.targets.model import load_target

async def main():
    target = load_target(Path(harness.__file__).parent / "targets/reference.toml")
    artifacts = Path(sys.argv[1])
    async with EmbeddedStack().environment(
        target, name="x", artifacts=artifacts, environment_overrides={}
    ) as environment:
        ports = [environment.database.port, environment.proxy.port]
        root = str(environment.workdir.parents[1])
        print(json.dumps({"root": root, "ports": ports, "data": str(environment.database.data_dir)}), flush=True)
        if sys.argv[2] == "wait":
            await asyncio.Event().wait()
    print(json.dumps({"root_exists": os.path.exists(root)}), flush=True)

asyncio.run(main())
"""


@pytest.fixture
def place() -> Iterator[Path]:
    """A directory that every user may enter and write; pytest's own is closed."""
    path = Path(tempfile.mkdtemp(prefix="stack-test-", dir="/tmp"))
    path.chmod(0o777)
    yield path
    shutil.rmtree(path)


def runner(place: Path, mode: str, user: RuntimeUser | None = None, **extra: str) -> "subprocess.Popen[str]":
    environment = {**os.environ, "PYTHONPATH": str(PROJECT), "TMPDIR": str(place), **extra}
    return subprocess.Popen(
        [sys.executable, "-c", RUNNER, str(place / "artifacts"), mode],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env=environment,
        cwd=place,
        user=user.uid if user else None,
        group=user.gid if user else None,
        extra_groups=() if user else None,
    )


def roots(place: Path) -> list[Path]:
    return list(place.glob("ph-*"))


def reapers_of(root: Path) -> list[int]:
    found = []
    for process in Path("/proc").iterdir():
        try:
            command = (process / "cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        if os.fsencode(root) in command and reaper.__file__.encode() in command:
            found.append(int(process.name))
    return found


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_a_killed_runner_leaves_no_process_port_or_directory(place: Path, number: int) -> None:
    process = runner(place, "wait")
    assert process.stdout is not None
    said = json.loads(process.stdout.readline())
    root = Path(said["root"])
    segment = (Path(said["data"]) / "postmaster.pid").read_text().splitlines()[6].split()
    assert len(reaper.processes_of(root)) >= 8
    assert len(reapers_of(root)) == 1
    # A part that is stopped does not get away either.
    os.kill(reaper.processes_of(root)[0], signal.SIGSTOP)
    process.send_signal(number)
    process.wait(timeout=60)
    process.stdout.close()
    wait_until_sync(lambda: not root.exists(), what="the reaper", deadline_seconds=15)
    assert reaper.processes_of(root) == []
    for port in said["ports"]:
        assert not is_listening(port)
        reserve_given_port(port, "port").close()
    listed = [line.split()[:2] for line in Path("/proc/sysvipc/shm").read_text().splitlines()[1:]]
    assert segment not in listed


def test_a_runner_killed_while_it_starts_leaves_nothing(place: Path) -> None:
    for moment in ("ph-*", "ph-*/e1", "ph-*/e1/pgdata", "ph-*/e1/pgdata/postmaster.pid"):
        process = runner(place, "wait")
        wait_until_sync(
            lambda moment=moment: list(place.glob(moment)),  # type: ignore[misc]
            what=moment,
            deadline_seconds=20,
            interval_seconds=0.002,
        )
        root = roots(place)[0]
        process.kill()
        process.wait(timeout=60)
        assert process.stdout is not None
        process.stdout.close()
        wait_until_sync(lambda: not roots(place), what="the reaper", deadline_seconds=15)
        assert reaper.processes_of(root) == []


def test_a_runner_that_dies_with_its_reaper_is_swept_by_the_next(place: Path) -> None:
    process = runner(place, "wait")
    assert process.stdout is not None
    root = Path(json.loads(process.stdout.readline())["root"])
    for pid in reapers_of(root):
        os.kill(pid, signal.SIGKILL)
    process.kill()
    process.wait(timeout=60)
    process.stdout.close()
    assert root.exists()
    assert reaper.processes_of(root)
    second = runner(place, "leave")
    out, _ = second.communicate(timeout=60)
    assert second.returncode == 0, out
    assert reaper.processes_of(root) == []
    assert roots(place) == []


@pytest.mark.skipif(Capability.IMMUTABLE not in host.granted(), reason=remedy(frozenset({Capability.IMMUTABLE})))
def test_a_killed_runner_leaves_no_file_that_a_fault_made_immutable(place: Path) -> None:
    process = runner(place, "wait")
    assert process.stdout is not None
    root = Path(json.loads(process.stdout.readline())["root"])
    reaper.set_immutable(root / "e1/service/dlq.sqlite3", immutable=True)
    process.kill()
    process.wait(timeout=60)
    process.stdout.close()
    wait_until_sync(lambda: not root.exists(), what="the reaper", deadline_seconds=15)


def test_a_runner_that_ends_well_leaves_no_reaper(place: Path) -> None:
    process = runner(place, "leave")
    out, _ = process.communicate(timeout=60)
    assert process.returncode == 0
    assert json.loads(out.splitlines()[1]) == {"root_exists": False}
    assert roots(place) == []
    assert reapers_of(Path(json.loads(out.splitlines()[0])["root"])) == []


@pytest.mark.skipif(os.geteuid() != 0, reason="an ordinary user runs every other test")
def test_an_ordinary_user_starts_and_is_reaped_as_well(place: Path) -> None:
    nobody = runtime_user()
    for needed in (Path(sys.executable), Path(harness.__file__), place):
        if unreachable_part(needed, nobody) is not None:
            pytest.skip(f"{needed} is closed to {nobody.name}")
    programs = place / "bin"
    programs.mkdir()
    shutil.copy(obtain_binary(print, {}), programs / PROGRAM)
    (programs / PROGRAM).chmod(0o755)
    place.joinpath("artifacts").mkdir(mode=0o777)
    place.joinpath("artifacts").chmod(0o777)
    extra = {
        "HOME": str(place),
        "XDG_CACHE_HOME": str(place / "cache"),
        "PATH": f"{programs}:{os.environ['PATH']}",
    }
    place.joinpath("cache").mkdir()
    place.joinpath("cache").chmod(0o777)
    process = runner(place, "wait", nobody, **extra)
    assert process.stdout is not None
    root = Path(json.loads(process.stdout.readline())["root"])
    pids = reaper.processes_of(root)
    assert {Path(f"/proc/{pid}").stat().st_uid for pid in pids} == {nobody.uid}
    process.kill()
    process.wait(timeout=60)
    process.stdout.close()
    wait_until_sync(lambda: not root.exists(), what="the reaper", deadline_seconds=15)
    assert reaper.processes_of(root) == []
