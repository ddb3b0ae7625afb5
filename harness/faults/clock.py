"""Faults of the service's clock: it is ahead or behind, across a month boundary.

Clocks jump: a virtual machine resumes, NTP corrects a bad start.  Months come from the events' own timestamps and
never from the clock, so the service is expected to answer as before, to make the months ahead by its own clock, and
not to lose, hold back or give up what it queued by a clock that jumped there and back.  Only the calendar is
shifted: the monotonic clock, by which time-outs are measured, stays true.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import ClassVar

from .._wait import wait_until
from ..blast import BlastRadius, Edge
from ..errors import DeadlineExceeded, FaultError, FaultNotConfirmed, HealFailed, UsageError
from ..fault import FAULTS, Scene
from ..stacks.base import Capability, Environment
from ..values import Month
from ._service import LIVE, ask
from ._sql import admin, attached

_TRUE = "+0\n"
_LAST_WRITE = re.compile(r"^datastorage_partition_last_write_timestamp\{[^}]*\} ([0-9.e+]+)$", re.MULTILINE)
_DATE = re.compile(r"^date:\s*(.+?)\r?$", re.MULTILINE | re.IGNORECASE)
TOLERANCE_SECONDS = 30.0
REREAD_SECONDS = 1.5
"""Within this the service must have dated something anew; libfaketime itself looks at its file each time."""
LONGEST_APPROACH_SECONDS = 20.0
MAINTENANCE_SLACK_SECONDS = 5.0
"""What the service's look at its months may take beyond its interval; one that is quick is not waited for."""
LONGEST_INJECT_SECONDS = 40.0
PATIENCE_SECONDS = 10.0
"""How much later than due a slow machine may show that it is past midnight."""


class _Clock:
    """What both share: whom a wrong clock may hurt, and how it is set right."""

    def radius(self, environment: Environment) -> BlastRadius:
        """Declare nobody."""
        return BlastRadius(months=frozenset(), edge=Edge.MONTHS, true_clock=False)

    async def heal(self, scene: Scene) -> None:
        """Write no shift into the file."""
        saved = scene.ledger.load("file")
        if saved is not None:
            try:
                _write(Path(saved), _TRUE)
            except OSError as error:
                raise HealFailed(f"The clock file {saved} cannot be written: {error}. Write +0 into it.") from error

    async def probe(self, scene: Scene) -> bool:
        """The service dates something by the true clock."""
        return any(abs(moment - time.time()) <= TOLERANCE_SECONDS for moment in await _dated(scene))


@FAULTS.register("shift-clock")
@dataclass(frozen=True, kw_only=True)
class ShiftClock(_Clock):
    """Shifts the service's calendar clock by ``days``, ahead or (negative) behind, while it runs.

    Through libfaketime, which the stack preloads where the scenario sets ``HARNESS_CLOCK`` and which is installed
    (``apt-get install faketime``).  Effect: none on any answer.  SQLSTATE: none.  Versions: 15 to 18.  Radius: no
    month; every answer is judged as in health.  What the service dates by its clock (log lines, time gauges) is
    shifted with it.
    """

    name: ClassVar[str] = "shift-clock"
    needs: ClassVar[frozenset[Capability]] = frozenset({Capability.SERVICE_CLOCK})
    momentary: ClassVar[bool] = False
    days: int

    def __post_init__(self) -> None:
        """Raise :class:`UsageError` for no shift."""
        if self.days == 0:
            raise UsageError("shift-clock by days=0 shifts nothing; give days ahead, or behind as a negative number.")

    async def inject(self, scene: Scene) -> None:
        """Note the file, then write the shift into it."""
        _shift(scene, f"{self.days:+d}d\n")

    async def confirm(self, scene: Scene) -> str:
        """The service itself dates something by the shifted clock: an answer's header, or its last write."""
        away: list[float] = []

        async def shifted() -> list[float]:
            away[:] = [moment - time.time() for moment in await _dated(scene)]
            return [one for one in away if abs(one - 86400 * self.days) <= TOLERANCE_SECONDS]

        try:
            near = await wait_until(shifted, what="the shifted clock", deadline_seconds=REREAD_SECONDS)
        except DeadlineExceeded as error:
            seen = ", ".join(f"{one:+.0f} s" for one in away) or "nothing dated"
            raise FaultNotConfirmed(f"The service's clock is not {self.days:+d} days away: {seen}.") from error
        return f"the service dates by a clock {near[0] / 86400:+.2f} days away"


@FAULTS.register("pass-month-end")
@dataclass(frozen=True, kw_only=True)
class PassMonthEnd(_Clock):
    """Sets the service's clock to ``seconds_before`` the end of its present month and lets it pass midnight UTC.

    When inject returns it is over midnight, and a new month ahead has been made or is overdue: the service had the time
    that it may take to look at its months.  A month that is not made is no refusal to confirm, but for the answers to
    show.  Through libfaketime, as ``shift-clock``.  Effect: none on any answer.  SQLSTATE: none.  Versions: 15 to 18.
    Radius: no month; every answer is judged as in health, those about midnight too.  Heal sets the clock right, which
    is back before midnight; a month that was made stays.
    """

    name: ClassVar[str] = "pass-month-end"
    needs: ClassVar[frozenset[Capability]] = frozenset({Capability.SERVICE_CLOCK, Capability.SQL})
    momentary: ClassVar[bool] = False
    seconds_before: float = 1.0

    def __post_init__(self) -> None:
        """Raise :class:`UsageError` for what is no approach to midnight."""
        if not 0 < self.seconds_before <= LONGEST_APPROACH_SECONDS:
            raise UsageError(
                f"pass-month-end cannot begin {self.seconds_before:g} s before midnight; give up to "
                f"{LONGEST_APPROACH_SECONDS:g}."
            )

    async def inject(self, scene: Scene) -> None:
        """Shift the clock, then wait until the service itself is past midnight and had time for its months."""
        settle = scene.environment.target.limits.partition_check_seconds + MAINTENANCE_SLACK_SECONDS
        if self.seconds_before + settle + PATIENCE_SECONDS > LONGEST_INJECT_SECONDS:
            raise FaultError(
                f"Midnight in {self.seconds_before:g} s, and then {settle:g} s in which the service looks at its "
                "months (partition_check_seconds of the target), are more than an inject may take: with "
                f"{PATIENCE_SECONDS:g} s of patience {LONGEST_INJECT_SECONDS:g} s. Give a smaller seconds_before, or "
                "have the service look more often."
            )
        newest = await _newest(scene)
        now = time.time()
        midnight = datetime.combine(Month.of(datetime.fromtimestamp(now, UTC).date()).end, datetime.min.time(), UTC)
        shift = midnight.timestamp() - now - self.seconds_before
        scene.ledger.save("midnight", midnight.timestamp())
        scene.ledger.save("shift", shift)
        scene.ledger.save("newest", newest.label)
        _shift(scene, f"{shift:+.3f}\n")

        async def passed() -> bool:
            late = time.time() + shift - midnight.timestamp()
            if late < 0 or (late < settle and await _newest(scene) <= newest):
                return False
            return any(one >= midnight.timestamp() for one in await _dated(scene))

        try:
            limit = self.seconds_before + settle + PATIENCE_SECONDS
            await wait_until(passed, what="the service to pass midnight", deadline_seconds=limit)
        except DeadlineExceeded as error:
            raise FaultError(f"The clock was shifted by {shift:.0f} s, but {error}. See the service's log.") from error

    async def confirm(self, scene: Scene) -> str:
        """The service itself dates something after midnight, by the shifted clock."""
        shift, midnight = float(scene.ledger.load("shift")), float(scene.ledger.load("midnight"))
        there = time.time() + shift
        dated = [one for one in await _dated(scene) if one >= midnight and abs(one - there) <= TOLERANCE_SECONDS]
        if not dated:
            raise FaultNotConfirmed(f"The service dates nothing after {datetime.fromtimestamp(midnight, UTC)}.")
        before, newest = Month.parse(str(scene.ledger.load("newest"))), await _newest(scene)
        made = f"it made {newest}" if newest > before else f"it made no month after {before}"
        return f"the service dates {max(dated) - midnight:.1f} s after {datetime.fromtimestamp(midnight, UTC)}; {made}"


async def _newest(scene: Scene) -> Month:
    """The last month that is attached; raises :class:`FaultError` for none."""
    async with admin(scene) as connection:
        months = await attached(connection)
    if not months:
        raise FaultError("No month is attached to the table, so nothing shows that a service made a new one.")
    return max(months)


def _shift(scene: Scene, text: str) -> None:
    """Note the clock's file in the ledger, then write a shift into it; raises :class:`FaultError`."""
    path = scene.environment.clock_file
    if path is None:
        raise FaultError("The service runs without libfaketime: apt-get install faketime, set HARNESS_CLOCK.")
    scene.ledger.save("file", str(path))
    try:
        _write(path, text)
    except OSError as error:
        raise FaultError(f"The clock file {path} cannot be written: {error}.") from error


def _write(path: Path, text: str) -> None:
    """Replace the file at once: the service may read it at any moment."""
    part = path.with_suffix(".part")
    part.write_text(text)
    part.replace(path)


async def _dated(scene: Scene) -> list[float]:
    """What the service has dated by its clock: the answer's own date, and its last writes."""
    pages = (LIVE, scene.environment.service.metrics_url)
    return [moment for page in pages for moment in _moments((await ask(scene, page))[1])]


def _moments(text: str) -> Iterator[float]:
    head, _, body = text.partition("\r\n\r\n")
    for date in _DATE.findall(head):
        yield parsedate_to_datetime(date).timestamp()
    for value in _LAST_WRITE.findall(body):
        yield float(value)
