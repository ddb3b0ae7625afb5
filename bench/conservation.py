"""Nothing acknowledged is lost or doubled while the service is killed every few seconds and the database goes away.

    python -m bench.conservation [--events N] [--seed N]

50 writers send single events and batches into four months, with re-sends after lost answers, some contradictions and
some invalid events.  Meanwhile the service is killed (SIGKILL) and started again every few seconds on the same queue
file, the database is stopped three times (fast, immediate, SIGKILL of every process), and one month is detached for a
while.  In the end the queue must drain, and direct SQL must show every acknowledged event exactly once, content equal,
in its month; nothing that was refused; nothing else.  Exit 1 if any event is lost, duplicated or contradicted.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import random
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path

from harness._wait import pause, wait_until
from harness.errors import DeadlineExceeded
from harness.faults.partition import DetachPartition
from harness.stacks.base import StopMode
from harness.values import Month

from ._stage import Stage, on_stage, parser, perform
from ._verdict import Verdict, drained, judge, keep_evidence, quantile, replies_of
from ._writers import MONTHS, WRITERS, Fleet, Mix, Said

DETACHED = Month(2025, 12)
_PROGRESS_SECONDS = 5.0
_STALL_SECONDS = 120.0


@dataclass
class Chaos:
    """What is done to the environment, and how often it was."""

    stage: Stage
    fleet: Fleet
    goal: int
    kill_every_seconds: float
    outage_seconds: float
    kills: int = 0
    database_stops: int = 0
    detached: int = 0
    _database: asyncio.Lock = field(default_factory=asyncio.Lock)
    """Held by whoever stops the database or needs it to detach."""

    def __post_init__(self) -> None:
        """Take a generator of its own from the seed."""
        self._random = random.Random(f"{self.stage.seed}/chaos")

    async def kill_service(self, stop: asyncio.Event) -> None:
        """Kill and start the service every few seconds until told to stop."""
        service = self.stage.environment.service
        while not stop.is_set():
            await pause(self.kill_every_seconds * self._random.uniform(0.5, 1.5))
            self.stage.note(f"kill -9 of the service {service.pid}")
            await service.kill()
            self.kills += 1
            await service.start()
            self.stage.note(f"the service {service.pid} listens")

    async def plan(self) -> None:
        """All that happens once or thrice."""
        await asyncio.gather(self.stop_database(), self.detach())

    async def stop_database(self) -> None:
        """Stop the database in three ways as the load goes on."""
        database = self.stage.environment.database
        ways: tuple[tuple[str, float, Callable[[], Awaitable[None]]], ...] = (
            ("fast", 0.15, lambda: database.stop(StopMode.FAST)),
            ("immediate", 0.45, lambda: database.stop(StopMode.IMMEDIATE)),
            ("kill -9", 0.75, database.kill),
        )
        for name, share, way in ways:
            await self._reached(share)
            async with self._database:
                self.stage.note(f"database: {name}")
                await way()
                self.database_stops += 1
                await pause(self.outage_seconds * self._random.uniform(0.7, 1.3))
                await database.start()
                self.stage.note("database: started")

    async def detach(self) -> None:
        """Detach one month for about a third of the load."""
        fault = DetachPartition(months=(DETACHED,))
        scene = self.stage.scene(fault.name)
        await self._reached(0.3)
        async with self._database:
            await fault.inject(scene)
            self.detached += 1
            self.stage.note(f"{DETACHED} detached")
        await self._reached(0.65)
        async with self._database:
            await fault.heal(scene)
            self.stage.note(f"{DETACHED} attached")

    async def _reached(self, share: float) -> None:
        async def reached() -> bool:
            self.fleet.check()
            return self.fleet.acknowledged >= self.goal * share

        await wait_until(reached, what=f"{share:.0%} of the events", deadline_seconds=86_400.0, interval_seconds=0.05)


async def _watch(stage: Stage, fleet: Fleet, chaos: Chaos, plan: asyncio.Task[None]) -> None:
    """Tell how far it is until the goal is reached and all was played; raises DeadlineExceeded when nothing moves."""
    moved_at, moved_to = stage.seconds, 0
    for turn in itertools.count():
        fleet.check()
        if fleet.acknowledged > moved_to:
            moved_at, moved_to = stage.seconds, fleet.acknowledged
        if stage.seconds - moved_at > _STALL_SECONDS:
            raise DeadlineExceeded(f"no event was acknowledged for {_STALL_SECONDS:g} s")
        if turn % int(_PROGRESS_SECONDS * 10) == 0:
            stage.progress(
                f"acknowledged {fleet.acknowledged}/{chaos.goal} ({_counts(fleet.counted)}); kills {chaos.kills}, "
                f"database stops {chaos.database_stops}"
            )
        if fleet.acknowledged >= chaos.goal and plan.done():
            return
        await pause(0.1)


async def _play(stage: Stage, fleet: Fleet, chaos: Chaos) -> None:
    """Load and faults until the goal is reached and every fault was played."""
    stop = asyncio.Event()
    fleet.start([MONTHS] * WRITERS)
    try:
        async with asyncio.TaskGroup() as group:
            group.create_task(chaos.kill_service(stop))
            plan = group.create_task(chaos.plan())
            await _watch(stage, fleet, chaos, plan)
            stop.set()
    finally:
        await fleet.stop()


def _report(stage: Stage, fleet: Fleet, chaos: Chaos, verdict: Verdict, load_seconds: float) -> None:
    replies = replies_of(fleet.sent)
    firsts: Counter[Said] = Counter(
        next(reply.said for reply in one.replies if reply.said in (Said.CREATED, Said.QUEUED))
        for one in fleet.sent
        if one.acknowledged
    )
    rivals = Counter(reply.said for one in fleet.sent for reply in one.rival_replies)
    answered = [reply.seconds for reply in replies if reply.said is not Said.NOTHING]
    print(
        f"seed {stage.seed}; {load_seconds:.0f} s of load by {WRITERS} writers, "
        f"{sum(reply.batch for reply in replies)} answers in batches"
    )
    print(f"acknowledged {fleet.acknowledged}: {_counts(firsts)}; every answer: {_counts(fleet.counted)}")
    print(f"sent again {sum(len(one.replies) > 1 for one in fleet.sent)} events; contradictions: {_counts(rivals)}")
    print(
        f"kills of the service {chaos.kills}, stops of the database {chaos.database_stops}, "
        f"detached months {chaos.detached}; requests that found nobody {fleet.refused}"
    )
    print(f"answers: median {quantile(answered, 0.5) * 1000:.0f} ms, longest {max(answered, default=0.0):.2f} s")
    for line in verdict.lines():
        print(line)


def _counts(counted: Counter[Said]) -> str:
    return ", ".join(f"{count} x {word}" for word, count in sorted(counted.items())) or "none"


async def run(options: argparse.Namespace, folder: Path) -> bool:
    """Play, drain, judge, print."""
    async with on_stage("conservation", options, folder) as stage:
        mix = Mix(
            rate_per_writer=options.rate,
            batch_share=options.batch_share,
            resend_share=0.01,
            rival_share=0.005,
            spoiled_share=0.01,
        )
        fleet = Fleet(stage.port, mix, options.seed, f"c{options.seed}")
        chaos = Chaos(stage, fleet, options.events, options.kill_every, options.outage)
        await _play(stage, fleet, chaos)
        load_seconds = stage.seconds
        stage.note("load over")
        stage.progress("draining")
        undrained = await drained(stage.environment, 60.0 + options.events / 200)
        drain_seconds = stage.seconds - load_seconds
        verdict = await judge(stage.environment, fleet.sent, undrained=undrained)
        _report(stage, fleet, chaos, verdict, load_seconds)
        print(f"the queue was empty {drain_seconds:.1f} s after the load")
        if not verdict.kept:
            keep_evidence(folder, stage.timeline, fleet.sent)
        return verdict.kept


def main() -> None:
    """Read the command line and run."""
    arguments = parser("conservation", __doc__ or "")
    arguments.add_argument("--events", type=int, default=100_000, help="events to be acknowledged (100000)")
    arguments.add_argument("--kill-every", type=float, default=4.0, metavar="SECONDS", help="kill the service (4)")
    arguments.add_argument("--outage", type=float, default=3.0, metavar="SECONDS", help="each database stop (3)")
    arguments.add_argument(
        "--rate", type=float, default=12.0, help="requests a second of each writer (12; 0: no limit)"
    )
    arguments.add_argument("--batch-share", type=float, default=0.04, help="share of requests that are batches (0.04)")
    options = arguments.parse_args()
    perform("conservation", lambda folder: run(options, folder))


if __name__ == "__main__":
    main()
