"""``harness lint-observability``: what it reads, what it prints, how it ends."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from harness.cli import cli
from tests.unit.observed import ALERTS, DASHBOARD, RECORDING, page


def lint(*arguments: str | Path) -> Result:
    done = CliRunner().invoke(cli, ["lint-observability", *map(str, arguments)])
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    return done


@pytest.fixture
def metrics(tmp_path: Path) -> Path:
    path = tmp_path / "page.txt"
    path.write_text(page())
    return path


@pytest.fixture
def broken(tmp_path: Path) -> Path:
    path = tmp_path / "broken.yml"
    path.write_text(
        ALERTS.read_text(encoding="utf-8").replace("datastorage_dlq_drain_failures", "datastorage_dlq_failed")
    )
    return path


def test_the_files_of_the_service_are_clean_by_option_and_by_position(metrics: Path) -> None:
    named = lint("--metrics", metrics, "--rules", RECORDING, "--rules", ALERTS, "--dashboard", DASHBOARD)
    assert (named.exit_code, named.output) == (0, "no problem in 2 rule files and 1 dashboards\n")
    assert lint("--metrics", metrics, RECORDING, ALERTS, DASHBOARD).output == named.output


def test_a_problem_names_file_alert_expression_and_remedy(metrics: Path, broken: Path) -> None:
    found = lint("--metrics", metrics, RECORDING, broken)
    assert found.exit_code == 1
    first, last = found.output.splitlines()[0], found.output.splitlines()[-1]
    assert first.startswith(f"error: {broken}: group datastorage-dlq, alert DatastorageDrainFailing: nobody exports ")
    assert "increase(datastorage_dlq_failed_total[5m]) > 0" in first
    assert first.endswith("[unknown-series]")
    assert last == "1 error in 2 rule files and 0 dashboards"


def test_problems_are_json_for_programs(metrics: Path, broken: Path) -> None:
    found = lint("--metrics", metrics, RECORDING, broken, "--json")
    (problem,) = json.loads(found.output)
    assert (found.exit_code, problem["rule"], problem["level"]) == (1, "unknown-series", "error")
    assert set(problem) == {"path", "place", "expression", "rule", "said", "remedy", "level"}


def test_a_warning_is_told_and_does_not_fail(metrics: Path, tmp_path: Path) -> None:
    path = tmp_path / "w.yml"
    expr = "datastorage_db_max_open_connections < 10"
    path.write_text(json.dumps({"groups": [{"name": "g", "rules": [{"alert": "A", "expr": expr}]}]}))
    found = lint("--metrics", metrics, path)
    assert found.exit_code == 0
    assert found.output.startswith("warning: ")
    assert found.output.endswith("1 warning in 1 rule files and 0 dashboards\n")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--metrics", "{metrics}"), "nothing to lint"),
        (("--metrics", "{tmp}/none.txt", RECORDING), "none.txt cannot be read"),
        (("--metrics", "{metrics}", "{tmp}/none.yml"), "none.yml cannot be read"),
        (("--metrics", DASHBOARD, RECORDING), "no page of metrics|has no series"),
        (("--metrics", "{empty}", RECORDING), "has no series"),
        (("--metrics", "{metrics}", "--dashboard", RECORDING), "is no dashboard"),
        (("--metrics", "{metrics}", "--rules", "{metrics}"), "is no rule file|is no YAML"),
        (("--metrics", "http://127.0.0.1:1/metrics", RECORDING), "does not answer"),
    ],
)
def test_what_cannot_be_read_ends_with_2_and_says_which(
    metrics: Path, tmp_path: Path, arguments: tuple[str | Path, ...], said: str
) -> None:
    (tmp_path / "empty.txt").write_text("# nothing\n")
    names = {"metrics": metrics, "tmp": tmp_path, "empty": tmp_path / "empty.txt"}
    found = lint(*(str(one).format(**names) if "{" in str(one) else one for one in arguments))
    assert found.exit_code == 2
    assert any(part in found.output for part in said.split("|")), found.output


@pytest.fixture
def url() -> Iterator[str]:
    """A page behind a token."""

    class Page(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            allowed = self.headers.get("authorization") == "Bearer s3"
            self.send_response(200 if allowed else 401)
            self.end_headers()
            self.wfile.write(page().encode() if allowed else b"")

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with HTTPServer(("127.0.0.1", 0), Page) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/metrics"
        server.shutdown()
        thread.join()


def test_a_page_is_fetched_with_its_token(url: str) -> None:
    assert lint("--metrics", url, "--token", "s3", RECORDING).exit_code == 0
    refused = lint("--metrics", url, RECORDING)
    assert refused.exit_code == 2
    assert "answers 401; give its token with --token" in refused.output
