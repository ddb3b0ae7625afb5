"""Promise 8, numbers: the S1 (pool) and S4 (partition) series exist, agree with each other and with the answers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

from .. import events as ev
from ..blast import ServiceState
from ..checking import CHECKERS, CONDENSABLE, CheckResult, Finding, Needs
from ..rundata import Run
from ..values import Promise
from ._common import in_flight, nothing_sent, recovery_edge, shared, unseen
from ._counted import compared_times, count_findings
from ._partition_series import needs, partition_findings
from ._pool_series import ERRORS, IDLE, IN_USE, MAX_OPEN, OPEN, WAIT, pool_findings, sizes
from ._queue_series import AGE, CAPACITY, queue_findings
from ._scraped import Scraped
from ._secrets import secret_findings
from ._series import Scrape, histogram_faults
from ._served import served_findings

NAME = "metrics"
_COUNTER_ENDINGS = ("_total", "_count", "_sum", "_bucket")
_OWN = "datastorage_"
"""The contract's series begin so: a library's gauge may end like a counter, as ``nodejs_active_handles_total`` does."""

Rule = Callable[[Scraped, Scrape], Iterator[tuple[Promise, str]]]


@CHECKERS.register(NAME)
def metrics(run: Run) -> CheckResult:
    """Judge every successful scrape, each series over time, and the counters against the answers."""
    empty = nothing_sent(NAME, run)
    if empty is not None:
        return empty
    if not run.reads.metrics:
        return CheckResult(NAME, not_checked="metrics")
    scraped = shared(run, Scraped)
    blind = unseen(run, "scrapes", [(sample.t, not sample.error) for sample in run.of_kind(ev.MetricsSample)])
    if not scraped.scrapes:
        said = f"None of {scraped.asked} scrapes succeeded, so no number was judged." if scraped.asked else blind
        return CheckResult(NAME, unknowns=(said,))
    findings = [*_each(scraped, _present), *_each(scraped, sizes), *_falling(scraped)]
    partition, unsure = partition_findings(scraped)
    counted, count_facts = count_findings(scraped)
    unknowns = [*([blind] if blind else []), *_never_scraped(scraped), *unsure]
    facts = {
        "scrapes": float(len(scraped.scrapes)),
        "scrapes_failed": float(scraped.asked - len(scraped.scrapes)),
        "max_in_use": max((scrape.get(IN_USE) or 0.0 for scrape in scraped.scrapes), default=0.0),
    }
    findings += [*partition, *counted, *queue_findings(scraped), *served_findings(scraped), *pool_findings(scraped)]
    findings += secret_findings(scraped)
    return CheckResult(NAME, tuple(findings), tuple(unknowns), facts=facts | count_facts)


@CONDENSABLE.register(NAME)
def _needs(run: Run) -> Needs:
    scraped = shared(run, Scraped)
    if not run.reads.metrics or not scraped.scrapes:
        return Needs()
    found = needs(scraped)
    return replace(found, cuts=(*found.cuts, *compared_times(scraped)))


def _never_scraped(scraped: Scraped) -> Iterator[str]:
    """A fault during which no scrape succeeded, from its injection to its recovery, was not seen in any number."""
    for window in scraped.run.windows:
        edge = recovery_edge(window, scraped.run)
        seen = any(window.injecting <= scrape.t <= edge for scrape in scraped.scrapes)
        if not seen and window.radius.service is ServiceState.UP:
            yield f"No scrape succeeded between the injection of {window.name} and the recovery from it."


def _each(scraped: Scraped, rule: Rule) -> list[Finding]:
    """One finding for all scrapes that break a rule in the same way."""
    seen: dict[tuple[Promise, str], list[float]] = {}
    for scrape in scraped.scrapes:
        for promise, said in rule(scraped, scrape):
            seen.setdefault((promise, said), []).append(scrape.t)
    return [
        Finding(
            promise,
            f"{said} ({len(times)} of {len(scraped.scrapes)} scrapes).",
            in_flight(scraped.run, times[0], times[0]),
            times[0],
        )
        for (promise, said), times in seen.items()
    ]


def _present(_: Scraped, scrape: Scrape) -> Iterator[tuple[Promise, str]]:
    """Series without a partition exist from the start; a missing one is not zero."""
    for name in (OPEN, IN_USE, IDLE, MAX_OPEN, ERRORS, AGE, CAPACITY):
        if scrape.get(name) is None:
            yield Promise.TRUTH, f"series {name} is missing"
    for part in ("count", "sum"):
        if scrape.get(f"{WAIT}_{part}") is None:
            yield Promise.TRUTH, f"series {WAIT}_{part} is missing"
    for said in histogram_faults(scrape, WAIT):
        yield Promise.TRUTH, said


def _falling(scraped: Scraped) -> Iterator[Finding]:
    """Counters of the contract never fall while the process lives."""
    fallen: dict[str, tuple[float, str]] = {}
    for scrapes in scraped.lives():
        last: dict[str, float] = {}
        for scrape in scrapes:
            for text, value in scrape.sample.series.items():
                family = text.partition("{")[0]
                if not family.startswith(_OWN) or not family.endswith(_COUNTER_ENDINGS):
                    continue
                if value < last.get(text, value) and family not in fallen:
                    fallen[family] = (scrape.t, f"Counter {text} fell from {last[text]:g} to {value:g}.")
                last[text] = value
    for t, said in fallen.values():
        yield Finding(Promise.TRUTH, said, (), t)
