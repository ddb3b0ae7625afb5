"""What the lint says of vector matches and bounds, against the engine of Prometheus itself."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from harness.lint.problems import Rule
from tests.service.promql import GET_PROMETHEUS
from tests.unit.observed import RECORDING, page
from tests.unit.test_lint import IMPOSSIBLE, alert

NEVER = [expr for expr, rule in IMPOSSIBLE if rule in (Rule.NEVER_MATCHES, Rule.NEVER_TRUE) and " unless " not in expr]
POSSIBLE = [
    "datastorage_dlq_depth > ignoring (partition) group_left datastorage_dlq_capacity",
    "datastorage_dlq_depth / on (job, instance) group_left datastorage_dlq_capacity >= 0",
    "sum without (partition) (datastorage_dlq_depth) > 0.9 * datastorage_dlq_capacity",
    'datastorage_request_duration_seconds_bucket{le="1.0"} > 0',
    "datastorage_db_connections_in_use > 10 and datastorage_db_connections_in_use < 90",
]


CAPACITY = [{"series": 'datastorage_dlq_capacity{job="j",instance="i"}', "values": "20x60"}]


def firing(expr: str, folder: Path) -> bool:
    """Whether Prometheus finds any element, half an hour into series that all grow by 1 a minute."""
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip(GET_PROMETHEUS.format("promtool"))
    series = [{"series": _scraped(line.rpartition(" ")[0]), "values": "1+1x60"} for line in page().splitlines()[2:]]
    rising = [one for one in series if "_dlq_capacity" not in one["series"]]
    expected = {"expr": expr, "eval_time": "30m", "exp_samples": []}
    tests = [{"interval": "1m", "input_series": [*rising, *CAPACITY], "promql_expr_test": [expected]}]
    path = folder / "lint.test.yml"
    path.write_text(json.dumps({"rule_files": [str(RECORDING)], "tests": tests}))
    done = subprocess.run([promtool, "test", "rules", path], capture_output=True, text=True, timeout=60, check=False)
    said = done.stdout + done.stderr
    # A match that Prometheus refuses to evaluate never fires, either.
    assert done.returncode == 0 or "got: {" in said or "err: multiple matches" in said, said
    return "got: {" in said


def _scraped(series: str) -> str:
    return f'{series[:-1]},job="j",instance="i"}}' if series.endswith("}") else f'{series}{{job="j",instance="i"}}'


@pytest.mark.parametrize("expr", NEVER)
def test_what_the_lint_calls_impossible_is_empty_in_prometheus(expr: str, tmp_path: Path) -> None:
    assert not firing(expr, tmp_path)


@pytest.mark.parametrize("expr", POSSIBLE)
def test_what_prometheus_finds_is_not_called_impossible(expr: str, tmp_path: Path) -> None:
    assert firing(expr, tmp_path)
    assert alert(expr) == ()
