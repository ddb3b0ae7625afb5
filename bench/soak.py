"""The suite again and again: how often it alarms, how long it takes, and whether anything stays behind.

    python -m bench.soak [RUNS] [ARGUMENTS OF harness run ...]

After each run, processes that work below the run's temporary folder, listening ports that were not there before, and
files left in the temporary folder are counted.  Reports of runs that did not pass are kept and named.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

_LISTEN = "0A"


@dataclass(frozen=True)
class Round:
    """One suite run and what it left behind."""

    exit_code: int
    seconds: float
    ratio: float
    verdicts: Counter[str]
    processes: tuple[str, ...]
    ports: tuple[int, ...]
    files: tuple[str, ...]


def listening() -> set[int]:
    """Every TCP port that something on this machine listens on."""
    ports = set()
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        for line in Path(table).read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == _LISTEN:
                ports.add(int(fields[1].rpartition(":")[2], 16))
    return ports


def processes_below(folder: Path) -> tuple[str, ...]:
    """Processes whose working directory lies below ``folder``."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                if (entry / "cwd").readlink().is_relative_to(folder):
                    found.append(f"{entry.name} {(entry / 'comm').read_text().strip()}")
            except OSError:
                continue
    return tuple(found)


def one_round(temporary: Path, reports: Path, arguments: list[str]) -> Round:
    """Run the suite once and look at what is left."""
    before = listening()
    began = time.monotonic()
    environment = {**os.environ, "TMPDIR": str(temporary)}
    command = [sys.executable, "-m", "harness", "run", "--reports", str(reports), *arguments]
    ended = subprocess.run(command, env=environment, stdout=subprocess.DEVNULL, check=False)
    seconds = time.monotonic() - began
    (suite,) = reports.glob("*-suite-*/suite.json")
    data = json.loads(suite.read_text(encoding="utf-8"))
    return Round(
        exit_code=ended.returncode,
        seconds=seconds,
        ratio=seconds / data["irreducible_seconds"],
        verdicts=Counter(run["verdict"] for run in data["runs"]),
        processes=processes_below(temporary),
        ports=tuple(sorted(listening() - before)),
        files=tuple(path.name for path in temporary.iterdir()),
    )


def main() -> None:
    """Run; the first argument is how many times."""
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 20
    temporary = Path(tempfile.mkdtemp(prefix="soak-", dir="/tmp"))
    temporary.chmod(0o777)
    total: Counter[str] = Counter()
    left = 0
    for number in range(1, rounds + 1):
        reports = Path(f"reports/soak-{number:03d}")
        shutil.rmtree(reports, ignore_errors=True)
        done = one_round(temporary, reports, sys.argv[2:])
        total.update(done.verdicts)
        left += len(done.processes) + len(done.ports) + len(done.files)
        said = ", ".join(f"{count} {verdict}" for verdict, count in sorted(done.verdicts.items()))
        print(
            f"{number:3d}  exit {done.exit_code}  {done.seconds:6.1f} s  {done.ratio:.2f} times the waits  {said}"
            f"  left: {list(done.processes)} {list(done.ports)} {list(done.files)}",
            flush=True,
        )
        if done.exit_code == 0:
            shutil.rmtree(reports)
        else:
            print(f"     kept: {reports}", flush=True)
    shutil.rmtree(temporary)
    print(f"{rounds} suites: {dict(total)}; left behind: {left}")


if __name__ == "__main__":
    main()
