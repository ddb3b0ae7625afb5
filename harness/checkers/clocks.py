"""The four clocks of a fault: detect, fall back, recover, drain.  Measured figures, no judgement."""

from __future__ import annotations

import re
from collections.abc import Iterator

from .. import events as ev
from ..checking import Clocks
from ..oracle import CREATED, QUEUED
from ..rundata import FaultWindow, Run
from ..values import Month
from ._common import reaches, recovery_edge
from ._series import parse_series

_NOTICED = re.compile(
    r"(?:Failed to write to partition \w*?|DLQ fallback activated for partition )(?P<month>\d{4}_\d{2})\b"
)


def clocks(run: Run) -> tuple[Clocks, ...]:
    """Measure every window of the run."""
    return tuple(
        Clocks(
            window.name,
            _detect(run, window),
            _fallback(run, window),
            _recover(run, window),
            _drain(run, window),
            number=window.fault,
        )
        for window in run.windows
    )


def measured_times(run: Run) -> Iterator[float]:
    """The times with which operations are compared."""
    for window in run.windows:
        yield from (window.injecting, recovery_edge(window, run))
        yield from (mark for mark in (window.healing, window.probed) if mark is not None)


def _covered(run: Run, window: FaultWindow) -> list[Month]:
    return [month for month in run.months if reaches(window, month)]


def _detect(run: Run, window: FaultWindow) -> float | None:
    if window.injected is None:
        return None
    labels = {month.label for month in _covered(run, window)}
    until = window.healing if window.healing is not None else run.end
    signs: list[float] = []
    for line in run.of_kind(ev.LogLine):
        match = _NOTICED.search(line.message)
        if match and match["month"] in labels and window.injecting <= line.t <= until:
            signs.append(line.t)
            break
    for sample in run.of_kind(ev.MetricsSample):
        if window.injecting <= sample.t <= until and _shows_trouble(sample, labels):
            signs.append(sample.t)
            break
    return max(0.0, min(signs) - window.injected) if signs else None


def _shows_trouble(sample: ev.MetricsSample, labels: set[str]) -> bool:
    for text, value in sample.series.items():
        name, pairs = parse_series(text)
        found = dict(pairs)
        ill = name == "datastorage_partition_status" and found.get("status") == "healthy" and value == 0
        if ill and found.get("partition") in labels:
            return True
    return False


def _fallback(run: Run, window: FaultWindow) -> float | None:
    if window.injected is None:
        return None
    until = window.healing if window.healing is not None else run.end
    times = [
        operation.completed
        for operation in run.seen
        if operation.status == QUEUED
        and window.radius.covers(operation.event_date)
        and window.injecting <= operation.completed <= until
    ]
    return max(0.0, min(times) - window.injected) if times else None


def _recover(run: Run, window: FaultWindow) -> float | None:
    if window.probed is None:
        return None
    slowest = 0.0
    months = [month for month in _covered(run, window) if not _still_hurt(run, window, month)]
    if not months:
        return None
    for month in months:
        first = min(
            (
                operation.completed
                for operation in run.seen_in(month)
                if operation.status == CREATED and operation.completed >= window.probed
            ),
            default=None,
        )
        if first is None:
            return None
        slowest = max(slowest, first - window.probed)
    return slowest


def _still_hurt(run: Run, window: FaultWindow, month: Month) -> bool:
    """Tell whether another fault keeps the month down when this one is repaired."""
    assert window.probed is not None
    return any(
        other.fault != window.fault
        and reaches(other, month)
        and other.injecting <= window.probed
        and (other.probed is None or other.probed > window.probed)
        for other in run.windows
    )


def _drain(run: Run, window: FaultWindow) -> float | None:
    if window.probed is None or any(_still_hurt(run, window, month) for month in _covered(run, window)):
        return None
    edge = recovery_edge(window, run)
    last_queued = max(
        (
            operation.completed
            for operation in run.seen
            if operation.status == QUEUED
            and window.radius.covers(operation.event_date)
            and window.injecting <= operation.completed <= edge
        ),
        default=window.probed,
    )
    after = max(window.probed, last_queued)
    empty = next((sample.t for sample in run.of_kind(ev.DlqSample) if sample.t >= after and sample.depth == 0), None)
    return None if empty is None else empty - window.probed
