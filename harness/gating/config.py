"""``gate.toml``: bounds of the success metrics, a user's own SLOs, and known defects, parsed once into frozen values.

Every bound has its unit in the name of its key.  Without a file the bounds are those of the assessment.
docs/how-to/gate.md has a whole file.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

from ..errors import UsageError
from ..lint.selectors import Condition
from ..tables import Table
from ..targets.model import read_toml
from . import custom
from .slo import BROKEN, JUDGED, LOST, CountSlo, Feature, Operations, Selector, ShareSlo, Slo, Unit

DEFAULT_FILE = Path("gate.toml")
_PAGE = "docs/how-to/gate.md explains each."
PERSISTENCE, FALLBACK, ERRORS, FAILURES = (
    "persistence_success",
    "dlq_fallback",
    "connection_errors",
    "partition_write_failures",
)
"""The four success metrics of the assessment."""

_SERIES = {
    "created": 'datastorage_events_total{outcome="created"}',
    "queued": 'datastorage_events_total{outcome="queued"}',
    "unavailable": 'datastorage_events_total{outcome="unavailable"}',
    "connection_errors": "datastorage_db_connection_errors_total",
    "partition_write_failures": "datastorage_partition_write_failures_total",
    "request_seconds": 'datastorage_request_duration_seconds{route="/api/v1/audit/events"}',
    "up": "up",
}
"""Names of docs/reference/contract.md; ``up`` is Prometheus' own."""
_TOP = {
    "optional",
    "series",
    "prometheus",
    "share",
    "latency",
    "count",
    "expression",
    "known_defect",
    PERSISTENCE,
    FALLBACK,
    ERRORS,
    FAILURES,
}


@dataclass(frozen=True, kw_only=True)
class KnownDefect:
    """A finding that does not fail the gate up to and including the day ``expires``, in UTC.

    It is one of this checker in this scenario whose sentence has ``match`` in it, whatever the case of the letters.
    """

    scenario: str
    checker: str
    match: str
    reason: str
    expires: date

    def is_about(self, scenario: str, checker: str, summary: str) -> bool:
        """Tell whether a finding is this defect."""
        return (scenario, checker) == (self.scenario, self.checker) and self.match.lower() in summary.lower()

    def expired(self, today: date) -> bool:
        """Tell whether it no longer counts."""
        return today > self.expires

    @property
    def text(self) -> str:
        """As the gate names it."""
        return f"{self.scenario}, {self.checker}, {self.match!r}"


@dataclass(frozen=True, kw_only=True)
class PrometheusOptions:
    """How the service is found in a Prometheus, and how much of the period must have samples."""

    matchers: tuple[Condition, ...] = ()
    minimum_coverage_share: float = 0.95


@dataclass(frozen=True, kw_only=True)
class GateConfig:
    """Everything that a gate judges by.  ``path`` is None where nobody gave a file."""

    path: Path | None
    slos: tuple[Slo, ...]
    optional: frozenset[str] = frozenset()
    """Metrics that may be INSUFFICIENT; a FAIL of theirs still fails."""
    known_defects: tuple[KnownDefect, ...] = ()
    prometheus: PrometheusOptions = PrometheusOptions()
    traffic: tuple[Selector, ...] = ()
    """What counts the events that were accepted: beside a count that stayed low there must have been some."""
    up: Selector
    """What is there for as long as an instance of the service is to be scraped, and 0 while it does not answer."""


def load_config(path: Path | None) -> GateConfig:
    """Read the file, or the bounds of the assessment without one; raises :class:`UsageError` for anything wrong."""
    if path is None:
        return _config(None, "the defaults", {})
    raw = read_toml(path, "gate file", "Give the path of a gate.toml with --config.", _PAGE, UsageError)
    return _config(path, str(path), raw)


def _config(path: Path | None, place: str, raw: dict[str, Any]) -> GateConfig:
    top = Table.of(place, raw, _TOP, _PAGE)
    names = top.inner("series", _SERIES)
    series = {key: custom.selector(names, key, usual) for key, usual in _SERIES.items()}
    slos: list[Slo] = [
        *_success_metrics(top, series),
        *(custom.share(one) for one in top.rows("share", custom.SHARE_KEYS)),
        *(custom.latency(one, series["request_seconds"]) for one in top.rows("latency", custom.LATENCY_KEYS)),
        *(custom.count(one) for one in top.rows("count", custom.COUNT_KEYS)),
        *(custom.expression(one) for one in top.rows("expression", custom.EXPRESSION_KEYS)),
    ]
    known = [one.name for one in slos]
    for name in known:
        if known.count(name) > 1 or name in (LOST, BROKEN, JUDGED):
            raise top.wrong(f"two metrics are named {name}; rename one of them.")
    optional = top.texts("optional", ())
    for name in optional:
        Table.of(f"{place} optional", {name: 0}, known, _PAGE)
    return GateConfig(
        path=path,
        slos=tuple(slos),
        optional=frozenset(optional),
        known_defects=tuple(_known_defect(one) for one in top.rows("known_defect", _DEFECT_KEYS)),
        prometheus=_prometheus(top),
        traffic=(series["created"], series["queued"]),
        up=series["up"],
    )


def _success_metrics(top: Table, series: dict[str, Selector]) -> list[Slo]:
    """The four of the assessment, with the feature that each asks for (docs/how-to/gate.md says why)."""
    created, queued, refused = series["created"], series["queued"], series["unavailable"]
    kept = top.inner(PERSISTENCE, {"above_percent", "minimum_operations"})
    below = _bad_share(kept.number("above_percent", 99.9, below=100))
    persistence = ShareSlo(
        name=PERSISTENCE,
        bad=(refused,),
        good=(created, queued),
        below_share=below,
        minimum_operations=custom.least_operations(kept, below),
        operations=Operations.REFUSED,
        feature=Feature.ISOLATION,
        inverted=True,
    )
    fell = top.inner(FALLBACK, {"below_percent", "minimum_operations"})
    below = fell.number("below_percent", 0.1, below=100) / 100
    fallback = ShareSlo(
        name=FALLBACK,
        bad=(queued,),
        good=(created,),
        below_share=below,
        minimum_operations=custom.least_operations(fell, below),
        operations=Operations.QUEUED,
        feature=Feature.RECOVERY,
    )
    lost = top.inner(ERRORS, {"below_per_day", "minimum_share_of_day"})
    errors = CountSlo(
        name=ERRORS,
        counter=series["connection_errors"],
        limit=lost.number("below_per_day", 10),
        inclusive=False,
        unit=Unit.DAY,
        minimum_share=lost.share("minimum_share_of_day", 1.0),
        feature=Feature.POOL_METRICS,
    )
    failed = top.inner(FAILURES, {"maximum_per_month"})
    failures = CountSlo(
        name=FAILURES,
        counter=series["partition_write_failures"],
        limit=failed.from_zero("maximum_per_month", 0),
        inclusive=True,
        unit=Unit.MONTH,
        feature=Feature.PARTITION_METRICS,
    )
    return [persistence, fallback, errors, failures]


_DEFECT_KEYS = {"scenario", "checker", "match", "reason", "expires"}


def _known_defect(table: Table) -> KnownDefect:
    if "expires" not in table:
        raise table.wrong(
            "expires is missing: a known defect is listed with the last day on which it does not fail the gate, such "
            "as expires = 2027-01-31."
        )
    return KnownDefect(
        scenario=table.text("scenario"),
        checker=table.text("checker"),
        match=table.text("match"),
        reason=table.text("reason"),
        expires=table.day("expires"),
    )


def _prometheus(top: Table) -> PrometheusOptions:
    usual = PrometheusOptions()
    table = top.inner("prometheus", {"matchers", "minimum_coverage_share"})
    asked: tuple[Condition, ...] = ()
    if "matchers" in table:
        text = table.text("matchers").strip().removeprefix("{").removesuffix("}")
        try:
            asked = Selector.parse(f"any{{{text}}}").asked
        except UsageError as error:
            raise table.wrong(f'matchers must be written as job="audit-service",env="prod": {error}') from error
    return PrometheusOptions(
        matchers=asked, minimum_coverage_share=table.share("minimum_coverage_share", usual.minimum_coverage_share)
    )


def _bad_share(above_percent: float) -> float:
    return round(1 - above_percent / 100, 12)
