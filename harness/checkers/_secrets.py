"""What neither a label nor a log line may hold: ids, events, credentials; and labels that grow with the events."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from .. import events as ev
from ..checking import Finding
from ..rundata import Run
from ..values import Promise
from ._scraped import Scraped
from ._series import parse_series

MANY_VALUES = 50
"""A label with so many values, and still growing, counts events; routes and statuses are fewer."""
MANY_NEW_VALUES = 10
"""So many new values in a run's second half are growth; the months of an old table may be many, but few are new."""
_MASK = r"(?:\*+|x{3,}|•+|…|\.{3}|[<\[(]?(?:redacted|hidden|masked|removed)[>\])]?)"
"""What libraries put where a password was: no credential is told by it."""
_CREDENTIAL = re.compile(
    rf"(?:[:=/\"']\s?|\bbearer ){re.escape(ev.HIDDEN)}|\w+://[^/\s:@\"]+:(?!{_MASK}@)[^/\s@\"]+@"
    rf"|\b(?:password|passwd|token|secret)\s*=\s*(?![\"']?{_MASK}(?:[\s\"',;&)]|$))\S",
    re.IGNORECASE,
)
_UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", re.IGNORECASE)
_PAYLOAD = re.compile(r"event_data\W{0,6}\{")
_LABEL_OF_PAYLOAD = re.compile(r"[{,]\s*event_data=")
_DSN = re.compile(r"\bpostgres(?:ql)?://", re.IGNORECASE)


def credential_in(text: str) -> bool:
    """Tell whether a text shows a credential; the history has :data:`HIDDEN` for each of the run's own."""
    return _CREDENTIAL.search(text) is not None


def payload_in(text: str) -> bool:
    """Tell whether a text shows the data of an event; its name alone is the field's."""
    return _PAYLOAD.search(text) is not None


def event_ids_in(run: Run, text: str) -> list[str]:
    """Ids in a text: UUIDs, and correlation ids of the run."""
    return [*_UUID.findall(text), *re.findall(rf"{re.escape(run.started.run)}/\d+", text)]


def secret_findings(scraped: Scraped) -> Iterator[Finding]:
    """No label's name or value holds an id, a payload or a credential, and none has a value an event.

    Honest: any further series and label of the service's own with a handful of values, such as the id of its instance.
    """
    told: set[tuple[str, str]] = set()
    values: dict[tuple[str, str], dict[str, float]] = {}
    texts = _texts(scraped)
    sent = _sent(scraped.run, texts)
    for text, t in texts.items():
        name, labels = parse_series(text)
        said = _said(scraped.run, text, sent)
        if said and (said, name) not in told:
            told.add((said, name))
            shown = text if len(text) <= 160 else f"{text[:160]}…"
            yield Finding(Promise.TRUTH, f"A label of {name} holds {said}: {shown}", (), t)
        for label, value in labels:
            if label != "le":
                values.setdefault((name, label), {}).setdefault(value, t)
    halfway = scraped.scrapes[len(scraped.scrapes) // 2].t
    for (name, label), seen in values.items():
        later = [t for t in seen.values() if t > halfway]
        if len(seen) >= MANY_VALUES and len(later) >= MANY_NEW_VALUES:
            said = f"Label {label} of {name} has {len(seen)} values, {len(later)} of them new in the run's second half."
            yield Finding(Promise.TRUTH, said, (), max(later))


def _texts(scraped: Scraped) -> dict[str, float]:
    """Every series text of the run, once, and when it was first scraped."""
    found: dict[str, float] = {}
    for scrape in scraped.scrapes:
        for text in scrape.sample.series:
            found.setdefault(text, scrape.t)
    return found


def _sent(run: Run, texts: Iterable[str]) -> frozenset[str]:
    """The UUIDs in the texts, in lower case, that are ids of events of the run."""
    found = frozenset(each.lower() for text in texts for each in _UUID.findall(text))
    return frozenset(run.sent_as(found)) if found else found


def _said(run: Run, text: str, sent: frozenset[str]) -> str:
    labels = text[text.index("{") :] if "{" in text else ""
    if not labels:
        return ""
    if credential_in(text) or _DSN.search(text):
        return "a credential or a connection string"
    ids = event_ids_in(run, text)
    if any(each.lower() in sent or not _UUID.fullmatch(each) for each in ids):
        return "the id of an event"
    return "an event's payload" if payload_in(labels) or _LABEL_OF_PAYLOAD.search(labels) else ""
