"""JSON Lines of a history: one record is one object a line, with its class's name in ``record``."""

from __future__ import annotations

import dataclasses
import enum
import json
import types
import typing
from collections.abc import Callable
from datetime import date
from typing import Any

from .errors import HistoryError
from .events import AttachedTable, Record
from .values import Month

KINDS: dict[str, type[Record]] = {kind.__name__: kind for kind in typing.get_args(Record)}


def encode(record: Record) -> str:
    """One JSON line, without the newline."""
    data: dict[str, Any] = {"record": type(record).__name__}
    data.update(record.__dict__)
    return _ENCODER.encode(data)


def decode(line: str) -> Record:
    """Read one line back; raise :class:`HistoryError` for what is no record."""
    try:
        data = json.loads(line)
        name = data.pop("record")
        kind = KINDS[name]
        if not data.keys() <= _FIELDS[name]:  # Written by a later version.
            data = {key: value for key, value in data.items() if key in _FIELDS[name]}
        for key, convert in _CONVERTERS[name]:
            if key in data:
                data[key] = convert(data[key])
        return kind(**data)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise HistoryError(f"not a history record ({error!r}): {line[:120]!r}") from error


def _plain(value: object) -> object:
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, Month):
        return value.label
    if isinstance(value, frozenset):
        return sorted(value)
    if isinstance(value, AttachedTable):
        return value.__dict__
    raise TypeError(f"{type(value).__name__} has no place in a history")


_ENCODER = json.JSONEncoder(separators=(",", ":"), default=_plain, ensure_ascii=False)


def _converters(kind: type[Record]) -> tuple[tuple[str, Callable[[Any], Any]], ...]:
    """How the fields of a kind that JSON has no type for are made of what it has."""
    hints = typing.get_type_hints(kind)
    pairs: list[tuple[str, Callable[[Any], Any]]] = []
    for field in dataclasses.fields(kind):
        hint = hints[field.name]
        if hint is date:
            pairs.append((field.name, date.fromisoformat))
        elif isinstance(hint, type) and not isinstance(hint, types.GenericAlias) and issubclass(hint, enum.Enum):
            pairs.append((field.name, {member.value: member for member in hint}.__getitem__))
        elif hint == tuple[AttachedTable, ...]:
            pairs.append((field.name, lambda rows: tuple(AttachedTable(**row) for row in rows)))
        elif typing.get_origin(hint) is tuple:
            pairs.append((field.name, tuple))
    return tuple(pairs)


_FIELDS = {name: frozenset(field.name for field in dataclasses.fields(kind)) for name, kind in KINDS.items()}
_CONVERTERS = {name: _converters(kind) for name, kind in KINDS.items()}
