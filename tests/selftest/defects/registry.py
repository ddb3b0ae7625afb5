"""The registry of planted defects; refuses duplicates."""

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Defect:
    """One broken behaviour: what it is called, the promise of the contract it breaks, how it is planted.

    `promise` is 0 for the control, which breaks none.
    """

    name: str
    promise: int
    description: str
    plant: Callable[[], None]


DEFECTS: dict[str, Defect] = {}


def defect(name: str, *, promise: int) -> Callable[[Callable[[], None]], Callable[[], None]]:
    """Register a planting function; its docstring is the description. Raises ValueError for a name taken."""

    def register(plant: Callable[[], None]) -> Callable[[], None]:
        if name in DEFECTS:
            raise ValueError(f"a defect named {name!r} exists already; choose another name")
        DEFECTS[name] = Defect(name, promise, (plant.__doc__ or "").strip(), plant)
        return plant

    return register
