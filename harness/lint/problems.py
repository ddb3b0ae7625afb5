"""What the lint says: a problem, how sure it is, where, and what to do."""

from __future__ import annotations

import enum
from dataclasses import dataclass

from ..errors import UsageError


class Unreadable(UsageError):
    """A file of rules, a dashboard or a page of metrics that is none; names it and the remedy."""


class Level(enum.StrEnum):
    """An error is wrong whatever happens; a warning may be meant."""

    ERROR = "error"
    WARNING = "warning"


class Rule(enum.StrEnum):
    """The kinds of problems; docs/how-to/observability.md explains each."""

    UNPARSABLE = "unparsable"
    UNKNOWN_SERIES = "unknown-series"
    UNRECORDED = "unrecorded"
    RECORDED_LATER = "recorded-later"
    UNKNOWN_LABEL = "unknown-label"
    UNKNOWN_VALUE = "unknown-value"
    GROUPED_BY_UNKNOWN = "grouped-by-unknown"
    NEVER_MATCHES = "never-matches"
    NEVER_TRUE = "never-true"
    ALWAYS_TRUE = "always-true"
    NO_BUCKETS = "no-buckets"
    CONSTANT = "constant"
    FOR_TOO_LONG = "for-too-long"
    TEMPLATE_LABEL = "template-label"
    TEMPLATE = "template"
    UNKNOWN_VARIABLE = "unknown-variable"


@dataclass(frozen=True)
class Told:
    """A problem of one expression or template, not yet placed."""

    rule: Rule
    said: str
    remedy: str
    level: Level = Level.ERROR


@dataclass(frozen=True, kw_only=True)
class Problem:
    """A problem in its place: file, rule or panel, and the expression or template."""

    path: str
    place: str
    expression: str
    rule: Rule
    said: str
    remedy: str
    level: Level

    @classmethod
    def at(cls, path: str, place: str, expression: str, told: Told) -> Problem:
        """Place what was told."""
        shown = " ".join(expression.split())
        return cls(
            path=path,
            place=place,
            expression=shown,
            rule=told.rule,
            said=told.said,
            remedy=told.remedy,
            level=told.level,
        )

    @property
    def text(self) -> str:
        """One paragraph: where, what is wrong, what to do."""
        return f"{self.path}: {self.place}: {self.said} (in {self.expression}). {self.remedy}"
