"""The answer of a sweep by its rule, and the page that shows it."""

from __future__ import annotations

import json

import pytest

from harness.sweep import page, shown
from harness.sweep.answer import Advice, answer, answers_of
from harness.sweep.measuring import Figures
from harness.sweep.watching import Cpu
from tests.unit.sweep_samples import QUESTION, ask, figures
from tests.unit.test_report_html import read


def test_a_pool_that_is_enough_is_not_raised() -> None:
    found = answer([figures(10, p99=0.04, wait=0.02), figures(25), figures(50)], 25, 97)
    assert (found.advice, found.enough) == (Advice.KEEP, 25)
    assert found.sentence.startswith("No: raising 25 to 50 brings nothing beyond noise. At 25 p99 ")


def test_fewer_may_be_enough() -> None:
    found = answer([figures(10), figures(25), figures(50)], 25, 97)
    assert (found.advice, found.enough) == (Advice.KEEP, 10)
    assert "; 10 are enough." in found.sentence


def test_a_pool_whose_users_wait_is_raised_to_the_smallest_that_is_enough() -> None:
    found = answer([figures(10, p99=0.2, wait=0.1), figures(25, p99=0.08, wait=0.03), figures(40), figures(50)], 25, 97)
    assert (found.advice, found.enough) == (Advice.RAISE, 40)
    assert found.sentence.startswith("Yes, to 40: at 25 p99 ")
    assert "Larger ones were not tried" not in found.sentence


def test_waits_alone_are_a_reason() -> None:
    found = answer([figures(25, p99=0.021, wait=0.01), figures(50)], 25, 97)
    assert (found.advice, found.enough) == (Advice.RAISE, 50)
    assert "Larger ones were not tried." in found.sentence


def test_errors_at_the_present_size_are_a_reason() -> None:
    found = answer([figures(25, errors={503: 12}), figures(50)], 25, 97)
    assert found.advice is Advice.RAISE
    assert "12 × 503 instead of 201" in found.sentence


def test_more_that_are_slower_are_no_reason_though_fewer_are_faster() -> None:
    found = answer([figures(10), figures(25, p99=0.04), figures(50, p99=0.08)], 25, 97)
    assert (found.advice, found.enough) == (Advice.KEEP, 10)
    assert "Fewer are even faster: at 10 p99 " in found.sentence


def test_a_size_that_breaks_a_promise_is_never_enough() -> None:
    found = answer([figures(10, broken=("x: lost",)), figures(25, p99=0.08, wait=0.03), figures(50)], 25, 97)
    assert (found.advice, found.enough) == (Advice.RAISE, 50)


@pytest.mark.parametrize(
    ("sizes", "said"),
    [
        ([figures(25, problem="its run is UNKNOWN: x"), figures(50)], "the present maximum of 25 has no figures"),
        ([figures(25, count=40), figures(50)], "the present maximum of 25 was measured too little"),
        ([figures(10), figures(50)], "the present maximum of 25 has no figures that count: it was not played"),
        ([figures(10), figures(25)], "no size above 25 has figures that count (none was played)"),
        ([figures(25), figures(50, problem="could not be set up")], "(50: could not be set up)"),
        ([figures(25), figures(50, errors={0: 2})], "(50: 2 × no answer instead of 201)"),
        ([figures(25), figures(50, broken=("x: lost",))], "(50: a promise is broken: x: lost)"),
        ([figures(25, count=600, p99=0.021), figures(50, count=600)], "the samples leave open whether 25"),
        ([], "the present maximum of 25 has no figures that count: it was not played"),
    ],
    ids=["present unknown", "present short", "present missing", "none above", "above failed", "above unanswered",
         "above lost", "too few", "nothing"],
)  # fmt: skip
def test_what_cannot_be_told_says_why(sizes: list[Figures], said: str) -> None:
    found = answer(sizes, 25, 97)
    assert (found.advice, found.enough) == (Advice.CANNOT_TELL, None)
    assert said in found.sentence


def test_a_size_between_that_was_lost_is_said() -> None:
    lost = figures(40, problem="its run is UNKNOWN: x")
    found = answer([figures(25, p99=0.08, wait=0.03), lost, figures(50)], 25, 97)
    assert found.enough == 50
    assert "40 may be enough, but has no figures that count: its run is UNKNOWN: x." in found.sentence


def test_what_is_used_up_is_named() -> None:
    busy = Cpu(postgres_cores=0.8, service_cores=0.95, machine_share=0.97, cores=2)
    calm = Cpu(postgres_cores=0.1, service_cores=0.95, machine_share=0.5, cores=4)
    told = [
        answer([figures(25, full=0.95, cpu=cpu), figures(50)], 25, limit).saturated
        for cpu, limit in ((busy, 97), (calm, 26), (None, None))
    ]
    pool = "the pool: all 25 in use in 95 % of the scrapes"
    shares = "PostgreSQL 0.80 of them, the service 0.95, all else, the load among it, 0.19"
    machine = f"the machine's 2 cores, 97 % busy ({shares})"
    service = "the service, which computes 0.95 cores: one thread can have no more than 1"
    assert told == [
        (pool, machine),
        (pool, service, "PostgreSQL's connections: 25 of the 26 that it allows"),
        (pool,),
    ]


def test_each_condition_has_its_own_answer() -> None:
    slow = "under latency"
    sizes = [figures(25), figures(50), figures(25, p99=0.3, wait=0.1, condition=slow), figures(50, condition=slow)]
    assert [one.advice for one in answers_of(sizes, 25, 97)] == [Advice.KEEP, Advice.RAISE]


def result() -> shown.Result:
    sizes = (
        figures(10, p99=0.2, wait=0.1),
        figures(25),
        figures(50, errors={202: 1}),
        figures(90, problem="<x>"),
    )
    return shown.Result(
        name="sweep-1",
        question=ask(sizes=(10, 25, 50, 90)),
        points=(),
        figures=sizes,
        answers=answers_of(sizes, 25, 97),
    )


def test_the_page_nests_loads_nothing_and_has_answer_table_and_plot() -> None:
    text = page.page(result())
    reader = read(text)
    said = "".join(reader.text)
    assert said.index("Should we raise") < said.index("KEEP") < said.index("25 (now)")
    assert "90: <x>" in said
    assert reader.scripts == 4
    assert not [link for link in reader.links if link.startswith(("http", "//"))]
    assert 'id="chart-0"' in text


def test_the_plot_is_one_that_plotly_takes() -> None:
    import plotly.graph_objects

    drawn = page.figure(list(result().figures), 25)
    plotly.graph_objects.Figure(drawn)
    assert [trace["name"] for trace in drawn["data"][:3]] == ["p50", "p95", "p99"]
    assert drawn["data"][0]["x"] == [10, 25, 50, 90]
    assert len({trace["line"]["dash"] for trace in drawn["data"]}) == 5, "told apart without colour"
    json.dumps(drawn, allow_nan=False)


def test_a_sweep_without_any_run_has_a_page_and_json_as_well() -> None:
    empty = shown.Result(name="s", question=QUESTION, points=(), figures=(), answers=())
    read(page.page(empty))
    assert shown.to_json(empty)["exit_code"] == 3
