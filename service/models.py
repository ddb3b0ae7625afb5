"""Audit events: strict parsing, exact numbers, one canonical form that decides equality."""

import decimal
import enum
import json
import re
import uuid
from dataclasses import dataclass, fields
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

JsonValue = dict[str, "JsonValue"] | list["JsonValue"] | str | Decimal | bool | None
EVENT_DATA_MAX_BYTES = 256 * 1024
EVENT_DATA_MAX_DEPTH = 10
# Beyond this many zeros a number is written with an exponent, so that 1e100000 stays short.
_PLAIN_EXPONENT_MAX = 30
_EXACT = decimal.Context(prec=decimal.MAX_PREC, Emax=decimal.MAX_EMAX, Emin=decimal.MIN_EMIN)
_STORABLE = "[^\x00\ud800-\udfff]"
_UUID = "[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}"
_RFC3339 = (
    "[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt][0-9]{2}:[0-9]{2}:[0-9]{2}([.][0-9]{1,6})?([Zz]|[+-]([01][0-9]|2[0-3]):[0-5][0-9])"
)


def _length(longest: int) -> tuple[str, str]:
    return f"{_STORABLE}{{1,{longest}}}", f"a string of 1 to {longest} characters, none of them U+0000 or half a pair"


# What each text must match, in a regular expression and in words.
_TEXTS = {
    "event_id": (_UUID, "a UUID such as 0e37df36-f698-11e6-8dd4-cb9ced3df976"),
    "event_timestamp": (_RFC3339, "RFC 3339 with an offset and at most microseconds"),
    "version": _length(20),
    "event_type": _length(100),
    "event_category": _length(50),
    "event_action": _length(50),
    "event_outcome": ("success|failure|pending", "success, failure or pending"),
    "correlation_id": _length(255),
}
_storable = re.compile(f"{_STORABLE}*").fullmatch
_quote = json.JSONEncoder(ensure_ascii=False).encode


class InvalidError(ValueError):
    """The request is refused; `errors` has a message for each field, or for "" when it is the whole."""

    def __init__(self, errors: dict[str, str]) -> None:
        super().__init__(str(errors))
        self.errors = errors


@dataclass(frozen=True, slots=True)
class Event:
    """One audit event, canonical: two events are equal when their contents are."""

    event_id: str
    event_timestamp: datetime
    version: str
    event_type: str
    event_category: str
    event_action: str
    event_outcome: str
    correlation_id: str
    event_data: str

    @property
    def event_date(self) -> date:
        """The UTC date, the partition key."""
        return self.event_timestamp.date()

    @property
    def month(self) -> str:
        """The partition's name, such as 2025_12."""
        return month_of(self.event_timestamp)

    @property
    def identity(self) -> tuple[str, str]:
        """What makes it this event: id and UTC date (ISO)."""
        return self.event_id, self.event_date.isoformat()

    def to_json(self) -> str:
        """The whole event as JSON, always the same text for the same content."""
        parts = [f'"{name}":{_quote(getattr(self, name))}' for name in ("event_id", *TEXT_FIELDS)]
        stamp = f'"event_timestamp":"{format_timestamp(self.event_timestamp)}"'
        return "{" + ",".join([*parts, stamp, f'"event_data":{self.event_data}']) + "}"


_FIELDS = [one.name for one in fields(Event)]
TEXT_FIELDS = _FIELDS[2:-1]


class Status(enum.Enum):
    """What became of an event."""

    CREATED = "created"
    QUEUED = "queued"
    CONFLICT = "conflict"
    REJECTED = "rejected"
    UNAVAILABLE = "unavailable"


@dataclass(frozen=True)
class Outcome:
    """A status, the reason of a refusal, and for UNAVAILABLE whether it is `not_stored` or `unknown`."""

    status: Status
    detail: str = ""
    duplicate: bool = False
    stored: str = "not_stored"


CONFLICT = Outcome(Status.CONFLICT, "another event has this event_id and date")


def month_of(day: date) -> str:
    """The name of the month that holds this day."""
    return f"{day.year:04d}_{day.month:02d}"


def format_timestamp(stamp: datetime) -> str:
    """RFC 3339 in UTC with Z, microseconds only when there are any."""
    return stamp.isoformat().removesuffix("+00:00") + "Z"


def _unique_keys(pairs: list[tuple[str, JsonValue]]) -> dict[str, JsonValue]:
    made = dict(pairs)
    if len(made) != len(pairs):
        raise ValueError("an object has the same key twice")
    return made


# Of NaN and Infinity int makes a ValueError.
_NUMBERS: dict[str, Any] = {"parse_float": Decimal, "parse_int": Decimal, "parse_constant": int}
_decoder = json.JSONDecoder(**_NUMBERS, object_pairs_hook=_unique_keys)


def parse_json(text: str | bytes) -> JsonValue:
    """Strict JSON with exact numbers. Raises InvalidError for anything else, duplicate keys included."""
    try:
        value: JsonValue = _decoder.decode(text if isinstance(text, str) else text.decode("utf-8"))
    except (ValueError, ArithmeticError, RecursionError) as error:
        raise InvalidError({"": f"the body is not valid JSON: {error}"}) from None
    return value


def _number(value: Decimal) -> str:
    if not value:
        return "0"
    shortest = value.normalize(_EXACT)
    sign, digits, exponent = shortest.as_tuple()
    if abs(int(exponent)) <= _PLAIN_EXPONENT_MAX:
        return f"{shortest:f}"
    return f"{'-' if sign else ''}{''.join(map(str, digits))}e{exponent}"


def canonical(value: JsonValue, depth: int = 0) -> str:
    """Compact JSON with sorted keys and numbers in one form. Raises ValueError for what cannot be stored."""
    if isinstance(value, str):
        if not _storable(value):
            raise ValueError("U+0000 and halves of surrogate pairs cannot be stored")
        return _quote(value)
    if value is None or isinstance(value, bool):
        return json.dumps(value)
    if isinstance(value, Decimal):
        return _number(value)
    if depth >= EVENT_DATA_MAX_DEPTH:
        raise ValueError(f"nested deeper than {EVENT_DATA_MAX_DEPTH}")
    if isinstance(value, list):
        return "[" + ",".join([canonical(item, depth + 1) for item in value]) + "]"
    return "{" + ",".join([f"{canonical(key)}:{canonical(value[key], depth + 1)}" for key in sorted(value)]) + "}"


def _field(name: str, value: JsonValue) -> str | datetime:
    if name == "event_data":
        if not isinstance(value, dict):
            raise ValueError("must be an object")
        text = canonical(value)
        if len(text.encode("utf-8")) > EVENT_DATA_MAX_BYTES:
            raise ValueError(f"is larger than {EVENT_DATA_MAX_BYTES} bytes")
        return text
    pattern, expected = _TEXTS[name]
    if not isinstance(value, str) or re.fullmatch(pattern, value) is None:
        raise ValueError(f"must be {expected}")
    if name == "event_timestamp":
        try:
            return datetime.fromisoformat(value.upper()).astimezone(UTC)
        except (ValueError, OverflowError):
            raise ValueError("is no point in time") from None
    return value.lower() if name == "event_id" else value


def parse_event(value: JsonValue) -> Event:
    """The event in a parsed body, of whatever age. Raises InvalidError with every field at fault."""
    if not isinstance(value, dict):
        raise InvalidError({"": "must be an object"})
    parsed: dict[str, str | datetime] = {"event_id": str(uuid.uuid4()), "version": "1.0"}
    unknown = [name.encode("utf-8", "replace").decode() for name in value if name not in _FIELDS]
    errors = dict.fromkeys(unknown, "is not a field of an event")
    errors |= {name: "is required" for name in _FIELDS if name not in value and name not in parsed}
    for name in _FIELDS:
        try:
            if name in value:
                parsed[name] = _field(name, value[name])
        except ValueError as error:
            errors[name] = str(error)
    if errors:
        raise InvalidError(errors)
    return Event(**parsed)  # type: ignore[arg-type]


def check_age(stamp: datetime, max_age_days: int, max_ahead_days: int, now: datetime) -> None:
    """Raises InvalidError when the timestamp lies outside the accepted window."""
    if not timedelta(days=-max_ahead_days) <= now - stamp <= timedelta(days=max_age_days):
        message = f"is more than {max_age_days} days old or more than {max_ahead_days} days ahead"
        raise InvalidError({"event_timestamp": message})
