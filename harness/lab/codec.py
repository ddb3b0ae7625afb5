"""Codec: frozen dataclasses to JSON and back, checked once, where the text comes in.

What is no such value is refused with the place of what is wrong: an unknown or missing key, a value of another type.
"""

from __future__ import annotations

import dataclasses
import json
import types
import typing
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from ..errors import HarnessError, LabError
from ..values import Month

T = TypeVar("T")

_WORDS: Mapping[type, str] = {str: "a text", bool: "true or false", int: "a whole number", float: "a number"}


def encode(value: object) -> str:
    """Return a dataclass, or a mapping of such, as one line of JSON without the newline."""
    return json.dumps(_plain(value), separators=(",", ":"), ensure_ascii=True)


def decode(kind: type[T], text: str | bytes) -> T:
    """Read a dataclass back; raise :class:`LabError` for anything that is not exactly one of ``kind``."""
    return read(kind, parse(text))


def parse(text: str | bytes) -> Any:
    """Read JSON; raise :class:`LabError` for what is none."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise LabError(f"What was said is no JSON ({error}): {text[:120]!r}.") from error


def read(kind: type[T], data: object, where: str = "") -> T:
    """Make a dataclass of parsed JSON; raise :class:`LabError` naming what is wrong and where."""
    if not isinstance(data, dict):
        raise LabError(f"{where or kind.__name__} must be an object, not {_shown(data)}.")
    hints = typing.get_type_hints(kind)
    known = {field.name: field for field in dataclasses.fields(kind)}  # type: ignore[arg-type]
    strange = sorted(set(data) - set(known))
    if strange:
        raise LabError(f"{where or kind.__name__} has no {strange[0]!r}; it has {', '.join(known) or 'nothing'}.")
    values = {key: _value(hints[key], value, _place(where, key)) for key, value in data.items()}
    missing = [name for name, field in known.items() if name not in values and owed(field)]
    if missing:
        raise LabError(f"{_place(where, missing[0])} is missing.")
    return kind(**values)


def owed(field: dataclasses.Field[Any]) -> bool:
    """Tell whether a field of a dataclass has no default."""
    return field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING


def _value(hint: Any, data: Any, where: str) -> Any:
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if hint is Any:
        return data
    if origin in (typing.Union, types.UnionType):
        return None if data is None else _value(next(a for a in arguments if a is not types.NoneType), data, where)
    if origin is tuple:
        if not isinstance(data, list):
            raise LabError(f"{where} must be a list, not {_shown(data)}.")
        return tuple(_value(arguments[0], item, f"{where}[{number}]") for number, item in enumerate(data))
    if origin is dict:
        if not isinstance(data, dict):
            raise LabError(f"{where} must be an object, not {_shown(data)}.")
        return {key: _value(arguments[1], value, _place(where, key)) for key, value in data.items()}
    if dataclasses.is_dataclass(hint):
        if hint is Month:
            return _month(data, where)
        return read(typing.cast("type[Any]", hint), data, where)
    if hint is Path:
        return Path(_scalar(str, data, where))
    return _scalar(hint, data, where)


def _scalar(hint: type, data: Any, where: str) -> Any:
    whole = isinstance(data, int) and not isinstance(data, bool)
    if hint is float and whole:
        return float(data)
    if type(data) is not hint:
        raise LabError(f"{where} must be {_WORDS[hint]}, not {_shown(data)}.")
    return data


def _month(data: Any, where: str) -> Month:
    try:
        return Month.parse(_scalar(str, data, where))
    except HarnessError as error:
        raise LabError(f"{where}: {error}") from error


def _plain(value: object) -> Any:
    if isinstance(value, Month):
        return value.label
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: _plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str | bytes):
        return [_plain(item) for item in value]
    return str(value) if isinstance(value, Path | str) else value


def _place(where: str, key: str) -> str:
    return f"{where}.{key}" if where else key


def _shown(data: object) -> str:
    return repr(data)[:60]
