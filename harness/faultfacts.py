"""What a fault tells of itself: family, needs, effect, SQLSTATEs and versions, for lists and reference pages.

Effect and versions are said once, in the docstring of the fault's class: the sentences from ``Effect:`` and from
``Versions:`` to the next such word.
"""

from __future__ import annotations

import dataclasses
import re
from dataclasses import dataclass
from typing import Any

from .errors import UsageError
from .fault import FAULTS, Fault

FAMILIES = {
    "partition": ("bounds", "byhand", "creation", "default", "obstacles", "partition", "triggers"),
    "storage": ("files", "fullness", "replaced", "storage"),
    "database": ("database", "server", "sessions", "timeouts"),
    "network": ("commit", "flapping", "network", "toxics"),
    "process": ("limits", "process"),
    "dlq": ("dlq",),
    "clock": ("clock",),
    "none": ("noop",),
}
"""The modules of ``harness.faults`` by what they break; "none" breaks nothing, and is there to test the harness."""

_FAMILY_OF = {module: family for family, modules in FAMILIES.items() for module in modules}
_TOLD = re.compile(r"(Effect|Versions|Radius): (.*?)(?= (?:Effect|Versions|Radius): |$)")
_ENDS = re.compile(r"[;,(]")
_SQLSTATE = re.compile(r"\b(?:\d\d|[FHPX][0-9A-Z])[0-9A-Z]{3}\b")


@dataclass(frozen=True)
class FaultFacts:
    """One fault of the catalogue.  ``sqlstates`` are those that its effect names; none for hangs and broken lines."""

    name: str
    text: str
    family: str
    needs: tuple[str, ...]
    effect: str
    sqlstates: tuple[str, ...]
    versions: str
    momentary: bool
    python: str
    fields: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON."""
        return dataclasses.asdict(self)


def first_paragraph(docstring: str | None) -> str:
    """Return the first paragraph of a docstring as one line."""
    return " ".join((docstring or "").strip().split("\n\n")[0].split())


def facts_of(name: str, kind: type[Fault]) -> FaultFacts:
    """Read one fault's class; raises :class:`UsageError` when it does not tell its effect, versions or family."""
    words = " ".join((kind.__doc__ or "").split())
    told = {word: text.strip() for word, text in _TOLD.findall(words)}
    family = _FAMILY_OF.get(kind.__module__.rpartition(".")[2])
    missing = [word for word in ("Effect", "Versions") if word not in told]
    if missing or family is None:
        raise UsageError(
            f"The fault {name} ({kind.__module__}.{kind.__name__}) does not tell its "
            f"{' and '.join(missing) or 'family'}. Say it in the class's docstring as 'Effect: …' and 'Versions: …', "
            "and put its module into FAMILIES of harness/faultfacts.py."
        )
    return FaultFacts(
        name=name,
        text=first_paragraph(kind.__doc__),
        family=family,
        needs=tuple(sorted(str(need) for need in kind.needs)),
        effect=told["Effect"],
        sqlstates=tuple(dict.fromkeys(_SQLSTATE.findall(told["Effect"]))),
        versions=told["Versions"].rstrip("."),
        momentary=kind.momentary,
        python=f"{kind.__module__}.{kind.__name__}",
        fields=tuple(field.name for field in dataclasses.fields(kind)),  # type: ignore[arg-type]
    )


def catalogue() -> tuple[FaultFacts, ...]:
    """All registered faults, family by family; the caller has imported ``harness.faults``."""
    order = list(FAMILIES)
    facts = [facts_of(name, kind) for name, kind in FAULTS.items()]
    return tuple(sorted(facts, key=lambda one: order.index(one.family)))


def lines(facts: tuple[FaultFacts, ...]) -> list[str]:
    """Return the catalogue as a table: a head, then a line a fault with what it does and how Python calls it."""
    rows = [("name", "family", "needs", "SQLSTATE", "versions", "what it does [what a scenario imports]")]
    for one in facts:
        needs, states = ", ".join(one.needs), ", ".join(one.sqlstates) or "–"
        does = f"{one.text} [{one.python}({', '.join(one.fields)})]"
        rows.append((one.name, one.family, needs, states, _ENDS.split(one.versions)[0], does))
    widths = [max(len(row[column]) for row in rows) for column in range(5)]
    return ["  ".join([*(f"{row[i]:<{widths[i]}}" for i in range(5)), row[5]]) for row in rows]
