"""Audit events: strict parsing, exact numbers, one canonical form that decides equality."""

import json
import re
import uuid
from dataclasses import dataclass, fields
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from functools import partial
from typing import cast

JsonValue = dict[str, "JsonValue"] | list["JsonValue"] | str | Decimal | bool | None
EVENT_DATA_MAX_BYTES = 256 * 1024
EVENT_DATA_MAX_DEPTH = 10
# Beyond this many zeros a number is written with an exponent, so that 1e100000 stays short.
_PLAIN_EXPONENT_MAX = 30
_LENGTHS = {
    "version": 20,
    "event_type": 100,
    "event_category": 50,
    "event_action": 50,
    "correlation_id": 255,
}
OUTCOMES = ("success", "failure", "pending")
_FIELDS = ("event_id", "event_timestamp", *_LENGTHS, "event_outcome", "event_data")
_OPTIONAL = ("event_id", "version")
_UUID = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
_RFC3339 = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt][0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,6})?"
    r"([Zz]|[+-](?:[01][0-9]|2[0-3]):[0-5][0-9])"
)
_quote = json.JSONEncoder(ensure_ascii=False).encode


@dataclass(frozen=True)
class FieldError:
    """One reason for a refusal; `field` is empty when it is about the whole body."""

    field: str
    message: str


class InvalidError(ValueError):
    """The request can never be stored; `errors` says why, field by field."""

    def __init__(self, errors: list[FieldError]) -> None:
        super().__init__("; ".join(f"{error.field}: {error.message}" for error in errors))
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
        return self.event_id, self.event_timestamp.date().isoformat()

    def to_json(self) -> str:
        """The whole event as JSON, always the same text for the same content."""
        parts = [f'"{name}":{_quote(getattr(self, name))}' for name in _TEXT_FIELDS]
        stamp = f'"event_timestamp":"{format_timestamp(self.event_timestamp)}"'
        return "{" + ",".join([*parts, stamp, f'"event_data":{self.event_data}']) + "}"


_TEXT_FIELDS = [f.name for f in fields(Event) if f.name not in ("event_timestamp", "event_data")]


def month_of(day: date) -> str:
    """The name of the month that holds this day."""
    return f"{day.year:04d}_{day.month:02d}"


def format_timestamp(stamp: datetime) -> str:
    """RFC 3339 in UTC with Z, microseconds only when there are any."""
    return stamp.isoformat().removesuffix("+00:00") + "Z"


def _refuse_constant(name: str) -> Decimal:
    raise ValueError(f"{name} is no JSON number")


def _unique_keys(pairs: list[tuple[str, JsonValue]]) -> dict[str, JsonValue]:
    made = dict(pairs)
    if len(made) != len(pairs):
        raise ValueError("an object has the same key twice")
    return made


_decoder = json.JSONDecoder(
    parse_float=Decimal,
    parse_int=Decimal,
    parse_constant=_refuse_constant,
    object_pairs_hook=_unique_keys,
)  # type: ignore[call-overload, unused-ignore]


def parse_json(text: str | bytes) -> JsonValue:
    """Strict JSON with exact numbers. Raises InvalidError for anything else, duplicate keys included."""
    try:
        decoded = text if isinstance(text, str) else text.decode("utf-8")
        return cast("JsonValue", _decoder.decode(decoded))
    except RecursionError:
        raise InvalidError([FieldError("", "the body is nested too deeply")]) from None
    except (ValueError, ArithmeticError) as error:
        raise InvalidError([FieldError("", f"the body is not valid JSON: {error}")]) from None


def _number(value: Decimal) -> str:
    sign, digits, exponent = value.as_tuple()
    text = "".join(map(str, digits)).lstrip("0")
    stripped = text.rstrip("0")
    if not stripped:
        return "0"
    scale = int(exponent) + len(text) - len(stripped)
    minus = "-" if sign else ""
    if not -_PLAIN_EXPONENT_MAX <= scale <= _PLAIN_EXPONENT_MAX:
        return f"{minus}{stripped}e{scale}"
    if scale >= 0:
        return f"{minus}{stripped}{'0' * scale}"
    padded = stripped.rjust(1 - scale, "0")
    return f"{minus}{padded[:scale]}.{padded[scale:]}"


def canonical(value: JsonValue, depth: int = 0) -> str:
    """Compact JSON with sorted keys and numbers in one form. Raises ValueError for what cannot be stored."""
    if isinstance(value, str):
        if "\x00" in value:
            raise ValueError("U+0000 cannot be stored")
        return _quote(value)
    if isinstance(value, bool):
        return "true" if value else "false"
    if value is None:
        return "null"
    if isinstance(value, Decimal):
        return _number(value)
    if depth >= EVENT_DATA_MAX_DEPTH:
        raise ValueError(f"nested deeper than {EVENT_DATA_MAX_DEPTH}")
    if isinstance(value, list):
        return "[" + ",".join([canonical(item, depth + 1) for item in value]) + "]"
    pairs = [f"{canonical(key)}:{canonical(value[key], depth + 1)}" for key in sorted(value)]
    return "{" + ",".join(pairs) + "}"


def _text_field(name: str, value: JsonValue) -> str:
    if not isinstance(value, str):
        raise ValueError("must be a string")
    if name == "event_outcome" and value not in OUTCOMES:
        raise ValueError(f"must be one of {', '.join(OUTCOMES)}")
    longest = _LENGTHS.get(name, 255)
    if not 1 <= len(value) <= longest:
        raise ValueError(f"must have 1 to {longest} characters")
    if "\x00" in value:
        raise ValueError("U+0000 cannot be stored")
    if not value.isascii():
        value.encode("utf-8")
    return value


def _id_field(value: JsonValue) -> str:
    if not isinstance(value, str) or _UUID.fullmatch(value) is None:
        raise ValueError("must be a UUID such as 0e37df36-f698-11e6-8dd4-cb9ced3df976")
    return value.lower()


def _data_field(value: JsonValue) -> str:
    if not isinstance(value, dict):
        raise ValueError("must be an object")
    text = canonical(value)
    if len(text if text.isascii() else text.encode("utf-8")) > EVENT_DATA_MAX_BYTES:
        raise ValueError(f"is larger than {EVENT_DATA_MAX_BYTES} bytes")
    return text


@dataclass(frozen=True)
class Window:
    """The accepted range of timestamps, relative to now."""

    max_age_days: int
    max_ahead_days: int

    def check(self, stamp: datetime, now: datetime) -> None:
        """Raises ValueError when the timestamp lies outside."""
        if stamp < now - timedelta(days=self.max_age_days):
            raise ValueError(f"is older than {self.max_age_days} days")
        if stamp > now + timedelta(days=self.max_ahead_days):
            raise ValueError(f"is more than {self.max_ahead_days} days ahead")


def _timestamp_field(value: JsonValue, window: Window | None) -> datetime:
    if not isinstance(value, str) or _RFC3339.fullmatch(value) is None:
        raise ValueError("must be RFC 3339 with an offset and at most microseconds")
    try:
        stamp = datetime.fromisoformat(value.upper()).astimezone(UTC)
    except (ValueError, OverflowError):
        raise ValueError("is no point in time") from None
    if window is not None:
        window.check(stamp, datetime.now(UTC))
    return stamp


_PARSERS = {"event_id": _id_field, "event_data": _data_field}


def parse_event(value: JsonValue, window: Window | None = None) -> Event:
    """The event in a parsed body; without a window no age is refused (events already accepted).

    Raises InvalidError with every field at fault.
    """
    if not isinstance(value, dict):
        raise InvalidError([FieldError("", "must be an object")])
    errors = [
        FieldError(name.encode("utf-8", "replace").decode(), "is not a field of an event")
        for name in value
        if name not in _FIELDS
    ]
    texts: dict[str, str] = {"event_id": "", "version": "1.0"}
    stamp = datetime.min
    for name in _FIELDS:
        if name not in value:
            if name not in _OPTIONAL:
                errors.append(FieldError(name, "is required"))
            continue
        try:
            if name == "event_timestamp":
                stamp = _timestamp_field(value[name], window)
            else:
                texts[name] = _PARSERS.get(name, partial(_text_field, name))(value[name])
        except UnicodeEncodeError:
            errors.append(FieldError(name, "a lone surrogate cannot be stored"))
        except ValueError as error:
            errors.append(FieldError(name, str(error)))
    if errors:
        raise InvalidError(errors)
    texts["event_id"] = texts["event_id"] or str(uuid.uuid4())
    return Event(event_timestamp=stamp, **texts)
