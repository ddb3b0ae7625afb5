"""The nemesis heals whatever order the damage needs, says what failed, and the judge believes the last word only."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import ClassVar, cast

import pytest

from harness import events as ev
from harness import nemesis as nemesis_module
from harness.blast import BlastRadius, Edge, Write
from harness.errors import FaultNotConfirmed, HealFailed, ServiceEnded, SetupError
from harness.events import FaultMark, FaultStep
from harness.fault import FAULTS, Scene
from harness.history import Clock, History, read_history
from harness.ledger import FOLDER, EntryState, Ledger
from harness.nemesis import Nemesis, confirmed, heal_in_passes
from harness.oracle import Side, side_of
from harness.rundata import FaultWindow, Run, build_run
from harness.schedule import Schedule
from harness.stacks.base import Capability, Environment
from harness.targets.model import Limits
from harness.values import Month, Verdict
from tests.unit.histories import DECEMBER, check, good

BROKEN: set[str] = set()
"""What the knots of one test have damaged."""


@dataclass(frozen=True, kw_only=True)
class Knot:
    """Breaks ``thing``; it is mended only once ``after`` is whole, and seen whole only once ``seen_after`` is."""

    name: ClassVar[str] = "knot"
    needs: ClassVar[frozenset[Capability]] = frozenset()
    momentary: ClassVar[bool] = False
    thing: str
    after: str = ""
    seen_after: str = ""

    def radius(self, environment: Environment) -> BlastRadius:
        return BlastRadius(months=frozenset({DECEMBER}), write=Write.NO)

    async def inject(self, scene: Scene) -> None:
        BROKEN.add(self.thing)

    async def confirm(self, scene: Scene) -> str:
        return "broken"

    async def heal(self, scene: Scene) -> None:
        if self.after in BROKEN:
            raise HealFailed(f"{self.thing} cannot be mended while {self.after} is broken")
        BROKEN.discard(self.thing)

    async def probe(self, scene: Scene) -> bool:
        return not BROKEN & {self.thing, self.seen_after}


@dataclass(frozen=True, kw_only=True)
class Blow(Knot):
    """A knot that is over as soon as it has bitten."""

    name: ClassVar[str] = "blow"
    momentary: ClassVar[bool] = True


@pytest.fixture(autouse=True)
def knots(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A registry of this test's own that knows the knot, nothing broken, and no patience for what never comes."""
    monkeypatch.setattr(FAULTS, "_things", dict(FAULTS.items()))
    FAULTS.register(Knot.name)(Knot)
    FAULTS.register(Blow.name)(Blow)
    monkeypatch.setattr(nemesis_module, "EARLY_PROBE_SECONDS", 0.05)
    monkeypatch.setattr(nemesis_module, "PROBE_DEADLINE_SECONDS", 0.1)
    BROKEN.clear()
    yield
    BROKEN.clear()


@dataclass
class Played:
    """What a schedule of knots left: whether all was seen healed, the marks, the windows, and the ledger."""

    all_healed: bool
    marks: list[tuple[str, FaultStep, str]]
    run: Run
    states: list[EntryState | None]

    def window(self, thing: int) -> FaultWindow:
        return self.run.windows[thing]

    def steps(self, thing: str) -> list[FaultStep]:
        """The marks of one knot from its first heal on."""
        found = [step for name, step, _ in self.marks if name == thing]
        return found[found.index(FaultStep.HEALING) :]


def play(folder: Path, *knots: Knot, undo: bool = False, last: int = 0) -> Played:
    """Inject knots in turn and heal them, as a run does at its end, the ``last`` alone, or as one that broke off."""
    environment = cast("Environment", SimpleNamespace(service=SimpleNamespace(pid=7)))
    ledger = Ledger(folder / FOLDER)

    async def heal(history: History) -> bool:
        nemesis = Nemesis(environment, history, ledger, Schedule.of(*knots))
        for number in range(len(knots)):
            assert await nemesis.inject(number)
        if undo:
            await nemesis.undo()
            return not nemesis.open_faults
        if last:
            return await nemesis.heal_last(last) is not None
        probed = await nemesis.heal_all()
        assert (probed is None) == bool(nemesis.open_faults)
        return probed is not None

    with closing(History(folder, Clock())) as history:
        history.add(ev.RunStarted(0.0, "r", "s", 1, "2026-01-01T00:00:00+00:00", "{}", "t", {}))
        healed = asyncio.run(heal(history))
    records = read_history(folder)
    marks = [(knots[r.fault].thing, r.step, r.detail) for r in records if isinstance(r, FaultMark)]
    return Played(healed, marks, build_run(records), [entry.state for entry in ledger.entries()])


HEAP, TABLE = Knot(thing="heap", seen_after="table"), Knot(thing="table", after="heap")
"""As a damaged page and a detached table: this can be attached only once that is repaired."""


def test_a_heal_that_another_repair_makes_possible_is_tried_again_and_both_are_told(tmp_path: Path) -> None:
    played = play(tmp_path, HEAP, TABLE)
    assert played.all_healed
    assert played.steps("table") == [
        *(FaultStep.HEALING, FaultStep.HEAL_FAILED),
        *(FaultStep.HEALING, FaultStep.HEALED, FaultStep.PROBED),
    ]
    assert played.steps("heap") == [FaultStep.HEALING, FaultStep.HEALED, FaultStep.PROBED]
    assert played.states == [EntryState.HEALED, EntryState.HEALED]
    assert [played.window(n).problem for n in (0, 1)] == ["", ""]
    assert played.window(1).failed_heals == ("table cannot be mended while heap is broken",)


def test_all_between_the_first_try_and_the_last_probe_is_an_edge(tmp_path: Path) -> None:
    played = play(tmp_path, HEAP, TABLE)
    window = played.window(1)
    healing = next(r.t for r in played.run.of_kind(FaultMark) if r.step is FaultStep.HEALING)
    assert window.healing == healing, "a try that failed may have undone a part already"
    assert window.healed is not None
    assert window.probed is not None
    assert healing < window.healed < window.probed
    operation = good().run().operations[0]
    between = dataclasses.replace(operation, invoked=healing + 1e-5, completed=window.healed - 1e-5)
    assert side_of(window, between, Limits()) is Side.EDGE


def test_what_never_heals_stays_the_last_word_and_the_others_are_healed(tmp_path: Path) -> None:
    played = play(tmp_path, Knot(thing="lost", after="lost"), Knot(thing="table", after="heap"), Knot(thing="heap"))
    assert not played.all_healed
    assert played.steps("lost").count(FaultStep.HEAL_FAILED) == 2, "no third pass after one that healed nothing"
    assert played.steps("table")[-1] is FaultStep.PROBED
    assert played.steps("heap")[-1] is FaultStep.PROBED
    assert played.states == [EntryState.INJECTED, EntryState.HEALED, EntryState.HEALED]
    assert played.window(0).problem == "heal-failed: lost cannot be mended while lost is broken"
    assert played.window(0).healed is None


def test_a_probe_that_another_fault_stands_in_the_way_of_is_asked_again_and_is_no_failure(tmp_path: Path) -> None:
    played = play(tmp_path, Knot(thing="table"), Knot(thing="queue", seen_after="table"))
    assert played.all_healed
    assert played.steps("queue") == [FaultStep.HEALING, FaultStep.HEALED, FaultStep.PROBED]
    order = [name for name, step, _ in played.marks if step is FaultStep.PROBED]
    assert order == ["table", "queue"]


def test_what_no_probe_ever_sees_healthy_is_told_and_stays_open_in_the_ledger(tmp_path: Path) -> None:
    played = play(tmp_path, Knot(thing="lost", after="lost"), Knot(thing="queue", seen_after="lost"))
    assert not played.all_healed
    assert played.steps("queue") == [FaultStep.HEALING, FaultStep.HEALED, FaultStep.HEAL_FAILED]
    assert played.states == [EntryState.INJECTED, EntryState.INJECTED]
    assert "timed out" in played.window(1).problem


def test_the_undo_of_a_run_that_broke_off_tries_again_as_well(tmp_path: Path) -> None:
    played = play(tmp_path, HEAP, TABLE, undo=True)
    assert played.all_healed
    assert played.states == [EntryState.HEALED, EntryState.HEALED]
    assert played.window(1).failed_heals
    assert played.window(1).healed is not None


def test_the_last_faults_alone_are_healed_where_a_step_asks_for_that(tmp_path: Path) -> None:
    played = play(tmp_path, Knot(thing="slow"), Knot(thing="heap", seen_after="table"), Knot(thing="table"), last=2)
    assert played.all_healed
    assert [name for name, step, _ in played.marks if step is FaultStep.PROBED] == ["table", "heap"]
    assert played.states == [EntryState.INJECTED, EntryState.HEALED, EntryState.HEALED]


def test_a_momentary_fault_that_no_probe_saw_over_is_none_of_the_last_ones(tmp_path: Path) -> None:
    played = play(tmp_path, Knot(thing="table"), Blow(thing="session", seen_after="table"), last=1)
    assert played.all_healed
    assert [name for name, step, _ in played.marks if step is FaultStep.PROBED] == ["table"]
    assert played.states == [EntryState.HEALED, EntryState.INJECTED]


def test_a_probe_that_waits_for_another_keeps_no_third_from_being_asked(tmp_path: Path) -> None:
    stuck, patient = Knot(thing="queue", seen_after="lost"), Knot(thing="heap", seen_after="table")
    played = play(tmp_path, Knot(thing="lost", after="lost"), Knot(thing="table"), patient, stuck)
    last_words = [(name, step) for name, step, _ in played.marks if name in ("heap", "queue")][-2:]
    assert last_words == [("heap", FaultStep.PROBED), ("queue", FaultStep.HEAL_FAILED)]


def test_a_fault_that_was_not_confirmed_and_is_not_healed_is_told_for_both() -> None:
    history = good()
    history.drop(FaultMark, lambda mark: mark.step is not FaultStep.INJECTING)
    history.add(FaultMark(10.2, 0, "lock-partition", FaultStep.NOT_CONFIRMED, "no lock"))
    history.add(FaultMark(20.0, 0, "lock-partition", FaultStep.HEALING))
    history.add(FaultMark(20.1, 0, "lock-partition", FaultStep.HEAL_FAILED, "no way"))
    window = history.run().windows[0]
    assert window.problem == "not-confirmed: no lock; heal-failed: no way"
    for t, step in ((20.2, FaultStep.HEALING), (20.3, FaultStep.HEALED), (20.4, FaultStep.PROBED)):
        history.add(FaultMark(t, 0, "lock-partition", step))
    assert history.run().windows[0].problem == "not-confirmed: no lock"


def test_a_heal_that_failed_first_leaves_no_doubt_once_a_probe_saw_health() -> None:
    history = good()
    history.drop(FaultMark)
    history.fault(healed=None, probed=None)
    history.add(FaultMark(20.05, 0, "lock-partition", FaultStep.HEAL_FAILED, "not yet"))
    for t, step in ((20.06, FaultStep.HEALING), (20.1, FaultStep.HEALED), (20.2, FaultStep.PROBED)):
        history.add(FaultMark(t, 0, "lock-partition", step))
    assert check("confirmed", history).verdict is Verdict.PASS
    history.drop(FaultMark, lambda mark: mark.step is FaultStep.PROBED)
    assert "not yet" in check("confirmed", history).unknowns[0]


def test_what_never_shows_its_effect_is_refused_with_the_last_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nemesis_module, "CONFIRM_DEADLINE_SECONDS", 0.05)

    class Shy(Knot):
        async def confirm(self, scene: Scene) -> str:
            raise FaultNotConfirmed("nothing is broken yet")

    with pytest.raises(FaultNotConfirmed, match="nothing is broken yet"):
        asyncio.run(confirmed(Shy(thing="table"), cast("Scene", None)))


def test_passes_go_on_while_they_heal_something_and_keep_the_order() -> None:
    tried: list[int] = []

    async def heal(number: int) -> None:
        tried.append(number)
        if number != 0 and number - 1 in left:
            raise HealFailed(f"{number} waits for {number - 1}")
        left.remove(number)

    left = {0, 1, 2, 9}
    healed, failed = asyncio.run(heal_in_passes((2, 1, 0, 9), heal))
    assert (list(healed), list(failed)) == ([0, 9, 1, 2], [])
    assert tried == [2, 1, 0, 9, 2, 1, 2]

    async def fail(number: int) -> None:
        tried.append(number)
        raise HealFailed(str(number))

    tried.clear()
    healed, failed = asyncio.run(heal_in_passes((1, 2), fail))
    assert not healed
    assert [(number, str(error)) for number, error in failed] == [(1, "1"), (2, "2")]
    assert tried == [1, 2, 1, 2]
    tried.clear()
    asyncio.run(heal_in_passes((1,), fail))
    assert tried == [1]


def test_a_heal_that_failed_may_have_cleared_the_way_for_another() -> None:
    async def heal(name: str) -> None:
        if name == "mode" and "index" not in mended:
            mended.add("mode")
            raise HealFailed("the index is cut")
        if name == "index" and "mode" not in mended:
            raise HealFailed("the table cannot be read")
        mended.add(name)

    mended: set[str] = set()
    healed, failed = asyncio.run(heal_in_passes(("index", "mode"), heal))
    assert (list(healed), list(failed)) == (["index", "mode"], [])


@pytest.mark.parametrize(
    ("months", "edge", "locks"),
    [
        (frozenset({DECEMBER}), Edge.DDL, True),
        (frozenset({DECEMBER}), Edge.MONTHS, False),
        (None, Edge.DDL, False),
    ],
)
def test_only_ddl_on_some_months_locks_others(
    tmp_path: Path, months: frozenset[Month] | None, edge: Edge, locks: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    radius = BlastRadius(months=months, write=Write.NO, edge=edge)
    monkeypatch.setattr(Knot, "radius", lambda *_: radius)
    environment = cast("Environment", SimpleNamespace(service=SimpleNamespace(pid=7)))
    with closing(History(tmp_path, Clock())) as history:
        nemesis = Nemesis(environment, history, Ledger(tmp_path / FOLDER), Schedule.of(HEAP))
        assert nemesis.locks_others(0) is locks


@dataclass(frozen=True, kw_only=True)
class Stillborn(Knot):
    """Restarts a service that ends by itself at its start, or that cannot be started for another reason."""

    name: ClassVar[str] = "stillborn"
    ended: bool = True

    async def inject(self, scene: Scene) -> None:
        raise ServiceEnded("ended with 1") if self.ended else SetupError("no port was free")

    async def heal(self, scene: Scene) -> None:
        try:
            await self.inject(scene)
        except SetupError as error:
            raise HealFailed("the service did not start again") from error


@pytest.mark.parametrize(("ended", "marks"), [(True, 2), (False, 0)])
def test_a_service_that_ended_by_itself_at_its_start_is_marked(tmp_path: Path, ended: bool, marks: int) -> None:
    environment = cast("Environment", SimpleNamespace(service=SimpleNamespace(pid=7)))

    async def strike(history: History) -> None:
        schedule = Schedule.of(Stillborn(thing="a", ended=ended))
        nemesis = Nemesis(environment, history, Ledger(tmp_path / FOLDER), schedule)
        assert not await nemesis.inject(0)
        assert await nemesis.heal_all() is None

    with closing(History(tmp_path, Clock())) as history:
        asyncio.run(strike(history))
    found = [record.what for record in read_history(tmp_path) if isinstance(record, ev.ServiceMark)]
    assert found == ["ended"] * marks
