"""Parameters: from ``detach-partition --partition 2025_12 --set key=value`` to a fault, each value of its own type."""

from __future__ import annotations

import dataclasses
import difflib
import enum
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ..errors import UsageError
from ..fault import FAULTS, Fault, fault_from_json, fault_to_json
from ..values import Month
from .codec import owed

MONTH, MONTHS = "month", "months"
"""The fields by which faults name partitions: one, or any number."""

_TRUE, _FALSE = ("true", "yes", "on", "1"), ("false", "no", "off", "0")


def month_of(text: str) -> Month:
    """Read ``2025_12`` or ``2025-12``; raise :class:`UsageError` for anything else."""
    return Month.parse(text.replace("-", "_"))


def build_fault(name: str, partitions: Sequence[str], settings: Sequence[str]) -> Fault:
    """Build the fault of a name; raise :class:`UsageError` for what it does not have, lacks, or cannot take."""
    kind = FAULTS.get(name)
    hints = typing.get_type_hints(kind)
    fields = {field.name: field for field in dataclasses.fields(kind)}  # type: ignore[arg-type]
    values: dict[str, Any] = {"fault": name}
    for setting in settings:
        key, value = _setting(name, setting, fields)
        if key in values:
            raise UsageError(f"{key} of {name} is set twice; leave one of them out.")
        values[key] = _parsed(name, key, hints[key], value)
    _add_partitions(name, fields, partitions, values)
    missing = [key for key, field in fields.items() if key not in values and owed(field)]
    if missing:
        raise UsageError(_lacking(name, missing[0], hints[missing[0]]))
    return fault_from_json(values)


def shown_parameters(fault: Fault) -> str:
    """Return what a fault was built with, as it would be typed for ``--set``; "" for nothing worth saying."""
    told = {key: value for key, value in fault_to_json(fault).items() if key != "fault" and value not in ([], "")}
    return " ".join(f"{key}={_typed(value)}" for key, value in told.items())


def inject_command(fault: Fault, lab: str = "") -> str:
    """Return the command that injects a fault."""
    told = {key: value for key, value in fault_to_json(fault).items() if key != "fault"}
    months = [*told.pop(MONTHS, []), *([told.pop(MONTH)] if MONTH in told else [])]
    usual = {field.name: field.default for field in dataclasses.fields(fault)}  # type: ignore[arg-type]
    partitions = [f" --partition {month}" for month in months]
    settings = [f" --set {key}={_typed(value)}" for key, value in told.items() if getattr(fault, key) != usual.get(key)]
    name = f" --name {lab}" if lab else ""
    return f"harness lab inject {fault.name}{''.join(partitions)}{''.join(settings)}{name}"


def _typed(value: Any) -> str:
    if isinstance(value, list):
        return ",".join(_typed(item) for item in value)
    return str(value).lower() if isinstance(value, bool) else str(value)


def _setting(name: str, setting: str, fields: Mapping[str, dataclasses.Field[Any]]) -> tuple[str, str]:
    key, equals, value = setting.partition("=")
    key = key.strip()
    if not equals:
        raise UsageError(f"--set {setting!r} sets nothing; write --set key=value.")
    if key not in fields:
        near = difflib.get_close_matches(key, fields, n=1)
        has = f"it has {', '.join(fields)}" if fields else "it takes none"
        hint = f"did you mean {near[0]}?" if near else f"{has}."
        raise UsageError(f"The fault {name} has no parameter {key!r}; {hint}")
    return key, value.strip()


def _add_partitions(
    name: str, fields: Mapping[str, dataclasses.Field[Any]], partitions: Sequence[str], values: dict[str, Any]
) -> None:
    """Put ``--partition`` into the field that the fault has for it."""
    if not partitions:
        return
    labels = [month_of(text).label for text in partitions]
    key = next((key for key in (MONTHS, MONTH) if key in fields), None)
    if key is None:
        raise UsageError(f"The fault {name} is not one of a partition; leave --partition out.")
    if key in values:
        raise UsageError(f"The partition of {name} is given by --partition and by --set {key}; leave one of them out.")
    if key == MONTH and len(labels) > 1:
        raise UsageError(f"The fault {name} strikes one partition at a time, not {', '.join(labels)}; inject it again.")
    values[key] = labels if key == MONTHS else labels[0]


def _lacking(name: str, key: str, hint: Any) -> str:
    if key == MONTH:
        return f"The fault {name} needs to know which partition: give --partition, such as --partition 2025_12."
    return f"The fault {name} needs {key}: give --set {key}={_example(hint)}."


def _example(hint: Any) -> str:
    if isinstance(hint, type) and issubclass(hint, enum.Enum):
        return "|".join(str(member.value) for member in hint)
    return {int: "20", float: "0.5", bool: "true"}.get(hint, "VALUE")


def _parsed(name: str, key: str, hint: Any, text: str) -> Any:
    """A text as JSON of the field's type; raises :class:`UsageError` that says what is wanted."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        inner = next(a for a in arguments if a is not types.NoneType)
        return None if text in ("", "none") else _parsed(name, key, inner, text)
    if origin is tuple:
        return [_parsed(name, key, arguments[0], part.strip()) for part in text.split(",") if part.strip()]
    if hint is Month:
        return month_of(text).label
    if isinstance(hint, type) and issubclass(hint, enum.Enum):
        values = [str(member.value) for member in hint]
        if text not in values:
            raise UsageError(f"{key} of {name} must be one of {', '.join(values)}, not {text!r}.")
        return text
    wanted, read = _PLAIN.get(hint, ("a text", str))
    try:
        return read(text)
    except ValueError as error:
        raise UsageError(f"{key} of {name} must be {wanted}, not {text!r}.") from error


def _flag(text: str) -> bool:
    if text.lower() in _TRUE:
        return True
    if text.lower() in _FALSE:
        return False
    raise ValueError(text)


_PLAIN: Mapping[Any, tuple[str, Callable[[str], Any]]] = {
    int: ("a whole number", int),
    float: ("a number", float),
    bool: ("true or false", _flag),
}
