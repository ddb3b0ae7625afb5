"""How fast each fault bites: inject and confirm, case by case of the contract tests, on an environment of their own.

    python -m bench.faults [--repeats 3] [--pg-bindir DIR] [-k WORDS]

Cases that stop or start a server (PostgreSQL 15 and 16 drop their buffers by a restart) are printed, but do not
count: what they take is the server's.  Ends with 1 when the median over the others, each by its own median, is above
250 ms.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from harness.fault import Fault
from harness.faultfacts import facts_of
from harness.faults._damage import can_evict
from harness.faults.database import KillDatabase, StopDatabase
from harness.faults.fullness import FillDataDirectory
from harness.faults.process import CrashService, RestartLoop, TerminateService
from harness.faults.server import KillBackend, SlowStart
from harness.nemesis import confirmed
from harness.stacks.base import Capability, Environment
from harness.stacks.service_extras import CLOCK
from tests.integration.faults_lab import Lab, case_name, lab_environment, settled, undo_copy
from tests.integration.test_faults_contract import FAULT_CASES

GOAL_MS = 250.0
RESTARTING = frozenset(
    {
        *(StopDatabase.name, KillDatabase.name, KillBackend.name, SlowStart.name, FillDataDirectory.name),
        *(CrashService.name, TerminateService.name, RestartLoop.name),
    }
)


@dataclass(frozen=True)
class Timed:
    """One case: what each of its repeats took."""

    case: str
    family: str
    restarts: bool
    inject_ms: tuple[float, ...]
    confirm_ms: tuple[float, ...]

    @property
    def both_ms(self) -> float:
        """Median of inject and confirm together."""
        return statistics.median(one + other for one, other in zip(self.inject_ms, self.confirm_ms, strict=True))


def restarts(fault: Fault, environment: Environment) -> bool:
    """Tell whether injecting is, for the most part, the stop or start of a server."""
    return fault.name in RESTARTING or (Capability.FILES in fault.needs and not can_evict(environment))


async def timed(lab: Lab, fault: Fault, repeats: int) -> Timed:
    """Inject, confirm and heal the fault again and again."""
    injects, confirms = [], []
    for _ in range(repeats):
        scene = lab.scene()
        began = time.perf_counter()
        try:
            await fault.inject(scene)
            injected = time.perf_counter()
            await confirmed(fault, scene)
            confirms.append((time.perf_counter() - injected) * 1000)
            injects.append((injected - began) * 1000)
        finally:
            await fault.heal(scene)
        await settled(fault, scene)
        await undo_copy(lab.environment)
    family = facts_of(fault.name, type(fault)).family
    slow = restarts(fault, lab.environment)
    return Timed(case_name(fault), family, slow, tuple(injects), tuple(confirms))


async def run(repeats: int, bindir: Path | None, words: str) -> bool:
    """Time every case, print the table and return whether the goal was kept."""
    rows = []
    with tempfile.TemporaryDirectory(prefix="bench-faults-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        async with lab_environment(folder, bindir, {CLOCK: "1"}) as environment:
            lab = Lab(asyncio.get_running_loop().run_until_complete, environment, folder / "ledger")
            print(f"PostgreSQL {environment.database.version_num}, {repeats} times each, milliseconds (medians)\n")
            print(f"{'case':<50} {'family':<10} {'inject':>8} {'confirm':>8} {'both':>8}")
            for fault in FAULT_CASES:
                if words not in case_name(fault):
                    continue
                row = await timed(lab, fault, repeats)
                rows.append(row)
                inject, confirm = statistics.median(row.inject_ms), statistics.median(row.confirm_ms)
                note = "  server starts or stops" if row.restarts else ""
                print(
                    f"{row.case:<50} {row.family:<10} {inject:8.0f} {confirm:8.0f} {row.both_ms:8.0f}{note}", flush=True
                )
    counted = [row.both_ms for row in rows if not row.restarts]
    if not counted:
        print("\nno case counts")
        return True
    median = statistics.median(counted)
    kept = median <= GOAL_MS
    print(f"\n{'kept' if kept else 'MISSED'}  median of {len(counted)} cases: {median:.0f} ms, at most {GOAL_MS:.0f}")
    return kept


def main() -> None:
    """Read the arguments and run."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--pg-bindir", type=Path)
    parser.add_argument("-k", dest="words", default="")
    arguments = parser.parse_args()
    raise SystemExit(0 if asyncio.run(run(arguments.repeats, arguments.pg_bindir, arguments.words)) else 1)


if __name__ == "__main__":
    main()
