"""Audit events: strict parsing, exact numbers, one canonical form that decides equality."""

import decimal
import enum
import json
import re
import uuid
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from json.encoder import encode_basestring as _quote
from typing import Any

from .schema import FIELDS, REQUIRED, InvalidError, parse_field

JsonValue = dict[str, "JsonValue"] | list["JsonValue"] | str | Decimal | bool | None
EVENT_DATA_MAX_BYTES = 256 * 1024
EVENT_DATA_MAX_DEPTH = 10
_PLAIN_EXPONENT_MAX = 30
_EXACT = decimal.Context(prec=decimal.MAX_PREC, Emax=decimal.MAX_EMAX, Emin=decimal.MIN_EMIN)
_CONSTANTS = {None: "null", True: "true", False: "false"}
# U+0000 in a text already quoted.
_zero = re.compile(r"(?<!\\)(\\\\)*\\u0000").search
# Numbers whose shortest form is the one they have.
_short = re.compile("-?([1-9][0-9]*(?<!000)|([1-9][0-9]*[.]|0[.](?=[1-9]))[0-9]{0,20}[1-9])").fullmatch


@dataclass(frozen=True, slots=True)
class Event:
    """One audit event as canonical JSON: two are equal when their contents are. Id and time stand at its beginning."""

    text: str

    @property
    def event_id(self) -> str:
        """The UUID in lower case."""
        return self.text[13:49]

    @property
    def event_timestamp(self) -> str:
        """RFC 3339 in UTC, with Z."""
        return self.text[70:98].partition('"')[0]

    @property
    def event_date(self) -> str:
        """The UTC date (ISO), the partition key."""
        return self.text[70:80]

    @property
    def month(self) -> str:
        """The partition's name, such as 2025_12."""
        return f"{self.text[70:74]}_{self.text[75:77]}"

    @property
    def identity(self) -> tuple[str, str]:
        """What makes it this event: id and UTC date."""
        return self.event_id, self.event_date


TEXT_FIELDS = ("version", "event_type", "event_category", "event_action", "event_outcome", "correlation_id")


def make_event(event_id: str, stamp: datetime, texts: Iterable[str], data: str) -> Event:
    """The event of an id, a time, the texts in the order of TEXT_FIELDS, and canonical data."""
    middle = ",".join([f'"{name}":{_quote(text)}' for name, text in zip(TEXT_FIELDS, texts, strict=True)])
    head = f'{{"event_id":"{event_id}","event_timestamp":"{format_timestamp(stamp)}"'
    return Event(f'{head},{middle},"event_data":{data}}}')


class Status(enum.Enum):
    """What became of an event."""

    CREATED = "created"
    QUEUED = "queued"
    CONFLICT = "conflict"
    REJECTED = "rejected"
    UNAVAILABLE = "unavailable"


@dataclass(frozen=True)
class Outcome:
    """A status, why it was refused (the fields at fault), and for UNAVAILABLE: is it `not_stored` or `unknown`?"""

    status: Status
    detail: str = ""
    duplicate: bool = False
    stored: str = "not_stored"
    errors: tuple[tuple[str, str], ...] = ()

    @property
    def accepted(self) -> bool:
        """Whether the service answers for the event from now on."""
        return self.status in (Status.CREATED, Status.QUEUED)

    @property
    def label(self) -> str:
        """Its name in the metrics."""
        if self.accepted and self.duplicate:
            return "duplicate"
        return "rejected" if self.status is Status.CONFLICT else self.status.value


_TAKEN = "another event has this event_id and date"
CONFLICT = Outcome(Status.CONFLICT, _TAKEN, errors=(("event_id", _TAKEN),))


def month_of(day: date) -> str:
    """The name of the month that holds this day."""
    return f"{day.year:04d}_{day.month:02d}"


def format_timestamp(stamp: datetime) -> str:
    """RFC 3339 in UTC with Z, microseconds only when there are any."""
    return stamp.isoformat()[:-6] + "Z"


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
    if not value or _short(str(value)):
        return str(value) if value else "0"
    shortest = value.normalize(_EXACT)
    sign, digits, exponent = shortest.as_tuple()
    short = f"{'-' if sign else ''}{''.join(map(str, digits))}e{exponent}"
    # The shorter form, so that no client wrote it shorter; a plain 1e100000 is not even tried.
    return short if abs(int(exponent)) > _PLAIN_EXPONENT_MAX else min(f"{shortest:f}", short, key=len)


def canonical(value: JsonValue, depth: int = 0) -> str:
    """Compact JSON with sorted keys and numbers in one form. Raises ValueError when it is nested too deep."""
    if isinstance(value, str):
        return _quote(value)
    if isinstance(value, Decimal):
        return _number(value)
    if not isinstance(value, dict | list):
        return _CONSTANTS[value]
    if depth >= EVENT_DATA_MAX_DEPTH:
        raise ValueError(f"nested deeper than {EVENT_DATA_MAX_DEPTH}")
    if isinstance(value, list):
        return "[" + ",".join([canonical(item, depth + 1) for item in value]) + "]"
    return "{" + ",".join([f"{_quote(key)}:{canonical(value[key], depth + 1)}" for key in sorted(value)]) + "}"


def _parse_data(value: JsonValue) -> str:
    if not isinstance(value, dict):
        raise ValueError("must be an object")
    text = canonical(value)
    if "\\u0000" in text and _zero(text):
        raise ValueError("U+0000 cannot be stored")
    # Halves of surrogate pairs cannot be encoded, which is a ValueError as well.
    if len(text.encode()) > EVENT_DATA_MAX_BYTES:
        raise ValueError(f"is larger than {EVENT_DATA_MAX_BYTES} bytes")
    return text


def parse_event(value: JsonValue, earliest: datetime, latest: datetime) -> Event:
    """The event in a parsed body. Raises InvalidError with every field at fault."""
    if not isinstance(value, dict):
        raise InvalidError({"": "must be an object"})
    parsed: dict[str, Any] = {"version": FIELDS["version"]["default"]}
    errors = {} if value.keys() >= REQUIRED else dict.fromkeys(REQUIRED - value.keys(), "is required")
    for name, given in value.items():
        try:
            parsed[name] = _parse_data(given) if name == "event_data" else parse_field(name, given)
        except KeyError:
            errors[name.encode("utf-8", "replace").decode()] = "is not a field of an event"
        except ValueError as error:
            errors[name] = str(error)
    if "event_timestamp" in parsed and not earliest <= parsed["event_timestamp"] <= latest:
        window = f"{format_timestamp(earliest)} to {format_timestamp(latest)}"
        errors["event_timestamp"] = f"is outside the accepted window, {window}"
    if errors:
        raise InvalidError(errors)
    texts = [parsed[name] for name in TEXT_FIELDS]
    return make_event(
        parsed.get("event_id") or str(uuid.uuid4()), parsed["event_timestamp"], texts, parsed["event_data"]
    )
