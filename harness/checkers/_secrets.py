"""What neither a label nor a log line may hold: ids, events, credentials; and labels that grow with the events."""

from __future__ import annotations

import re
from collections.abc import Iterator

from ..checking import Finding
from ..rundata import Run
from ..values import Promise
from ._scraped import Scraped
from ._series import parse_series

MANY_VALUES = 50
"""A label with so many values, and still growing, counts events; months, routes and statuses are fewer."""
_CREDENTIAL = re.compile(
    r"[:=/\"']\s?\*\*\*|\bbearer \*\*\*|\w+://[^/\s:@\"]+:[^/\s@\"]+@|\b(?:password|passwd|token|secret)\s*=\s*\S",
    re.IGNORECASE,
)
_UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", re.IGNORECASE)
_DSN = re.compile(r"\bpostgres(?:ql)?://", re.IGNORECASE)


def credential_in(text: str) -> bool:
    """Tell whether a text shows a credential; the history has the run's own ones as ``***``."""
    return _CREDENTIAL.search(text) is not None


def event_ids_in(run: Run, text: str) -> list[str]:
    """Ids in a text: UUIDs, and correlation ids of the run."""
    return [*_UUID.findall(text), *re.findall(rf"{re.escape(run.started.run)}/\d+", text)]


def secret_findings(scraped: Scraped) -> Iterator[Finding]:
    """No label's name or value holds an id, a payload or a credential, and none has a value an event.

    Honest: any further series and label of the service's own with a handful of values.
    """
    told: set[tuple[str, str]] = set()
    values: dict[tuple[str, str], dict[str, float]] = {}
    for text, t in _texts(scraped).items():
        name, labels = parse_series(text)
        said = _said(scraped.run, text)
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
        if len(seen) >= MANY_VALUES and later:
            said = f"Label {label} of {name} has {len(seen)} values, {len(later)} of them new in the run's second half."
            yield Finding(Promise.TRUTH, said, (), max(later))


def _texts(scraped: Scraped) -> dict[str, float]:
    """Every series text of the run, once, and when it was first scraped."""
    found: dict[str, float] = {}
    for scrape in scraped.scrapes:
        for text in scrape.sample.series:
            found.setdefault(text, scrape.t)
    return found


def _said(run: Run, text: str) -> str:
    if "{" not in text:
        return ""
    if credential_in(text) or _DSN.search(text):
        return "a credential or a connection string"
    if event_ids_in(run, text):
        return "the id of an event"
    return "an event's payload" if "event_data" in text else ""
