"""Measuring a period in a Prometheus: what its counters grew by, and where it has nothing to say.

Missing is not zero.  A selector that finds no series counts nothing; a period whose beginning lies before the data, one
whose end has no sample (a stale series), one of which too little has samples, one whose targets do not answer at its
end, and answers that Prometheus itself warns of are all told, and then nothing passes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

from ..errors import QueryFailed
from .config import GateConfig
from .counters import Labels, Seen, growth, total
from .coverage import BEFORE, Covered, Scraped, Target, gaps_of_each, gaps_together, up_of
from .custom import PERIOD_WORD
from .rows import (
    NOTHING,
    Counted,
    Decision,
    Exposure,
    Row,
    Source,
    Tally,
    Window,
    count_row,
    expression_row,
    number_text,
    share_row,
)
from .server import Line, Period, Server, duration_text
from .slo import CountSlo, ExpressionSlo, LatencySlo, Selector, ShareSlo, Slo


@dataclass(frozen=True)
class Grown:
    """How much each series of a selector grew in each window, and why that may not be all."""

    series: Mapping[Labels, Sequence[Tally]]
    gaps: tuple[str, ...] = ()

    @property
    def tally(self) -> Tally:
        """All series through the whole period."""
        return total(tally for tallies in self.series.values() for tally in tallies)


class Measurer:
    """Judges SLOs by one Prometheus over one period; what several ask for is asked of it once."""

    def __init__(self, server: Server, period: Period, config: GateConfig) -> None:
        """Ask nothing yet."""
        self._server = server
        self._period = period
        self._config = config
        self._options = config.prometheus
        # Methods are not cached themselves, which would keep every measurer alive.
        self.grown = lru_cache(maxsize=None)(self._grown)
        """What the counters of a selector grew by; raises :class:`QueryFailed`."""
        self._samples = lru_cache(maxsize=None)(self._every_sample)
        self._down = lru_cache(maxsize=None)(self._targets_down)
        self._scraped = lru_cache(maxsize=None)(self._targets_of)

    def row(self, slo: Slo) -> Row:
        """Judge one; a question that was not answered leaves it INSUFFICIENT."""
        try:
            return self._row(slo)
        except QueryFailed as error:
            return Row(
                metric=slo.name,
                source=Source.PROMETHEUS,
                value="–",
                bound=slo.bound_text,
                exposure=Exposure(),
                decision=Decision.INSUFFICIENT,
                reasons=(str(error),),
                features=(slo.feature,),
            )

    def _row(self, slo: Slo) -> Row:
        match slo:
            case ShareSlo():
                return share_row(slo, Source.PROMETHEUS, self._shares(slo))
            case LatencySlo():
                return share_row(slo, Source.PROMETHEUS, self._latencies(slo))
            case CountSlo():
                return self._counts(slo)
            case ExpressionSlo():
                return self._expression(slo)

    def _shares(self, slo: ShareSlo) -> Counted:
        bad = [self.grown(one) for one in slo.bad]
        good = [self.grown(one) for one in slo.good]
        missing = _gaps([*bad, *good])
        if any(not one.series for one in (*bad, *good)):
            return Counted(missing=missing, exposure=Exposure(seconds=self._period.seconds))
        of_bad, of_good = (total(one.tally for one in side) for side in (bad, good))
        of_good = of_good.without(of_bad) if slo.whole else of_good
        return Counted(bad=of_bad, good=of_good, missing=missing, exposure=self._exposure(of_bad + of_good))

    def _latencies(self, slo: LatencySlo) -> Counted:
        """Requests over the bound, as the buckets that end on either side of it tell."""
        grown = self.grown(slo.histogram.buckets())
        by_bound: dict[float, Tally] = {}
        for labels, tallies in grown.series.items():
            bound = float(dict(labels).get("le", "inf"))
            by_bound[bound] = by_bound.get(bound, NOTHING) + total(tallies)
        every = by_bound.get(float("inf"))
        if every is None:
            said = f"{slo.histogram.buckets()} has no bucket that ends at +Inf, so requests cannot be counted"
            missing = (*grown.gaps, *([said] if grown.series else []))
            return Counted(missing=missing, exposure=Exposure(seconds=self._period.seconds))
        quicker = max((bound for bound in by_bound if bound <= slo.maximum_seconds), default=None)
        slower = min(bound for bound in by_bound if bound >= slo.maximum_seconds)
        surely_good = by_bound[quicker] if quicker is not None else NOTHING
        maybe_good = by_bound[slower]
        bad = Tally(every.without(maybe_good).least, every.without(surely_good).most)
        return Counted(
            bad=bad,
            good=Tally(max(0.0, every.least - bad.least), max(0.0, every.most - bad.most)),
            missing=grown.gaps,
            exposure=self._exposure(every),
            value=_quantile_text(slo, by_bound, every),
        )

    def _counts(self, slo: CountSlo) -> Row:
        grown = self.grown(slo.counter)
        traffic = [self.grown(one) for one in self._config.traffic]
        exposure = self._exposure(total(one.tally for one in traffic))
        windows = _windows(grown, self._period, slo.unit.seconds) if grown.series else []
        return count_row(slo, Source.PROMETHEUS, windows, exposure=exposure, missing=_gaps([grown, *traffic]))

    def _expression(self, slo: ExpressionSlo) -> Row:
        within = duration_text(self._period.seconds)
        warned = len(self._server.warnings)
        values, exposures = (
            [
                value
                for line in self._server.at(text.replace(PERIOD_WORD, within), self._period.end)
                for value in line.values
            ]
            for text in (slo.promql, slo.exposure)
        )
        finite = [value for value in exposures if value > 0 and value != float("inf")]
        exposure = Exposure(operations=sum(finite), seconds=self._period.seconds)
        gaps = [gap for selector in slo.selectors for gap in self._coverage(selector)]
        missing = tuple(dict.fromkeys((*gaps, *self._warned(warned))))
        return expression_row(slo, values, exposure=exposure, missing=missing)

    def _exposure(self, counted: Tally) -> Exposure:
        return Exposure(operations=counted.least, seconds=self._period.seconds)

    def _coverage(self, selector: Selector) -> tuple[str, ...]:
        """What is missing of the series of a selector that an expression names."""
        window = f"{selector}[{self._period.step_text}]"
        last = self._server.through(f"count by (job, instance) (last_over_time({window}))", self._period)
        series = ((line.labels, {self._period.number_at(t) for t, _ in line.points}) for line in last)
        return self._gaps_of(Covered.of(selector, series))

    def _grown(self, selector: Selector) -> Grown:
        asked = selector.also(*self._options.matchers)
        window = f"{asked}[{self._period.step_text}]"
        warned = len(self._server.warnings)
        last, least, fell = (
            self._by_labels(self._server.through(text, self._period))
            for text in (f"last_over_time({window})", f"min_over_time({window})", f"resets({window}) > 0")
        )
        series: dict[Labels, Sequence[Tally]] = {}
        for labels, values in last.items():
            seen = [
                Seen(values[number], least.get(labels, {}).get(number, values[number]), number in fell.get(labels, {}))
                if number in values
                else None
                for number in range(self._period.windows)
            ]
            series[labels] = growth(values.get(BEFORE), seen, self._samples_of(window, labels))
        covered = Covered.of(asked, last.items())
        gaps = (*self._gaps_of(covered), *self._warned(warned))
        return Grown(series if covered.together - {BEFORE} else {}, gaps)

    def _by_labels(self, lines: Sequence[Line]) -> dict[Labels, dict[int, float]]:
        return {line.labels: {self._period.number_at(t): value for t, value in line.points} for line in lines}

    def _samples_of(self, window: str, labels: Labels) -> Callable[[int], Sequence[float]]:
        return lambda number: self._samples(window, number).get(labels, ())

    def _every_sample(self, window: str, number: int) -> Mapping[Labels, list[float]]:
        """Every sample in one window, by series."""
        return {line.labels: line.values for line in self._server.at(window, self._period.over(number))}

    def _gaps_of(self, covered: Covered) -> tuple[str, ...]:
        """Say what is missing: where nobody has a sample, then of each instance, then of what ended with no answer."""
        least = self._options.minimum_coverage_share
        together = gaps_together(covered, self._period, least)
        if not covered.targets:
            return tuple(together)
        each = gaps_of_each(covered, self._scraped(covered.jobs), self._options.matchers, self._period, least)
        # Of a single instance it has been said already.
        alone = together and len(covered.targets) == 1
        return (*together, *([] if alone else each), *self._unanswered(covered))

    def _warned(self, since: int) -> tuple[str, ...]:
        return tuple(f"Prometheus warns: {warning}" for warning in self._server.warnings[since:])

    def _unanswered(self, covered: Covered) -> tuple[str, ...]:
        """Targets of these series that are still scraped and did not answer at the end of the period."""
        return tuple(
            f"the target {target} does not answer: what it counted since its last sample is not known"
            for target in sorted(self._down() & set(covered.targets))
        )

    def _targets_down(self) -> set[Target]:
        return {Target.of(line.labels) for line in self._server.at(f"{self._config.up} == 0", self._period.end)}

    def _targets_of(self, jobs: frozenset[str]) -> Scraped:
        """When the targets of these jobs were to be scraped."""
        asked = f"max_over_time({up_of(self._config.up, jobs)}[{self._period.step_text}])"
        return Scraped.of(self._config.up, self._server.through(asked, self._period), self._period)


def _gaps(grown: Sequence[Grown]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(gap for one in grown for gap in one.gaps))


def _windows(grown: Grown, period: Period, unit_seconds: float) -> list[Window]:
    """Put windows together to such as are no longer than the unit, from the end of the period backwards."""
    together = max(1, int(unit_seconds / period.step_seconds + 1e-6))
    found = []
    for end in range(period.windows, 0, -together):
        begin = max(0, end - together)
        tally = total(tallies[number] for tallies in grown.series.values() for number in range(begin, end))
        found.append(Window((end - begin) * period.step_seconds, tally))
    return found


def _quantile_text(slo: LatencySlo, by_bound: Mapping[float, Tally], every: Tally) -> str:
    """The bucket that the quantile lies in: ``p99 ≤ 0.25 s``."""
    name = f"p{slo.quantile * 100:g}"
    if not every.least:
        return "–"
    bounds = sorted(by_bound)
    within = next((bound for bound in bounds if by_bound[bound].least >= slo.quantile * every.least), float("inf"))
    if within == float("inf"):
        finite = [bound for bound in bounds if bound != float("inf")]
        return f"{name} > {number_text(max(finite))} s" if finite else "–"
    return f"{name} ≤ {number_text(within)} s"
