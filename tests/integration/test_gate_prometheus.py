"""``harness gate`` against a real Prometheus: a month that was written into its store, and pages that it scrapes now.

Each job of the month is one story of a service: a restart, a day of errors, data that begins late or ends early.
"""

from __future__ import annotations

import shutil
import subprocess
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import httpx
import pytest
from prometheus_client import CollectorRegistry, Counter, generate_latest

from harness._wait import wait_until_sync
from harness.stacks.toxiproxy_process import listening_port
from tests.integration.gate_stories import NOW, OLDEST, open_metrics
from tests.service.promql import GET_PROMETHEUS
from tests.unit.gate_samples import gate, last_line, row

DEADLINE_SECONDS = 60.0
SCRAPE_MS = 200


class Page:
    """A page of metrics on which time passes with each scrape: 500 more events are created."""

    def __init__(self) -> None:
        self.errors = 0.0
        self.begin()
        page = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                page.events.labels("created").inc(500)
                body = generate_latest(page.registry)
                self.send_response(200)
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        self.server = HTTPServer(("127.0.0.1", 0), Handler)
        self.thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.05})
        self.thread.start()

    def begin(self) -> None:
        """Begin a new life of the process: every counter is 0."""
        registry = CollectorRegistry()
        self.events = Counter("datastorage_events", "e", ["outcome"], registry=registry)
        for outcome in ("created", "queued", "unavailable"):
            self.events.labels(outcome)
        self.connection_errors = Counter("datastorage_db_connection_errors", "e", registry=registry)
        failures = Counter("datastorage_partition_write_failures", "f", ["partition"], registry=registry)
        failures.labels("2025_12")
        self.registry = registry

    def end(self) -> None:
        """Answer no more."""
        if self.thread.is_alive():
            self.server.shutdown()
            self.thread.join()
            self.server.server_close()


@dataclass
class Watching:
    """A running Prometheus, and the pages that it scrapes by the names of their jobs."""

    url: str
    pages: dict[str, Page] = field(default_factory=dict)

    def value(self, query: str) -> float | None:
        """The value of the first series that a query finds."""
        body = httpx.get(f"{self.url}/api/v1/query", params={"query": query}).json()
        result = body["data"]["result"]
        return float(result[0]["value"][1]) if result else None

    def until(self, query: str, what: str) -> None:
        """Wait until a query finds something."""
        wait_until_sync(
            lambda: self.value(query) is not None, what=what, deadline_seconds=DEADLINE_SECONDS, interval_seconds=0.1
        )


@contextmanager
def prometheus(folder: Path, program: str, pages: Mapping[str, Page]) -> Iterator[str]:
    """Run it on loopback, on a port of its own choice, over a store that holds the month."""
    jobs = "".join(
        f"  - job_name: {name}\n    static_configs:\n      - targets: ['127.0.0.1:{page.server.server_port}']\n"
        for name, page in pages.items()
    )
    (folder / "prometheus.yml").write_text(
        f"global:\n  scrape_interval: {SCRAPE_MS}ms\n  scrape_timeout: {SCRAPE_MS}ms\nscrape_configs:\n{jobs}"
    )
    command = [
        program,
        "--config.file=prometheus.yml",
        "--storage.tsdb.path=data",
        "--storage.tsdb.retention.time=100y",
        "--web.listen-address=127.0.0.1:0",
    ]
    with (folder / "prometheus.log").open("wb") as log:
        child = subprocess.Popen(command, cwd=folder, stdout=log, stderr=log, stdin=subprocess.DEVNULL)
    try:

        def ready() -> str | None:
            assert child.poll() is None, (folder / "prometheus.log").read_text()
            port = listening_port(child.pid)
            if port is None:
                return None
            url = f"http://127.0.0.1:{port}"
            return url if httpx.get(f"{url}/-/ready").status_code == 200 else None

        yield wait_until_sync(ready, what="Prometheus to be ready", deadline_seconds=DEADLINE_SECONDS)
    finally:
        child.terminate()
        try:
            child.wait(10.0)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()


@pytest.fixture(scope="module")
def watching(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watching]:
    programs = {name: shutil.which(name) for name in ("prometheus", "promtool")}
    for name, program in programs.items():
        if program is None:
            pytest.skip(GET_PROMETHEUS.format(name))
    folder = tmp_path_factory.mktemp("gate")
    (folder / "month.om").write_text(open_metrics())
    backfill = ["tsdb", "create-blocks-from", "openmetrics", "--max-block-duration=1500h", "month.om", "data"]
    subprocess.run([str(programs["promtool"]), *backfill], cwd=folder, check=True, capture_output=True, timeout=120)
    pages = {"live": Page(), "reborn": Page()}
    try:
        with prometheus(folder, str(programs["prometheus"]), pages) as url:
            yield Watching(url, pages)
    finally:
        for page in pages.values():
            page.end()


def arguments(watching: Watching, folder: Path, job: str, *more: object, text: str = "") -> tuple[object, ...]:
    """What a gate of one job's month is asked for."""
    path = folder / "gate.toml"
    path.write_text(f"{text}\n[prometheus]\nmatchers = 'job=\"{job}\"'\n")
    return ("--prometheus", watching.url, "--config", path, *(more or ("--now", NOW)))


@pytest.mark.parametrize(
    ("job", "code", "said"),
    [
        ("kept", 0, "4 rows passed"),
        ("restarted", 1, "12 in a day, the worst"),
        ("overtaken", 1, "12 in a day, the worst"),
        ("spiked", 1, "12 in a day, the worst"),
        ("neighbours", 0, "9 in a day, the worst"),
        ("fell-back", 1, "prioritise recovery (S5)"),
        ("refused", 1, "prioritise partition isolation (S3)"),
        ("failed", 1, "prioritise partition metrics (S4)"),
        ("replaced", 3, "0 to 3 in a month"),
        ("late", 3, "reach back to 2025-02-08"),
        ("stale", 3, "is stale: no sample after 2025-02-2"),
        ("gone-before", 3, "has had no sample since the period began"),
        ("gap", 3, "of the period; 95 % are needed"),
        ("idle", 3, "no traffic proves nothing"),
        ("few", 3, "144 operations are too few; 3,000 are needed"),
        ("lacking", 3, 'outcome="unavailable",job="lacking"} is not there, which is not zero'),
        ("nameless", 3, 'connection_errors_total{job="nameless"} is not there, which is not zero'),
        ("nobody", 3, "is not there, which is not zero"),
        ("rolling", 0, "4 rows passed"),
        ("rolling.unseen", 3, "of the period, and no up tells whether it came or went meanwhile"),
        ("half-blind", 3, "i1 of job half-blind has samples of"),
        ("half-dead", 3, "i1 of job half-dead was to be scraped in 100 % of the period and never answered"),
    ],
)
def test_a_month_of_production(watching: Watching, tmp_path: Path, job: str, code: int, said: str) -> None:
    done = gate(*arguments(watching, tmp_path, job))
    assert done.exit_code == code, done.output
    assert said in done.stdout, done.stdout
    assert last_line(done)[2:].startswith({0: "PASS", 1: "FAIL", 3: "INSUFFICIENT"}[code])


def test_a_value_states_how_much_was_observed(watching: Watching, tmp_path: Path) -> None:
    done = gate(*arguments(watching, tmp_path, "kept"))
    # Ten in each half hour of 30 days.
    assert "14,400 operations in 30 d" in row(done, "persistence_success", "prometheus")
    assert "100 %" in row(done, "persistence_success", "prometheus")
    assert "1 in a day, the worst" in row(done, "connection_errors", "prometheus")


def test_a_period_shorter_than_a_month_shows_nothing_of_a_month(watching: Watching, tmp_path: Path) -> None:
    done = gate(*arguments(watching, tmp_path, "kept", "--now", NOW, "--period", "20d"))
    assert done.exit_code == 3
    assert last_line(done).endswith("to decide: partition_write_failures")
    assert "observed for 20 d, less than the 30 d needed" in done.stdout


def test_a_period_longer_than_the_data_shows_nothing(watching: Watching, tmp_path: Path) -> None:
    done = gate(*arguments(watching, tmp_path, "kept", "--now", NOW, "--period", "60d"))
    assert done.exit_code == 3
    assert "the period begins 2024-12-31 00:00:00 UTC" in done.stdout


def test_what_was_proved_fails_though_the_period_is_too_short(watching: Watching, tmp_path: Path) -> None:
    now = "2025-02-09T12:00:00Z"
    done = gate(*arguments(watching, tmp_path, "failed", "--now", now, "--period", "24h"))
    assert done.exit_code == 1
    assert "failed: partition_write_failures" in last_line(done)


SLOS = """
[[latency]]
name = "latency-p99"
quantile = 0.99
maximum_seconds = 0.5
feature = "pool_metrics"

[[expression]]
name = "oldest"
promql = 'max(max_over_time({oldest}{{job="{job}"}}[$period]))'
exposure_promql = 'sum(increase(datastorage_events_total{{job="{job}"}}[$period]))'
maximum_seconds = {bound}
minimum_operations = 1000
feature = "recovery"
"""


def slos(job: str, bound: float = 900, oldest: str = OLDEST) -> str:
    return SLOS.format(job=job, bound=bound, oldest=oldest)


def test_a_users_own_slos_are_judged(watching: Watching, tmp_path: Path) -> None:
    done = gate(*arguments(watching, tmp_path, "kept", text=slos("kept")))
    assert done.exit_code == 0, done.output
    assert "p99 ≤ 0.1 s" in row(done, "latency-p99", "prometheus")
    assert " 5 s " in row(done, "oldest", "prometheus")
    done = gate(*arguments(watching, tmp_path, "slow", text=slos("slow", bound=4)))
    assert done.exit_code == 1
    assert "p99 ≤ 1 s" in row(done, "latency-p99", "prometheus")
    assert "failed: latency-p99, oldest" in last_line(done)


def test_an_expression_over_a_series_that_is_not_there_proves_nothing(watching: Watching, tmp_path: Path) -> None:
    done = gate(*arguments(watching, tmp_path, "kept", text=slos("kept", oldest="datastorage_dlq_older")))
    assert done.exit_code == 3
    assert 'datastorage_dlq_older{job="kept"} is not there' in done.stdout


def test_a_gate_of_the_month_before_is_a_baseline(watching: Watching, tmp_path: Path) -> None:
    path = tmp_path / "before.json"
    gate(*arguments(watching, tmp_path, "fell-back", "--now", NOW, "--json", path))
    same = gate(*arguments(watching, tmp_path, "fell-back", "--now", NOW, "--baseline", path))
    assert same.exit_code == 0, same.output
    assert "KNOWN" in row(same, "dlq_fallback", "prometheus")
    other = gate(*arguments(watching, tmp_path, "refused", "--now", NOW, "--baseline", path))
    assert other.exit_code == 1


LIVE = 'optional = ["connection_errors", "partition_write_failures"]'


def test_a_page_that_is_scraped_passes_until_it_is_gone(watching: Watching, tmp_path: Path) -> None:
    watching.until(
        'count_over_time(datastorage_events_total{job="live",outcome="created"}[1m]) > 75', "15 s of scrapes"
    )
    done = gate(*arguments(watching, tmp_path, "live", "--period", "10s", text=LIVE))
    assert done.exit_code == 0, done.output
    assert "100 %" in row(done, "persistence_success", "prometheus")
    watching.pages["live"].end()
    watching.until('up{job="live"} == 0', "the page to be gone")
    done = gate(*arguments(watching, tmp_path, "live", "--period", "10s", text=LIVE))
    assert done.exit_code == 3, done.output
    assert "of job live does not answer" in done.stdout


def test_errors_before_and_after_a_restart_are_counted_together(watching: Watching, tmp_path: Path) -> None:
    page, name = watching.pages["reborn"], 'datastorage_db_connection_errors_total{job="reborn"}'
    watching.until(f"{name} == 0", "the first scrape")
    page.connection_errors.inc(6)
    watching.until(f"{name} == 6", "six errors to be scraped")
    page.begin()
    watching.until(f"{name} == 0", "the new process to be scraped")
    page.connection_errors.inc(6)
    watching.until(f"{name} == 6", "six errors to be scraped again")
    done = gate(*arguments(watching, tmp_path, "reborn", "--period", "60s", text=LIVE))
    assert done.exit_code == 1, done.output
    assert "12 in" in row(done, "connection_errors", "prometheus")
    assert "prioritise pool metrics (S1, S2)" in last_line(done)
