"""JSON Schema (draft 2020-12) of the shapes in ``harness.report.shapes`` and ``harness.report.gateshapes``.

The published files lie in ``harness/report/schemas``; ``python -m tests.docs`` writes them anew, and a test fails while
they are not what this module makes.
"""

from __future__ import annotations

import json
import types
import typing
from dataclasses import dataclass
from importlib import resources
from typing import Annotated, Any, Literal, Union

from ..errors import UsageError
from . import gateshapes, shapes

Schema = dict[str, Any]


@dataclass(frozen=True)
class Kind:
    """What one schema is of: the type, what it is called, and its version."""

    shape: Any
    title: str
    version: int = shapes.SCHEMA_VERSION


KINDS = {
    "result": Kind(shapes.Result, "result.json of partition-harness: one run, judged"),
    "suite": Kind(shapes.Suite, "suite.json of partition-harness: all runs of one command"),
    "events": Kind(shapes.Event, "One line of the NDJSON stream of `harness run --events`"),
    "gate": Kind(gateshapes.Gate, "What `harness gate --json` writes: a decision", gateshapes.GATE_FORMAT),
}
"""What is published, by the name that ``harness schema`` takes."""

_DIALECT = "https://json-schema.org/draft/2020-12/schema"
_NAMES = {str: "string", int: "integer", float: "number", bool: "boolean", types.NoneType: "null"}


def file_name(kind: str) -> str:
    """Return the name of the published file."""
    return f"{kind}.schema.json"


def published(kind: str) -> str:
    """Return the published file's text; raises :class:`UsageError` for an unknown kind."""
    if kind not in KINDS:
        raise UsageError(f"There is no schema of {kind!r}; known are {', '.join(KINDS)}.")
    return resources.files(__package__).joinpath("schemas", file_name(kind)).read_text(encoding="utf-8")


def schema_text(kind: str) -> str:
    """Make the text of the file that is to be published."""
    return json.dumps(schema_of(kind), indent=2, ensure_ascii=False) + "\n"


def schema_of(kind: str, *, closed: bool = False) -> Schema:
    """Make the schema; ``closed`` refuses fields that the shapes do not have, which the published one must not."""
    known = KINDS[kind]
    builder = _Builder(closed)
    body = builder.object(known.shape) if typing.is_typeddict(known.shape) else builder.of(known.shape)
    head: Schema = {
        "$schema": _DIALECT,
        "$id": f"urn:partition-harness:schema:{kind}:{known.version}",
        "title": known.title,
    }
    return {**head, **body, "$defs": dict(sorted(builder.definitions.items()))}


class _Builder:
    """Makes schemas of types, and a definition of each TypedDict that they name."""

    def __init__(self, closed: bool) -> None:
        self._closed = closed
        self.definitions: dict[str, Schema] = {}

    def of(self, hint: Any) -> Schema:
        """Make the schema of one type; raises TypeError for a type that no shape should have."""
        origin, arguments = typing.get_origin(hint), typing.get_args(hint)
        if origin is Annotated:
            return {**self.of(arguments[0]), "description": arguments[1]}
        if origin is Literal:
            return {"enum": list(arguments)}
        if origin in (Union, types.UnionType):
            return self._any_of(arguments)
        if origin is list:
            return {"type": "array", "items": self.of(arguments[0])}
        if origin is dict:
            return {"type": "object", "additionalProperties": self.of(arguments[1])}
        if hint is Any:
            return {}
        if typing.is_typeddict(hint):
            if hint.__name__ not in self.definitions:
                self.definitions[hint.__name__] = {}
                self.definitions[hint.__name__] = self.object(hint)
            return {"$ref": f"#/$defs/{hint.__name__}"}
        if hint in _NAMES:
            return {"type": _NAMES[hint]}
        raise TypeError(f"{hint!r} has no place in a published shape")

    def object(self, shape: Any) -> Schema:
        """Make the schema of a TypedDict."""
        hints = typing.get_type_hints(shape, include_extras=True)
        schema: Schema = {
            "description": " ".join((shape.__doc__ or "").split()),
            "type": "object",
            "properties": {name: self.of(hint) for name, hint in hints.items()},
            "required": [name for name in hints if name in shape.__required_keys__],
        }
        if self._closed:
            schema["additionalProperties"] = False
        return schema

    def _any_of(self, options: tuple[Any, ...]) -> Schema:
        made = [self.of(option) for option in options]
        if all(set(one) == {"type"} for one in made):
            return {"type": [one["type"] for one in made]}
        return {"anyOf": made}
