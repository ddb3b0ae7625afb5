"""Registries by name that refuse duplicates and explain unknown names."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterator
from typing import Generic, TypeVar

from .errors import UsageError

T = TypeVar("T")


class Registry(Generic[T]):
    """Names to things of one noun ("fault", "checker", "scenario"), in the order of registration."""

    def __init__(self, noun: str) -> None:
        """Start empty; ``noun`` is used in messages."""
        self._noun = noun
        self._things: dict[str, T] = {}

    def register(self, name: str) -> Callable[[T], T]:
        """Decorate a thing to add it under ``name``; raise :class:`UsageError` when the name is taken."""

        def add(thing: T) -> T:
            if name in self._things:
                raise UsageError(f"Two {self._noun}s are named {name!r}; rename one of them.")
            self._things[name] = thing
            return thing

        return add

    def get(self, name: str) -> T:
        """Look one up; raise :class:`UsageError` with the nearest names for an unknown one."""
        if name not in self._things:
            near = difflib.get_close_matches(name, self._things, n=3)
            hint = f"did you mean {' or '.join(near)}?" if near else f"known are {', '.join(self._things) or 'none'}."
            raise UsageError(f"There is no {self._noun} named {name!r}; {hint}")
        return self._things[name]

    def __iter__(self) -> Iterator[str]:
        """Iterate over the names."""
        return iter(self._things)

    def items(self) -> Iterator[tuple[str, T]]:
        """Iterate over (name, thing)."""
        return iter(self._things.items())

    def values(self) -> Iterator[T]:
        """Iterate over the things."""
        return iter(self._things.values())

    def __len__(self) -> int:
        """Count."""
        return len(self._things)
