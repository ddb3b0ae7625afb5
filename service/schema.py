"""What a request must look like, read from the one place that says it: openapi.json."""

import json
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

DOCUMENT = Path(__file__).with_name("openapi.json").read_bytes()
_SPEC: Any = json.loads(DOCUMENT)
# PostgreSQL stores no U+0000, UTF-8 no half of a surrogate pair.
_STORABLE = "[^\x00\ud800-\udfff]"


class InvalidError(ValueError):
    """The request is refused; `errors` has a message for each field, or for "" when it is the whole."""

    def __init__(self, errors: dict[str, str]) -> None:
        super().__init__(str(errors))
        self.errors = errors


def _resolve(schema: Any) -> Any:
    """The schema meant, with a compiled `match` of all that it says of a text."""
    while "$ref" in schema:
        schema = _SPEC["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
    length = f"{schema.get('minLength', 0)},{schema.get('maxLength', 1000)}"
    words = schema.get("pattern") or "|".join(schema.get("enum", ["[0-9]{1,9}"]))
    return {**schema, "words": words, "match": re.compile(f"(?={_STORABLE}{{{length}}}\\Z)(?:{words})").fullmatch}


def _parse(schema: Any, value: object) -> Any:
    """The value of a text: a number, an instant in UTC, or the text. Raises ValueError with what it must be."""
    if not isinstance(value, str) or not schema["match"](value):
        lengths = f"{schema.get('minLength', 0)} to {schema.get('maxLength', 1000)}"
        raise ValueError(f"must be {lengths} characters that can be stored and match {schema['words']}")
    if schema["type"] == "integer":
        if not schema["minimum"] <= int(value) <= schema["maximum"]:
            raise ValueError(f"must be from {schema['minimum']} to {schema['maximum']}")
        return int(value)
    if schema.get("format") != "date-time":
        return value.lower() if schema.get("format") == "uuid" else value
    try:
        return datetime.fromisoformat(value.upper()).astimezone(UTC)
    except (ValueError, OverflowError):
        raise ValueError("is no point in time") from None


_EVENT = _SPEC["components"]["schemas"]["Event"]
FIELDS = {name: _resolve(schema) for name, schema in _EVENT["properties"].items()}
REQUIRED = frozenset(_EVENT["required"])


def parse_field(name: str, value: object) -> Any:
    """A field of an event that is a text. Raises ValueError with what it must be."""
    return _parse(FIELDS[name], value)


def parse_query(path: str, given: list[tuple[str, str]]) -> dict[str, Any]:
    """The parameters of a GET, with their defaults. Raises InvalidError for one not known, given twice, or wrong."""
    schemas = {one["name"]: _resolve(one["schema"]) for one in _SPEC["paths"][path]["get"]["parameters"]}
    values: dict[str, Any] = {}
    errors = {name: "is not a parameter" for name, _ in given if name not in schemas}
    for name, text in given:
        try:
            if name in values:
                errors[name] = "is given twice"
            elif name in schemas:
                values[name] = _parse(schemas[name], text)
        except ValueError as error:
            errors[name] = str(error)
    if errors:
        raise InvalidError(errors)
    return {name: schema["default"] for name, schema in schemas.items() if "default" in schema} | values
