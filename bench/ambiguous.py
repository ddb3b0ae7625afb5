"""Commits whose answer was lost: the row is in the table although the service was never told so.

    python -m bench.ambiguous [--commits N] [--seed N]

Again and again the answers of PostgreSQL are held back in the proxy (swallowed, or delayed for longer than anybody
waits), single events and batches are sent, and as soon as direct SQL shows their rows every connection is cut.  Only
then does the service learn of a fault, so nothing can have been queued, let alone drained, before the rows were seen;
a round in which it answered anything but 201 before the cut does not count.  Some are sent again while the proxy is
down, some after it is up again, some after the drain.  In the end the queue must be empty and direct SQL must show
every event exactly once.  Exit 1 if any event is lost, duplicated or contradicted, or a re-send is answered anything
but 201 or 202.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import random
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import psycopg

from harness._wait import wait_until
from harness.errors import DeadlineExceeded, HarnessError
from harness.stacks.base import Direction, Toxic, ToxicKind
from harness.workload import Stream

from ._stage import Stage, on_stage, parser, perform
from ._verdict import drained, judge, keep_evidence
from ._wire import Client
from ._writers import (
    ACKNOWLEDGED,
    BATCH_PATH,
    EVENTS_PATH,
    MONTHS,
    Item,
    Reply,
    Said,
    Sent,
    next_event,
    read_batch,
    read_single,
    stream_of,
)

HELD_BACK = (
    Toxic("swallowed", ToxicKind.TIMEOUT, Direction.DOWNSTREAM, (("timeout", 0),)),
    Toxic("delayed", ToxicKind.LATENCY, Direction.DOWNSTREAM, (("latency", 30_000), ("jitter", 0))),
)
SINGLES, BATCHES, BATCH_SIZE = 20, 4, 10
"""Of a round: together they take every connection of the service's pool but one."""
WARM_UPS = 4
_SEEN_SECONDS = 1.2
"""How long rows are waited for: well inside the time after which the service gives a write up by itself."""
_CONNECTED = "SELECT count(*) FROM pg_stat_activity WHERE usename = %s"
_STORED = "SELECT event_id::text FROM audit_events WHERE event_date = ANY(%s) AND event_id = ANY(%s::uuid[])"


@dataclass
class Tally:
    """What the rounds came to."""

    rounds: int = 0
    discarded: int = 0
    singles: int = 0
    batches: int = 0
    events: int = 0
    answers: Counter[Said] = field(default_factory=Counter)
    """What the ambiguous events were answered at first."""
    resends: Counter[str] = field(default_factory=Counter)
    sent: list[Sent] = field(default_factory=list)

    @property
    def commits(self) -> int:
        """Ambiguous ones; a batch, which is of one month, is one."""
        return self.singles + self.batches


class Rounds:
    """The connections and streams that all rounds share."""

    def __init__(self, stage: Stage, tally: Tally, *, batches: bool) -> None:
        """Prepare; nothing is sent."""
        self._stage, self._tally, self._batches = stage, tally, batches
        self._clients = [Client(stage.port) for _ in range(SINGLES + BATCHES)]
        self._streams = [stream_of(stage.seed, number, month, "ambiguous") for number, month in enumerate(MONTHS)]
        self._random = random.Random(f"{stage.seed}/ambiguous")
        self._ops = itertools.count(1)

    async def play(self, toxic: Toxic) -> None:
        """Hold the answers back, write, look, cut, look again, send some again, heal."""
        proxy, tally = self._stage.environment.proxy, self._tally
        # One healthy write first, so that the service's connections are known to work.
        await self._healthy()
        self._stage.note(f"answers are {toxic.name}")
        await proxy.add(toxic)
        groups = self._groups()
        writes = [
            asyncio.create_task(self._send(client, group)) for client, group in zip(self._clients, groups, strict=False)
        ]
        sent = [one for group in groups for one in group]
        tally.sent += sent
        await self._seen(sent)
        told = {one.event_id for one in sent if any(reply.said is not Said.CREATED for reply in one.replies)}
        await proxy.disable()
        self._stage.note("every connection is cut")
        await asyncio.gather(*writes)
        stored = await self._stored(sent)
        ambiguous = [one for one in sent if one.event_id in stored and one.replies[0].said is not Said.CREATED]
        self._count(ambiguous, groups, discard=bool(told))
        chosen = [one for one in ambiguous if self._random.random() < 0.75]
        await self._again(chosen[::3], "while it is cut off")
        await proxy.cleanse()
        self._stage.note("the proxy is up")
        await self._again(chosen[1::3], "after it is healed")
        if self._batches:
            await self._again_in_one(chosen)
        if await drained(self._stage.environment, 60.0):
            raise HarnessError("The queue did not drain between two rounds; see the service's log.")
        await self._again(chosen[2::3], "after the drain")

    def _groups(self) -> list[list[Sent]]:
        singles = [[self._event(self._streams[number % len(MONTHS)])] for number in range(SINGLES)]
        sizes = [BATCH_SIZE] * BATCHES if self._batches else []
        # A batch keeps to one month: what its months take apart is not one commit.
        return singles + [
            [self._event(self._streams[number % len(MONTHS)]) for _ in range(size)] for number, size in enumerate(sizes)
        ]

    def _event(self, stream: Stream) -> Sent:
        return next_event(stream, next(self._ops))

    async def _send(self, client: Client, group: Sequence[Sent]) -> None:
        bodies = [one.content for one in group]
        if len(group) == 1:
            answer = await client.post(EVENTS_PATH, bodies[0].encode())
            said = [read_single(answer, group[0].event_id)]
        else:
            answer = await client.post(BATCH_PATH, f"[{','.join(bodies)}]".encode())
            said = read_batch(answer, [one.event_id for one in group])
        for one, word in zip(group, said, strict=True):
            Item(one).note(Reply(word, answer.began, answer.seconds, len(group) > 1))

    async def _healthy(self) -> None:
        """Wait until the service writes directly again, and for the connections that the round will use."""

        async def created() -> bool:
            fresh = [self._event(stream) for stream in self._streams]
            await asyncio.gather(*(self._send(self._clients[0], [one]) for one in fresh[:1]))
            self._tally.sent += fresh[:1]
            return fresh[0].replies[0].said is Said.CREATED

        async def connected() -> bool:
            conninfo = self._stage.environment.database.admin_conninfo
            async with await psycopg.AsyncConnection.connect(conninfo, autocommit=True) as connection:
                row = await (await connection.execute(_CONNECTED, (role,))).fetchone()
            return row is not None and int(row[0]) >= len(self._clients)

        role = self._stage.environment.database.service_role
        await wait_until(created, what="the service to write directly again", deadline_seconds=30.0)
        # A service that keeps fewer is as good a subject: its rounds then come to less.
        with suppress(DeadlineExceeded):
            await wait_until(connected, what="its connections", deadline_seconds=3.0)
        # A statement's first use on a connection may cost a round trip of its own, which would be swallowed instead.
        for _ in range(WARM_UPS):
            groups = self._groups()
            await asyncio.gather(*(self._send(*pair) for pair in zip(self._clients, groups, strict=False)))
            self._tally.sent += [one for group in groups for one in group]

    async def _seen(self, sent: Sequence[Sent]) -> None:
        """Wait until direct SQL shows every row, or for as long as the service surely waits."""

        async def all_there() -> bool:
            return len(await self._stored(sent)) == len(sent)

        with suppress(DeadlineExceeded):
            await wait_until(all_there, what="the rows", deadline_seconds=_SEEN_SECONDS)

    async def _stored(self, sent: Sequence[Sent]) -> frozenset[str]:
        conninfo = self._stage.environment.database.admin_conninfo
        async with await psycopg.AsyncConnection.connect(conninfo, autocommit=True) as connection:
            values = (sorted({one.event_date for one in sent}), [one.event_id for one in sent])
            return frozenset(row[0] for row in await (await connection.execute(_STORED, values)).fetchall())

    def _count(self, ambiguous: Sequence[Sent], groups: Sequence[Sequence[Sent]], *, discard: bool) -> None:
        tally = self._tally
        tally.rounds += 1
        if discard:
            tally.discarded += 1
            return
        hit = {one.event_id for one in ambiguous}
        for group in groups:
            if any(one.event_id in hit for one in group):
                tally.singles += len(group) == 1
                tally.batches += len(group) > 1
        tally.events += len(ambiguous)
        tally.answers.update(one.replies[0].said for one in ambiguous)

    async def _again(self, chosen: Sequence[Sent], when: str) -> None:
        lanes = [chosen[number :: len(self._clients)] for number in range(len(self._clients))]

        async def lane(client: Client, events: Sequence[Sent]) -> None:
            for one in events:
                await self._send(client, [one])
                self._tally.resends[f"{one.replies[-1].said} {when}"] += 1

        await asyncio.gather(*(lane(*pair) for pair in zip(self._clients, lanes, strict=True)))

    async def _again_in_one(self, chosen: Sequence[Sent]) -> None:
        """All of them once more, in one batch over several months."""
        if len(chosen) > 1:
            await self._send(self._clients[0], chosen)
            for one in chosen:
                self._tally.resends[f"{one.replies[-1].said} in a batch"] += 1


async def run(options: argparse.Namespace, folder: Path) -> bool:
    """Rounds until there are enough commits, then judge and print."""
    async with on_stage("ambiguous", options, folder) as stage:
        tally = Tally()
        rounds = Rounds(stage, tally, batches=not options.no_batches)
        for toxic in itertools.cycle(HELD_BACK):
            await rounds.play(toxic)
            stage.progress(f"{tally.commits}/{options.commits} ambiguous commits in {tally.rounds} rounds")
            if tally.commits >= options.commits:
                break
            if tally.rounds >= 10 and tally.commits < tally.rounds:
                raise HarnessError("Hardly any commit is ambiguous; the fault does not bite.")
        undrained = await drained(stage.environment, 60.0)
        verdict = await judge(stage.environment, tally.sent, undrained=undrained)
        wrong = sum(
            reply.said not in ACKNOWLEDGED for one in tally.sent if one.acknowledged for reply in one.replies[1:]
        )
        print(f"seed {stage.seed}; {tally.rounds} rounds, {tally.discarded} of them not counted")
        said = ", ".join(f"{count} x {word}" for word, count in sorted(tally.answers.items()))
        print(
            f"ambiguous commits {tally.commits} ({tally.singles} of single events, {tally.batches} of batches) with "
            f"{tally.events} events, answered at first: {said}"
        )
        print("re-sends: " + ", ".join(f"{count} x {word}" for word, count in sorted(tally.resends.items())))
        print(f"re-sends that were neither 201 nor 202: {wrong}")
        for line in verdict.lines():
            print(line)
        if wrong or not verdict.kept:
            keep_evidence(folder, stage.timeline, tally.sent)
        return verdict.kept and not wrong


def main() -> None:
    """Read the command line and run."""
    arguments = parser("ambiguous", __doc__ or "")
    arguments.add_argument("--commits", type=int, default=500, help="ambiguous commits to reach (500)")
    arguments.add_argument("--no-batches", action="store_true", help="single events only")
    options = arguments.parse_args()
    perform("ambiguous", lambda folder: run(options, folder))


if __name__ == "__main__":
    main()
