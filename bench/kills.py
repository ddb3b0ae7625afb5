"""Kill the runner again and again in mid-fault, and see each time whether its undo makes everything whole.

    python -m bench.kills [ROUNDS] [PG_BINDIR]

PostgreSQL, Toxiproxy and the reference service are started once and outlive every runner; writers write into every
month all the while.  Each round takes the next fault of the catalogue (every third one with a second one on top),
kills the runner by SIGKILL at a random moment between the start of its first inject and the end of its heals, lets
the watchdog or ``harness heal`` undo it, turn about, and then asks: is the catalog as before, amcheck content, every
acknowledged event in the table once, the proxy without toxics, no lock held, the database given free?
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import sys
import tempfile
import time
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path

import harness.faults  # noqa: F401  (fills the registry)
from harness._wait import pause, wait_until
from harness.ending import heard
from harness.errors import HarnessError
from harness.fault import Fault, fault_to_json
from harness.ledger import FOLDER, EntryState, Ledger
from harness.stacks.external import ExternalStack
from harness.targets.model import load_target
from tests.integration import faults_lab
from tests.integration.test_faults_contract import FAULT_CASES
from tests.integration.undo_lab import UndoLab, undo_lab

ROUNDS = 100
UNDO_DEADLINE_SECONDS = 120.0
DURING_SECONDS = 1.5
"""The kill falls at random into this time after the first inject began; most of it lies after the confirm."""
STEPS_DOWN_SECONDS = 0.6
"""So long a runner holds its faults before it heals them itself, which a kill may fall into as well."""


@dataclass
class Tally:
    """What the rounds of one fault came to."""

    rounds: int = 0
    states: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    undo_seconds: list[float] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)


async def one_round(lab: UndoLab, number: int, faults: tuple[Fault, ...], dice: random.Random, tally: Tally) -> None:
    """Play, kill, undo, look."""
    name = f"20260101-000000-kill-{number:04d}-{dice.randrange(16**4):04x}"
    before = await lab.catalog()
    by_watchdog = number % 2 == 0
    hold = STEPS_DOWN_SECONDS if dice.random() < 0.3 else 60.0
    extra = {} if by_watchdog else {"HARNESS_WATCHDOG": "off"}
    text = json.dumps([fault_to_json(fault) for fault in faults])
    process = await asyncio.to_thread(lab.runner, name, text, hold_seconds=hold, **extra)
    ledger = Ledger(lab.reports / name / FOLDER)

    async def begun() -> bool:
        if process.poll() is not None:
            raise HarnessError(f"the runner ended before it began: {process.communicate()[0]}")
        return bool(ledger.entries())

    await wait_until(begun, what="the first inject to begin", deadline_seconds=60, interval_seconds=0.002)
    await pause(dice.random() ** 2 * DURING_SECONDS)
    process.kill()
    await asyncio.to_thread(process.communicate)
    tally.rounds += 1
    tally.states["+".join(str(entry.state) for entry in ledger.entries())] += 1
    killed = time.monotonic()
    said = "" if by_watchdog else await _heal(lab)

    async def finished() -> bool:
        record = ledger.record
        return record is not None and not record.open

    try:
        await wait_until(finished, what="the undo", deadline_seconds=UNDO_DEADLINE_SECONDS, interval_seconds=0.05)
        tally.undo_seconds.append(time.monotonic() - killed)
        if any(entry.state is not EntryState.HEALED for entry in ledger.entries()):
            tally.wrong.append(f"{name}: finished with an entry that is not healed")
    except HarnessError as error:
        log = ledger.folder / "watchdog.log"
        tally.wrong.append(f"{name}: {error}: {said or (log.read_text() if log.exists() else '')}")
        await _heal(lab)
    await faults_lab.undo_copy(lab.environment)
    tally.wrong += [f"{name}: {item}" for item in await _still_wrong(lab, before)]


async def _heal(lab: UndoLab) -> str:
    done = await asyncio.to_thread(lab.harness, "heal", "--reports", str(lab.reports))
    return "" if done.returncode == 0 else f"harness heal ended with {done.returncode}: {done.stdout}{done.stderr}"


async def _still_wrong(lab: UndoLab, before: list[tuple[object, ...]]) -> list[str]:
    """What is wrong with nobody writing and the queue drained."""
    await lab.calm()
    try:
        await lab.drained()
        return await lab.is_whole(before)
    except HarnessError as error:
        return [str(error)]
    finally:
        lab.busy()


async def usable(lab: UndoLab) -> list[Fault]:
    """The catalogue, as far as this environment lets it act."""
    os.environ["PGPASSFILE"] = lab.variables["PGPASSFILE"]
    found = await ExternalStack().preflight(load_target(lab.target), lab.reports)
    missing = {fault.name: sorted(fault.needs - found.capabilities) for fault in FAULT_CASES}
    for name, needs in missing.items():
        if needs:
            print(f"left out: {name} needs {', '.join(needs)}")
    return [fault for fault in FAULT_CASES if not missing[fault.name]]


async def measure(rounds: int, folder: Path, bindir: Path | None) -> bool:
    """Print a line a fault; True when every round left everything whole."""
    dice = random.Random(20260101)
    tallies: dict[str, Tally] = {}
    async with undo_lab(folder, bindir) as lab:
        faults = await usable(lab)
        print(f"{rounds} rounds over {len({fault.name for fault in faults})} faults in {len(faults)} variants")
        async with lab.writing():
            for number in range(rounds):
                chosen = [faults[number % len(faults)]]
                if number % 3 == 2:
                    chosen.append(dice.choice([fault for fault in faults if fault.name != chosen[0].name]))
                tally = tallies.setdefault(faults_lab.case_name(chosen[0]), Tally())
                known = len(tally.wrong)
                try:
                    await one_round(lab, number, tuple(chosen), dice, tally)
                except HarnessError as error:
                    tally.wrong.append(f"round {number}: {error}")
                if tally.wrong[known:]:
                    print(
                        f"round {number} {'+'.join(fault.name for fault in chosen)}: {tally.wrong[known:]}", flush=True
                    )
        print(f"{len(lab.acknowledged)} events were acknowledged meanwhile")
    show(tallies)
    return not any(tally.wrong for tally in tallies.values())


def show(tallies: dict[str, Tally]) -> None:
    """Print the table."""
    width = max(map(len, tallies))
    print(f"{'fault':<{width}}  kills  whole  undo s (median, largest)  killed while")
    for name, tally in sorted(tallies.items()):
        seconds = sorted(tally.undo_seconds) or [0.0]
        states = ", ".join(f"{count} {state}" for state, count in sorted(tally.states.items()))
        whole = tally.rounds - len({item.split(":")[0] for item in tally.wrong})
        print(
            f"{name:<{width}}  {tally.rounds:5}  {whole:5}  {seconds[len(seconds) // 2]:9.2f} {seconds[-1]:9.2f}"
            f"      {states}"
        )
    rounds, wrong = sum(t.rounds for t in tallies.values()), [item for t in tallies.values() for item in t.wrong]
    print(f"{rounds - len({item.split(':')[0] for item in wrong})} of {rounds} kills left everything whole")


def main() -> None:
    """Measure; exit 1 when anything was left."""
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else ROUNDS
    bindir = Path(sys.argv[2]) if len(sys.argv) > 2 else None
    with heard(), tempfile.TemporaryDirectory(prefix="bench-kills-", dir="/tmp") as place:
        Path(place).chmod(0o755)
        if not asyncio.run(measure(rounds, Path(place), bindir)):
            raise SystemExit(1)


if __name__ == "__main__":
    main()
