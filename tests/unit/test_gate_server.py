"""What a Prometheus may answer that it seldom does: partial data, refusals, and pages that are none of its own."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.unit.gate_samples import gate, last_line, row
from tests.unit.gate_site import Answer, Site, healthy, serving


@pytest.fixture
def site() -> Iterator[Site]:
    with serving() as made:
        yield made


def test_a_month_in_which_all_was_kept_passes_and_states_its_exposure(site: Site) -> None:
    site.answer = healthy
    done = gate("--prometheus", site.url, "--now", "2026-02-01T00:00:00Z")
    assert done.exit_code == 0, done.output
    for metric in ("persistence_success", "dlq_fallback", "connection_errors", "partition_write_failures"):
        assert "72,000 operations in 30 d" in row(done, metric, "prometheus")
    assert last_line(done) == "✓ PASS  4 rows passed"
    assert "no run was judged, and no counter of a service tells" in done.stdout
    assert {one["query"] for one in site.asked} >= {"up == 0"}


def test_the_matchers_of_the_file_find_the_service(site: Site, tmp_path: Path) -> None:
    site.answer = healthy
    path = tmp_path / "gate.toml"
    path.write_text('[prometheus]\nmatchers = \'job="audit",env=~"prod|eu"\'\n')
    gate("--prometheus", site.url, "--config", path)
    selected = [one["query"] for one in site.asked if "datastorage_" in one["query"]]
    assert selected
    assert all('job="audit",env=~"prod|eu"}[3600s]' in query for query in selected)


def test_data_that_prometheus_itself_calls_partial_does_not_pass(site: Site) -> None:
    def partial(path: str, asked: dict[str, str]) -> Answer:
        status, body = healthy(path, asked)
        return status, json.dumps({**json.loads(body), "warnings": ["store 7 is down"]})

    site.answer = partial
    done = gate("--prometheus", site.url, "--now", "2026-02-01T00:00:00Z")
    assert done.exit_code == 3
    assert "Prometheus warns: store 7 is down" in done.stdout


def test_a_question_that_is_not_answered_leaves_its_metrics_insufficient(site: Site) -> None:
    def refusing(path: str, asked: dict[str, str]) -> Answer:
        if "connection_errors" in asked["query"]:
            return 422, json.dumps({"status": "error", "errorType": "execution", "error": "too many samples"})
        return healthy(path, asked)

    site.answer = refusing
    done = gate("--prometheus", site.url, "--now", "2026-02-01T00:00:00Z")
    assert done.exit_code == 3
    assert "PASS" in row(done, "persistence_success", "prometheus")
    assert "(execution: too many samples)" in done.stdout
    assert last_line(done).endswith("to decide: connection_errors")


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ((401, "no"), "answers 401; give its token in PROMETHEUS_TOKEN"),
        ((200, "<html>"), "but not as a Prometheus does; give the address that comes before /api/v1"),
        ((404, "404 page not found"), "answers 404, but not as a Prometheus does"),
        ((200, '{"status": "success", "data": {"resultType": "string", "result": [1, "x"]}}'), "not as a Prometheus"),
    ],
)
def test_what_is_no_prometheus_ends_with_2(site: Site, answer: Answer, said: str) -> None:
    site.answer = lambda path, asked: answer
    done = gate("--prometheus", site.url)
    assert done.exit_code == 2
    assert said in done.output


def test_a_token_is_sent_and_never_shown(site: Site, tmp_path: Path) -> None:
    site.answer = healthy
    address = site.url.replace("http://", "http://user:hunter2@")
    done = gate("--prometheus", address, "--json", tmp_path / "gate.json", summary=tmp_path / "summary.md")
    assert "hunter2" not in done.output
    token = gate("--prometheus", site.url, "--prometheus-token", "quartz-71", "--json", tmp_path / "other.json")
    assert "Bearer quartz-71" in site.tokens
    for text in (token.output, *(path.read_text() for path in tmp_path.iterdir())):
        assert "quartz-71" not in text
        assert "hunter2" not in text
