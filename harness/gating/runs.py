"""Measuring stored runs: only what lies outside every blast radius and every edge, for chaos is not production.

Operations are first sends of valid events, placed by the oracle.  Counters are those of the service's own page, between
scrapes that both lie outside the faults of the run.  What an honest service may show there as well counts as possible,
not as certain: a 202 beside a canary that stalled or was not seen, and what a counter adds after a fault of the run,
which may be its aftermath (a pool may find a connection broken long after it was cut).
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path

from .. import events as ev
from ..checkers._common import (
    SCRAPE_SLACK_SECONDS,
    Calm,
    Canary,
    forget,
    life_of,
    quantile,
    recovery_edge,
    restarts,
    shared,
    weighed_expectations,
)
from ..checkers._series import parse_series
from ..errors import HarnessError
from ..judging import is_large, load_run, open_run
from ..oracle import CREATED, NO_ANSWER, QUEUED, Expectation, Oracle
from ..rundata import Operation, Run
from .config import GateConfig
from .counters import between, total
from .rows import NOTHING, Counted, Decision, Exposure, Row, Source, Tally, Window, count_row, share_row
from .slo import CountSlo, ExpressionSlo, LatencySlo, Operations, Selector, ShareSlo, Slo

ELSEWHERE = "only a Prometheus can tell it; give its address with --prometheus"
NO_SCRAPES = "no scrape of its page lies outside the faults"


@dataclass(frozen=True, kw_only=True)
class RunMeasures:
    """What one run adds to the metrics: answers, slow ones by SLO, and growth of counters, all outside the faults."""

    run: str
    created: Tally = NOTHING
    queued: Tally = NOTHING
    refused: Tally = NOTHING
    unfinished: int = 0
    slow: Mapping[str, Tally] = field(default_factory=dict)
    latencies_seconds: Sequence[float] = ()
    quiet_seconds: float = 0.0
    """How long counters were watched outside the faults."""
    grown: Mapping[Selector, Tally] = field(default_factory=dict)
    lacks: frozenset[Selector] = frozenset()
    """Selectors that no series of a page that was scraped passes."""
    problem: str = ""
    """Why nothing of the run could be measured."""

    @property
    def first_sends(self) -> Tally:
        """All answers that were counted."""
        return self.created + self.queued + self.refused


def measure(folder: Path, name: str, config: GateConfig) -> RunMeasures:
    """Measure one stored run; one whose history cannot be read says so."""
    try:
        run = _opened(folder)
    except HarnessError as error:
        return RunMeasures(run=name, problem=str(error))
    measures = measure_run(run, name, config)
    forget()
    return measures


def _opened(folder: Path) -> Run:
    if not is_large(folder):
        return load_run(folder)
    import harness.faults  # noqa: F401  (a condensed run is made for the checkers of its scenario, which names faults)

    return open_run(folder).run


def measure_run(run: Run, name: str, config: GateConfig) -> RunMeasures:
    """Measure a run that has been opened."""
    answered, unfinished = _answers(run)
    latencies = [slo for slo in config.slos if isinstance(slo, LatencySlo)]
    slow, seconds = _latencies(run, latencies)
    selectors = _selectors(config.slos)
    scrapes = [sample for sample in run.of_kind(ev.MetricsSample) if not sample.error]
    wanted = _series(scrapes, selectors)
    quiet_seconds, grown = _grown(run, scrapes, wanted)
    found = {one for matching in wanted.values() for one in matching}
    return RunMeasures(
        run=name,
        created=answered[CREATED],
        queued=answered[QUEUED],
        refused=answered[NO_ANSWER],
        unfinished=unfinished,
        slow=slow,
        latencies_seconds=seconds,
        quiet_seconds=quiet_seconds,
        grown={one: grown.get(one, NOTHING) for one in selectors} if quiet_seconds else {},
        lacks=frozenset(selectors) - found if scrapes else frozenset(),
    )


def rows_of(config: GateConfig, runs: Sequence[RunMeasures], *, deciding: bool) -> list[Row]:
    """Judge every SLO by all runs together.  ``deciding``: a row must pass unless its metric is optional."""
    rows = [_row(slo, [one for one in runs if not one.problem]) for slo in config.slos]
    return [replace(row, needed=deciding and row.metric not in config.optional) for row in rows]


def _row(slo: Slo, runs: Sequence[RunMeasures]) -> Row:
    match slo:
        case ShareSlo(operations=None):
            return share_row(slo, Source.RUNS, _counters(slo, runs))
        case ShareSlo():
            return share_row(slo, Source.RUNS, _answered(slo, runs))
        case LatencySlo():
            return share_row(slo, Source.RUNS, _waited(slo, runs))
        case CountSlo():
            return _count(slo, runs)
        case ExpressionSlo():
            return Row(
                metric=slo.name,
                source=Source.RUNS,
                value="–",
                bound=slo.bound_text,
                exposure=Exposure(runs=len(runs)),
                decision=Decision.INSUFFICIENT,
                reasons=(ELSEWHERE,),
                features=(slo.feature,),
            )


def _answered(slo: ShareSlo, runs: Sequence[RunMeasures]) -> Counted:
    created, queued = total(one.created for one in runs), total(one.queued for one in runs)
    if slo.operations is Operations.QUEUED:
        bad, good = queued, created
    else:
        # That a 202 may have been honest does not make it less of an acceptance.
        bad, good = total(one.refused for one in runs), created + Tally.exactly(queued.most)
    return Counted(bad=bad, good=good, exposure=_exposure(bad + good, runs))


def _waited(slo: LatencySlo, runs: Sequence[RunMeasures]) -> Counted:
    bad = total(one.slow.get(slo.name, NOTHING) for one in runs)
    seconds = [value for one in runs for value in one.latencies_seconds]
    if not seconds:
        return Counted(exposure=Exposure(runs=len(runs)))
    return Counted(
        bad=bad,
        good=Tally(len(seconds) - bad.most, len(seconds) - bad.least),
        exposure=Exposure(operations=len(seconds), runs=len(runs)),
        value=f"p{slo.quantile * 100:g} {quantile(seconds, slo.quantile):.3g} s",
    )


def _counters(slo: ShareSlo, runs: Sequence[RunMeasures]) -> Counted:
    bad, good = (_sum(side, runs) for side in (slo.bad, slo.good))
    missing = _missing((*slo.bad, *slo.good), runs)
    if missing:
        return Counted(missing=missing, exposure=Exposure(runs=len(runs)))
    good = good.without(bad) if slo.whole else good
    seconds = sum(one.quiet_seconds for one in runs)
    return Counted(bad=bad, good=good, exposure=replace(_exposure(bad + good, runs), seconds=seconds))


def _count(slo: CountSlo, runs: Sequence[RunMeasures]) -> Row:
    missing = _missing((slo.counter,), runs)
    grown = _sum((slo.counter,), runs)
    seconds = sum(one.quiet_seconds for one in runs if slo.counter in one.grown)
    sent = total(one.first_sends for one in runs)
    return count_row(
        slo,
        Source.RUNS,
        [Window(seconds, grown)] if seconds else [],
        exposure=replace(_exposure(sent, runs), seconds=seconds),
        missing=missing,
    )


def _missing(selectors: Iterable[Selector], runs: Sequence[RunMeasures]) -> tuple[str, ...]:
    found = []
    for selector in selectors:
        lacking = [one.run for one in runs if selector in one.lacks]
        if lacking:
            said = (
                f"the page of the service has no {selector} in {len(lacking)} of {len(runs)} runs, such as {lacking[0]}"
            )
            found.append(f"{said}; missing is not zero")
    if not found and not any(one.quiet_seconds for one in runs):
        found.append(NO_SCRAPES)
    return tuple(found)


def _sum(selectors: Iterable[Selector], runs: Sequence[RunMeasures]) -> Tally:
    return total(one.grown.get(selector, NOTHING) for selector in selectors for one in runs)


def _exposure(counted: Tally, runs: Sequence[RunMeasures]) -> Exposure:
    # Which of the two a doubtful one is does not matter to how many there were.
    return Exposure(operations=counted.most, runs=len(runs))


def _selectors(slos: Iterable[Slo]) -> tuple[Selector, ...]:
    """What the runs' scrapes are asked for."""
    found: list[Selector] = []
    for slo in slos:
        if isinstance(slo, CountSlo):
            found.append(slo.counter)
        elif isinstance(slo, ShareSlo) and slo.operations is None:
            found += [*slo.bad, *slo.good]
    return tuple(dict.fromkeys(found))


def _outside(operation: Operation, expected: Expectation) -> bool:
    """Tell whether it is a first send of a valid event outside every radius and edge."""
    first_send = operation.kind is ev.OpKind.WRITE and operation.writer >= 0
    return first_send and expected.strict and not expected.covered


def _answers(run: Run) -> tuple[Mapping[int, Tally], int]:
    """First sends outside the faults by answer (201, 202, and 0 for all others), and how many had no end."""
    canary = shared(run, Canary)
    sure: Counter[int] = Counter()
    doubtful: Counter[int] = Counter()
    unfinished = 0
    for operation, expected, count in weighed_expectations(run):
        if not _outside(operation, expected):
            continue
        if math.isinf(operation.completed):
            unfinished += count  # The run ended first; the checkers judge whether it may have.
            continue
        answer = operation.status if operation.status in (CREATED, QUEUED) else NO_ANSWER
        (doubtful if _doubtful(canary, operation) else sure)[answer] += count
    return {one: Tally(sure[one], sure[one] + doubtful[one]) for one in (CREATED, QUEUED, NO_ANSWER)}, unfinished


def _doubtful(canary: Canary, operation: Operation) -> bool:
    """Tell whether the machine or the database, and not the service, may be why it was not simply stored."""
    if operation.status == QUEUED:
        return canary.around(operation.month, operation.invoked, operation.completed) is not Calm.CALM
    return operation.status == NO_ANSWER and canary.stalled_unexplained(operation)


def _latencies(run: Run, slos: Sequence[LatencySlo]) -> tuple[Mapping[str, Tally], Sequence[float]]:
    """By SLO the requests that took too long, and how long each took; of batches nothing, for they take longer."""
    if not slos:
        return {}, ()
    oracle, canary = Oracle(run), shared(run, Canary)
    sure: Counter[str] = Counter()
    doubtful: Counter[str] = Counter()
    seconds: list[float] = []
    for operation in _single_sends(run):
        if not _outside(operation, oracle.expect(operation)):
            continue
        seconds.append(operation.seconds)
        for slo in slos:
            if operation.seconds > slo.maximum_seconds:
                calm = canary.around(operation.month, operation.invoked, operation.completed)
                (doubtful if calm is Calm.STALLED else sure)[slo.name] += 1
    return {slo.name: Tally(sure[slo.name], sure[slo.name] + doubtful[slo.name]) for slo in slos}, seconds


def _single_sends(run: Run) -> Iterator[Operation]:
    """First sends with a request of their own that ended, those that were folded too."""
    return (op for op in run.under_way() if op.kind is ev.OpKind.WRITE and not op.batch and math.isfinite(op.completed))


def _grown(
    run: Run, scrapes: Sequence[ev.MetricsSample], wanted: Mapping[str, tuple[Selector, ...]]
) -> tuple[float, Mapping[Selector, Tally]]:
    """How long the page was watched outside the faults, and what the counters grew by meanwhile.

    Also where the service began anew between two scrapes: what a new process shows it has counted since.
    """
    lives, canary = restarts(run), shared(run, Canary)
    first = min((window.injecting for window in run.windows), default=math.inf)
    seconds, grown = 0.0, dict[Selector, Tally]()
    for one, other in pairwise(scrapes):
        if not _quiet(run, one.t, other.t + other.seconds):
            continue
        seconds += other.t - one.t
        same_life = life_of(lives, one.t) == life_of(lives, other.t)
        stalled = any(canary.stalled_between(month, one.t, other.t) for month in run.months)
        certain = other.t < first and not stalled
        for text, matching in wanted.items():
            if text not in other.series:
                continue
            # A series that was not there a scrape ago had counted nothing.
            added = between(one.series.get(text, 0.0) if same_life else 0.0, (other.series[text],))
            for selector in matching:
                grown[selector] = grown.get(selector, NOTHING) + (added if certain else Tally(0.0, added.most))
    return seconds, grown


def _series(scrapes: Iterable[ev.MetricsSample], selectors: Sequence[Selector]) -> Mapping[str, tuple[Selector, ...]]:
    """Each series of the page that is wanted, with the selectors that it passes."""
    found: dict[str, tuple[Selector, ...]] = {}
    for text in dict.fromkeys(text for scrape in scrapes for text in scrape.series):
        name, labels = parse_series(text)
        matching = tuple(one for one in selectors if one.matches(name, dict(labels)))
        if matching:
            found[text] = matching
    return found


def _quiet(run: Run, begin: float, end: float) -> bool:
    """Tell whether no fault of the run, nor an edge of one, touches the time."""
    return all(
        end < window.injecting or begin > recovery_edge(window, run) + SCRAPE_SLACK_SECONDS for window in run.windows
    )
