"""Judge stored runs of a sound service again and again with samples missing by chance; every finding is a false alarm.

    python -m bench.gaps REPORTS... [--times 20] [--seed 1] [--jobs 2]

Give folders of runs that passed, such as those of ``harness run`` on the reference service.  The exit code is 1 when
anything was found: by the seed and the number that are printed it is found again.
"""

from __future__ import annotations

import argparse
import random
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from itertools import repeat
from pathlib import Path

import harness.checkers
import harness.faults  # noqa: F401  (both fill registries)
from harness.checkers import DEFAULT_CHECKERS
from harness.checkers.judge import judge
from harness.events import Record
from harness.history import FILE_NAME, read_history
from harness.rundata import build_run
from harness.scenario import Scenario
from tests.property.gaps import WAYS

LARGEST_BYTES = 60_000_000
"""Larger histories would take minutes each time."""


def findings(records: list[Record]) -> set[tuple[str, str]]:
    """Checker and sentence of everything that is found in a run, crashes of checkers included."""
    run = build_run(records)
    names = (*DEFAULT_CHECKERS, *Scenario.from_json(run.started.scenario_json).extra_checkers)
    found = set()
    for result in judge(run, names):
        found |= {(result.checker, finding.summary) for finding in result.findings}
        found |= {(result.checker, said) for said in result.unknowns if "crash" in said.lower()}
    return found


def judged(folder: Path, times: int, seed: int) -> tuple[Path, int, list[str]]:
    """Judge one run so many times; returns how often that was and what was found."""
    records = list(read_history(folder))
    if found := findings(records):
        return folder, 0, [f"left out, since it did not pass: {checker}: {said}" for checker, said in sorted(found)]
    told = []
    for number in range(times):
        chance = random.Random(f"{seed}-{folder.name}-{number}")
        way = chance.choice(sorted(WAYS))
        for checker, said in sorted(findings(WAYS[way](records, chance))):
            told.append(f"{way} #{number}: {checker}: {said}")
    return folder, times, told


def runs_below(roots: list[Path]) -> Iterator[Path]:
    """Folders of runs that are small enough to be judged again and again."""
    for root in roots:
        for history in sorted(root.glob(f"**/{FILE_NAME}")):
            if history.stat().st_size <= LARGEST_BYTES:
                yield history.parent


def main() -> int:
    """Print what is found, and at the end how often was judged."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("reports", type=Path, nargs="+")
    parser.add_argument("--times", type=int, default=20)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--jobs", type=int, default=2)
    given = parser.parse_args()
    folders, began = list(runs_below(given.reports)), time.monotonic()
    judgements = alarms = 0
    with ProcessPoolExecutor(given.jobs) as pool:
        for folder, count, told in pool.map(judged, folders, repeat(given.times), repeat(given.seed)):
            judgements += count
            alarms += len(told) if count else 0
            for said in told:
                print(f"{folder.name}  {said}", flush=True)
    seconds = time.monotonic() - began
    print(f"{len(folders)} runs, judged {judgements} times with gaps in {seconds:.0f} s: {alarms} findings")
    return 1 if alarms or not judgements else 0


if __name__ == "__main__":
    sys.exit(main())
