"""Commands of two labs in any order, with kills of daemons among them: each ends with the exit code that is due.

What is due follows from what was done before.  Where it cannot (a fault beside others), what the lab tells of itself
afterwards has to agree with it.  HARNESS_LAB_SEQUENCES sets how many sequences are played (2), HARNESS_LAB_SEED the
first one's seed, to play it again.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import pytest

import harness.faults  # noqa: F401  (fills the registry)
from harness._wait import wait_until_sync
from harness.fault import FAULTS as KNOWN
from tests.hearing import hearing
from tests.integration.lab_bench import ROOT, Bench, bench

SEQUENCES = int(os.environ.get("HARNESS_LAB_SEQUENCES", "2"))
FIRST_SEED = int(os.environ.get("HARNESS_LAB_SEED", "1"))
NEVER_BITES, NO_DATABASE = "noop-detach", "stop-database"
FAULTS = (
    ("detach-partition", "--partition", "2025_12"),
    ("lock-partition", "--partition", "2026_01"),
    ("latency", "--set", "delay_ms=30"),
    (NO_DATABASE,),
    ("crash-service",),
    ("pause-service",),
    (NEVER_BITES, "--partition", "2025_12"),
)


@pytest.fixture
def user() -> Iterator[Bench]:
    """A user without any lab."""
    with bench() as made:
        yield made


@dataclass
class Lab:
    """What a hand knows of a lab: whether it is up, dead or not there, what is on in it, whether a load ever was."""

    name: str
    state: str = "none"
    on: tuple[str, ...] = ()
    loaded: bool = False

    def forget(self, state: str) -> None:
        """Nothing of what was done in it is left."""
        self.state, self.on, self.loaded = state, (), False

    def due(self, *codes: int) -> tuple[int, ...]:
        """What a command that needs it to be up ends with."""
        return codes if self.state == "up" else (2,)

    def due_of_inject(self, fault: str) -> tuple[int, ...]:
        """What injecting a fault ends with; beside others one may bite or not."""
        if fault in self.on:
            return self.due(2)
        if self.on:
            return self.due(0, 3)
        return self.due(3 if fault == NEVER_BITES else 0)

    def due_of_heal(self, which: str) -> tuple[int, ...]:
        """What a heal ends with; what another fault stands in the way of may have to be healed again."""
        if not self.on:
            return self.due(0)
        if (not which and len(self.on) > 1) or (which and which != "--all" and which not in self.on):
            return self.due(2)
        return self.due(0) if len(self.on) == 1 else self.due(0, 1)


@dataclass
class Hand:
    """A hand that does this and that in two labs."""

    user: Bench
    random: random.Random
    main: Lab = field(default_factory=lambda: Lab("lab"))
    other: Lab = field(default_factory=lambda: Lab("east"))
    done: list[str] = field(default_factory=list)

    @property
    def labs(self) -> tuple[Lab, Lab]:
        """Both."""
        return self.main, self.other

    def do(self, *arguments: str, codes: tuple[int, ...]) -> subprocess.CompletedProcess[str]:
        """Run a command, which must end with one of these codes."""
        done = self.user.harness("lab", *arguments)
        self.done.append(f"{' '.join(arguments)} -> {done.returncode}, of {codes}")
        assert done.returncode in codes, "\n".join([*self.done, done.stdout, done.stderr])
        return done

    def in_lab(self, lab: Lab, command: str, *arguments: str, codes: tuple[int, ...]) -> int:
        """Run a command of one lab, and return its code."""
        return self.do(command, "--name", lab.name, *arguments, codes=codes).returncode

    def look(self, lab: Lab) -> None:
        """Take the lab's word for what is on."""
        if lab.state == "up":
            lab.on = tuple(fault["name"] for fault in self.user.status("--name", lab.name)["faults"])

    def up(self, lab: Lab) -> None:
        codes = (2,) if lab.state == "up" else (0,)
        if self.in_lab(lab, "up", "--reports", str(self.user.reports), codes=codes) == 0:
            lab.forget("up")

    def inject(self, lab: Lab) -> None:
        name, *how = self.random.choice(FAULTS)
        code = self.in_lab(lab, "inject", name, *how, codes=lab.due_of_inject(name))
        before = lab.on
        self.look(lab)
        if code == 0:
            assert lab.on == (before if KNOWN.get(name).momentary else (*before, name)), self.done
        if code == 2:
            assert lab.on == before, self.done

    def heal(self, lab: Lab) -> None:
        self._heal(lab, self.random.choice(("--all", "", self.random.choice(FAULTS)[0])))

    def _heal(self, lab: Lab, which: str) -> None:
        before = lab.on
        code = self.in_lab(lab, "heal", *filter(None, [which]), codes=lab.due_of_heal(which))
        self.look(lab)
        meant = before if which in ("--all", "") else (which,)
        if code == 0:
            assert lab.on == tuple(name for name in before if name not in meant), self.done
        if code == 1:
            assert set(meant) & set(lab.on), self.done
            self.in_lab(lab, "heal", "--all", codes=(0,))
            self.look(lab)
            assert lab.on == (), self.done

    def load(self, lab: Lab) -> None:
        how = self.random.choice((("--for", "2s"), ("--rate", "20", "--month", "2025-12"), ("--stop",)))
        code = self.in_lab(lab, "load", *how, codes=lab.due(0))
        lab.loaded = lab.loaded or (code == 0 and how != ("--stop",))

    def check(self, lab: Lab) -> None:
        # Never 1: the service keeps every promise, so that would be a false alarm.
        open_end = bool(lab.on) or not lab.loaded
        self.in_lab(lab, "check", "--no-wait", codes=lab.due(3) if open_end else lab.due(0, 3))

    def record(self, lab: Lab) -> None:
        file = str(self.user.place / "recorded.py")
        self.in_lab(lab, "record", file, "--force", codes=lab.due(0 if lab.loaded else 2))

    def status(self, lab: Lab) -> None:
        self.in_lab(lab, "status", codes=lab.due(0))

    def status_of_the_only_one(self, lab: Lab) -> None:
        living = [one for one in self.labs if one.state == "up"]
        done = self.do("status", codes=(0,) if len(living) == 1 else (2,))
        if len(living) == 1:
            assert done.stdout.startswith(f"lab {living[0].name}: ")

    def watch(self, lab: Lab) -> None:
        """Watch for two looks, and end that as people do."""
        process = subprocess.Popen(
            hearing("lab", "status", "--watch", "--interval", "0.1s", "--name", lab.name),
            cwd=ROOT,
            env=self.user.variables,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        try:
            assert process.stdout is not None
            if lab.state == "up":
                for _ in range(2):
                    assert any(line.startswith(f"lab {lab.name}: ") for line in iter(process.stdout.readline, ""))
                process.send_signal(signal.SIGINT)
            said, _ = process.communicate(timeout=60)
        finally:
            process.kill()
        self.done.append(f"status --watch --name {lab.name} -> {process.returncode}")
        assert (process.returncode,) == lab.due(0), "\n".join([*self.done, said])
        assert "Traceback" not in said

    def psql(self, lab: Lab) -> None:
        # Of psql itself 2 is the code for a server that it cannot reach.
        reachable = NO_DATABASE not in lab.on
        done = self.do("psql", "--name", lab.name, "--", "-AtXc", "SELECT 7", codes=lab.due(0 if reachable else 2))
        assert (done.stdout.strip() == "7") is (done.returncode == 0)

    def logs(self, lab: Lab) -> None:
        part = self.random.choice(("service", "postgres", "toxiproxy", "daemon"))
        self.in_lab(lab, "logs", "--part", part, "-n", "5", codes=lab.due(0))

    def list(self, lab: Lab) -> None:
        self.do("list", codes=(0,))
        assert self.user.listed() == {one.name: one.state for one in self.labs if one.state != "none"}

    def prune(self, lab: Lab) -> None:
        self.do("list", "--prune", codes=(0,))
        for one in self.labs:
            if one.state == "dead":
                one.forget("none")

    def kill(self, lab: Lab) -> None:
        if lab.state != "up":
            return
        os.kill(self.user.pid(lab.name), signal.SIGKILL)
        wait_until_sync(lambda: self.user.listed()[lab.name] == "dead", what="its death", deadline_seconds=20)
        self.done.append(f"kill -9 of {lab.name}")
        lab.forget("dead")

    def down(self, lab: Lab) -> None:
        self.in_lab(lab, "down", codes=(2,) if lab.state == "none" else (0,))
        lab.forget("none")
        if all(one.state == "none" for one in self.labs):
            self.user.assert_nothing_left()

    def deck(self) -> Sequence[Callable[[Lab], None]]:
        """Everything that can be done, in some order: drawn one by one, a short sequence would leave much out."""
        common = (self.inject, self.inject, self.inject, self.heal, self.heal, self.load, self.load, self.check)
        looks = (self.status, self.status_of_the_only_one, self.watch, self.psql, self.logs, self.list)
        rare = (self.up, self.prune, self.record, self.kill, self.down)
        return self.random.sample((*common, *looks, *rare), k=len(common) + len(looks) + len(rare))

    def pick(self) -> Lab:
        """Mostly the first lab; what is begun in the other one goes on meanwhile."""
        return self.random.choice((self.main, self.main, self.main, self.other))

    def prove_alive(self, lab: Lab) -> None:
        """Whatever was done before, a lab that is up takes a fault and gives it back."""
        if lab.state != "up":
            self.up(lab)
        self._heal(lab, "--all")
        assert self.in_lab(lab, "inject", "latency", "--set", "delay_ms=30", codes=(0,)) == 0
        self.look(lab)
        self._heal(lab, "latency")
        assert lab.on == ()


@pytest.mark.parametrize("seed", range(FIRST_SEED, FIRST_SEED + SEQUENCES))
def test_whatever_is_done_in_whatever_order_ends_with_what_is_due_and_leaves_nothing(user: Bench, seed: int) -> None:
    hand = Hand(user, random.Random(seed))
    hand.random.choice((hand.up, hand.status, hand.down))(hand.main)
    hand.up(hand.main)
    hand.up(hand.other)
    for do in hand.deck():
        do(hand.pick())
        if hand.main.state != "up" and hand.random.random() < 0.85:
            hand.up(hand.main)
    for lab in hand.labs:
        hand.prove_alive(lab)
    hand.do("down", "--all", codes=(0,))
    user.assert_nothing_left()
    assert user.listed() == {}


def test_what_is_due_of_a_lab_follows_from_what_was_done() -> None:
    fresh, gone = Lab("a", "up"), Lab("b", "dead")
    assert (fresh.due(0), gone.due(0)) == ((0,), (2,))
    assert [fresh.due_of_inject(name) for name in ("latency", NEVER_BITES)] == [(0,), (3,)]
    assert [fresh.due_of_heal(which) for which in ("", "--all", "latency")] == [(0,), (0,), (0,)]
    one = Lab("c", "up", on=("latency",))
    assert [one.due_of_inject(name) for name in ("latency", "stop-database", NEVER_BITES)] == [(2,), (0, 3), (0, 3)]
    assert [one.due_of_heal(which) for which in ("", "--all", "latency", "pause-service")] == [(0,), (0,), (0,), (2,)]
    two = Lab("d", "up", on=("latency", "pause-service"))
    assert [two.due_of_heal(which) for which in ("", "--all", "latency", "x")] == [(2,), (0, 1), (0, 1), (2,)]
