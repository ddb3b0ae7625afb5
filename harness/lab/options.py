"""Options that the lab's commands share: which lab, and how times, months and settings are typed."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any

import click

from ..errors import UsageError
from ..values import Month
from .parameters import month_of

_DURATION = re.compile(r"(\d+(?:\.\d+)?)\s*(s|sec|m|min|h|d)?")
_UNITS = {"": 1.0, "s": 1.0, "sec": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0, "d": 86_400.0}


def as_seconds(ctx: click.Context, parameter: click.Parameter, value: str | None) -> float | None:
    """Have an option read as a time: ``90``, ``90s``, ``30m``, ``2h``, ``1h30m``; raises :class:`UsageError`."""
    return None if value is None else seconds_of(value)


def as_months(ctx: click.Context, parameter: click.Parameter, values: tuple[str, ...]) -> tuple[Month, ...]:
    """Have a repeatable option read as months: ``2025_12`` or ``2025-12``; raises :class:`UsageError`."""
    return tuple(dict.fromkeys(month_of(value) for value in values))


def seconds_of(text: str) -> float:
    """Read a duration; raise :class:`UsageError` for what is none, or not above 0."""
    compact = text.replace(" ", "").lower()
    parts = _DURATION.findall(compact)
    if not parts or "".join(number + unit for number, unit in parts) != compact:
        raise UsageError(f"{text!r} is no time; write it as 90s, 30m, 2h or 1h30m.")
    seconds = sum(float(number) * _UNITS[unit] for number, unit in parts)
    if seconds <= 0:
        raise UsageError(f"{text!r} is no time to wait for; give more than 0.")
    return seconds


def settings_of(pairs: Sequence[str], option: str) -> dict[str, str]:
    """Read ``KEY=VALUE`` pairs; raise :class:`UsageError` for what is none."""
    found: dict[str, str] = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not equals or not key.strip():
            raise UsageError(f"{option} {pair!r} sets nothing; write {option} NAME=VALUE.")
        found[key.strip()] = value
    return found


def which_lab(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add ``--name`` to a command."""
    text = "Which lab [default: the only one that is up]."
    return click.option("--name", metavar="LAB", help=text)(command)


def say(text: str) -> None:
    """Print progress, beside the output."""
    click.echo(text, err=True)
