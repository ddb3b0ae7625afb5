"""The registry of planted defects; refuses duplicates."""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Defect:
    """One broken behaviour: what it is called, the promise of the contract it breaks, and what must catch it.

    `promise` is that of the findings that are due, and 0 for the control, which breaks none.  Each of `scenarios` must
    be played, and one finding of that promise by one of `checkers` in any of them catches it; where `names_events`
    it has ids of events.  Those that are `quick` are caught in the tests, all of them by `harness selftest`.
    """

    name: str
    promise: int
    description: str
    plant: Callable[[], None]
    scenarios: tuple[str, ...] = ()
    checkers: tuple[str, ...] = ()
    names_events: bool = True
    quick: bool = False

    def to_json(self) -> dict[str, Any]:
        """Everything but how it is planted."""
        return {name: value for name, value in asdict(self).items() if name != "plant"}


DEFECTS: dict[str, Defect] = {}


def defect(
    name: str,
    *,
    promise: int,
    scenarios: tuple[str, ...] = (),
    checkers: tuple[str, ...] = (),
    names_events: bool = True,
    quick: bool = False,
) -> Callable[[Callable[[], None]], Callable[[], None]]:
    """Register a planting function; its docstring is the description. Raises ValueError for a name taken."""

    def register(plant: Callable[[], None]) -> Callable[[], None]:
        if name in DEFECTS:
            raise ValueError(f"a defect named {name!r} exists already; choose another name")
        DEFECTS[name] = Defect(
            name=name,
            promise=promise,
            description=" ".join((plant.__doc__ or "").split()),
            plant=plant,
            scenarios=scenarios,
            checkers=checkers,
            names_events=names_events,
            quick=quick,
        )
        return plant

    return register
