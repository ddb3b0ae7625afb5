"""The four clocks of a fault: detect, fall back, recover, drain.  Measured figures, no judgement."""

from __future__ import annotations

import re
from dataclasses import dataclass

from .. import events as ev
from ..oracle import CREATED, QUEUED
from ..rundata import FaultWindow, Run
from ..values import Month
from ._common import reaches, recovery_edge
from ._series import parse_series

_NOTICED = re.compile(
    r"(?:Failed to write to partition \w*?|DLQ fallback activated for partition )(?P<month>\d{4}_\d{2})\b"
)


@dataclass(frozen=True)
class Clocks:
    """Seconds of one fault; None where it did not happen or could not be seen.

    ``detect_seconds`` from the bite to the first sign that the service noticed (a log line, or a status series
    that is not healthy); ``fallback_seconds`` from the bite to the first 202 of a covered month;
    ``recover_seconds`` from the first successful probe to the first 201 of the slowest covered month;
    ``drain_seconds`` from that probe to the first empty queue after the last 202 of the fault.
    """

    fault: int
    name: str
    detect_seconds: float | None
    fallback_seconds: float | None
    recover_seconds: float | None
    drain_seconds: float | None


def clocks(run: Run) -> tuple[Clocks, ...]:
    """Measure every window of the run."""
    return tuple(
        Clocks(
            window.fault,
            window.name,
            _detect(run, window),
            _fallback(run, window),
            _recover(run, window),
            _drain(run, window),
        )
        for window in run.windows
    )


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
        if name == "datastorage_partition_status" and found.get("status") == "healthy" and value == 0:
            if found.get("partition") in labels:
                return True
    return False


def _fallback(run: Run, window: FaultWindow) -> float | None:
    if window.injected is None:
        return None
    until = window.healing if window.healing is not None else run.end
    times = [
        operation.completed
        for operation in run.operations
        if operation.status == QUEUED
        and window.radius.covers(operation.event_date)
        and window.injecting <= operation.completed <= until
    ]
    return max(0.0, min(times) - window.injected) if times else None


def _recover(run: Run, window: FaultWindow) -> float | None:
    if window.probed is None:
        return None
    slowest = 0.0
    for month in _covered(run, window):
        first = min(
            (
                operation.completed
                for operation in run.operations
                if operation.month == month and operation.status == CREATED and operation.completed >= window.probed
            ),
            default=None,
        )
        if first is None:
            return None
        slowest = max(slowest, first - window.probed)
    return slowest


def _drain(run: Run, window: FaultWindow) -> float | None:
    if window.probed is None:
        return None
    edge = recovery_edge(window, run)
    last_queued = max(
        (
            operation.completed
            for operation in run.operations
            if operation.status == QUEUED
            and window.radius.covers(operation.event_date)
            and window.injecting <= operation.completed <= edge
        ),
        default=window.probed,
    )
    after = max(window.probed, last_queued)
    empty = next((sample.t for sample in run.of_kind(ev.DlqSample) if sample.t >= after and sample.depth == 0), None)
    return None if empty is None else empty - window.probed
