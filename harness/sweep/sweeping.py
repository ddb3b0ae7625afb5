"""Sweeping: from what is asked for, and what is stored of it already, to the answer."""

from __future__ import annotations

import json
import random
import shlex
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import harness.checkers
import harness.faults  # noqa: F401  (both fill registries)

from ..discovery import Scenarios, load_scenarios
from ..display import Display
from ..ending import complete
from ..errors import UsageError
from ..guard import refuse_when_halted
from ..redaction import masked
from ..report.base import write_text
from ..report.keeping import ALL_RUNS, prune
from ..report.series import SWEEP
from ..report.summary import latency_text, shown_path
from ..results import RunResult
from ..session import REFERENCE_TARGET
from ..targets.model import Target, load_target
from . import page, shown
from .answer import answers_of
from .measuring import Figures, Point, figures_of, measure
from .plan import Played, Question, Store, Task, create, load, scenario_of, sizes_of
from .play import Course, Say, play
from .shown import Result

DEFAULT_SIZES = "5,10,15,25,40,50"
DEFAULT_SCENARIO = "pool-exhausted"
DEFAULT_SCENARIOS = Path("scenarios")
DEFAULT_VARIABLE = "DB_POOL_MAX"
DEFAULT_USERS, DEFAULT_EVENTS, DEFAULT_ROUNDS = 50, 1500, 1


@dataclass(frozen=True, kw_only=True)
class Wish:
    """What the command line asks for; every None means the default, or what a resumed sweep has."""

    reports: Path
    keep_runs: int = ALL_RUNS
    sizes: str | None = None
    users: int | None = None
    delay_ms: int | None = None
    events: int | None = None
    rounds: int | None = None
    seed: int | None = None
    scenario: str | None = None
    scenarios: Path | None = None
    target: Path | None = None
    variable: str | None = None
    pg_bindir: Path | None = None
    resume: str = ""

    @property
    def chosen(self) -> tuple[str, ...]:
        """What was given of what a resumed sweep has already, as options."""
        fixed = [name for name in self.__dict__ if name not in ("reports", "resume", "keep_runs")]
        return tuple(f"--{name.replace('_', '-')}" for name in fixed if getattr(self, name) is not None)


def sweep(wish: Wish, say: Say, display: Display) -> Result:
    """Play what is left of a sweep, store what it came to, and return it; raises the harness's own errors."""
    refuse_when_halted(wish.reports)
    store, course = _prepared(wish, say, display)
    tasks = store.left()
    if tasks:
        said = f"{len(tasks)} runs to play ({len(store.played)} are stored); in {shown_path(store.folder)}"
        say(f"{said}; each takes about a minute, alone on the machine")
    # A history of some ten thousand requests takes seconds to read.
    measured: dict[Played, Point] = {}
    with store.opened():
        try:
            _play(course, tasks, measured, say)
        finally:
            result = _result(store, measured)
            _write(store, result)
    say(f"page: {shown_path(store.folder / 'pool.html')} (also pool.json)")
    removed = prune(wish.reports, wish.keep_runs, spare={store.folder.name})
    if removed.text:
        say(removed.text)
    return result


def _prepared(wish: Wish, say: Say, display: Display) -> tuple[Store, Course]:
    """Find or make the store, and everything that its runs share."""
    if wish.resume:
        if wish.chosen:
            raise UsageError(
                f"--resume goes on with what the sweep was begun with; leave {', '.join(wish.chosen)} out, or begin a "
                "new one."
            )
        store = load(SWEEP.find(wish.reports, wish.resume))
        question = store.question
        base, scenarios = _base(Path(question.target)), load_scenarios(Path(question.scenarios))
    else:
        base, scenarios = _base(wish.target or REFERENCE_TARGET), load_scenarios(wish.scenarios or DEFAULT_SCENARIOS)
        question = _question(wish, base)
        # What is wrong with it is said before anything is stored.
        _refuse_unplayable(question, scenarios)
        store = create(wish.reports, question)
    shared = Course(question=question, scenarios=scenarios, base=base, store=store, say=say, display=display)
    return store, shared


def _refuse_unplayable(question: Question, scenarios: Scenarios) -> None:
    for size in question.sizes:
        scenario_of(question, scenarios, size)


def _base(path: Path) -> Target:
    base = load_target(path)
    if base.launch is None:
        raise UsageError(
            f"{base.path} is reached by its url, so that no sweep can start it with another pool; give a target with "
            "[launch], or sweep by hand: one size a start, `harness run pool-exhausted` each."
        )
    return base


def _question(wish: Wish, base: Target) -> Question:
    return Question(
        sizes=sizes_of(wish.sizes or DEFAULT_SIZES, base.limits.db_pool_max),
        present=base.limits.db_pool_max,
        users=wish.users or DEFAULT_USERS,
        delay_ms=wish.delay_ms,
        events=wish.events or DEFAULT_EVENTS,
        rounds=wish.rounds or DEFAULT_ROUNDS,
        seed=wish.seed if wish.seed is not None else random.SystemRandom().randrange(2**31),
        scenario=wish.scenario or DEFAULT_SCENARIO,
        scenarios=str(wish.scenarios or DEFAULT_SCENARIOS),
        target=str(base.path),
        variable=wish.variable or DEFAULT_VARIABLE,
        pg_bindir=str(wish.pg_bindir or ""),
    )


def _play(course: Course, tasks: Sequence[Task], measured: dict[Played, Point], say: Say) -> None:
    """Play, and write each run down as it ends, with what it measured."""
    store = course.store
    done = len(store.played)
    began = time.monotonic()

    def heard(task: Task, result: RunResult) -> None:
        if result.setup_error:
            # Nothing was measured: the run is still to play, and a resumed sweep plays it.
            say(f"{task} could not be set up and is left to play: {masked(result.setup_error)}")
            return
        played = Played(task, result.folder.name)
        store.add(played)
        measured[played] = measure(store.runs_folder, played)
        count = len(store.played) - done
        left = (time.monotonic() - began) / count * (len(tasks) - count)
        rest = f", about {left / 60:.0f} min left" if left >= 90 else f", about {left:.0f} s left" if left else ""
        say(f"[{count}/{len(tasks)}{rest}] {task}: {_brief(measured[played])}")

    def left() -> str:
        return f"{len(store.played) - done} of {len(tasks)} runs were stored; go on with: {resume_command(store)}"

    complete(play(course, tasks, heard), left)


def resume_command(store: Store) -> str:
    """Return what one types to go on."""
    return f"harness sweep pool --resume {shlex.quote(shown_path(store.folder))}"


def _brief(point: Point) -> str:
    """One run in a line of progress."""
    if point.problem:
        return f"{point.verdict}: {point.problem}"
    told = []
    for one in figures_of([point]):
        p99 = one.quantiles.get(0.99)
        shown = f"p99 {latency_text(p99.value)}" if p99 is not None else "too few samples"
        told.append(f"{one.condition} {shown}, {one.created_per_second:.0f} writes/s")
    return f"{point.verdict}: {'; '.join(told)}"


def _result(store: Store, measured: Mapping[Played, Point]) -> Result:
    found = [measured.get(played) or measure(store.runs_folder, played) for played in store.played]
    points = tuple(sorted(found, key=lambda one: (one.size, one.round)))
    figures: tuple[Figures, ...] = figures_of(points)
    limits = [point.connection_limit for point in points if point.connection_limit is not None]
    return Result(
        name=store.folder.name,
        question=store.question,
        points=points,
        figures=figures,
        answers=answers_of(figures, store.question.present, min(limits, default=None)),
        left=tuple(store.left()),
    )


def _write(store: Store, result: Result) -> None:
    data = json.dumps(shown.to_json(result), indent=2, allow_nan=False)
    write_text(store.folder / "pool.json", f"{data}\n")
    write_text(store.folder / "pool.html", page.page(result))
