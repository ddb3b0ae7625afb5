"""Tables: reading TOML that people write; every key is known, of one type and within its bounds, or they are told."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

from .errors import UsageError


@dataclass(frozen=True)
class Table:
    """A table whose keys are all known; ``place`` names file and table in what is said of it, ``page`` who explains."""

    place: str
    raw: Mapping[str, Any]
    page: str

    @classmethod
    def of(cls, place: str, raw: Any, known: Collection[str], page: str) -> Table:
        """Take it, or raise :class:`UsageError` for what is no table and for a key that is not known."""
        if not isinstance(raw, dict):
            raise UsageError(f"{place} must be a table. {page}")
        for key in raw:
            if key not in known:
                raise UsageError(f"{place}: unknown key {key}; {_nearest(key, known)} {page}")
        return cls(place, raw, page)

    def inner(self, key: str, known: Collection[str]) -> Table:
        """The table within this one; one that is not given is empty."""
        return Table.of(f"{self.place} [{key}]", self.raw.get(key, {}), known, self.page)

    def rows(self, key: str, known: Collection[str]) -> list[Table]:
        """The array of tables within this one, each with its number in its place; one that is not given is empty."""
        place, given = f"{self.place} [[{key}]]", self.raw.get(key, [])
        if not isinstance(given, list):
            said = f"{place} must be written with two brackets, [[…]], since there may be several. {self.page}"
            raise UsageError(said)
        return [Table.of(f"{place} {number}", one, known, self.page) for number, one in enumerate(given, 1)]

    def __contains__(self, key: str) -> bool:
        """Tell whether a key is given."""
        return key in self.raw

    def wrong(self, said: str) -> UsageError:
        """The error that says what is wrong with this table."""
        return UsageError(f"{self.place}: {said}")

    def text(self, key: str, default: str | None = None) -> str:
        """A text that is not empty."""
        value = self._get(key, default, 'a text, such as "…"')
        if not isinstance(value, str) or not value.strip():
            raise self.wrong(f"{key} must be a text that is not empty, not {value!r}.")
        return value

    def texts(self, key: str, default: tuple[str, ...] | None = None) -> tuple[str, ...]:
        """One text, or a list of them."""
        value = self._get(key, default, 'a text, or a list of texts ["…", "…"]')
        found = (value,) if isinstance(value, str) else tuple(value) if isinstance(value, list | tuple) else ()
        if not all(isinstance(one, str) and one.strip() for one in found) or (not found and default is None):
            raise self.wrong(f"{key} must be a text or a list of texts, not {value!r}.")
        return found

    def number(
        self, key: str, default: float | None = None, *, above: float = 0.0, below: float = float("inf")
    ) -> float:
        """A number between two that it may not be, or raise :class:`UsageError`."""
        value = self._get(key, default, "a number")
        if isinstance(value, bool) or not isinstance(value, int | float) or not above < value < below:
            bounds = f"above {above:g}" + (f" and below {below:g}" if below != float("inf") else "")
            raise self.wrong(f"{key} must be a number {bounds}, not {value!r}.")
        return float(value)

    def from_zero(self, key: str, default: float | None = None) -> float:
        """A number from 0."""
        value = self._get(key, default, "a number")
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < float("inf"):
            raise self.wrong(f"{key} must be a number from 0, not {value!r}.")
        return float(value)

    def share(self, key: str, default: float) -> float:
        """A number above 0 and up to 1."""
        value = self._get(key, default, "a number")
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value <= 1:
            raise self.wrong(f"{key} must be a number above 0, at most 1, not {value!r}.")
        return float(value)

    def any_number(self, key: str) -> float:
        """A number that is finite."""
        return self.number(key, above=-float("inf"))

    def whole(self, key: str, default: int | None = None) -> int:
        """A whole number from 1."""
        value = self._get(key, default, "a whole number")
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise self.wrong(f"{key} must be a whole number from 1, not {value!r}.")
        return value

    def day(self, key: str) -> date:
        """A date of TOML, which has no quotes."""
        value = self._get(key, None, "a date, such as 2027-01-31")
        if not isinstance(value, date) or isinstance(value, datetime):
            raise self.wrong(f"{key} must be a date without quotes, such as 2027-01-31, not {value!r}.")
        return value

    def one_of(self, keys: Iterable[str]) -> str:
        """The one key of these that is given; none or several is an error."""
        wanted = list(keys)
        given = [key for key in wanted if key in self.raw]
        if len(given) != 1:
            found = f"{' and '.join(given)} are given" if given else "none is given"
            raise self.wrong(f"exactly one bound is needed, {found}; it is one of {', '.join(wanted)}.")
        return given[0]

    def _get(self, key: str, default: Any, what: str) -> Any:
        if key in self.raw:
            return self.raw[key]
        if default is None:
            raise self.wrong(f"{key} is missing; it is {what}. {self.page}")
        return default


def _nearest(key: str, known: Collection[str]) -> str:
    near = difflib.get_close_matches(key, known, n=1, cutoff=0.5)
    return f"did you mean {near[0]}?" if near else f"known here are {', '.join(sorted(known))}."
