"""Was every answer kept?  Judged from the table and the queue as direct SQL and the DLQ pages show them.

The rules are those of docs/reference/contract.md, written down a second time and on purpose without the harness's own
checkers: what is acknowledged is in the table exactly once, in its month, content equal; what is refused is nowhere;
the queue is empty, and only contradictions are dead.
"""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path

import psycopg

from harness._wait import wait_until
from harness.checkers._content import parse_content
from harness.errors import DeadlineExceeded
from harness.events import DlqRow, TableRow
from harness.probes.http import HttpProbe
from harness.probes.postgres import read_rows
from harness.stacks.base import Environment
from harness.values import Month

from ._writers import ACKNOWLEDGED, REFUSED_ALWAYS, Reply, Said, Sent

_EXAMPLES = 12
_LOOSE_TABLES = """
SELECT relation.oid::regclass::text
FROM pg_class AS relation LEFT JOIN pg_inherits AS link ON link.inhrelid = relation.oid
WHERE relation.relname LIKE 'audit\\_events%' AND relation.relkind = 'r' AND link.inhrelid IS NULL
"""


@dataclass
class Verdict:
    """What was found wrong, by kind, each with the events that show it."""

    lost: list[str] = field(default_factory=list)
    duplicated: list[str] = field(default_factory=list)
    contradicted: list[str] = field(default_factory=list)
    rows: int = 0
    dead_letters: int = 0
    undrained: int = 0

    @property
    def kept(self) -> bool:
        """Whether every promise was."""
        return not (self.lost or self.duplicated or self.contradicted or self.undrained)

    def lines(self) -> list[str]:
        """The counts, and the first events of each kind."""
        told = [
            f"rows {self.rows}, dead letters {self.dead_letters}, undrained {self.undrained}",
            f"lost {len(self.lost)}, duplicated {len(self.duplicated)}, contradicted {len(self.contradicted)}",
        ]
        for word, found in (
            ("lost", self.lost),
            ("duplicated", self.duplicated),
            ("contradicted", self.contradicted),
        ):
            told += [f"  {word}: {line}" for line in found[:_EXAMPLES]]
        return told


async def drained(environment: Environment, deadline_seconds: float) -> int:
    """Wait until the queue is empty; return how many events are left in it (-1: nobody says)."""
    probe = HttpProbe(environment)
    depth = -1

    async def empty() -> bool:
        nonlocal depth
        depth = (await probe.dlq(0.0)).depth
        return depth == 0

    try:
        await wait_until(empty, what="the queue to drain", deadline_seconds=deadline_seconds, interval_seconds=0.1)
    except DeadlineExceeded:
        return depth
    finally:
        await probe.close()
    return 0


async def judge(environment: Environment, sent: Sequence[Sent], *, undrained: int) -> Verdict:
    """Read everything and compare it with what was answered."""
    rows = await read_rows(environment.database.admin_conninfo)
    probe = HttpProbe(environment)
    try:
        queue = await probe.dlq_rows()
    finally:
        await probe.close()
    verdict = Verdict(rows=len(rows), undrained=undrained)
    if queue is None:
        verdict.contradicted.append("GET /api/v1/dlq/events could not be read to its end")
    dead = [row for row in queue or [] if row.state == "dead"]
    verdict.dead_letters = len(dead)
    verdict.contradicted += await _loose_rows(environment)
    _Judge(verdict, rows, dead).all(sent)
    return verdict


async def _loose_rows(environment: Environment) -> list[str]:
    """Tables that look like partitions and are none, but hold rows: those shadow what was acknowledged."""
    found = []
    async with await psycopg.AsyncConnection.connect(environment.database.admin_conninfo) as connection:
        for (table,) in await (await connection.execute(_LOOSE_TABLES)).fetchall():
            query = psycopg.sql.SQL("SELECT count(*) FROM {}").format(psycopg.sql.Identifier(*table.split(".")))
            row = await (await connection.execute(query)).fetchone()
            if row is not None and row[0]:
                found.append(f"{row[0]} rows are in {table}, which is attached to nothing")
    return found


class _Judge:
    """One pass over all events, then over what nobody sent."""

    def __init__(self, verdict: Verdict, rows: Sequence[TableRow], dead: Sequence[DlqRow]) -> None:
        self._verdict = verdict
        self._rows: dict[str, list[TableRow]] = defaultdict(list)
        for row in rows:
            self._rows[row.event_id].append(row)
        self._dead: dict[tuple[str, date], DlqRow] = {(row.event_id, row.event_date): row for row in dead}

    def all(self, sent: Sequence[Sent]) -> None:
        """Judge every event, and count what nobody sent."""
        for one in sent:
            rows = self._rows.pop(one.event_id, [])
            dead = self._dead.pop((one.event_id, one.event_date), None)
            self._spoiled(one, rows, dead) if one.spoiled else self._valid(one, rows, dead)
        for event_id, rows in self._rows.items():
            self._verdict.contradicted.append(f"{event_id}: {len(rows)} rows that nobody sent")
        for (event_id, day), row in self._dead.items():
            self._verdict.contradicted.append(f"{event_id} {day}: a dead letter ({row.reason}) that nobody sent")

    def _valid(self, one: Sent, rows: Sequence[TableRow], dead: DlqRow | None) -> None:
        verdict = self._verdict
        if len(rows) > 1:
            places = ", ".join(f"{row.event_date} in {row.month}" for row in rows)
            verdict.duplicated.append(f"{one.event_id}: {len(rows)} rows ({places}); {_history(one)}")
        if one.acknowledged and not rows:
            where = f"a dead letter ({dead.reason})" if dead else "in neither table nor queue"
            verdict.lost.append(f"{one.event_id} {one.event_date}: {where}; {_history(one)}")
        for row in rows:
            self._row(one, row)
        if rows and one.replies and all(reply.said in REFUSED_ALWAYS for reply in one.replies):
            verdict.contradicted.append(f"{one.event_id}: refused each time, but stored; {_history(one)}")
        for reply in one.replies:
            if reply.said in (Said.REJECTED, Said.CONFLICT, Said.STRANGE):
                verdict.contradicted.append(f"{one.event_id}: a valid event got {reply}; {_history(one)}")
        self._rival(one, dead)

    def _row(self, one: Sent, row: TableRow) -> None:
        differing = parse_content(row.content).differing(parse_content(one.content))
        if differing:
            self._verdict.contradicted.append(
                f"{one.event_id}: the row differs in {', '.join(differing)}; {_history(one)}"
            )
        if row.event_date != one.event_date or row.month != Month.of(one.event_date).label:
            self._verdict.contradicted.append(
                f"{one.event_id}: sent for {one.event_date}, stored as {row.event_date} in {row.month or 'no month'}"
            )

    def _rival(self, one: Sent, dead: DlqRow | None) -> None:
        """A contradiction is a 409; queued while nobody could compare, it ends as a dead letter of its own content."""
        verdict, said = self._verdict, {reply.said for reply in one.rival_replies}
        wrong = said & {Said.CREATED, Said.REJECTED, Said.STRANGE}
        if wrong:
            verdict.contradicted.append(
                f"{one.event_id}: a contradiction got {', '.join(sorted(wrong))}; {_history(one)}"
            )
        if dead is None:
            if Said.QUEUED in said:
                verdict.lost.append(
                    f"{one.event_id}: a contradiction was queued and is no dead letter; {_history(one)}"
                )
        elif not said & {Said.QUEUED, Said.UNKNOWN, Said.NOTHING}:
            verdict.contradicted.append(f"{one.event_id}: a dead letter ({dead.reason}); {_history(one)}")
        elif parse_content(dead.content).differing(parse_content(one.rival)):
            verdict.contradicted.append(f"{one.event_id}: the dead letter is not the contradiction; {_history(one)}")

    def _spoiled(self, one: Sent, rows: Sequence[TableRow], dead: DlqRow | None) -> None:
        verdict = self._verdict
        wrong = [reply for reply in one.replies if reply.said in ACKNOWLEDGED | {Said.CONFLICT, Said.STRANGE}]
        if wrong or rows or dead:
            verdict.contradicted.append(
                f"{one.event_id}: an invalid event has {len(rows)} rows and {int(dead is not None)} dead letters; "
                f"{_history(one)}"
            )


def _history(one: Sent) -> str:
    told = [str(reply) for reply in one.replies] + [f"contradiction: {reply}" for reply in one.rival_replies]
    return "; ".join(told) or "never answered"


def keep_evidence(folder: Path, timeline: Sequence[str], sent: Sequence[Sent]) -> None:
    """Write what was done and every answer into the folder of the logs, for whoever looks for the cause."""
    (folder / "timeline.txt").write_text("\n".join(timeline) + "\n", encoding="utf-8")
    with (folder / "answers.jsonl").open("w", encoding="utf-8") as file:
        for one in sent:
            digest = hashlib.sha256(one.content.encode()).hexdigest()[:16]
            told = {"event_id": one.event_id, "event_date": str(one.event_date), "content": digest}
            file.write(json.dumps({**told, "spoiled": one.spoiled, "history": _history(one)}) + "\n")


def quantile(values: Sequence[float], share: float) -> float:
    """The value that ``share`` of all do not exceed; 0 for none."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))] if ordered else 0.0


def replies_of(sent: Sequence[Sent]) -> list[Reply]:
    """Every answer to an event itself, not to its contradiction."""
    return [reply for one in sent for reply in one.replies]
