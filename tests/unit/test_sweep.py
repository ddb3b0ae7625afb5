"""What ``harness sweep pool`` asks, how that is stored, and how its runs become figures."""

from __future__ import annotations

import fcntl
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from harness import events as ev
from harness.checkers._pool_series import MAX_OPEN
from harness.checking import STOOD_STILL, CheckResult
from harness.discovery import load_scenarios
from harness.errors import UsageError
from harness.faults.network import Latency
from harness.report.series import CPU_FILE, SWEEP
from harness.session import REFERENCE_TARGET
from harness.sweep.measuring import AS_IT_IS, figures_of, measure
from harness.sweep.plan import Played as Line
from harness.sweep.plan import Task, create, load, scenario_of, sizes_of, tasks_of, write_target
from harness.sweep.watching import CpuSample, Watched, cpu_between, read_watched
from harness.targets.model import load_target
from tests.unit.histories import STARTED_AT, History, gauge
from tests.unit.stored_samples import store
from tests.unit.sweep_samples import QUESTION, ask, figures, pool_history

ROOT = Path(__file__).parents[2]
UNSURE = CheckResult("metrics", unknowns=("only 3 scrapes",))
STOOD = CheckResult("evidence", facts={STOOD_STILL: 2.0})


def test_the_present_maximum_is_one_of_the_sizes() -> None:
    assert sizes_of("50,5,10,10", 25) == (5, 10, 25, 50)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("5,many", "no list of whole numbers"),
        ("", "no list of whole numbers"),
        ("0,50", "a size that no pool can have"),
        ("5,5000", "a size that no pool can have"),
        ("5,25", "none above the present maximum of 25"),
    ],
)
def test_sizes_that_make_no_sense_are_refused(text: str, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        sizes_of(text, 25)


def test_each_round_has_every_size_in_an_order_of_its_own_and_the_same_again_for_the_seed() -> None:
    tasks = tasks_of(ask(sizes=(5, 10, 15, 25, 40, 50)))
    assert tasks == tasks_of(ask(sizes=(5, 10, 15, 25, 40, 50)))
    first, second = [[task.size for task in tasks if task.round == number] for number in (1, 2)]
    assert sorted(first) == sorted(second) == [5, 10, 15, 25, 40, 50]
    assert first != second
    assert first != sorted(first)


def test_the_scenario_is_that_of_the_exhausted_pool_but_for_size_and_users() -> None:
    scenarios = load_scenarios(ROOT / "scenarios")
    base, made = scenarios.get("pool-exhausted"), scenario_of(ask(users=80), scenarios, 10)
    assert made.name == "sweep-pool-10"
    assert (made.load.months, made.schedule) == (base.load.months, base.schedule)
    assert (made.load.locust_users, made.min_strict_events, made.exclusive) == (80, 1000, True)
    assert made.extra_checkers == ()


def test_the_delay_may_be_another_or_none() -> None:
    scenarios = load_scenarios(ROOT / "scenarios")
    (step,) = scenario_of(ask(delay_ms=60), scenarios, 10).schedule.steps
    assert step.fault == Latency(delay_ms=60)
    assert scenario_of(ask(delay_ms=0), scenarios, 10).schedule.steps == ()


def test_a_scenario_that_users_cannot_play_is_refused() -> None:
    with pytest.raises(UsageError, match="which the 50 users of a sweep do not send"):
        scenario_of(ask(scenario="poison-while-detached"), load_scenarios(ROOT / "scenarios"), 10)


def test_the_target_of_a_size_sets_the_variable_and_is_judged_by_it(tmp_path: Path) -> None:
    base = load_target(REFERENCE_TARGET)
    made = load_target(write_target(ask(variable="POOL_SIZE"), base, 10, tmp_path))
    assert (made.name, made.limits.db_pool_max) == ("reference (pool of 10)", 10)
    assert made.launch is not None
    assert base.launch is not None
    assert made.launch.environment["POOL_SIZE"] == "10"
    assert made.launch.environment["PYTHONPATH"] == f"{base.root}/../.."
    assert made.limits.stalling_month_share == base.limits.stalling_month_share
    assert made.observability == base.observability
    assert made.scram_iterations == base.scram_iterations


def test_what_is_stored_is_read_back_and_not_played_again(tmp_path: Path) -> None:
    begun = create(tmp_path, QUESTION)
    first = tasks_of(QUESTION)[0]
    with begun.opened():
        begun.add(Line(first, "run-1"))
    # What a killed process left of a line.
    with (begun.folder / "points.jsonl").open("a") as file:
        file.write('{"round": 1, "si')
    again = load(SWEEP.find(tmp_path, "last"))
    assert again.question == QUESTION
    assert again.played == [Line(first, "run-1")]
    assert again.left() == list(tasks_of(QUESTION)[1:])
    with again.opened():
        again.add(Line(again.left()[0], "run-2"))
    assert len(load(again.folder).played) == 2


def test_a_copy_of_the_target_file_which_may_hold_tokens_is_not_among_the_reports(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    begun = create(tmp_path / "reports", QUESTION)
    assert begun.targets_folder.is_relative_to(tmp_path / "cache")
    assert begun.targets_folder != create(tmp_path / "reports", QUESTION).targets_folder


def test_two_processes_do_not_add_to_one_sweep(tmp_path: Path) -> None:
    begun = create(tmp_path, QUESTION)
    with (begun.folder / "points.jsonl").open("a") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        with pytest.raises(UsageError, match="Another process adds to"), begun.opened():
            pass


def test_a_sweep_that_is_not_there_is_answered_with_those_that_are(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="stored are: none"):
        SWEEP.find(tmp_path, "last")
    begun = create(tmp_path, QUESTION)
    with pytest.raises(UsageError, match=begun.folder.name):
        SWEEP.find(tmp_path, "other")


def silent(history: History) -> History:
    """The same of a service that does not export the size of its pool."""
    gauge(history, lambda t, text, value: None if text == MAX_OPEN else value)
    return history


def stored(tmp_path: Path, history: History, *checks: CheckResult, size: int = 10) -> Line:
    store(tmp_path, "run-1", *checks, history=history, clocks=())
    return Line(Task(1, size), "run-1")


def test_a_run_has_a_condition_before_its_fault_and_one_under_it(tmp_path: Path) -> None:
    played = stored(tmp_path, pool_history(10, wait_seconds=0.004, slow=True))
    before, under = figures_of([measure(tmp_path, played)])
    assert (before.condition, under.condition) == (AS_IT_IS, "under latency")
    assert before.seconds == 12.0
    assert before.writes == pytest.approx(2400, abs=5)
    assert under.writes == pytest.approx(2340, abs=10)
    p50, slow = before.quantiles[0.5], under.quantiles[0.5]
    assert p50 is not None
    assert slow is not None
    assert p50.value == pytest.approx(0.01, rel=0.05)
    assert slow.value == pytest.approx(0.03, rel=0.05)
    assert before.mean_wait_seconds == pytest.approx(0.004)
    assert (before.waited_share, before.full_share, before.backends) == (1.0, 1.0, 10)
    assert before.errors == {}
    assert before.clean
    assert before.problem == under.problem == ""


@pytest.mark.parametrize(
    ("history", "checks", "problem"),
    [
        (lambda: pool_history(10, shown=25), (), "the service ran with a pool of 25"),
        (lambda: silent(pool_history(10)), (), "the service does not say with which size it ran"),
        (lambda: pool_history(10), (UNSURE,), "its run is UNKNOWN: metrics: only 3 scrapes"),
        (lambda: pool_history(10), (STOOD,), "the whole machine stood still"),
    ],
    ids=["another size", "no size", "unknown", "stood still"],
)
def test_a_run_that_says_nothing_about_its_size_says_why(
    tmp_path: Path, history: Callable[[], History], checks: tuple[CheckResult, ...], problem: str
) -> None:
    (found,) = figures_of([measure(tmp_path, stored(tmp_path, history(), *checks))])
    assert problem in found.problem
    assert found.writes == 0


def test_a_run_that_is_not_there_or_was_not_set_up_says_why(tmp_path: Path) -> None:
    assert measure(tmp_path, Line(Task(1, 10), "nowhere")).problem == "it was never judged"
    store(tmp_path, "run-1", setup_error="too many connections", history=pool_history(10))
    assert measure(tmp_path, Line(Task(1, 10), "run-1")).problem == "too many connections"


def test_few_writes_say_nothing_and_answers_that_are_none_are_errors(tmp_path: Path) -> None:
    history = pool_history(10)
    numbers = [record.op for record in history.records if isinstance(record, ev.Invoke)]
    for number in numbers[:3]:
        history.answer(number, 503)
    history.drop(ev.Invoke, lambda record: record.op in numbers[500:])
    (found,) = figures_of([measure(tmp_path, stored(tmp_path, history))])
    assert found.problem == "only 497 direct writes were measured; 2000 are needed"
    assert (found.errors, found.clean) == ({503: 3}, False)


@pytest.mark.parametrize(
    ("errors", "clean"), [({}, True), ({202: 2}, True), ({202: 4}, False), ({503: 1}, False), ({0: 1}, False)]
)
def test_a_single_fallback_is_no_pools_doing_and_a_refusal_is(errors: dict[int, int], clean: bool) -> None:
    assert figures(10, errors=errors).clean is clean


def test_what_was_measured_for_too_short_a_time_has_no_quantile_and_says_so(tmp_path: Path) -> None:
    history = pool_history(10)
    history.records = [
        replace(record, t=record.t / 4)
        if isinstance(record, ev.Invoke | ev.Complete | ev.MetricsSample | ev.FinalRead)
        else record
        for record in history.records
    ]
    history.drop(ev.ConnectionSample)
    (found,) = figures_of([measure(tmp_path, stored(tmp_path, history))])
    assert found.problem.startswith("measured for 3.0 s; 5 s are needed: ")


def test_without_a_fault_what_comes_after_the_load_is_no_exposure(tmp_path: Path) -> None:
    history = pool_history(10)
    history.add(ev.PhaseMark(11.0, "after"), ev.FinalRead(40.0, True, True))
    (found,) = figures_of([measure(tmp_path, stored(tmp_path, history))])
    assert (found.condition, found.seconds) == (AS_IT_IS, 11.0)


def test_rounds_are_put_together(tmp_path: Path) -> None:
    for number in (1, 2):
        store(tmp_path, f"run-{number}", history=pool_history(10, write_seconds=0.01 * number), clocks=())
    points = [measure(tmp_path, Line(Task(number, 10), f"run-{number}")) for number in (1, 2)]
    (found,) = figures_of(points)
    assert found.seconds == pytest.approx(24, abs=0.2)
    assert found.writes == pytest.approx(4800, abs=10)
    p50 = found.quantiles[0.5]
    assert p50 is not None
    assert p50.low < 0.0112
    assert p50.high > 0.0175, "what differs from round to round is noise, too"


def test_cpu_is_what_was_computed_within_the_time(tmp_path: Path) -> None:
    began = STARTED_AT.timestamp()
    samples = tuple(CpuSample(began + t, t * 0.5, t * 0.9, t * 1.6, t * 2.0) for t in range(0, 40, 2))
    found = cpu_between(Watched(samples, 2, 97), began + 3, began + 11)
    assert found is not None
    assert found.cores == 2
    assert (found.postgres_cores, found.service_cores, found.machine_share) == pytest.approx((0.5, 0.9, 0.8))
    assert cpu_between(Watched(samples, 2, 97), began + 3, began + 5) is None
    data = {"samples": [sample.__dict__ for sample in samples], "cores": 2, "connection_limit": 97}
    (tmp_path / CPU_FILE).write_text(json.dumps(data))
    assert read_watched(tmp_path) == Watched(samples, 2, 97)
    assert read_watched(tmp_path / "nowhere") == Watched()
