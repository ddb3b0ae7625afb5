"""Faults of what the operating system grants the service's process: descriptors and address space.

A service that leaks, or a machine that was set up meanly, runs out of descriptors or of memory.  The service is
expected to keep every answer honest: what it answers 201 or 202 is stored, what it cannot do it refuses or leaves
unanswered, nothing hangs beyond the deadline once it is answered, and after the repair it works as before without a
restart, unless it died of the want.
"""

from __future__ import annotations

import resource
from dataclasses import dataclass
from typing import ClassVar

from ..blast import BlastRadius, Dlq, Edge, ServiceState, Write
from ..errors import FaultError, FaultNotConfirmed, HealFailed, UsageError
from ..fault import FAULTS, Scene
from ..stacks.base import Capability, Environment
from ._service import (
    Life,
    answers,
    begin,
    ensure_started,
    limits_of,
    lowest_free_descriptor,
    saved_life,
    served_beside,
    set_limits,
    virtual_bytes,
)

_IDLE = 4
"""Idle connections that confirm opens beyond the spare descriptors, so that what closed meanwhile is taken again."""
_UNSERVED_SECONDS = 0.2


def _short_of_something() -> BlastRadius:
    """Any honest answer, and none: which request meets the want nobody can say."""
    return BlastRadius(
        months=None,
        write=Write.PARTIAL,
        dlq=Dlq.PARTIAL,
        service=ServiceState.PARTIAL,
        edge=Edge.RESTART,
        outlives_clients=True,
    )


def _tighten(scene: Scene, kind: int, life: Life, soft: int) -> None:
    """Save the present limits, then lower the soft one; the hard one stays, so that anyone may raise it again."""
    present = limits_of(life, kind)
    scene.ledger.save("limits", list(present))
    scene.ledger.save("soft", soft)
    set_limits(life, kind, (soft, present[1]))


async def _loosen(scene: Scene, kind: int) -> None:
    """Put the saved limits back on the process that had them, and start the service if it died."""
    life, limits = saved_life(scene), scene.ledger.load("limits")
    if life is not None and limits is not None and life.state:
        try:
            set_limits(life, kind, (limits[0], limits[1]))
        except ProcessLookupError:
            pass
        except OSError as error:
            raise HealFailed(f"The limits {limits} of process {life.pid} could not be put back: {error}.") from error
    await ensure_started(scene)


def _in_force(scene: Scene, kind: int) -> Life:
    """The life whose limit is in force; raises :class:`FaultNotConfirmed`."""
    life, soft = saved_life(scene), scene.ledger.load("soft")
    if life is None or soft is None:
        raise FaultNotConfirmed("No limit was set; inject did not come to it.")
    if life.state and limits_of(life, kind)[0] != soft:
        raise FaultNotConfirmed(
            f"The soft limit of process {life.pid} is {limits_of(life, kind)[0]}, not {soft}: it was raised again, "
            "perhaps by the service itself."
        )
    return life


@FAULTS.register("limit-descriptors")
@dataclass(frozen=True, kw_only=True)
class LimitDescriptors:
    """Lowers RLIMIT_NOFILE of the live process so that only ``spare`` more descriptors can be opened.

    Effect: EMFILE for each accept, connect and open beyond; what is open goes on.  New connections are not served,
    or closed at once.  SQLSTATE: none.  Versions: 15 to 18.  Radius: every month, any honest answer or none (write
    partial, dlq partial, service partial).  Heal puts the saved limits back.
    """

    name: ClassVar[str] = "limit-descriptors"
    needs: ClassVar[frozenset[Capability]] = frozenset({Capability.KILLABLE_SERVICE})
    momentary: ClassVar[bool] = False
    spare: int = 0

    def __post_init__(self) -> None:
        """Raise :class:`UsageError` for a negative ``spare``."""
        if self.spare < 0:
            raise UsageError(f"limit-descriptors cannot leave spare={self.spare} descriptors; give 0 or more.")

    def radius(self, environment: Environment) -> BlastRadius:
        """Declare every month, in part."""
        return _short_of_something()

    async def inject(self, scene: Scene) -> None:
        """Save the limits, then lower the soft one to the next free number and ``spare``."""
        life = begin(scene)
        try:
            _tighten(scene, resource.RLIMIT_NOFILE, life, lowest_free_descriptor(life) + self.spare)
        except OSError as error:
            raise FaultError(f"The descriptor limit of process {life.pid} cannot be set: {error}.") from error

    async def confirm(self, scene: Scene) -> str:
        """The limit is in force, and beside a few idle connections another one is not served."""
        life = _in_force(scene, resource.RLIMIT_NOFILE)
        idle = self.spare + _IDLE
        if await served_beside(scene, idle, _UNSERVED_SECONDS):
            raise FaultNotConfirmed(
                f"A connection beside {idle} idle ones was served although process {life.pid} may open only "
                f"{self.spare} more descriptors: others of its own were closed meanwhile."
            )
        limit = scene.ledger.load("soft")
        return f"process {life.pid} may have descriptors below {limit}; not served beside {idle} idle connections"

    async def heal(self, scene: Scene) -> None:
        """Put the limits back; start the service if it died."""
        await _loosen(scene, resource.RLIMIT_NOFILE)

    async def probe(self, scene: Scene) -> bool:
        """A connection beside as many idle ones is served."""
        return await served_beside(scene, self.spare + _IDLE, 1.0)


@FAULTS.register("limit-memory")
@dataclass(frozen=True, kw_only=True)
class LimitMemory:
    """Lowers RLIMIT_AS of the live process to its present address space and ``spare_mb``.

    Effect: ENOMEM for what needs more; the process may refuse, or die of it (then heal starts it again).  SQLSTATE:
    none.  Versions: 15 to 18.  Radius: every month, any honest answer or none (write partial, dlq partial, service
    partial).  Confirm shows the limit in force: whether the service ever needs more is its own affair.
    """

    name: ClassVar[str] = "limit-memory"
    needs: ClassVar[frozenset[Capability]] = frozenset({Capability.KILLABLE_SERVICE})
    momentary: ClassVar[bool] = False
    spare_mb: int = 4

    def __post_init__(self) -> None:
        """Raise :class:`UsageError` for a negative ``spare_mb``."""
        if self.spare_mb < 0:
            raise UsageError(f"limit-memory cannot leave spare_mb={self.spare_mb}; give 0 or more.")

    def radius(self, environment: Environment) -> BlastRadius:
        """Declare every month, in part."""
        return _short_of_something()

    async def inject(self, scene: Scene) -> None:
        """Save the limits, then lower the soft one."""
        life = begin(scene)
        try:
            _tighten(scene, resource.RLIMIT_AS, life, virtual_bytes(life) + self.spare_mb * 1024 * 1024)
        except OSError as error:
            raise FaultError(f"The memory limit of process {life.pid} cannot be set: {error}.") from error

    async def confirm(self, scene: Scene) -> str:
        """The limit is in force close above what the process has, or the process died of it."""
        life = _in_force(scene, resource.RLIMIT_AS)
        if not life.state:
            return f"process {life.pid} died of its memory limit"
        left = scene.ledger.load("soft") - virtual_bytes(life)
        return f"process {life.pid} can get {left / 1024 / 1024:.1f} MiB more"

    async def heal(self, scene: Scene) -> None:
        """Put the limits back; start the service if it died."""
        await _loosen(scene, resource.RLIMIT_AS)

    async def probe(self, scene: Scene) -> bool:
        """The service lives and answers."""
        return await answers(scene)
