"""Scoring: from what is asked for, and what is stored of it already, to the score."""

from __future__ import annotations

import json
import random
import shlex
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import harness.checkers
import harness.faults  # noqa: F401  (both fill registries)

from ..discovery import Scenarios, load_scenarios
from ..ending import complete
from ..errors import RunAborted, UsageError
from ..guard import halt_file, refuse_when_halted
from ..report.keeping import ALL_RUNS, prune
from ..report.series import SELFTEST
from ..report.summary import shown_path
from ..results import RunResult
from ..stacks import host
from ..suite import default_jobs
from ..values import Verdict
from . import page
from .catalogue import DEFAULT_CATALOGUE, Catalogue, Defect, load_catalogue
from .matrix import Matrix, best_caught, build_matrix, is_to_keep
from .plan import QUICK_BUDGET_SECONDS, Plan, Progress, Selection, left_of, make_plan, weight_seconds
from .play import PlayOptions, play
from .records import Record, Task, record_of
from .store import Store, create, fingerprint, load, same_state

Say = Callable[[str], None]
_PIPE_COLUMNS = 200
"""How wide the matrix is where no terminal says it."""


@dataclass(frozen=True, kw_only=True)
class Wish:
    """What the command line asks for beside the selection."""

    reports: Path
    keep_runs: int = ALL_RUNS
    catalogue: Path | None = None
    resume: str = ""
    force: bool = False
    retry_unknown: bool = False
    keep: bool = False
    jobs: int | None = None
    seed: int | None = None
    time_budget_seconds: float | None = None
    pg_bindir: Path | None = None
    publish: tuple[Path, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Work:
    """One selftest about to go on.  ``skipped``: scenarios that this machine cannot play, with what it lacks."""

    catalogue: Catalogue
    scenarios: Scenarios
    store: Store
    plan: Plan
    skipped: Mapping[str, str]

    def matrix(self) -> Matrix:
        """Judge everything that is stored; defects of an earlier choice keep their rows."""
        recorded = {record.task.defect for record in self.store.records}
        asked = {one.name for one in self.plan.defects} | recorded
        defects = [one for one in self.catalogue.defects if one.name in asked]
        return build_matrix(defects, self.catalogue.control, self.plan.tasks, self.store.records, self.skipped)

    def left(self, *, retry_unknown: bool = False) -> list[Task]:
        """Return what is still to play on this machine."""
        left = left_of(self.plan.tasks, self.store.records, retry_unknown=retry_unknown)
        return [task for task in left if task.scenario not in self.skipped]

    def resume_command(self) -> str:
        """Return what one types to go on."""
        return f"harness selftest --resume {shlex.quote(shown_path(self.store.folder))}"


def score(wish: Wish, chosen: Mapping[str, Any], say: Say) -> int:
    """Play what is left of a selftest, store and show it; return the exit code.

    ``chosen`` are those fields of :class:`Selection` that were asked for.  Raises the harness's own errors.
    """
    refuse_when_halted(wish.reports)
    for path in wish.publish:
        page.marks_of(path)
    work = _work(wish, chosen)
    tasks = work.left(retry_unknown=wish.retry_unknown)
    with work.store.opened():
        try:
            _play(wish, work, tasks, say)
        finally:
            _write(work.store, work.matrix())
    matrix = work.matrix()
    _show(work, matrix, say)
    for path in wish.publish:
        path.write_text(page.published(page.marks_of(path), work.store.header, matrix), encoding="utf-8")
        say(f"published in {path}")
    removed = prune(wish.reports, wish.keep_runs, spare={work.store.folder.name})
    if removed.text:
        say(removed.text)
    say(matrix.score)
    return int(matrix.exit)


def _work(wish: Wish, chosen: Mapping[str, Any]) -> Work:
    """Find or make the store, and lay out its plan."""
    store = load(SELFTEST.find(wish.reports, wish.resume)) if wish.resume else None
    catalogue = load_catalogue(wish.catalogue or (Path(store.header.catalogue) if store else DEFAULT_CATALOGUE))
    scenarios = load_scenarios(catalogue.scenarios)
    selection = replace(store.header.selection if store else Selection(), **chosen)
    plan = make_plan(catalogue, scenarios, selection)
    if store is None:
        seed = wish.seed if wish.seed is not None else random.SystemRandom().randrange(2**31)
        store = create(wish.reports, catalogue, selection, seed=seed, pg_bindir=str(wish.pg_bindir or ""))
    else:
        header = store.header
        if wish.seed not in (None, header.seed):
            raise UsageError(f"{store.folder} has the seed {header.seed}; leave --seed out, or begin a new selftest.")
        pg_bindir = str(wish.pg_bindir) if wish.pg_bindir else header.pg_bindir
        stored = len(store.records)
        header = same_state(header, fingerprint(catalogue), pg_bindir=pg_bindir, force=wish.force, stored=stored)
        store.header = replace(header, selection=selection)
    lacking = {name: host.lacking(scenarios.get(name).needs) for name in {task.scenario for task in plan.tasks}}
    skipped = {name: reason for name, reason in sorted(lacking.items()) if reason}
    return Work(catalogue=catalogue, scenarios=scenarios, store=store, plan=plan, skipped=skipped)


def _play(wish: Wish, work: Work, tasks: Sequence[Task], say: Say) -> None:
    """Play, and write each run down as it ends."""
    store, catalogue = work.store, work.catalogue
    jobs = wish.jobs or default_jobs()
    progress = Progress({task: weight_seconds(work.scenarios.get(task.scenario), jobs) for task in tasks})
    done = len(store.records)
    say(f"{len(tasks)} runs to play, {jobs} at a time ({done} are stored); in {shown_path(store.folder)}")
    began = time.monotonic()

    def heard(task: Task, result: RunResult) -> None:
        halted = halt_file(wish.reports) or halt_file(store.runs_folder)
        if halted is not None:
            # What it ended was no run, and what would follow neither.
            raise RunAborted(f"Halted by the file {halted}; remove it, and go on with: {work.resume_command()}")
        defect = catalogue.get(task.defect)
        record = record_of(task, result, datetime.now(UTC).isoformat(timespec="seconds"))
        if not wish.keep and not is_to_keep(defect, record):
            record = store.forget_run(record)
        store.add(record)
        say(f"[{progress.done(task, time.monotonic() - began)}] {run_line(defect, record)}")

    def left() -> str:
        return f"{len(store.records) - done} of {len(tasks)} runs were stored; go on with: {work.resume_command()}"

    budget = wish.time_budget_seconds
    if budget is None and store.header.selection.quick:
        budget = QUICK_BUDGET_SECONDS
    options = PlayOptions(
        runs=store.runs_folder,
        targets=store.targets_folder,
        seed=store.header.seed,
        jobs=wish.jobs,
        pg_bindir=Path(store.header.pg_bindir) if store.header.pg_bindir else None,
        time_budget_seconds=budget,
        progress=say,
    )
    complete(play(catalogue, work.scenarios, tasks, options, heard), left)


def run_line(defect: Defect, record: Record) -> str:
    """Return one run as a progress line: what it came to, and the finding or the reason."""
    where = f"{record.task} ({record.seconds:.1f} s)"
    if record.verdict is Verdict.UNKNOWN:
        return f"? unknown  {where}: {record.unknowns[0] if record.unknowns else 'no reason was given'}"
    found = best_caught(defect, record)
    if defect.is_control:
        said = f"{found[1].checker}: {found[1].summary}" if found else "no finding"
        return f"✗ FALSE ALARM  {where}: {said}" if record.verdict is Verdict.FAIL else f"✓ passed  {where}"
    if found is None:
        return f"✗ not seen  {where}"
    sight, caught = found
    return f"✓ {sight.value}  {where}: {caught.checker}: {caught.summary}"


def _write(store: Store, matrix: Matrix) -> None:
    header = store.header
    store.write("matrix.json", json.dumps(page.matrix_json(header, matrix), indent=2) + "\n")
    store.write("matrix.md", f"# Selftest\n\n{page.matrix_markdown(header, matrix)}")
    store.write("matrix.html", page.matrix_page(header, matrix))


def _show(work: Work, matrix: Matrix, say: Say) -> None:
    from rich.console import Console

    say("")
    if matrix.rows:
        width = None if sys.stdout.isatty() else _PIPE_COLUMNS
        console = Console(file=sys.stdout, width=width, highlight=False, emoji=False)
        # Not printed by rich, which itself ends the process with 1 when nobody reads any more.
        with console.capture() as drawn:
            console.print(page.rich_table(matrix))
        say(drawn.get())
    for line in page.control_lines(matrix):
        say(line)
    for name, reason in work.skipped.items():
        say(f"skipped: {name} {reason}")
    left = work.left()
    if left:
        say(f"{len(left)} runs are not played yet; go on with: {work.resume_command()}")
    for mark in work.store.header.mixed:
        say(f"mixed by --force at {mark}")
    say(f"matrix: {shown_path(work.store.folder / 'matrix.html')} (also .md and .json)")
