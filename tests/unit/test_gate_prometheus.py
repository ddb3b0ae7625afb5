"""``harness gate`` on a month of a made Prometheus: each instance owes its samples, and each SLO gets a decision."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

import pytest
from click.testing import Result

from harness.checking import CheckResult
from tests.unit.gate_samples import BOOKS, OPTIONAL, Traffic, gate, last_line, lost, row, slow, store
from tests.unit.gate_site import WINDOWS, Site, Store, Values, healthy, serving

NOW = ("--now", "2026-02-01T00:00:00Z")
OUTCOMES = ("created", "queued", "unavailable", "rejected")
ERRORS = "datastorage_db_connection_errors_total"
FAILURES = "datastorage_partition_write_failures_total"

When = Callable[[int], bool]


@pytest.fixture
def site() -> Iterator[Site]:
    with serving() as made:
        yield made


def always(_: int) -> bool:
    return True


def within(begin: int, end: int) -> When:
    """From one window up to another."""
    return lambda number: begin <= number < end


def outside(begin: int, end: int) -> When:
    return lambda number: not begin <= number < end


def instance(
    name: str,
    *,
    there: When = always,
    scraped: When | None = always,
    job: str = "audit",
    up: str = "up",
    **grows: Callable[[int], float],
) -> Mapping[str, Values]:
    """An instance that creates a hundred events an hour from its first window on.

    ``scraped`` says where ``up`` has samples; ``grows`` are other counters, by outcome, or ``errors``, ``failures``.
    """
    label = f'instance="{name}",job="{job}"'
    begins = next((number for number in range(-1, WINDOWS) if there(number)), 0)

    def counted(value: Callable[[int], float]) -> Values:
        return lambda number: value(number - begins) if there(number) else None

    counters = {f'datastorage_events_total{{{label},outcome="{one}"}}': grows.get(one, nothing) for one in OUTCOMES}
    counters[f'datastorage_events_total{{{label},outcome="created"}}'] = lambda number: 100.0 * number
    counters[f"{ERRORS}{{{label}}}"] = grows.get("errors", nothing)
    counters[f'{FAILURES}{{{label},partition="2026_01"}}'] = grows.get("failures", nothing)
    series = {text: counted(value) for text, value in counters.items()}
    if scraped is not None:
        asked = scraped
        series[f"{up}{{{label}}}"] = lambda number: float(there(number)) if asked(number) else None
    return series


def nothing(_: int) -> float:
    return 0.0


def asked(
    site: Site,
    folder: Path,
    *instances: Mapping[str, Values],
    text: str = "",
    expressions: Mapping[str, Sequence[float]] = MappingProxyType({}),
) -> Result:
    """Run the gate on a Prometheus that has seen these instances."""
    series = {name: values for one in instances for name, values in one.items()}
    site.answer = Store(series, expressions).answer
    path = folder / "gate.toml"
    path.write_text(text)
    return gate("--prometheus", site.url, "--config", path, *NOW)


@pytest.mark.parametrize(
    ("there", "scraped", "share"),
    [
        (outside(240, 480), always, "66.67 %"),
        # Prometheus had lost sight of it, and it came back under its name.
        (outside(240, 480), outside(240, 480), "66.67 %"),
        (within(240, WINDOWS), always, "66.76 %"),
        (within(-1, 480), always, "66.76 %"),
        # One that was there before the period, and that nobody could reach in it.
        (within(-1, 0), always, "0 %"),
    ],
    ids=["gap", "lost-sight-of", "late", "ended-early", "before"],
)
def test_what_one_instance_counted_is_missing_though_the_other_has_samples(
    site: Site, tmp_path: Path, there: When, scraped: When, share: str
) -> None:
    done = asked(site, tmp_path, instance("a"), instance("b", there=there, scraped=scraped))
    assert done.exit_code == 3, done.output
    for metric in ("persistence_success", "dlq_fallback", "connection_errors", "partition_write_failures"):
        assert "INSUFFICIENT" in row(done, metric, "prometheus")
    said = (
        f"b of job audit has samples of {ERRORS} in {share} of the time in which it was to be scraped; 95 % are needed"
    )
    assert said in done.stdout
    assert "a of job audit has" not in done.stdout


def test_a_restart_in_a_gap_hides_nothing_that_is_known_and_what_is_known_fails(site: Site, tmp_path: Path) -> None:
    twelve = instance("b", there=outside(240, 480), errors=lambda number: 12.0 if number > 500 else 0.0)
    done = asked(site, tmp_path, instance("a"), twelve)
    assert done.exit_code == 1
    assert last_line(done).startswith(
        "✗ FAIL  failed: connection_errors; prioritise pool metrics (S1, S2); insufficient: "
    )


def rolling(up: str = "up", *, kept: bool = True) -> Sequence[Mapping[str, Values]]:
    """Two instances that are replaced by two others, one after the other; each is a target for a moment longer."""
    spans = {"a": (-1, 300), "b": (-1, 303), "c": (300, WINDOWS), "d": (304, WINDOWS)}
    return [
        instance(name, there=within(*span), scraped=within(span[0] - 1, span[1] + 1) if kept else None, up=up)
        for name, span in spans.items()
    ]


def test_a_rolling_deployment_lacks_nothing(site: Site, tmp_path: Path) -> None:
    done = asked(site, tmp_path, *rolling())
    assert done.exit_code == 0, done.output
    assert last_line(done) == "✓ PASS  4 rows passed"


def test_an_instance_that_is_taken_away_lacks_nothing_after_it(site: Site, tmp_path: Path) -> None:
    done = asked(site, tmp_path, instance("a"), instance("b", there=within(-1, 400), scraped=within(-1, 400)))
    assert done.exit_code == 0, done.output


@pytest.mark.parametrize(("beside", "code"), [(1, 0), (2, 3)], ids=["starting-and-ending", "not-answering"])
def test_an_instance_of_some_hours_may_be_silent_for_a_moment_as_it_comes_and_goes(
    site: Site, tmp_path: Path, beside: int, code: int
) -> None:
    short = instance("b", there=within(400, 410), scraped=within(400 - beside, 410 + beside))
    done = asked(site, tmp_path, instance("a"), short)
    assert done.exit_code == code, done.output
    assert (f"b of job audit has samples of {ERRORS} in 83.33 % of the time" in done.stdout) is (code == 3)


def test_where_nothing_tells_a_replaced_instance_from_a_missing_one_another_series_may(
    site: Site, tmp_path: Path
) -> None:
    done = asked(site, tmp_path, *rolling(kept=False))
    assert done.exit_code == 3
    assert f"c of job audit has samples of {ERRORS} in 58.33 % of the period, and no up tells whether it" in done.stdout
    told = asked(site, tmp_path, *rolling("target_info"), text='[series]\nup = "target_info"\n')
    assert told.exit_code == 0, told.output


@pytest.mark.parametrize(
    ("scraped", "job", "labels", "code"),
    [
        (always, "audit", "", 3),
        # A deployment that never came up served nobody.
        (within(100, 130), "audit", "", 0),
        (always, "other", "", 0),
        (always, "audit", ',env="test"', 0),
    ],
    ids=["always", "shortly", "of-another-job", "of-another-environment"],
)
def test_an_instance_that_never_answered_is_missing(
    site: Site, tmp_path: Path, scraped: When, job: str, labels: str, code: int
) -> None:
    silent = {f'up{{instance="b",job="{job}"{labels}}}': lambda number: 0.0 if scraped(number) else None}
    done = asked(site, tmp_path, instance("a"), silent, text="[prometheus]\nmatchers = 'env!=\"test\"'\n")
    assert done.exit_code == code, done.output
    assert ("b of job audit was to be scraped in 100 % of the period and never answered" in done.stdout) is (code == 3)


SERIES = {
    **{
        one: f'datastorage_events_total{{outcome="{one}",instance="a"}}' for one in ("created", "queued", "unavailable")
    },
    "connection_errors": f'{ERRORS}{{instance="a"}}',
    "partition_write_failures": f'{FAILURES}{{instance="a"}}',
}


def test_of_an_instance_that_no_selector_asks_for_nothing_is_missing(site: Site, tmp_path: Path) -> None:
    silent: dict[str, Values] = {'up{instance="b",job="audit"}': nothing}
    text = "[series]\n" + "".join(f"{key} = '{value}'\n" for key, value in SERIES.items())
    done = asked(site, tmp_path, instance("a"), silent, text=text)
    assert done.exit_code == 0, done.output


def test_how_much_may_be_missing_of_each_can_be_said(site: Site, tmp_path: Path) -> None:
    half = instance("b", there=outside(240, 480))
    done = asked(site, tmp_path, instance("a"), half, text="[prometheus]\nminimum_coverage_share = 0.6\n")
    assert done.exit_code == 0, done.output


COUNT = """
[[count]]
name = "drained-late"
counter = "{counter}"
{bound}
feature = "recovery"
"""


@pytest.mark.parametrize(
    ("bound", "decision", "value"),
    [
        # Ten in an hour and ten in the next; twenty in a day, and in a month.
        ("maximum_per_hour = 10", "PASS", "10 in an hour, the worst"),
        ("below_per_hour = 10", "FAIL", "10 in an hour, the worst"),
        ("maximum_per_day = 20", "PASS", "20 in a day, the worst"),
        ("maximum_per_day = 19", "FAIL", "20 in a day, the worst"),
        ("maximum_per_month = 20", "PASS", "20 in a month"),
        ("below_per_month = 20", "FAIL", "20 in a month"),
    ],
)
def test_a_count_of_a_user_is_held_against_its_time(
    site: Site, tmp_path: Path, bound: str, decision: str, value: str
) -> None:
    grown = instance("a", errors=lambda number: 0.0 if number < 300 else 10.0 if number == 300 else 20.0)
    text = COUNT.format(counter=ERRORS, bound=bound) + "[connection_errors]\nbelow_per_day = 100\n"
    done = asked(site, tmp_path, grown, text=text)
    assert value in row(done, "drained-late", "prometheus")
    assert f" {decision}" in row(done, "drained-late", "prometheus")
    assert done.exit_code == {"PASS": 0, "FAIL": 1}[decision], done.output


SHARE = """
[[share]]
name = "rejected"
bad = 'datastorage_events_total{outcome="rejected"}'
all = "datastorage_events_total"
below_percent = 1
feature = "partition_isolation"
"""


@pytest.mark.parametrize(
    ("a_hundred", "text", "code"), [(0.9, "0.892 %", 0), (1.1, "1.088 %", 1)], ids=["below", "above"]
)
def test_a_share_of_a_user_is_one_of_all(site: Site, tmp_path: Path, a_hundred: float, text: str, code: int) -> None:
    rejecting = instance("a", rejected=lambda number: math.floor(number * a_hundred))
    done = asked(site, tmp_path, rejecting, text=SHARE)
    assert done.exit_code == code, done.output
    assert text in row(done, "rejected", "prometheus")


OLDEST = "max(max_over_time(datastorage_dlq_oldest_age_seconds[$period]))"
SERVED = "sum(increase(datastorage_events_total[$period]))"
EXPRESSION = f"""
[[expression]]
name = "oldest"
promql = "{OLDEST}"
exposure_promql = "{SERVED}"
maximum_seconds = 900
minimum_operations = 1000
feature = "recovery"
"""


@pytest.mark.parametrize(
    ("values", "exposure", "code", "said"),
    [
        ([3.0], [1000.0], 0, "3 s"),
        ([901.0], [1000.0], 1, "prioritise recovery (S5)"),
        ([math.nan], [1000.0], 3, "the expression has a value that is no number, as of a division by 0"),
        ([], [1000.0], 3, "the expression has no value"),
        ([3.0], [0.0], 3, "nothing was counted by its exposure, and no traffic proves nothing"),
        ([3.0], [math.nan], 3, "nothing was counted by its exposure"),
        ([3.0], [], 3, "nothing was counted by its exposure"),
        ([3.0], [999.0], 3, "999 operations are too few; 1,000 are needed"),
        ([3.0], [1.0], 3, "1 operation is too few; 1,000 are needed"),
    ],
)
def test_an_expression_is_decided_by_its_value_and_its_exposure(
    site: Site, tmp_path: Path, values: Sequence[float], exposure: Sequence[float], code: int, said: str
) -> None:
    ages = {'datastorage_dlq_oldest_age_seconds{instance="a",job="audit"}': lambda number: 3.0}
    expressions = {OLDEST: values, SERVED: exposure}
    done = asked(site, tmp_path, instance("a"), ages, text=EXPRESSION, expressions=expressions)
    assert done.exit_code == code, done.output
    assert said in done.stdout


def test_an_expression_over_one_instance_of_two_proves_nothing(site: Site, tmp_path: Path) -> None:
    age = "datastorage_dlq_oldest_age_seconds"
    ages: dict[str, Values] = {
        f'{age}{{instance="a",job="audit"}}': lambda number: 3.0,
        f'{age}{{instance="b",job="audit"}}': lambda number: 3.0 if number < 240 or number >= 480 else None,
    }
    expressions = {OLDEST: [3.0], SERVED: [1000.0]}
    both = (instance("a"), instance("b"), ages)
    done = asked(site, tmp_path, *both, text=EXPRESSION, expressions=expressions)
    assert done.exit_code == 3
    assert last_line(done).endswith("to decide: oldest")
    assert f"b of job audit has samples of {age} in 66.67 % of the time" in done.stdout


LATENCY = """
[[latency]]
name = "latency-p99"
quantile = 0.99
maximum_seconds = 0.5
feature = "pool_metrics"
"""


def buckets(*bounds: str) -> Mapping[str, Values]:
    """Requests that are all quicker than each bound."""
    name = "datastorage_request_duration_seconds_bucket"
    route = 'instance="a",job="audit",route="/api/v1/audit/events"'
    return {f'{name}{{{route},le="{bound}"}}': lambda number: 100.0 * (number + 1) for bound in bounds}


def test_a_histogram_without_a_last_bucket_counts_no_request(site: Site, tmp_path: Path) -> None:
    whole = asked(site, tmp_path, instance("a"), buckets("0.1", "0.5", "+Inf"), text=LATENCY)
    assert whole.exit_code == 0, whole.output
    assert "p99 ≤ 0.1 s" in row(whole, "latency-p99", "prometheus")
    cut = asked(site, tmp_path, instance("a"), buckets("0.1", "0.5"), text=LATENCY)
    assert cut.exit_code == 3
    assert "has no bucket that ends at +Inf, so requests cannot be counted" in cut.stdout
    assert last_line(cut).endswith("to decide: latency-p99")


def test_with_a_prometheus_its_rows_decide_and_what_runs_lack_does_not_matter(site: Site, tmp_path: Path) -> None:
    site.answer = healthy
    store(tmp_path, "one", traffic=Traffic(operations=100))
    done = gate("one", "--reports", tmp_path, "--prometheus", site.url, *NOW)
    assert done.exit_code == 0, done.output
    for metric in ("persistence_success", "connection_errors"):
        assert "INSUFFICIENT (not needed)" in row(done, metric)
        assert "PASS" in row(done, metric, "prometheus")
    assert "1 run and 30 d of http://127.0.0.1" in done.stdout


@pytest.mark.parametrize(
    ("checks", "bad", "metric"),
    [
        ((BOOKS,), 202, "dlq_fallback"),
        ((lost(1),), 201, "lost_events"),
        ((BOOKS, slow(0.5)), 201, "broken_promises"),
    ],
)
def test_with_a_prometheus_a_row_of_runs_still_fails(
    site: Site, tmp_path: Path, checks: Sequence[CheckResult], bad: int, metric: str
) -> None:
    site.answer = healthy
    traffic = Traffic(answers=dict.fromkeys(range(0, 3200, 32), bad))
    store(tmp_path, "one", *checks, traffic=traffic)
    done = gate("one", "--reports", tmp_path, "--prometheus", site.url, *NOW)
    assert done.exit_code == 1
    assert "FAIL" in row(done, metric)
    assert last_line(done).startswith(f"✗ FAIL  failed: {metric}; prioritise ")


def test_with_a_prometheus_that_lacks_something_good_runs_do_not_pass(site: Site, tmp_path: Path) -> None:
    site.answer = Store({}).answer
    store(tmp_path, "one")
    config = tmp_path / "gate.toml"
    config.write_text(OPTIONAL)
    path = tmp_path / "out.json"
    done = gate("one", "--reports", tmp_path, "--prometheus", site.url, "--config", config, "--json", path, *NOW)
    assert done.exit_code == 3
    assert "PASS" in row(done, "persistence_success")
    assert last_line(done).endswith("to decide: persistence_success, dlq_fallback")
    assert json.loads(path.read_text())["decision"] == "INSUFFICIENT"
