"""``gate.toml``: what it says, how its mistakes are told, and that the one in the documentation is a valid one."""

from __future__ import annotations

import re
from datetime import date
from pathlib import Path

import pytest

from harness.cli import cli
from harness.errors import UsageError
from harness.gating.config import ERRORS, FAILURES, FALLBACK, PERSISTENCE, load_config
from harness.gating.slo import CountSlo, ExpressionSlo, Feature, LatencySlo, ShareSlo

PAGE = Path(__file__).parents[2] / "docs/how-to/gate.md"
FEATURE = 'feature = "recovery"\n'
SHARE = '[[share]]\nname = "a"\nbad = "b_total"\nall = "c_total"\nbelow_percent = 1\n'
COUNT = '[[count]]\nname = "a"\ncounter = "b_total"\n'
EXPRESSION = '[[expression]]\nname = "a"\npromql = "b[$period]"\nexposure_promql = "increase(c[$period])"\n'
DEFECT = '[[known_defect]]\nscenario = "s"\nchecker = "c"\nmatch = "m"\nreason = "r"\n'


def read(tmp_path: Path, text: str) -> str:
    """What is said of a file that has a mistake."""
    path = tmp_path / "gate.toml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(UsageError) as caught:
        load_config(path)
    said = str(caught.value)
    assert str(path) in said
    return said


def test_without_a_file_the_bounds_are_those_of_the_assessment() -> None:
    config = load_config(None)
    assert {slo.name: slo.bound_text for slo in config.slos} == {
        PERSISTENCE: "> 99.9 %",
        FALLBACK: "< 0.1 %",
        ERRORS: "< 10 a day",
        FAILURES: "0 a month",
    }
    assert [slo.feature for slo in config.slos] == [
        Feature.ISOLATION,
        Feature.RECOVERY,
        Feature.POOL_METRICS,
        Feature.PARTITION_METRICS,
    ]
    assert sorted(one for feature in Feature for one in feature.requirements) == ["S1", "S2", "S3", "S4", "S5"]
    assert config.optional == frozenset()


def test_the_file_in_the_documentation_is_valid_and_uses_every_table(tmp_path: Path) -> None:
    blocks = re.findall(r"```toml[^\n]*\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    assert blocks
    path = tmp_path / "gate.toml"
    for block in sorted(blocks, key=len):
        path.write_text(block, encoding="utf-8")
        config = load_config(path)
    kinds = {type(slo) for slo in config.slos}
    assert kinds == {ShareSlo, CountSlo, LatencySlo, ExpressionSlo}
    assert config.known_defects
    assert config.prometheus.matchers


def test_the_documentation_names_every_option_of_the_command() -> None:
    page = PAGE.read_text(encoding="utf-8")
    options = [name for option in cli.commands["gate"].params for name in option.opts if name.startswith("--")]
    assert len(options) > 5
    assert [name for name in options if f"`{name}" not in page and f" {name}" not in page] == []


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "[persistance_success]\nabove_percent = 99",
            "unknown key persistance_success; did you mean persistence_success?",
        ),
        ("[dlq_fallback]\nbelow_ratio = 0.1", "unknown key below_ratio; did you mean below_percent?"),
        ("[dlq_fallback]\nbelow_percent = 0", "below_percent must be a number above 0 and below 100, not 0"),
        ("[dlq_fallback]\nbelow_percent = true", "below_percent must be a number"),
        ("[persistence_success]\nabove_percent = 100", "above_percent must be a number above 0 and below 100"),
        ("[persistence_success]\nminimum_operations = 100", "at least 3,000 operations without a bad one"),
        ("[persistence_success]\nabove_percent = 99.99\nminimum_operations = 3000", "at least 30,000 operations"),
        ("[connection_errors]\nminimum_share_of_day = 2", "must be a number above 0, at most 1, not 2"),
        ("[partition_write_failures]\nmaximum_per_month = -1", "must be a number from 0, not -1"),
        ('optional = ["dlq_fallbak"]', "unknown key dlq_fallbak; did you mean dlq_fallback?"),
        ('[prometheus]\nmatchers = "job"', 'matchers must be written as job="audit-service"'),
        ('[series]\ncreated = "sum(a)"', "created: 'sum(a)' is no selector"),
        ('[share]\nname = "a"', "must be written with two brackets"),
        (SHARE.replace('"a"', '"dlq_fallback"') + FEATURE, "two metrics are named dlq_fallback"),
        (SHARE.replace('"a"', '"lost_events"') + FEATURE, "two metrics are named lost_events"),
        (SHARE.replace('"a"', '"a b"'), "name must be made of letters"),
        (SHARE.replace('bad = "b_total"\n', ""), "bad is missing"),
        (SHARE + 'feature = "pool"', "unknown key pool; did you mean pool_metrics?"),
        (SHARE, "feature is missing: a failed metric names what to prioritise; it is one of pool_metrics, partition_"),
        (COUNT + "maximum_per_day = 1", "[[count]] 1: feature is missing"),
        ('[[latency]]\nname = "a"\nquantile = 0.9\nmaximum_seconds = 1', "[[latency]] 1: feature is missing"),
        (EXPRESSION + "maximum_seconds = 1\nminimum_operations = 1", "[[expression]] 1: feature is missing"),
        (COUNT, "exactly one bound is needed, none is given"),
        (COUNT + "below_per_day = 1\nmaximum_per_month = 1", "below_per_day and maximum_per_month are given"),
        (COUNT + "maximum_per_month = 1\nminimum_share_of_day = 0.5", "a bound for a month needs a month of data"),
        (
            '[[latency]]\nname = "a"\nquantile = 99\nmaximum_seconds = 1',
            "quantile must be a number above 0 and below 1",
        ),
        ('[[latency]]\nname = "a"\nquantile = 0.99\nmaximum_ms = 1', "unknown key maximum_ms; did you mean"),
        (EXPRESSION + "maximum_seconds = 1", "minimum_operations is missing"),
        (EXPRESSION + "below_percent = 1\nminimum_operations = 299", "at least 300 operations"),
        (EXPRESSION + "above_ratio = 2", "above_ratio must lie between 0 and 1, not 2"),
        (EXPRESSION.replace("b[$period]", "b[5m]") + "maximum_seconds = 1", "promql has no $period in it"),
        (EXPRESSION.replace("b[$period]", "b[$period") + "maximum_seconds = 1", "is no PromQL"),
        (EXPRESSION.replace("b[$period]", "vector(1) # $period") + "maximum_seconds = 1", "names no series"),
        (DEFECT, "expires is missing: a known defect is listed with the last day"),
        (DEFECT + 'expires = "2027-01-31"', "expires must be a date without quotes"),
        (DEFECT + "expires = 2027-01-31T00:00:00Z", "expires must be a date without quotes"),
        (DEFECT.replace('reason = "r"\n', "") + "expires = 2027-01-31", "reason is missing"),
        (DEFECT.replace('"m"', '" "') + "expires = 2027-01-31", "match must be a text that is not empty"),
        ("a = ", "is not valid TOML"),
    ],
)
def test_a_mistake_is_told_with_its_place_and_what_is_meant(tmp_path: Path, text: str, said: str) -> None:
    assert said in read(tmp_path, text)


def test_the_number_of_the_table_is_told(tmp_path: Path) -> None:
    assert "[[known_defect]] 2: expires is missing" in read(tmp_path, DEFECT + "expires = 2027-01-31\n" + DEFECT)


def test_a_known_defect_counts_through_its_last_day(tmp_path: Path) -> None:
    path = tmp_path / "gate.toml"
    path.write_text(DEFECT + "expires = 2027-01-31")
    (defect,) = load_config(path).known_defects
    assert not defect.expired(date(2027, 1, 31))
    assert defect.expired(date(2027, 2, 1))


def test_other_names_of_series_are_taken_over(tmp_path: Path) -> None:
    path = tmp_path / "gate.toml"
    path.write_text("[series]\ncreated = 'writes_total{result=\"ok\"}'\n")
    config = load_config(path)
    persistence = config.slos[0]
    assert isinstance(persistence, ShareSlo)
    assert [str(one) for one in persistence.good] == [
        'writes_total{result="ok"}',
        'datastorage_events_total{outcome="queued"}',
    ]
    assert [str(one) for one in config.traffic] == [str(one) for one in persistence.good]
