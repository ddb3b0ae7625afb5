"""A month of production, as the tests of the gate write it into a Prometheus: stories of services, by their jobs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime

END = datetime(2025, 3, 1, tzinfo=UTC)
NOW = "2025-03-01T00:00:00Z"
STEP_SECONDS, A_DAY = 1800, 48
SAMPLES = 30 * A_DAY + 3
"""From an hour before the month to its end."""
OLDEST = "datastorage_dlq_oldest_age_seconds"
BUCKETS = ("0.1", "0.25", "0.5", "1.0", "+Inf")

Values = Callable[[int], float | None]
"""What a counter shows at each sample; None where there is none."""


def nothing(_: int) -> float:
    return 0.0


def often(number: int) -> float:
    """Ten events in half an hour."""
    return 10.0 * number


def by_thousands(share: float) -> Values:
    """A share of a thousand requests in half an hour."""
    return lambda number: 1000.0 * number * share


@dataclass(frozen=True, kw_only=True)
class Story:
    """The counters of one instance.  ``there``: when it answered; ``lacks``: names that its page has not.

    ``scraped`` says when it was to be scraped, which ``up`` tells; None where nobody kept that.
    """

    created: Values = often
    queued: Values = nothing
    unavailable: Values = nothing
    errors: Values = nothing
    failures: Values = nothing
    slow: float | None = None
    """The share of requests that take between 0.5 and 1 s; None where nobody asks."""
    there: Callable[[int], bool] = lambda number: True
    lacks: frozenset[str] = frozenset()
    scraped: Callable[[int], bool] | None = None

    def series(self, job: str, instance: str) -> Mapping[str, Values]:
        """Every series by its text."""
        label = f'job="{job}",instance="{instance}"'
        outcomes = {"created": self.created, "queued": self.queued, "unavailable": self.unavailable}
        found: dict[str, Values] = {
            f'datastorage_events_total{{{label},outcome="{name}"}}': values for name, values in outcomes.items()
        }
        found[f"datastorage_db_connection_errors_total{{{label}}}"] = self.errors
        found[f'datastorage_partition_write_failures_total{{{label},partition="2025_02"}}'] = self.failures
        found[f"{OLDEST}{{{label}}}"] = lambda number: 5.0
        for bound in BUCKETS if self.slow is not None else ():
            route = f'{label},route="/api/v1/audit/events",status="201",le="{bound}"'
            share = 1.0 if float(bound) >= 1 else 1.0 - (self.slow or 0.0)
            found[f"datastorage_request_duration_seconds_bucket{{{route}}}"] = by_thousands(share)
        kept = {text: self._while_there(values) for text, values in found.items() if not self._lacking(text)}
        if self.scraped is not None:
            asked = self.scraped
            kept[f"up{{{label}}}"] = lambda number: float(self.there(number)) if asked(number) else None
        return kept

    def _lacking(self, text: str) -> bool:
        return any(one in text for one in self.lacks)

    def _while_there(self, values: Values) -> Values:
        return lambda number: values(number) if self.there(number) else None


def steps(*marks: tuple[int, float]) -> Values:
    """A value that holds from each sample on."""
    return lambda number: [0.0, *(value for begin, value in marks if begin <= number)][-1]


DAY_TEN = 2 + 10 * A_DAY
STORIES = {
    "kept": Story(errors=lambda number: float(number // 200), slow=0.0),
    # 6, a restart, and 6 again: the last value less the first is 6, and 12 happened that day.
    "restarted": Story(errors=steps((DAY_TEN + 4, 6.0), (DAY_TEN + 10, 0.0), (DAY_TEN + 14, 6.0))),
    # 3, and a new process that soon counts more than the old one had: the last value less the first is 9.
    "overtaken": Story(errors=steps((DAY_TEN + 2, 3.0), (DAY_TEN + 9, 1.0), (DAY_TEN + 10, 9.0))),
    # 12 on one day, 0.4 a day on average.
    "spiked": Story(errors=steps((DAY_TEN + 5, 12.0))),
    # 9 on each of two days, 18 within less than a day and never 10 in one day.
    "neighbours": Story(errors=steps((DAY_TEN - 3, 9.0), (DAY_TEN + 5, 18.0))),
    "fell-back": Story(queued=lambda number: 0.2 * number),
    "refused": Story(unavailable=lambda number: 0.2 * number),
    "failed": Story(failures=steps((DAY_TEN, 1.0))),
    "replaced": Story(failures=lambda number: 3.0 if number >= DAY_TEN else None),
    "late": Story(there=lambda number: number >= DAY_TEN),
    "stale": Story(there=lambda number: number < SAMPLES - 2 * A_DAY),
    "gone-before": Story(there=lambda number: number < 2),
    "gap": Story(there=lambda number: not DAY_TEN < number < DAY_TEN + 5 * A_DAY),
    "idle": Story(created=nothing),
    "few": Story(created=lambda number: number / 10),
    "lacking": Story(lacks=frozenset({'outcome="unavailable"'})),
    "nameless": Story(lacks=frozenset({"connection_errors"})),
    "slow": Story(slow=0.05),
}
"""Jobs of one instance."""


def since(begin: int) -> Callable[[int], bool]:
    return lambda number: number >= begin


def until(end: int) -> Callable[[int], bool]:
    return lambda number: number < end


def always(_: int) -> bool:
    return True


DAY_TWENTY = 2 + 20 * A_DAY
OLD, NEW = (
    Story(there=until(DAY_TEN + 4), scraped=until(DAY_TEN + 5)),
    Story(there=since(DAY_TEN), scraped=since(DAY_TEN)),
)
BLIND = Story(there=lambda number: not DAY_TEN < number < DAY_TWENTY, scraped=always)
PAIRS = {
    # The new one begins while the old one ends, as in a rolling deployment.
    "rolling": (OLD, NEW),
    "rolling.unseen": (replace(OLD, scraped=None), replace(NEW, scraped=None)),
    "half-blind": (Story(scraped=always), BLIND),
    "half-dead": (Story(scraped=always), Story(there=until(0), scraped=always)),
}
"""Jobs of two instances, i0 and i1."""


def open_metrics() -> str:
    """The month of every job, series by series, as promtool reads it."""
    lines = []
    told = [(job, "i", story) for job, story in STORIES.items()]
    told += [(job, f"i{number}", story) for job, pair in PAIRS.items() for number, story in enumerate(pair)]
    by_text = {text: values for job, name, story in told for text, values in story.series(job, name).items()}
    for text in sorted(by_text):
        for number in range(SAMPLES):
            value = by_text[text](number)
            if value is not None:
                t = int(END.timestamp()) + (number - SAMPLES + 1) * STEP_SECONDS
                lines.append(f"{text} {value:g} {t}")
    return "\n".join([*lines, "# EOF", ""])
