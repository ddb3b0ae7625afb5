"""Hand-made runs of a sweep: a pool of some size under a load that measures it, and what stands for playing them."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from harness import events as ev
from harness.blast import BlastRadius, Write
from harness.checkers._pool_series import IN_USE, MAX_OPEN, WAIT
from harness.checking import CheckResult
from harness.noise import quantile
from harness.report.figures import PoolUse
from harness.session import REFERENCE_TARGET
from harness.sweep.measuring import AS_IT_IS, SHARES, Figures
from harness.sweep.plan import Question, Task
from harness.sweep.play import Course, Heard
from harness.sweep.watching import Cpu
from tests.unit import report_samples as samples
from tests.unit.histories import DECEMBER, JANUARY, History
from tests.unit.stored_samples import PASSED, store

ROOT = Path(__file__).parents[2]
SECONDS, PER_SECOND = 12, 200
QUESTION = Question(
    sizes=(10, 25, 50),
    present=25,
    users=50,
    delay_ms=None,
    events=1000,
    rounds=2,
    seed=7,
    scenario="pool-exhausted",
    scenarios=str(ROOT / "scenarios"),
    target=str(REFERENCE_TARGET),
    variable="DB_POOL_MAX",
)
"""Three sizes about the present maximum of 25, twice."""


def ask(**changes: Any) -> Question:
    """The question with something changed."""
    return Question(**{**QUESTION.__dict__, **changes})


SLOW = BlastRadius(months=None, write=Write.DELAYED, delay_ms=25.0)


def pool_history(
    size: int, *, write_seconds: float = 0.01, wait_seconds: float = 0.0, slow: bool = False, shown: int | None = None
) -> History:
    """A load that a pool of this size serves, for so long before a fault, and with ``slow`` as long under it."""
    history, chance = History(), random.Random(size)
    history.add(ev.PhaseMark(0.0, "before"))
    phases = 2 if slow else 1
    for number in range(SECONDS * PER_SECOND * phases):
        t = number / PER_SECOND
        took = write_seconds * chance.uniform(0.9, 1.1) * (3 if t >= SECONDS else 1)
        history.op(t + 0.001, (DECEMBER, JANUARY)[number % 2], 201, took=took, writer=number % 50)
    for step in range(SECONDS * phases * 2):
        waits = float(step * 100)
        history.add(
            ev.MetricsSample(
                step / 2,
                {
                    f"{WAIT}_count": waits,
                    f"{WAIT}_sum": waits * wait_seconds,
                    f'{WAIT}_bucket{{le="0.0005"}}': 0.0 if wait_seconds else waits,
                    f'{WAIT}_bucket{{le="+Inf"}}': waits,
                    IN_USE: float(size),
                    MAX_OPEN: float(size if shown is None else shown),
                },
            )
        )
        history.add(ev.ConnectionSample(step / 2, size))
    if slow:
        over = SECONDS * 2 - 0.2
        times: dict[str, Any] = {
            "injected": SECONDS,
            "confirmed": SECONDS + 0.1,
            "healing": over,
            "healed": over,
            "probed": over,
        }
        history.fault(SLOW, name="latency", injecting=float(SECONDS), **times)
    history.add(ev.FinalRead(float(SECONDS * phases), True, True))
    return history


def figures(
    size: int,
    *,
    p99: float = 0.02,
    wait: float = 0.0,
    condition: str = AS_IT_IS,
    errors: Mapping[int, int] | None = None,
    problem: str = "",
    count: int = 3000,
    full: float = 0.0,
    cpu: Cpu | None = None,
    broken: tuple[str, ...] = (),
) -> Figures:
    """The figures of one size whose p99 is about that."""
    chance = random.Random(size)
    times = [(20.0 * at / count, p99 * chance.uniform(0.5, 1.0)) for at in range(count)]
    pool = PoolUse(
        scrapes=40,
        acquisitions=1000.0,
        waited=100.0 if wait else 0.0,
        waited_seconds=1000.0 * wait,
        p99_at_most_seconds=0.05,
        most_in_use=float(size),
        full_share=full,
    )
    return Figures(
        size=size,
        condition=condition,
        seconds=20.0,
        writes=count,
        errors=errors or {},
        quantiles={share: quantile(times, share) for share in SHARES},
        pools=(pool,),
        backends=size,
        cpu=cpu,
        problem=problem,
        broken=broken,
    )


class Played:
    """Stands for ``play``: each run is the history that ``of`` makes of its task, judged by ``checks``.

    That of the size ``not_set_up`` has no history.
    """

    def __init__(
        self,
        of: Callable[[Task], History],
        checks: Callable[[Task], Sequence[CheckResult]] = lambda task: (PASSED,),
        *,
        ends_after: int | None = None,
        not_set_up: int | None = None,
    ) -> None:
        self._of = of
        self._not_set_up = not_set_up
        self._checks = checks
        self._ends_after = ends_after
        self.tasks: list[Task] = []
        self.courses: list[Course] = []

    async def __call__(self, course: Course, tasks: Sequence[Task], heard: Heard) -> None:
        self.courses.append(course)
        for task in tasks:
            if self._ends_after is not None and len(self.tasks) >= self._ends_after:
                raise KeyboardInterrupt
            self.tasks.append(task)
            name = f"run-{task.size}-{task.round}"
            if task.size == self._not_set_up:
                failed = samples.result_of(PASSED, folder=course.store.runs_folder / name)
                heard(task, replace(failed, run=name, setup_error="PostgreSQL did not start"))
                continue
            folder: Path = store(course.store.runs_folder, name, *self._checks(task), history=self._of(task), clocks=())
            heard(task, replace(samples.result_of(PASSED, folder=folder), run=name))
