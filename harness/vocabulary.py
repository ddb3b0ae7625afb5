"""Vocabulary: the words of which histories and reports are made, whatever is played and whoever serves.

A history is redacted before it is judged.  One in which such a word were replaced would say something else: a table of
another name, a fault that nobody declared, a status that is none.  So a *guess* at a secret that is nothing but these
words is left where it stands.  ``tests/unit/test_vocabulary.py`` holds the list to the names that are in use.

Words that passwords are made of (token, secret, login, admin, …) are none of it; where a name needs one, the whole name
is a phrase.
"""

from __future__ import annotations

import dataclasses
import enum
import re
from collections.abc import Iterator
from types import ModuleType

from . import blast, events
from .targets.model import Limits, Reads

_CONTRACT = """
    action activated age api application attached attempts audit available bucket category count created cursor
    datastorage drained duplicate duration ended errors events exhausted failure failures first for from health
    healthy histogram host in last letters listening live log max min mm next oldest open partitions pending port
    queue queued ready rejected results retry route slm stored success sum synchronous timestamp to unavailable
    unknown url use v values wait waiting with yyyy
"""
"""Of docs/reference/contract.md: the table, the calls, the metrics, the lines of the log."""
_FAULTS = """
    and attach average backend bandwidth before blackhole blocks born by check close closes commit connection
    connections copy corrupt crash creation cut data database days default deleted detach direction directions
    directory disable disk drop end file files fill force full hand heap hold how idle index interrupt interval kb
    kill latency locked loop mb missing mode momentary move needs noop only page pages pause per prevent proxy rate
    refuse relation remove repeatedly replace reset restore role round schema second shift slicer slots slow spare
    start states stop tablespace take tear terminate times trigger trips truncate unmade unreadable until us wrong
    zero
"""
_CHECKERS = """
    answers back conservation duplicates evidence exhaustion fallback honest hygiene interrupted isolation leaks
    observability reached readiness reads strictness
"""
_SCENARIOS = """
    after anonymous checkers claim downstream environment evict exclusive extra fast fault immediate immutable judge
    killable late load locust mount peer phases proxied requirements samples schedule size small steps strict upstream
    users writers
"""
_REPORTS = """
    again broken changed changes checked checker checks clocks code command counts detect drain exit facts faults
    finding findings finished folder heals irreducible jobs number off operations owed problem progress promise
    recover repeat runs sampling scenarios sentence seq setup skipped suite summary timings total unknowns verdict
    version waits
"""
_WORKLOAD = """
    actor administration amount authentication billing contradicted create delete document documents field flag
    invoice large nested null paid perhaps shared tags update updated
"""
_OWN = "canary cpus harness linux platform postgres postgresql psql python reference restarted toxiproxy"
_PHRASES = (
    *("/api/v1/audit/events/batch", "/api/v1/dlq/events"),
    *("pass-month-end", "service-login", "slm_user", "user.login"),
)
"""Names with a part that is no word, or one that passwords have as well."""
_PART = re.compile(r"[a-z]+|[0-9]+")
_MOST_DIGITS = 6


def _names(module: ModuleType) -> Iterator[str]:
    """Names of the kinds that a module defines, of their fields, and the values of its enumerations."""
    for kind in vars(module).values():
        if not isinstance(kind, type) or kind.__module__ != module.__name__:
            continue
        yield kind.__name__
        if dataclasses.is_dataclass(kind):
            yield from (field.name for field in dataclasses.fields(kind))
        elif issubclass(kind, enum.Enum):
            yield from (str(member.value) for member in kind)


def _words() -> Iterator[str]:
    for text in (_CONTRACT, _FAULTS, _CHECKERS, _SCENARIOS, _REPORTS, _WORKLOAD, _OWN, *_names(events), *_names(blast)):
        yield from _PART.findall(text.lower())
    for kind in (Limits, Reads):
        for field in dataclasses.fields(kind):
            yield from _PART.findall(field.name)


WORDS = frozenset(word for word in _words() if word.isalpha())
"""In lower case."""


def is_phrase(text: str) -> bool:
    """Tell whether a text is a part of a name that has a word of another kind in it."""
    lowered = text.lower()
    return any(lowered in phrase for phrase in _PHRASES)


def is_of_words(text: str) -> bool:
    """Tell whether a text of words and numbers has no other words than histories have, and no long number."""
    parts = _PART.findall(text.lower())
    return all(part in WORDS if part.isalpha() else len(part) <= _MOST_DIGITS for part in parts)
