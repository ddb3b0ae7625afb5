"""A page of metrics as another client library prints it: what the text format leaves open is nobody's fault."""

from __future__ import annotations

import asyncio
import math
from types import SimpleNamespace
from typing import Any

import pytest
from aiohttp import web

from harness.probes.http import HttpProbe, parse_exposition
from harness.steadystate import SteadyState
from harness.values import Month

DECEMBER = Month(2025, 12)


def test_values_are_read_with_and_without_labels_and_a_time_and_what_is_no_series_is_left_out() -> None:
    page = (
        'a 1\nb{} 2 1700000000000\nc{x="} 5",y="z"} +Inf\nd   3  1700000000000\n   \n# HELP a 9\nnonsense\nof words\n'
    )
    assert parse_exposition(page) == {"a": 1.0, "b{}": 2.0, 'c{x="} 5",y="z"}': math.inf, "d": 3.0}


async def described(page: str) -> str:
    """What is not healthy of a service that is ready and prints this page."""

    async def ready(_: web.Request) -> web.Response:
        return web.json_response({"status": "ok", "degraded": []})

    async def metrics(_: web.Request) -> web.Response:
        return web.Response(text=page)

    app = web.Application()
    app.add_routes([web.get("/health/ready", ready), web.get("/metrics", metrics)])
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    environment: Any = SimpleNamespace(
        service=SimpleNamespace(base_url=url, metrics_url=f"{url}/metrics"),
        target=SimpleNamespace(
            reads=SimpleNamespace(dlq=False, metrics=True), tokens=SimpleNamespace(admin="", metrics="")
        ),
    )
    probe = HttpProbe(environment)
    history: Any = None
    try:
        return await SteadyState(environment, history, probe, "run").describe((DECEMBER,))
    finally:
        await probe.close()
        await runner.cleanup()


@pytest.mark.parametrize(
    "labels",
    [
        'partition="2025_12",status="healthy"',
        'status="healthy",partition="2025_12"',
        'status="healthy", partition="2025_12",',
    ],
)
@pytest.mark.parametrize(("value", "healthy"), [("1", True), ("1.0 1700000000000", True), ("0", False)])
def test_a_months_health_is_known_by_its_labels_in_whatever_order(labels: str, value: str, healthy: bool) -> None:
    said = asyncio.run(described(f"datastorage_partition_status{{{labels}}} {value}\n"))
    assert said == ("" if healthy else 'datastorage_partition_status{partition="2025_12",status="healthy"} is 0')


def test_a_month_without_a_series_is_not_healthy() -> None:
    assert asyncio.run(described("other 1\n")).endswith("is missing")
