"""Defects of breakers and bulkheads: when a month is spared, for how long, and who else is."""

from typing import Any

from service.database import Admission
from service.models import Event, Outcome, Status
from service.partitions import Breaker, Month, Months
from service.writer import Writer

from .planting import reword
from .registry import defect

HALF_A_MINUTE_SECONDS = 30.0
DETACHED = ("december-detached",)


@defect(
    "one-bad-month-queues-all", promise=3, scenarios=("argument-one-partition",), checkers=("isolation",), quick=True
)
def one_bad_month_queues_all() -> None:
    """While any month's breaker is open all months go to the queue."""
    may_try = Writer._may_try

    def only_when_all_are_well(self: Writer, month: Month) -> bool:
        return may_try(self, month) and all(other.breaker.allows for other in self.months.values())

    Writer._may_try = only_when_all_are_well  # type: ignore[method-assign]


@defect("no-breaker-no-bulkhead", promise=3, scenarios=("december-locked",), checkers=("isolation",), quick=True)
def no_breaker_no_bulkhead() -> None:
    """A hanging month is tried again and again, and may take the whole pool from the others."""
    Breaker.trip = lambda self: False  # type: ignore[method-assign]
    _no_bulkhead()


def _no_bulkhead() -> None:
    Admission._eligible = lambda self, key: True  # type: ignore[method-assign]


@defect("breaker-never-opens", promise=4, scenarios=("december-held-by-idle-session",), checkers=("fallback",))
def breaker_never_opens() -> None:
    """Each event of a month that hangs waits for the lock time-out before it is queued, however long that goes on."""
    Breaker.trip = lambda self: False  # type: ignore[method-assign]


@defect("breaker-never-closes", promise=5, scenarios=DETACHED, checkers=("recovery",))
def breaker_never_closes() -> None:
    """A probe that succeeds does not close the breaker: direct writes resume with a restart only."""
    end_probe = Breaker.end_probe
    Breaker.end_probe = lambda self, succeeded: end_probe(self, False)  # type: ignore[method-assign]


@defect("first-probe-after-half-a-minute", promise=5, scenarios=DETACHED, checkers=("recovery",))
def first_probe_after_half_a_minute() -> None:
    """An open breaker rests for half a minute before it is probed, as the defaults of a library have it."""
    make = Breaker.__init__

    def resting(self: Breaker, retry_min_seconds: float, retry_max_seconds: float, *clock: Any) -> None:
        make(self, HALF_A_MINUTE_SECONDS, HALF_A_MINUTE_SECONDS, *clock)

    Breaker.__init__ = resting  # type: ignore[method-assign, assignment]


@defect("breaker-shared-by-all-months", promise=3, scenarios=DETACHED, checkers=("isolation",))
def breaker_shared_by_all_months() -> None:
    """There is one breaker for the whole table, which the failures of any month open."""
    missing = Months.__missing__
    shared: list[Breaker] = []

    def sharing(self: Months, name: str) -> Month:
        month = missing(self, name)
        shared.append(month.breaker)
        month.breaker = shared[0]
        return month

    Months.__missing__ = sharing  # type: ignore[method-assign]


@defect("client-errors-open-the-breaker", promise=2, scenarios=DETACHED, checkers=("honest-status",))
def client_errors_open_the_breaker() -> None:
    """Every answer but 2xx counts as a failure of the month: a client's conflict has its events queued."""
    write_month = Writer._write_month

    async def counting(self: Writer, month: Month, events: list[Event], deadline: float) -> dict[Event, Outcome]:
        outcomes = await write_month(self, month, events, deadline)
        if any(outcome.status in (Status.CONFLICT, Status.REJECTED) for outcome in outcomes.values()):
            self.months.trip(month)
        return outcomes

    Writer._write_month = counting  # type: ignore[method-assign]


@defect("half-open-stampede", promise=3, scenarios=("december-locked",), checkers=("isolation",))
def half_open_stampede() -> None:
    """When a probe is due every waiting write is let through at once, and nothing bounds how many hang there."""

    def due(self: Breaker) -> bool:
        return self._due_at is None or self._clock() >= self._due_at

    def again(self: Breaker) -> bool:
        closed, self._due_at = self._due_at is None, self._clock() + self._min
        return closed

    Breaker.allows, Breaker.trip = property(due), again  # type: ignore[method-assign, assignment]
    _no_bulkhead()


@defect("probe-rows-stay", promise=1, scenarios=DETACHED, checkers=("conservation",))
def probe_rows_stay() -> None:
    """Probes commit the row that they try: the table fills with events that nobody sent."""
    reword("probe", "ROLLBACK", "COMMIT")
