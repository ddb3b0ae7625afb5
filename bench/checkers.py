"""What judging costs as histories grow: all checkers over stored columns, against the conservation check alone.

    python -m bench.checkers [--operations N] [--folder FOLDER]

For 10,000 operations and each power of ten up to N (10,000,000) it makes a valid history of which one event in a
hundred was queued, converts it to columns, and measures, each in a process of its own: all checkers, conservation alone
in DuckDB, and conservation alone with plain Python sets.  Exit code 1 when all checkers of the longest history take
more than 6 times the conservation check in DuckDB, or more than 3 GiB, or when an honest history is not passed.
Columns that FOLDER already holds, all of them, are measured as they are. docs/reference/speed.md says what the figures
mean.
"""

from __future__ import annotations

import argparse
import importlib
import itertools
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

RATIO_GOAL = 6.0
MEMORY_GOAL_MIB = 3 * 1024.0
SMALLEST = 10_000


@dataclass(frozen=True)
class Measured:
    """One measurement: wall-clock and CPU seconds, the most memory its process had, and what it found."""

    seconds: float
    cpu_seconds: float
    memory_mib: float
    found: str


@dataclass(frozen=True)
class Size:
    """All measurements of one length.  ``convert`` is None where the columns were there already."""

    operations: int
    convert: Measured | None
    checkers: Measured
    duckdb: Measured
    sets: Measured

    @property
    def ratio(self) -> float:
        """All checkers against conservation alone in DuckDB."""
        return self.checkers.seconds / self.duckdb.seconds

    def line(self) -> str:
        """One line of the table."""
        parts = (self.convert, self.checkers, self.duckdb, self.sets)
        figures = "  ".join(_figures(part).rjust(_FIGURES_WIDTH) for part in parts)
        return f"{self.operations:>10,}  {figures}  {self.ratio:5.2f}"


_FIGURES_WIDTH = 22


def _figures(part: Measured | None) -> str:
    return "kept" if part is None else f"{part.seconds:.2f} s {part.memory_mib:6.0f} MiB"


def _convert(folder: Path) -> str:
    from harness.columnar.convert import convert

    convert(sys.stdin, folder)
    return "converted"


def _checkers(folder: Path) -> str:
    from harness.checkers.judge import judge
    from harness.judging import open_run
    from harness.values import Verdict

    opened = open_run(folder.parent)
    results = judge(opened.run, opened.names, opened.whole)
    wrong = [
        f"{result.checker}: {said}"
        for result in results
        if result.verdict is not Verdict.PASS
        for said in (*(finding.summary for finding in result.findings), *result.unknowns)
    ]
    return "; ".join(wrong) or f"{opened.run.sent:,} operations, {len(opened.run.operations):,} kept: PASS"


def _duckdb(folder: Path) -> str:
    from harness.columnar.conservation import in_duckdb
    from harness.columnar.store import Store

    return str(in_duckdb(Store(folder)))


def _sets(folder: Path) -> str:
    from harness.columnar.conservation import in_sets
    from harness.columnar.store import Store

    return str(in_sets(Store(folder)))


PARTS: dict[str, Callable[[Path], str]] = {
    "convert": _convert,
    "checkers": _checkers,
    "duckdb": _duckdb,
    "sets": _sets,
}


def _measured(part: str, folder: Path) -> Measured:
    """Do one part in this process, and say what it took beyond the imports."""
    for module in ("duckdb", "harness.faults", "harness.judging", "harness.columnar.condense"):
        importlib.import_module(module)
    begun, cpu = time.perf_counter(), time.process_time()
    found = PARTS[part](folder)
    seconds, cpu_seconds = time.perf_counter() - begun, time.process_time() - cpu
    memory_mib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return Measured(seconds, cpu_seconds, memory_mib, found)


def _beside(part: str, folder: Path, stdin: int | None = None) -> Measured:
    """Measure one part in a process of its own; raises CalledProcessError."""
    command = [sys.executable, "-m", "bench.checkers", "--part", part, "--folder", str(folder)]
    done = subprocess.run(command, stdin=stdin, stdout=subprocess.PIPE, check=True, text=True)
    return Measured(**json.loads(done.stdout))


def _converted(operations: int, folder: Path) -> Measured:
    """Make a history and convert it as it comes, so that no disk has to hold its text."""
    command = [sys.executable, "-m", "bench._synthetic", str(operations)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as maker:
        assert maker.stdout is not None
        measured = _beside("convert", folder, maker.stdout.fileno())
    if maker.returncode:
        raise subprocess.CalledProcessError(maker.returncode, command)
    return measured


def kept(operations: int, columns: Path) -> bool:
    """Tell whether a folder holds the finished columns of so many operations; False when there is no such folder.

    Raises :class:`harness.errors.HarnessError` for columns of another length or format, and for those of a conversion
    that is under way or was interrupted.
    """
    import duckdb

    from harness.columnar.parts import ODD, OPERATIONS, REST, ROWS, connect, source
    from harness.errors import HarnessError, HistoryError
    from harness.events import FinalRead
    from harness.jsonlines import decode

    if not columns.exists():
        return False
    try:
        with connect(columns / "spill") as connection:
            for table in (OPERATIONS, ROWS, ODD):  # Odd numbers are written last of all.
                named = ", ".join(name for name, _ in table.columns)
                connection.execute(f"SELECT {named} FROM {source(table, columns)} LIMIT 0")
            count = connection.execute(f"SELECT count(*) FROM {source(OPERATIONS, columns)}").fetchone()
            last = connection.execute(f"SELECT arg_max(line, seq) FROM {source(REST, columns)}").fetchone()
        ended = last is not None and isinstance(decode(last[0] or ""), FinalRead)
    except (duckdb.Error, HistoryError) as error:
        raise HarnessError(
            f"{columns} holds no finished columns ({str(error).splitlines()[0]}); wait until their conversion has "
            "ended, or remove the folder."
        ) from error
    if count != (operations,) or not ended:
        raise HarnessError(f"{columns} does not hold a whole history of {operations:,} operations; remove the folder.")
    return True


def _size(operations: int, folder: Path) -> Size:
    folder.mkdir(parents=True, exist_ok=True)
    columns = folder / "columns"
    convert = None if kept(operations, columns) else _converted(operations, columns)
    # What is there is found where a converted history leaves it; conservation alone is measured on both sides of the
    # checkers, since a machine changes its speed.
    first, checkers, second = (_beside(part, columns) for part in ("duckdb", "checkers", "duckdb"))
    size = Size(
        operations, convert, checkers, min(first, second, key=lambda one: one.seconds), _beside("sets", columns)
    )
    print(size.line(), flush=True)
    for said in (checkers.found, first.found):
        print(f"            {said}")
    return size


def _failures(sizes: list[Size]) -> list[str]:
    last = sizes[-1]
    wrong = [
        f"{size.operations:,} operations: {size.checkers.found}" for size in sizes if "PASS" not in size.checkers.found
    ]
    wrong += [
        f"{size.operations:,}: sets found {size.sets.found}" for size in sizes if size.sets.found != size.duckdb.found
    ]
    if last.ratio > RATIO_GOAL:
        wrong.append(f"all checkers take {last.ratio:.1f} times conservation alone; {RATIO_GOAL:g} are allowed")
    if last.checkers.memory_mib > MEMORY_GOAL_MIB:
        wrong.append(f"all checkers take {last.checkers.memory_mib:.0f} MiB; {MEMORY_GOAL_MIB:.0f} are allowed")
    return wrong


def run(most: int, folder: Path) -> int:
    """Measure every length, print the table and the growth; return the exit code."""
    heads = ("conversion", "all checkers", "DuckDB alone", "sets alone")
    print("operations  " + "  ".join(head.rjust(_FIGURES_WIDTH) for head in heads) + "  ratio")
    sizes: list[Size] = []
    operations = SMALLEST
    while operations <= most:
        sizes.append(_size(operations, folder / str(operations)))
        operations *= 10
    for less, more in itertools.pairwise(sizes):
        grown = more.operations / less.operations
        print(
            f"{less.operations:,} to {more.operations:,}: {grown:g} times the operations take "
            f"{more.checkers.seconds / less.checkers.seconds:.1f} times the seconds for all checkers, "
            f"{more.duckdb.seconds / less.duckdb.seconds:.1f} in DuckDB, "
            f"{more.sets.seconds / less.sets.seconds:.1f} in sets"
        )
    wrong = _failures(sizes)
    for said in wrong:
        print(f"MISSED: {said}")
    return 1 if wrong else 0


def main() -> None:
    """Read the command line and run."""
    arguments = argparse.ArgumentParser(prog="bench.checkers", description=__doc__)
    arguments.add_argument("--operations", type=int, default=10_000_000, help="the longest history (10000000)")
    arguments.add_argument("--folder", type=Path, help="where histories are made, and kept (a temporary folder)")
    arguments.add_argument("--part", choices=sorted(PARTS), help=argparse.SUPPRESS)
    options = arguments.parse_args()
    if options.operations < SMALLEST:
        arguments.error(f"--operations must be {SMALLEST} at least, the shortest history that is measured")
    if options.part is not None:
        print(json.dumps(_measured(options.part, options.folder).__dict__))
        return
    if options.folder is not None:
        raise SystemExit(run(options.operations, options.folder))
    with tempfile.TemporaryDirectory(prefix="bench-checkers-") as folder:
        raise SystemExit(run(options.operations, Path(folder)))


if __name__ == "__main__":
    main()
