"""What became of an event's content: the keys whose stored value is not the one that was sent.

Equal is what the contract calls equal, as for the checkers; a key is the path to a value, such as
``event_data.nested.flag``.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from ..checkers._content import DEFAULT_VERSION, canonical, parse_content
from ..values import spelt

ABSENT = "absent"
_SHOWN_CHARACTERS = 100


@dataclass(frozen=True)
class Change:
    """One key, with the value as sent and as stored, both as JSON or the word ``absent``."""

    key: str
    sent: str
    stored: str

    def __str__(self) -> str:
        """Return it as one line."""
        return f"{self.key}: {self.sent} → {self.stored}"


def changes(sent: str, stored: str) -> tuple[Change, ...]:
    """Compare two contents as JSON texts; what is no JSON object is compared as the text it is."""
    names = parse_content(sent).differing(parse_content(stored))
    before, after = _read(sent), _read(stored)
    if before is None or after is None:
        return (Change("content", _short(sent), _short(stored)),) if names else ()
    return tuple(
        change for name in names for change in _differences(name, before.get(name, _NOTHING), after.get(name, _NOTHING))
    )


class _Nothing:
    """Stands for a key that is not there, which is not the same as null."""


_NOTHING = _Nothing()


def _read(text: str) -> dict[str, Any] | None:
    try:
        data = json.loads(text, parse_float=Decimal, parse_int=Decimal)
    except ValueError:
        return None
    if not isinstance(data, dict):
        return None
    data.setdefault("version", DEFAULT_VERSION)
    return data


def _differences(key: str, sent: Any, stored: Any) -> Iterable[Change]:
    if isinstance(sent, dict) and isinstance(stored, dict):
        for name in sorted(sent.keys() | stored.keys()):
            one, other = sent.get(name, _NOTHING), stored.get(name, _NOTHING)
            if _text_of(one) != _text_of(other):
                yield from _differences(f"{key}.{name}", one, other)
    else:
        yield Change(key, _shown(sent), _shown(stored))


def _text_of(value: Any) -> str:
    return ABSENT if isinstance(value, _Nothing) else canonical(value)


def _shown(value: Any) -> str:
    return ABSENT if isinstance(value, _Nothing) else _short(spelt(value, comma=", ", colon=": "))


def _short(text: str) -> str:
    return text if len(text) <= _SHOWN_CHARACTERS else f"{text[:_SHOWN_CHARACTERS]}…"
