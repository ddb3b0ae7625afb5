"""Requests as openapi.json describes them; events with exact numbers, in one canonical form that decides equality."""

import decimal
import enum
import json
import re
import uuid
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from json.encoder import encode_basestring as _quote
from pathlib import Path
from typing import Any

DOCUMENT = Path(__file__).with_name("openapi.json").read_bytes()
_SPEC: Any = json.loads(DOCUMENT)
# PostgreSQL stores no U+0000, UTF-8 no half of a surrogate pair.
_STORABLE = "[^\x00\ud800-\udfff]"
JsonValue = dict[str, "JsonValue"] | list["JsonValue"] | str | Decimal | bool | None
EVENT_DATA_MAX_BYTES, EVENT_DATA_MAX_DEPTH = 256 * 1024, 10
_EXACT = decimal.Context(prec=decimal.MAX_PREC, Emax=decimal.MAX_EMAX, Emin=decimal.MIN_EMIN)
_CONSTANTS = {None: "null", True: "true", False: "false"}
# Numbers whose shortest form is the one they have.
_short = re.compile("-?([1-9][0-9]*(?<!000)|([1-9][0-9]*[.]|0[.](?=[1-9]))[0-9]{0,20}[1-9])").fullmatch


@dataclass(eq=False)
class InvalidError(ValueError):
    """The request is refused; `errors` has a message for each field, or for "" when it is the whole."""

    errors: dict[str, str]


def _resolve(schema: Any) -> Any:
    """The schema meant, with a `parse` of its texts: to a number, an instant in UTC, or a text."""
    while "$ref" in schema:
        schema = _SPEC["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
    kind, least, most = schema.get("format", schema["type"]), schema.get("minLength", 0), schema.get("maxLength", 1000)
    words = schema.get("pattern") or "|".join(schema.get("enum", ["[0-9]{1,9}"]))
    match = re.compile(f"(?={_STORABLE}{{{least},{most}}}\\Z)(?:{words})").fullmatch

    def parse(value: object) -> Any:
        if not isinstance(value, str) or not match(value):
            raise ValueError(f"must be {least} to {most} characters that can be stored and match {words}")
        if kind == "date-time":
            return datetime.fromisoformat(value.upper()).astimezone(UTC)
        if kind != "integer":
            return value.lower() if kind == "uuid" else value
        if not schema["minimum"] <= int(value) <= schema["maximum"]:
            raise ValueError(f"must be from {schema['minimum']} to {schema['maximum']}")
        return int(value)

    return {**schema, "parse": parse}


_EVENT = _SPEC["components"]["schemas"]["Event"]
FIELDS = {name: _resolve(schema) for name, schema in _EVENT["properties"].items()}
REQUIRED = frozenset(_EVENT["required"])


def parse_fields(kind: str, schemas: Any, given: Iterable[tuple[str, Any]]) -> tuple[dict[str, Any], dict[str, str]]:
    """The values that `parse` makes of those given, defaults among them, and what is wrong with the others."""
    values: dict[str, Any] = {}
    errors: dict[str, str] = {}
    for name, value in given:
        try:
            if name in values:
                raise ValueError("is given twice")
            values[name] = schemas[name]["parse"](value)
        except KeyError:
            errors[name.encode("utf-8", "replace").decode()] = f"is not a {kind}"
        except (ValueError, OverflowError) as error:
            errors[name] = str(error)
    missing = schemas.keys() - values.keys()
    return values | {name: schemas[name]["default"] for name in missing if "default" in schemas[name]}, errors


def parse_query(path: str, given: list[tuple[str, str]]) -> dict[str, Any]:
    """The parameters of a GET, with their defaults. Raises InvalidError for one not known, given twice, or wrong."""
    schemas = {one["name"]: _resolve(one["schema"]) for one in _SPEC["paths"][path]["get"]["parameters"]}
    values, errors = parse_fields("parameter", schemas, given)
    if errors:
        raise InvalidError(errors)
    return values


class Event(str):
    """One audit event as canonical JSON: two are equal when their contents are. Id and time stand at its beginning."""

    __slots__ = ()

    @property
    def event_id(self) -> str:
        """The UUID in lower case."""
        return self[13:49]

    @property
    def event_date(self) -> str:
        """The UTC date (ISO), the partition key."""
        return self[70:80]

    @property
    def month(self) -> str:
        """The partition's name, such as 2025_12."""
        return f"{self[70:74]}_{self[75:77]}"

    @property
    def identity(self) -> tuple[str, str]:
        """What makes it this event: id and UTC date."""
        return self.event_id, self.event_date


TEXT_FIELDS = ("version", "event_type", "event_category", "event_action", "event_outcome", "correlation_id")


def make_event(event_id: str, stamp: datetime, texts: Iterable[str], data: str) -> Event:
    """The event of an id, a time, the texts in the order of TEXT_FIELDS, and canonical data."""
    middle = ",".join([f'"{name}":{_quote(text)}' for name, text in zip(TEXT_FIELDS, texts, strict=True)])
    head = f'{{"event_id":"{event_id}","event_timestamp":"{rfc3339(stamp)}"'
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


_TAKEN = "another event has this event_id and date"
CONFLICT = Outcome(Status.CONFLICT, _TAKEN, errors=(("event_id", _TAKEN),))


def rfc3339(stamp: datetime) -> str:
    """RFC 3339 in UTC with Z, microseconds only when there are any."""
    return stamp.isoformat()[:-6] + "Z"


def _unique_keys(pairs: list[tuple[str, JsonValue]]) -> dict[str, JsonValue]:
    made = dict(pairs)
    if len(made) != len(pairs):
        raise ValueError("an object has the same key twice")
    return made


# Of NaN and Infinity int makes a ValueError.
_decoder = json.JSONDecoder(parse_float=Decimal, parse_int=Decimal, parse_constant=int, object_pairs_hook=_unique_keys)


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
    return short if abs(int(exponent)) > 30 else min(f"{shortest:f}", short, key=len)


def canonical(value: JsonValue, depth: int = 0) -> str:
    """Compact JSON with sorted keys and numbers in one form. Raises ValueError for what cannot be stored."""
    if isinstance(value, str):
        if "\0" in value:
            raise ValueError("U+0000 cannot be stored")
        return _quote(value)
    if isinstance(value, Decimal):
        return _number(value)
    if not isinstance(value, dict | list):
        return _CONSTANTS[value]
    if depth >= EVENT_DATA_MAX_DEPTH:
        raise ValueError(f"nested deeper than {EVENT_DATA_MAX_DEPTH}")
    if isinstance(value, list):
        return "[" + ",".join([canonical(item, depth + 1) for item in value]) + "]"
    return "{" + ",".join([f"{canonical(key)}:{canonical(value[key], depth + 1)}" for key in sorted(value)]) + "}"


def _parse_data(value: JsonValue) -> str:
    if not isinstance(value, dict):
        raise ValueError("must be an object")
    text = canonical(value)
    # Halves of surrogate pairs cannot be encoded, which is a ValueError as well.
    if len(text.encode()) > EVENT_DATA_MAX_BYTES:
        raise ValueError(f"is larger than {EVENT_DATA_MAX_BYTES} bytes")
    return text


_FIELDS = FIELDS | {"event_data": {"parse": _parse_data}}


def parse_event(value: JsonValue, earliest: datetime, latest: datetime) -> Event:
    """The event in a parsed body. Raises InvalidError with every field at fault."""
    if not isinstance(value, dict):
        raise InvalidError({"": "must be an object"})
    parsed, errors = parse_fields("field of an event", _FIELDS, value.items())
    errors |= dict.fromkeys(REQUIRED.difference(value), "is required")
    if "event_timestamp" in parsed and not earliest <= parsed["event_timestamp"] <= latest:
        window = f"{rfc3339(earliest)} to {rfc3339(latest)}"
        errors["event_timestamp"] = f"is outside the accepted window, {window}"
    if errors:
        raise InvalidError(errors)
    event_id, texts = parsed.get("event_id") or str(uuid.uuid4()), [parsed[name] for name in TEXT_FIELDS]
    return make_event(event_id, parsed["event_timestamp"], texts, parsed["event_data"])
