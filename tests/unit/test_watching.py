"""Which months a canary watches, and what passing a month's end refuses: no environment is needed for either."""

from __future__ import annotations

import asyncio
import os
from types import SimpleNamespace
from typing import Any, cast

import pytest

from harness import samplers
from harness.errors import FaultError
from harness.events import MetricsSample, ProcessSample, Record
from harness.fault import Scene
from harness.faults.clock import PassMonthEnd
from harness.samplers import Samplers
from harness.targets.model import Limits, Reads
from harness.values import Month

DECEMBER, JANUARY = Month(2025, 12), Month(2026, 1)


class Made:
    """A canary that writes down the month it was made for."""

    months: list[Month]

    def __init__(self, _: object, month: Month) -> None:
        self.months.append(month)

    async def insert(self) -> tuple[float, str]:
        return 0.0, ""

    async def close(self) -> None:
        """Hold nothing."""


@pytest.mark.parametrize(("sql", "watched"), [(True, [DECEMBER, JANUARY]), (False, [])])
def test_a_month_has_one_canary_and_none_where_the_table_may_not_be_looked_at(
    monkeypatch: pytest.MonkeyPatch, sql: bool, watched: list[Month]
) -> None:
    monkeypatch.setattr(samplers, "Canary", Made)
    monkeypatch.setattr(samplers, "ConnectionCounter", lambda _: Made(None, DECEMBER))
    Made.months = []
    environment: Any = SimpleNamespace(target=SimpleNamespace(reads=Reads(sql=sql)), database=None)
    history: Any = SimpleNamespace(clock=SimpleNamespace(now=lambda: 0.0), add=lambda _: None)

    async def play() -> None:
        watching = Samplers(environment, history, cast("Any", None))
        Made.months = []
        for month in (DECEMBER, JANUARY, DECEMBER):
            watching.watch(month)
        await watching.stop()

    asyncio.run(play())
    assert Made.months == watched


@pytest.mark.parametrize("metrics", [True, False])
def test_a_look_sees_several_times_what_the_service_holds(monkeypatch: pytest.MonkeyPatch, metrics: bool) -> None:
    monkeypatch.setattr(samplers, "ConnectionCounter", lambda _: Made(None, DECEMBER))
    Made.months = []
    target = SimpleNamespace(reads=Reads(metrics=metrics))
    environment: Any = SimpleNamespace(target=target, database=None, service=SimpleNamespace(pid=os.getpid()))
    seen: list[Record] = []
    history: Any = SimpleNamespace(
        clock=SimpleNamespace(now=lambda: 1.0), add=seen.append, mark=lambda build: seen.append(build(1.0))
    )

    async def scrape(t: float) -> MetricsSample:
        return MetricsSample(t, {})

    asyncio.run(Samplers(environment, history, cast("Any", SimpleNamespace(metrics=scrape))).look())
    looks = [record for record in seen if isinstance(record, ProcessSample)]
    assert len(looks) > 1
    assert {look.pid for look in looks} == {os.getpid()}
    assert len(seen) - len(looks) == len(looks) * metrics


def test_passing_a_month_end_refuses_a_service_that_looks_at_its_months_too_seldom() -> None:
    limits = Limits(partition_check_seconds=30.0)
    scene = cast("Scene", SimpleNamespace(environment=SimpleNamespace(target=SimpleNamespace(limits=limits))))
    with pytest.raises(FaultError, match="look more often"):
        asyncio.run(PassMonthEnd().inject(scene))
