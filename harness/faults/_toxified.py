"""What faults made of toxics share: how they are put on and taken off, and how their effect is timed.

Heal removes only the fault's own toxics, since faults may overlap.  Latency goes with connections kept; the others
go in Toxiproxy's safe order (disable, remove, enable), which breaks every connection once more: removing a toxic
while nothing flows can hang Toxiproxy for good (its issue 558).
"""

from __future__ import annotations

import time
from typing import ClassVar

import psycopg

from ..blast import BlastRadius, Edge, Write
from ..errors import FaultError, FaultNotConfirmed, HealFailed
from ..fault import Scene
from ..probes.postgres import (
    NO_ANSWER,
    NO_CONNECTION,
    InsertResult,
    cut_after,
    failure_of,
    insert_canary,
    open_probe,
    probe_insert,
)
from ..stacks.base import Capability, Direction, Toxic
from ..values import Month
from . import _holder
from ._sql import failing_as, uninterrupted

DAY = Month(2026, 1).first_day
"""Any day will do: the network delays or breaks an insert before PostgreSQL judges it."""

BOTH = (Direction.UPSTREAM, Direction.DOWNSTREAM)
SILENCE_SECONDS = 0.15
"""How long nothing must come back to prove a black hole, where a healthy connection takes about 0.01 s."""
SLOW_PROBE_SECONDS = 30.0
PROBE_OVERHEAD_BYTES = 400
"""What a probe insert sends upstream without its padding."""
PROBE_ANSWER_BYTES = 30
"""What the answer to a probe insert takes at least."""


def toxic_radius(write: Write, delay_ms: float = 0.0, *, edge: Edge = Edge.RESTART) -> BlastRadius:
    """Every month; taking any toxic but latency off breaks all connections once more, hence the edge."""
    slow = write is Write.DELAYED
    return BlastRadius(months=None, write=write, delay_ms=delay_ms, read=slow, edge=edge, outlives_clients=True)


async def inject_toxics(scene: Scene, toxics: tuple[Toxic, ...], what: str) -> None:
    """Save the names, then add the toxics; what is half there is removed by the names."""
    with failing_as(FaultError, what):
        scene.ledger.save("toxics", [toxic.name for toxic in toxics])
        for toxic in toxics:
            await uninterrupted(scene.environment.proxy.add(toxic))


async def heal_toxics(scene: Scene, what: str) -> None:
    names: list[str] = scene.ledger.load("toxics") or []
    proxy = scene.environment.proxy
    try:
        held = _holder.let_go(scene)
        if held is not None:
            await held.close()
        for name in names:
            await uninterrupted(proxy.remove(name))
    except (FaultError, OSError) as error:
        raise HealFailed(f"Could not {what}: {error} Restart Toxiproxy to be rid of its toxics.") from error


async def toxics_present(scene: Scene) -> None:
    present, due = await scene.environment.proxy.toxics(), scene.ledger.load("toxics") or []
    missing = [name for name in due if name not in present]
    if missing or not due:
        raise FaultNotConfirmed(f"Toxiproxy lists {list(present)}, not {missing or 'any toxic of this fault'}.")


async def warm(scene: Scene) -> None:
    """Open a connection in a transaction before the toxics, so that confirm measures one write and no handshake."""
    with failing_as(FaultError, "connect through the proxy before the fault"):
        _holder.hold(scene, await open_probe(scene.environment.database, proxied=True))


async def confirm_delay(scene: Scene, least_ms: float, padding_bytes: int = 0) -> str:
    """Time one insert on the warm connection, or on a slowly opened one when that is another process's."""
    await toxics_present(scene)
    connection = _holder.let_go(scene)
    started = time.perf_counter()
    try:
        if connection is None:
            connection = await open_probe(scene.environment.database, proxied=True, deadline_seconds=SLOW_PROBE_SECONDS)
        started = time.perf_counter()
        with cut_after(connection, SLOW_PROBE_SECONDS):
            await insert_canary(connection, DAY, padding_bytes=padding_bytes)
        seen = InsertResult("", "", time.perf_counter() - started)
    except (psycopg.Error, OSError) as error:
        # The delay is what counts here; that the month itself refuses the row is another fault's.
        seen = failure_of(error, time.perf_counter() - started)
    finally:
        if connection is not None:
            await connection.close()
    if seen.seconds * 1000 < least_ms or seen.sqlstate == NO_CONNECTION:
        raise FaultNotConfirmed(
            f"An insert through the proxy was {seen} after {seen.seconds * 1000:.0f} ms; at least {least_ms:.0f} ms "
            "were due. Check that the service's way to the database is this proxy."
        )
    return f"insert through the proxy took {seen.seconds * 1000:.0f} ms, at least {least_ms:.0f} due"


async def confirm_broken(scene: Scene, due: str, deadline_seconds: float) -> str:
    seen = await probe_insert(scene.environment.database, DAY, proxied=True, deadline_seconds=deadline_seconds)
    if seen.sqlstate != due:
        raise FaultNotConfirmed(f"An insert through the proxy was {seen}, where {due} was due.")
    return str(seen)


async def through(scene: Scene) -> bool:
    """Tell whether an insert comes back through the proxy, whatever PostgreSQL says of its month."""
    seen = await probe_insert(scene.environment.database, DAY, proxied=True)
    return seen.sqlstate not in (NO_ANSWER, NO_CONNECTION, "57P01", "57P02", "57P03")


class Toxified:
    """Heal and probe of every fault that adds toxics."""

    name: ClassVar[str] = ""
    needs: ClassVar[frozenset[Capability]] = frozenset({Capability.PROXIED})
    momentary: ClassVar[bool] = False

    async def heal(self, scene: Scene) -> None:
        """Remove this fault's toxics."""
        await heal_toxics(scene, f"take {self.name} off the proxy")

    async def probe(self, scene: Scene) -> bool:
        """None of its toxics is left, and an insert through the proxy is answered."""
        present = await scene.environment.proxy.toxics()
        left = set(present) & set(scene.ledger.load("toxics") or [])
        return not left and await through(scene)
