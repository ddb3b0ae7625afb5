"""A real Prometheus scrapes a real service with the rules that ship: alerts fire under the fault and resolve after it.

Minutes are made seconds by one mechanical change of the rule files: every duration, of ``interval:``, of ``for:`` and
in brackets, is divided by ``SHRINK``, and the scrape interval with them, so that all proportions stay.  Thresholds,
expressions and labels are those that ship.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
import signal
import uuid
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import psycopg
import pytest

import harness
from harness._wait import pause, wait_until
from harness.stacks.base import Direction, Environment, StopMode, Toxic, ToxicKind
from harness.stacks.children import Child, tail
from harness.stacks.embedded import EmbeddedStack
from harness.stacks.toxiproxy_process import listening_port
from harness.targets.model import load_target
from tests.service.promql import GET_PROMETHEUS, RULE_FILES, Expression, panels, parse, rules

REFERENCE = Path(harness.__file__).parent / "targets/reference.toml"
SHRINK = 30
SCRAPE_MS = 15_000 // SHRINK
MILLISECONDS = {"s": 1000, "m": 60_000, "h": 3_600_000}
DURATION = re.compile(r"(?P<before>\[|\b(?:for|interval): )(?P<number>\d+)(?P<unit>[smh])\b")
METRICS_TOKEN, ADMIN_TOKEN = "metrics-token-quartz-71", "admin-token-basalt-72"
MARK = "sesame-marker-93"
EVENTS_PATH = "/api/v1/audit/events"
DEADLINE_SECONDS = 120.0
WRITERS, WRITER_PAUSE_SECONDS, SLOW_MS = 50, 0.3, 600
SLOW = Toxic("slow", ToxicKind.LATENCY, Direction.DOWNSTREAM, (("jitter", 0), ("latency", SLOW_MS)))


def shrunken(text: str) -> str:
    """Return a rule file with every duration divided by ``SHRINK``."""

    def shorter(match: re.Match[str]) -> str:
        return f"{match['before']}{int(match['number']) * MILLISECONDS[match['unit']] // SHRINK}ms"

    return DURATION.sub(shorter, text)


def configuration(target: str, token_file: Path) -> str:
    """Return a configuration with two jobs on one page: with the token, and without."""
    job = f"metrics_path: /metrics\n    static_configs:\n      - targets: ['{target}']\n"
    return (
        f"global:\n  scrape_interval: {SCRAPE_MS}ms\n  scrape_timeout: {SCRAPE_MS}ms\n"
        f"  evaluation_interval: {SCRAPE_MS}ms\nrule_files: ['*.rules.yml']\nscrape_configs:\n"
        f"  - job_name: audit-service\n    authorization:\n      credentials_file: {token_file}\n    {job}"
        f"  - job_name: without-token\n    {job}"
    )


@dataclass(frozen=True)
class Prometheus:
    """A running Prometheus, by its API."""

    url: str
    session: aiohttp.ClientSession

    async def ask(self, path: str, **parameters: str) -> Any:
        """Return the ``data`` of an answer; fails on any that is not a success."""
        async with self.session.get(f"{self.url}/api/v1/{path}", params=parameters) as answer:
            body = await answer.json()
        assert body["status"] == "success", f"{path} {parameters}: {body}"
        return body["data"]

    async def firing(self, name: str) -> list[Mapping[str, str]]:
        """Return the labels of each alert of this name that fires."""
        alerts = (await self.ask("alerts"))["alerts"]
        return [one["labels"] for one in alerts if one["labels"]["alertname"] == name and one["state"] == "firing"]

    async def until_fires(self, name: str) -> list[Mapping[str, str]]:
        """Wait until an alert fires."""
        return await wait_until(
            lambda: self.firing(name), what=f"{name} to fire", deadline_seconds=DEADLINE_SECONDS, interval_seconds=0.2
        )

    async def until_resolved(self, *names: str) -> None:
        """Wait until no alert of these names fires."""

        async def quiet() -> bool:
            return not [labels for name in names for labels in await self.firing(name)]

        await wait_until(quiet, what=f"{names} to resolve", deadline_seconds=DEADLINE_SECONDS, interval_seconds=0.2)


@asynccontextmanager
async def prometheus(environment: Environment, program: str) -> AsyncIterator[Prometheus]:
    """Run a Prometheus on loopback, on a port of its own choice, with a temporary store."""
    place = environment.workdir / "prometheus"
    place.mkdir()
    token_file = place / "token"
    token_file.write_text(METRICS_TOKEN)
    (place / "prometheus.yml").write_text(configuration(urlsplit(environment.service.metrics_url).netloc, token_file))
    for path in RULE_FILES:
        (place / path.name).write_text(shrunken(path.read_text(encoding="utf-8")))
    log = environment.artifacts / "prometheus.log"
    command = [program, "--config.file=prometheus.yml", "--storage.tsdb.path=data", "--web.listen-address=127.0.0.1:0"]
    child = Child.spawn(command, cwd=place, environment={"PATH": os.environ.get("PATH", os.defpath)}, log_path=log)
    try:
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=20)) as session:

            async def ready() -> str | None:
                assert child.living_pid() is not None, f"Prometheus ended:\n{tail(log)}"
                port = listening_port(child.pid)
                if port is None:
                    return None
                async with session.get(f"http://127.0.0.1:{port}/-/ready") as answer:
                    return f"http://127.0.0.1:{port}" if answer.status == 200 else None

            url = await wait_until(ready, what="Prometheus to be ready", deadline_seconds=DEADLINE_SECONDS)
            yield Prometheus(url, session)
    finally:
        child.signal(signal.SIGTERM)
        await child.wait(10.0)
        await child.kill()


@dataclass
class Lab:
    """A service, the Prometheus that watches it, and the loop in which both live."""

    run: Callable[[Coroutine[object, object, object]], object]
    environment: Environment
    prometheus: Prometheus
    session: aiohttp.ClientSession
    sent: list[str] = field(default_factory=list)

    def event(self, day: str) -> dict[str, object]:
        """Make an event whose every text can be searched for."""
        event_id = str(uuid.uuid4())
        self.sent.append(event_id)
        return {
            "event_id": event_id,
            "event_timestamp": f"{day}T12:00:00Z",
            "event_type": f"{MARK}.type",
            "event_category": f"{MARK}-category",
            "event_action": f"{MARK}-action",
            "event_outcome": "success",
            "correlation_id": f"{MARK}-correlation",
            "event_data": {f"{MARK}-key": f"{MARK}-payload"},
        }

    async def post(self, body: object) -> int:
        """Send one body; return the status."""
        async with self.session.post(self.environment.service.base_url + EVENTS_PATH, json=body) as answer:
            await answer.read()
            return answer.status

    async def page(self, token: str | None) -> tuple[int, str]:
        """Read /metrics with a token or without one."""
        headers = {} if token is None else {"authorization": f"Bearer {token}"}
        async with self.session.get(self.environment.service.metrics_url, headers=headers) as answer:
            return answer.status, await answer.text()

    async def write(self, day: str, stop: asyncio.Event, statuses: list[int]) -> None:
        """Write at a writer's pace until told to stop."""
        while not stop.is_set():
            statuses.append(await self.post(self.event(day)))
            await pause(WRITER_PAUSE_SECONDS)

    async def execute(self, statement: str) -> None:
        """Run one statement directly at the database, waiting its turn."""
        async with await psycopg.AsyncConnection.connect(
            self.environment.database.admin_conninfo, autocommit=True
        ) as connection:
            await connection.execute(statement.encode())


@asynccontextmanager
async def _lab(
    folder: Path, program: str, run: Callable[[Coroutine[object, object, object]], object]
) -> AsyncIterator[Lab]:
    tokens = {"METRICS_TOKEN": METRICS_TOKEN, "ADMIN_TOKEN": ADMIN_TOKEN, "METRICS_PORT": "0"}
    async with (
        EmbeddedStack().environment(
            load_target(REFERENCE), name="prometheus", artifacts=folder, environment_overrides=tokens
        ) as environment,
        prometheus(environment, program) as watching,
        aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=2.0), timeout=aiohttp.ClientTimeout(total=20)
        ) as session,
    ):
        yield Lab(run, environment, watching, session)


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    program = shutil.which("prometheus")
    if program is None:
        pytest.skip(GET_PROMETHEUS.format("prometheus"))
    with asyncio.Runner() as runner:
        context = _lab(tmp_path_factory.mktemp("prometheus"), program, runner.run)
        made = runner.run(context.__aenter__())
        try:
            yield made
        finally:
            runner.run(context.__aexit__(None, None, None))


def chosen(text: str) -> str:
    """Fill in a dashboard's variables."""
    return text.replace("$job", "audit-service").replace("$instance", ".*").replace("$__rate_interval", "10s")


def expressions() -> Sequence[Expression]:
    """Every expression of rules and panels, with variables filled in."""
    shown = [expression.text for panel in panels() for expression in panel.expressions]
    return [parse(chosen(text)) for text in [rule.expression.text for rule in rules()] + shown]


def test_shrinking_divides_every_duration_and_changes_nothing_else() -> None:
    for path in RULE_FILES:
        text = path.read_text(encoding="utf-8")
        short = shrunken(text)
        written = re.findall(r"(?:\[|for: |interval: )\d+\w+", text)
        assert written
        assert len(re.findall(r"(?:\[|for: |interval: )\d+ms\b", short)) == len(written)
        assert re.sub(r"\d+ms\b", "T", short) == DURATION.sub(lambda match: f"{match['before']}T", text)
    assert shrunken("for: 2m\nexpr: a[5m] > 900") == "for: 4000ms\nexpr: a[10000ms] > 900"


def test_metrics_are_for_those_who_have_the_token(lab: Lab) -> None:
    async def play() -> None:
        assert (await lab.page(None))[0] == 401
        assert (await lab.page(METRICS_TOKEN[:-1]))[0] == 401
        assert (await lab.page(ADMIN_TOKEN))[0] == 401
        assert (await lab.page(METRICS_TOKEN))[0] == 200

        async def scraped() -> dict[str, Any] | None:
            targets = (await lab.prometheus.ask("targets"))["activeTargets"]
            found = {one["labels"]["job"]: one for one in targets}
            return found if all(one["health"] != "unknown" for one in found.values()) else None

        found = await wait_until(scraped, what="both jobs to be scraped", deadline_seconds=DEADLINE_SECONDS)
        assert found["audit-service"]["health"] == "up"
        assert found["without-token"]["health"] == "down"
        assert "401" in found["without-token"]["lastError"]

    lab.run(play())


def test_every_selector_of_rules_and_panels_finds_series(lab: Lab) -> None:
    async def play() -> None:
        assert await lab.post(lab.event("2025-12-15")) == 201
        selectors = {str(one) for read in expressions() for one in read.selectors if one.metric != "ALERTS"}
        for selector in sorted(selectors):

            async def found(query: str = selector) -> bool:
                return bool((await lab.prometheus.ask("query", query=query))["result"])

            await wait_until(found, what=f"series of {selector}", deadline_seconds=DEADLINE_SECONDS)
        for read in expressions():
            await lab.prometheus.ask("query", query=read.text)

    lab.run(play())


def test_prometheus_has_the_rules_as_they_are_read_here_and_evaluates_all(lab: Lab) -> None:
    async def play() -> None:
        async def evaluated() -> list[Any] | None:
            groups = (await lab.prometheus.ask("rules"))["groups"]
            found = [rule for group in groups for rule in group["rules"]]
            return found if all(rule["health"] != "unknown" for rule in found) else None

        found = await wait_until(evaluated, what="all rules to be evaluated", deadline_seconds=DEADLINE_SECONDS)
        assert {rule["name"]: rule["health"] for rule in found} == {rule.name: "ok" for rule in rules()}
        for rule in rules():
            written = await lab.prometheus.ask("format_query", query=shrunken(rule.expression.text))
            (loaded,) = [one["query"] for one in found if one["name"] == rule.name]
            assert await lab.prometheus.ask("format_query", query=loaded) == written

    lab.run(play())


def test_the_pool_alerts_fire_under_exhaustion_and_resolve(lab: Lab) -> None:
    async def play() -> None:
        names = ("DatastoragePoolAbove80Percent", "DatastoragePoolExhausted")
        for name in names:
            assert await lab.prometheus.firing(name) == []
        stop, statuses = asyncio.Event(), list[int]()
        days = ("2025-11-15", "2025-12-15", "2026-01-15", "2026-02-15", "2026-03-15")
        await lab.environment.proxy.add(SLOW)
        writers = [asyncio.create_task(lab.write(days[n % 5], stop, statuses)) for n in range(WRITERS)]
        try:
            for name in names:
                (labels,) = await lab.prometheus.until_fires(name)
                assert labels["job"] == "audit-service"
            used = await lab.prometheus.ask("query", query="max_over_time(datastorage_db_connections_in_use[20s])")
            assert [one["value"][1] for one in used["result"]] == ["25"]
            await lab.environment.proxy.remove(SLOW.name)
            # The load goes on: it is the latency that is mended.
            await lab.prometheus.until_resolved(*names)
        finally:
            stop.set()
            await asyncio.gather(*writers)
        assert set(statuses) <= {201, 202}

    lab.run(play())


def test_the_partition_alert_fires_for_the_detached_month_alone_and_resolves(lab: Lab) -> None:
    async def play() -> None:
        name = "DatastoragePartitionUnavailable"
        assert await lab.prometheus.firing(name) == []
        await lab.execute("ALTER TABLE audit_events DETACH PARTITION audit_events_2025_12")
        try:
            (labels,) = await lab.prometheus.until_fires(name)
            assert (labels["partition"], labels["severity"]) == ("2025_12", "critical")
            assert [await lab.post(lab.event("2025-12-20")) for _ in range(20)] == [202] * 20
            assert await lab.post(lab.event("2026-01-20")) == 201

            async def queued() -> bool:
                query = 'datastorage_dlq_depth{job="audit-service"} > 0'
                found = (await lab.prometheus.ask("query", query=query))["result"]
                return [(one["metric"]["partition"], one["value"][1]) for one in found] == [("2025_12", "20")]

            await wait_until(queued, what="20 queued events of the month", deadline_seconds=DEADLINE_SECONDS)
        finally:
            await lab.execute(
                "ALTER TABLE audit_events ATTACH PARTITION audit_events_2025_12"
                " FOR VALUES FROM ('2025-12-01') TO ('2026-01-01')"
            )
        await lab.prometheus.until_resolved(name)

        async def drained() -> bool:
            found = (await lab.prometheus.ask("query", query="instance:datastorage_dlq_depth:sum"))["result"]
            return [one["value"][1] for one in found] == ["0"]

        await wait_until(drained, what="the queue to drain", deadline_seconds=DEADLINE_SECONDS)

    lab.run(play())


def test_the_database_alert_fires_while_it_is_stopped_and_resolves(lab: Lab) -> None:
    async def play() -> None:
        name = "DatastorageDatabaseDown"
        assert await lab.prometheus.firing(name) == []
        await lab.environment.database.stop(StopMode.FAST)
        try:
            (labels,) = await lab.prometheus.until_fires(name)
            assert labels["severity"] == "critical"
            assert await lab.post(lab.event("2026-02-20")) == 202
        finally:
            await lab.environment.database.start()
        await lab.prometheus.until_resolved(name)

    lab.run(play())


def test_no_label_holds_a_credential_a_payload_or_an_id(lab: Lab) -> None:
    async def play() -> None:
        good = lab.event("2025-12-10")
        assert await lab.post(good) == 201
        assert await lab.post({**good, "event_action": f"{MARK}-other"}) == 409
        assert await lab.post({**lab.event("2025-12-10"), f"{MARK}-field": 1}) == 400
        assert await lab.post({**lab.event("2025-12-10"), "event_outcome": MARK}) == 400
        base = lab.environment.service.base_url
        for path in (f"/{MARK}", f"{EVENTS_PATH}/{good['event_id']}", f"{EVENTS_PATH}?correlation_id={MARK}"):
            async with lab.session.get(base + path, headers={"authorization": f"Bearer {ADMIN_TOKEN}"}) as answer:
                assert answer.status < 500

        status, page = await lab.page(METRICS_TOKEN)
        assert status == 200
        stored = json.dumps(await lab.prometheus.ask("series", **{"match[]": '{job="audit-service"}'}))
        secrets = [METRICS_TOKEN, ADMIN_TOKEN, *lab.environment.secrets, MARK, *lab.sent]
        assert len(lab.environment.secrets) >= 1
        for where in (page.lower(), stored.lower()):
            # What the search would find, it finds: the routes are there.
            assert EVENTS_PATH in where
            assert [secret for secret in secrets if secret.lower() in where] == []

    lab.run(play())
