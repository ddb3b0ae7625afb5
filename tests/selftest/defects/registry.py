"""The registry of planted defects; refuses duplicates."""

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Defect:
    """One broken behaviour: what it is called, the promise of the contract it breaks, how it is planted, who sees it.

    `promise` is that of the finding which must catch it, and 0 for the control, which breaks none.  `scenarios` must
    reveal it, the cheapest first; `checkers` are those meant for it, any of which may find it.  `names_events` is False
    where no event is wrong, only a number or a state.  `quick` ones are played by `harness selftest --quick`.
    """

    name: str
    promise: int
    description: str
    plant: Callable[[], None]
    scenarios: tuple[str, ...] = ()
    checkers: tuple[str, ...] = ()
    names_events: bool = True
    quick: bool = False

    def to_json(self) -> dict[str, object]:
        """Return it as `harness selftest` reads it (docs/reference/selftest.md)."""
        return {
            "name": self.name,
            "promise": self.promise,
            "description": self.description,
            "scenarios": list(self.scenarios),
            "checkers": list(self.checkers),
            "names_events": self.names_events,
            "quick": self.quick,
        }


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
            description=(plant.__doc__ or "").strip(),
            plant=plant,
            scenarios=scenarios,
            checkers=checkers,
            names_events=names_events,
            quick=quick,
        )
        return plant

    return register
