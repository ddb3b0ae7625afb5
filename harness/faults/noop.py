"""Faults that do nothing: the harness's own control.

No service is expected to survive anything here.  A run whose fault did not bite proves nothing, and must come out
UNKNOWN, never green; this family is how that is proved of the harness itself.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from ..blast import BlastRadius
from ..fault import FAULTS, Scene
from ..stacks.base import Capability, Environment
from ..values import Month
from ._sql import confirm_refused, healthy, radius_of


@FAULTS.register("noop-detach")
@dataclass(frozen=True, kw_only=True)
class NoopDetach:
    """Claims to detach ``month`` and leaves it alone.

    Effect: none, so that confirm raises FaultNotConfirmed.  SQLSTATE: none.  Versions: all.  Radius: the false claim
    of write no for the month.
    """

    name: ClassVar[str] = "noop-detach"
    needs: ClassVar[frozenset[Capability]] = frozenset({Capability.SQL})
    momentary: ClassVar[bool] = False
    month: Month

    def radius(self, environment: Environment) -> BlastRadius:
        """Claim the month."""
        return radius_of((self.month,))

    async def inject(self, scene: Scene) -> None:
        """Do nothing."""

    async def confirm(self, scene: Scene) -> str:
        """Probe as a real detach would; raises FaultNotConfirmed, since the insert succeeds."""
        return await confirm_refused(scene, (self.month,), frozenset({"23514"}))

    async def heal(self, scene: Scene) -> None:
        """Do nothing."""

    async def probe(self, scene: Scene) -> bool:
        """The month takes an insert and can be read."""
        return await healthy(scene, (self.month,))
