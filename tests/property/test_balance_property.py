"""Conservation by SQL, by sets, and by the checker: the three agree on what was planted."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from harness import events as ev
from harness.checkers.conservation import conservation
from harness.columnar.conservation import Balance, in_duckdb, in_sets
from harness.columnar.convert import convert
from harness.columnar.store import Store
from harness.jsonlines import encode

from ..unit.histories import DECEMBER, History, event_id

PLANTED = ("fine", "lost", "doubled", "changed", "misplaced", "refused", "unexpected", "unanswered")


def planted(plan: list[str]) -> History:
    """One event each, with what became of it."""
    history = History()
    for number, fate in enumerate(plan):
        status = {"refused": 400, "unanswered": 0, "unexpected": 409}.get(fate, 201 + number % 2)
        history.op(float(number), DECEMBER, status)
        if fate in ("lost", "refused", "unanswered"):
            continue
        changes = {"changed": {"content": "{}"}, "misplaced": {"month": "2026_01"}}.get(fate, {})
        history.row(number, **changes)
        if fate == "doubled":
            history.row(number)
    history.add(ev.FinalRead(len(plan) + 1.0, True, True))
    return history


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.sampled_from(PLANTED), min_size=1, max_size=12))
def test_sql_sets_and_the_checker_find_what_was_planted(plan: list[str]) -> None:
    history = planted(plan)
    folder = Path(tempfile.mkdtemp(prefix="balance-"))
    try:
        convert((f"{encode(record)}\n" for record in history.records), folder / "columns")
        store = Store(folder / "columns")
        by_sql, by_sets = in_duckdb(store), in_sets(store)
        store.close()
    finally:
        shutil.rmtree(folder)
    acknowledged = sum(fate not in ("refused", "unanswered", "unexpected") for fate in plan)
    assert (
        by_sql
        == by_sets
        == Balance(
            acknowledged,
            lost=plan.count("lost"),
            doubled=plan.count("doubled"),
            changed=plan.count("changed"),
            misplaced=plan.count("misplaced"),
            unexpected=plan.count("unexpected"),
        )
    )
    assert by_sql.examples == by_sets.examples
    lost = {event_id(number) for number, fate in enumerate(plan) if fate == "lost"}
    assert set(by_sql.examples.get("lost", ())) == lost
    said = [finding for finding in conservation(history.run()).findings if "lost" in finding.summary]
    assert {each for finding in said for each in finding.event_ids} == lost
