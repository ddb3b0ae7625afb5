"""Commands of a lab in any order, with kills of its daemon among them: each is answered, and nothing is left behind.

HARNESS_LAB_SEQUENCES sets how many sequences are played (2), HARNESS_LAB_SEED the first one's seed, to play it again.
"""

from __future__ import annotations

import os
import random
import signal
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import pytest

from harness._wait import wait_until_sync
from tests.integration.lab_bench import Bench, bench

SEQUENCES = int(os.environ.get("HARNESS_LAB_SEQUENCES", "2"))
FIRST_SEED = int(os.environ.get("HARNESS_LAB_SEED", "1"))
FAULTS = (
    ("detach-partition", "--partition", "2025_12"),
    ("lock-partition", "--partition", "2026_01"),
    ("latency", "--set", "delay_ms=30"),
    ("stop-database",),
    ("crash-service",),
    ("pause-service",),
    ("noop-detach", "--partition", "2025_12"),
)


@pytest.fixture
def user() -> Iterator[Bench]:
    """A user without any lab."""
    with bench() as made:
        yield made


@dataclass
class Hand:
    """A hand that does this and that, and knows of the lab only whether it should be up, dead, or not there."""

    user: Bench
    random: random.Random
    state: str = "none"
    done: list[str] = field(default_factory=list)

    def do(self, *arguments: str, codes: tuple[int, ...]) -> None:
        """Run a command, which must end with one of these codes."""
        done = self.user.harness("lab", *arguments)
        self.done.append(f"{' '.join(arguments)} -> {done.returncode}")
        assert done.returncode in codes, "\n".join([*self.done, done.stdout, done.stderr])

    def alive(self, *codes: int) -> tuple[int, ...]:
        """What a command that needs a lab may end with."""
        return codes if self.state == "up" else (2,)

    def up(self) -> None:
        self.do("up", "--reports", str(self.user.reports), codes=(2,) if self.state == "up" else (0,))
        self.state = "up"

    def inject(self) -> None:
        fault = self.random.choice(FAULTS)
        # Under another fault one may not bite, or be refused: that is said, and undone.
        self.do("inject", *fault, codes=self.alive(0, 2, 3))

    def heal(self) -> None:
        which = self.random.choice((("--all",), (), (self.random.choice(FAULTS)[0],)))
        # What another fault stands in the way of cannot be healed alone.
        self.do("heal", *which, codes=self.alive(0, 1, 2))

    def load(self) -> None:
        how = self.random.choice((("--for", "2s"), ("--rate", "20", "--month", "2025-12"), ("--stop",)))
        self.do("load", *how, codes=self.alive(0))

    def check(self) -> None:
        # Never 1: the service keeps every promise, so that would be a false alarm.
        self.do("check", "--no-wait", codes=self.alive(0, 3))

    def status(self) -> None:
        self.do("status", codes=self.alive(0))

    def record(self) -> None:
        self.do("record", str(self.user.place / "recorded.py"), "--force", codes=self.alive(0, 2))

    def list(self) -> None:
        self.do("list", codes=(0,))
        assert self.user.listed() == ({} if self.state == "none" else {"lab": self.state})

    def prune(self) -> None:
        self.do("list", "--prune", codes=(0,))
        self.state = "none" if self.state == "dead" else self.state

    def kill(self) -> None:
        if self.state != "up":
            return
        pid = self.user.pid()
        os.kill(pid, signal.SIGKILL)
        wait_until_sync(lambda: self.user.listed() == {"lab": "dead"}, what="its death", deadline_seconds=20)
        self.done.append("kill -9")
        self.state = "dead"

    def down(self) -> None:
        self.do("down", codes=(2,) if self.state == "none" else (0,))
        self.state = "none"
        self.user.assert_nothing_left()

    def deck(self) -> Sequence[Callable[[], None]]:
        """Everything that can be done, in some order: drawn one by one, a short sequence would leave much out."""
        common = (self.inject, self.inject, self.inject, self.heal, self.heal, self.load, self.load, self.check)
        rare = (self.status, self.up, self.list, self.prune, self.record, self.kill, self.down)
        return self.random.sample((*common, *rare), k=len(common) + len(rare))


@pytest.mark.parametrize("seed", range(FIRST_SEED, FIRST_SEED + SEQUENCES))
def test_whatever_is_done_in_whatever_order_is_answered_and_leaves_nothing(user: Bench, seed: int) -> None:
    hand = Hand(user, random.Random(seed))
    hand.random.choice((hand.up, hand.status, hand.down))()
    hand.up()
    for do in hand.deck():
        do()
        if hand.state != "up" and hand.random.random() < 0.85:
            hand.up()
    hand.do("down", "--all", codes=(0,))
    user.assert_nothing_left()
    assert user.listed() == {}
