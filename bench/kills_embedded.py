"""Kill a run on the embedded stack again and again, at random moments, and see each time that nothing of it is left.

    python -m bench.kills_embedded [ROUNDS] [PG_BINDIR]

Each round plays the next scenario of the suite in a folder for temporary files of its own, kills the runner by SIGKILL
at a random moment from its first step on, and then asks: is the folder empty again, mounts and immutable files
included, and does no process live that was started there?  Segments of shared memory are compared at the end.
"""

from __future__ import annotations

import asyncio
import os
import random
import shutil
import sys
import tempfile
from pathlib import Path

import harness.faults  # noqa: F401  (scenarios name faults)
from harness._wait import pause, wait_until
from harness.discovery import load_scenarios
from harness.ending import heard
from harness.errors import DeadlineExceeded

ROUNDS, AT_ONCE = 100, 2
LATEST_KILL_SECONDS = 16.0
"""Most scenarios are healed by then; a round whose runner had ended by itself does not count."""
GONE_SECONDS = 30.0
_ATTACHED = 6
"""Which column of the kernel's list tells how many processes are attached to a segment."""
ROOT = Path(__file__).parents[1]


def started_in(place: Path) -> list[int]:
    """Processes that have the folder in their environment or work below it."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            environment, folder = (process / "environ").read_bytes(), (process / "cwd").readlink()
        except OSError:
            continue
        if f"TMPDIR={place}".encode() in environment.split(b"\0") or folder.is_relative_to(place):
            found.append(int(process.name))
    return found


def segments() -> set[str]:
    """Shared memory of System V that nobody is attached to, by key and id: that of a server at work is not left."""
    lines = [line.split() for line in Path("/proc/sysvipc/shm").read_text().splitlines()[1:]]
    return {" ".join(fields[:2]) for fields in lines if fields[_ATTACHED] == "0"}


async def one_round(number: int, name: str, bindir: list[str], dice: random.Random) -> tuple[str, bool]:
    """Play, kill, look; returns what is left, and whether the runner was still there to be killed."""
    home = Path(tempfile.mkdtemp(prefix="bench-kills-embedded-"))
    place = home / "tmp"
    place.mkdir(mode=0o711)
    home.chmod(0o711)
    command = [sys.executable, "-m", "harness", "run", name, "--reports", str(home / "reports"), *bindir]
    process = await asyncio.create_subprocess_exec(
        *command,
        cwd=ROOT,
        env={**os.environ, "TMPDIR": str(place)},
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
    )
    moment = dice.uniform(0.3, LATEST_KILL_SECONDS)
    try:
        await pause(moment)
        alive = len(started_in(place))
        killed = process.returncode is None
    except BaseException:
        # Told to end: what was made for this round goes as well; the reaper empties the rest.
        process.kill()
        await process.wait()
        shutil.rmtree(home, ignore_errors=True)
        raise
    if killed:
        process.kill()
    await process.wait()

    async def gone() -> bool:
        return not any(place.iterdir()) and not started_in(place)

    left = ""
    try:
        await wait_until(gone, what="everything to be gone", deadline_seconds=GONE_SECONDS)
        shutil.rmtree(home)
    except DeadlineExceeded:
        left = f"files {sorted(one.name for one in place.iterdir())}, processes {started_in(place)}"
    how = f"killed with {alive:2} processes" if killed else "had ended"
    print(f"{number:>4}  {name:<40} {moment:5.1f} s  {how}  {left or 'nothing left'}", flush=True)
    return left, killed


async def main(rounds: int, bindir: list[str]) -> int:
    """Play rounds until so many runners were killed; print each, and the sum."""
    names = sorted(load_scenarios(Path("scenarios")))
    dice = random.Random(20260101)
    dice.shuffle(names)
    before = segments()
    killed, number, troubles = 0, 0, []

    async def worker() -> None:
        nonlocal killed, number
        while killed < rounds:
            number += 1
            left, was_killed = await one_round(number, names[number % len(names)], bindir, dice)
            killed += was_killed
            troubles.extend([left] if left else [])

    await asyncio.gather(*(worker() for _ in range(AT_ONCE)))
    more = segments() - before
    print(f"{killed} runners killed in {number} rounds; {len(troubles)} left something; shared memory: {sorted(more)}")
    return 1 if troubles or more else 0


if __name__ == "__main__":
    given = sys.argv[1:]
    path = ["--pg-bindir", given[1]] if len(given) > 1 else []
    with heard():
        sys.exit(asyncio.run(main(int(given[0]) if given else ROUNDS, path)))
