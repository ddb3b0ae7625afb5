"""Small parts: months, registries, ledger, tally, discovery, polling."""

from __future__ import annotations

import asyncio
import json
from datetime import date
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import harness.faults  # noqa: F401  (fills the registry)
from harness._wait import wait_until, wait_until_sync
from harness.discovery import compile_keyword, load_scenarios, select
from harness.errors import DeadlineExceeded, ScenarioError, UsageError
from harness.ledger import Ledger
from harness.load.tally import Tally
from harness.registry import Registry
from harness.scenario import Scenario
from harness.values import Month, Verdict

ROOT = Path(__file__).parents[2]
months = st.builds(Month, st.integers(2000, 2100), st.integers(1, 12))


@given(months, st.integers(-500, 500))
def test_months_add_up_and_tile_the_calendar(month: Month, count: int) -> None:
    assert month.plus(count).plus(-count) == month
    assert month.end == month.plus(1).first_day
    assert Month.parse(month.label) == month == Month.of(month.first_day)


@pytest.mark.parametrize("label", ["2025-12", "2025_13", "2025_00", "25_12", "2025_1", "2025_12 ", ""])
def test_what_is_no_month_is_refused(label: str) -> None:
    with pytest.raises(UsageError, match="2025_12"):
        Month.parse(label)


def test_the_worst_verdict_wins_and_none_is_unknown() -> None:
    assert Verdict.worst([]) is Verdict.UNKNOWN
    assert Verdict.worst([Verdict.PASS, Verdict.FAIL, Verdict.UNKNOWN]) is Verdict.FAIL


def test_a_registry_refuses_duplicates_and_names_neighbours() -> None:
    registry: Registry[int] = Registry("fault")
    registry.register("detach")(1)
    with pytest.raises(UsageError, match="Two faults"):
        registry.register("detach")(2)
    with pytest.raises(UsageError, match="did you mean detach"):
        registry.get("detatch")


def test_the_ledger_gives_back_what_was_saved_and_nothing_half(tmp_path: Path) -> None:
    entry = Ledger(tmp_path).entry(3, "drop-partition")
    assert entry.load("bounds") is None
    entry.save("bounds", {"from": "2025-12-01"})
    entry.save_bytes("page", b"\0\1")
    again = Ledger(tmp_path).entry(3, "drop-partition")
    assert again.load("bounds") == {"from": "2025-12-01"}
    assert again.load_bytes("page") == b"\0\1"
    assert sorted(path.name for path in entry.folder.iterdir()) == ["bounds.json", "page"]


def test_the_tally_counts_strictly_only_after_the_edge_and_wants_half_of_the_phase() -> None:
    december, january = Month(2025, 12), Month(2026, 1)
    tally = Tally()
    tally.open_phase()
    for _ in range(10):
        tally.count(december, 1.0, created=True)
    assert tally.strict((december,)) == 0
    tally.stable(2.0)
    tally.count(december, 1.9, created=True)
    assert tally.strict((december,)) == 0
    for _ in range(6):
        tally.count(december, 2.1, created=False)
    assert tally.strict((december,)) == 6
    assert not tally.enough((december,), 5), "11 events of the edge outnumber 6 strict ones"
    for _ in range(5):
        tally.count(december, 2.2, created=True)
    assert tally.enough((december,), 5)
    assert not tally.enough((december, january), 5)
    assert tally.created((december, january)) == 5


@pytest.mark.parametrize(
    ("expression", "text", "expected"),
    [
        ("december", "december-detached", True),
        ("DECEMBER and s3", "december-detached s3", True),
        ("december and not locked", "december-locked", False),
        ("(locked or detached) and s5", "x detached s5", True),
        ("pool", "december", False),
    ],
)
def test_keywords_combine_as_in_pytest(expression: str, text: str, expected: bool) -> None:
    assert compile_keyword(expression)(text) is expected


@pytest.mark.parametrize("expression", ["and", "a b", "(a", "not"])
def test_a_broken_keyword_expression_is_said(expression: str) -> None:
    with pytest.raises(UsageError, match="-k"):
        compile_keyword(expression)


def test_every_bundled_scenario_survives_json_and_names_its_requirements() -> None:
    registry = load_scenarios(ROOT / "scenarios")
    assert len(registry) >= 17
    for scenario in registry.values():
        assert Scenario.from_json(json.dumps(scenario.to_json())) == scenario
        assert scenario.claim.endswith(".")
        assert scenario.requirements
        assert scenario.min_strict_events >= 200


def test_the_requirements_of_the_first_set_each_have_a_scenario() -> None:
    registry = load_scenarios(ROOT / "scenarios")
    proved = {requirement for scenario in registry.values() for requirement in scenario.requirements}
    assert {"S1", "S2", "S3", "S4", "S5", "S6", "S7", "S8", "C2", "C3"} <= proved


def test_two_scenarios_of_one_name_are_refused(tmp_path: Path) -> None:
    text = (
        (ROOT / "scenarios/baseline.py")
        .read_text()
        .replace("from ._months import TWO_MONTHS", "")
        .replace("load=TWO_MONTHS", "load=Load(months=(Month(2025, 12),))")
    )
    text = text.replace(
        "from harness.scenario import Scenario",
        "from harness.scenario import Load, Scenario\nfrom harness.values import Month",
    )
    (tmp_path / "one.py").write_text(text)
    (tmp_path / "two.py").write_text(text)
    with pytest.raises(UsageError, match="Two scenarios are named 'baseline'"):
        load_scenarios(tmp_path)


def test_a_scenario_file_that_breaks_is_named(tmp_path: Path) -> None:
    (tmp_path / "broken_scenario.py").write_text("SCENARIO = 1 / 0\n")
    with pytest.raises(ScenarioError, match=r"broken_scenario\.py:1: .*ZeroDivisionError"):
        load_scenarios(tmp_path)


def test_an_unknown_name_is_answered_with_the_nearest() -> None:
    with pytest.raises(UsageError, match="did you mean december-detached"):
        select(load_scenarios(ROOT / "scenarios"), ["december-detatched"])


def test_polling_asks_at_least_once_and_names_what_it_waited_for() -> None:
    asked = []

    async def never() -> bool:
        asked.append(date.today())
        return False

    with pytest.raises(DeadlineExceeded, match="waiting for the moon"):
        asyncio.run(wait_until(never, what="the moon", deadline_seconds=0))
    assert len(asked) == 1
    assert wait_until_sync(lambda: 7, what="seven", deadline_seconds=0) == 7
