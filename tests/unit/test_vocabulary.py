"""No guess at a secret replaces a word that histories or reports are made of, so no history says something else."""

from __future__ import annotations

import dataclasses
import enum
import re
import typing
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import harness.checkers
import harness.faults  # noqa: F401  (fills the registry)
from harness import blast, values
from harness.checking import CHECKERS
from harness.fault import FAULTS
from harness.history import Clock, History, read_history
from harness.jsonlines import KINDS, encode
from harness.redaction import can_be_hidden, secrets_of
from harness.report import shapes
from harness.scenario import Load, LoadPhase, Scenario
from harness.schedule import Step
from harness.stacks import base
from harness.stacks.postgres_template import DATABASE
from harness.targets.model import Limits, Reads
from harness.values import Month
from harness.vocabulary import WORDS
from harness.workload import Stream
from tests.unit.histories import good

CONTRACT = Path(__file__).parents[2] / "docs/reference/contract.md"
IDENTIFIER = re.compile(r"[A-Za-z]+(?:[_/-][A-Za-z0-9]+)+")
PHRASE = re.compile(r"[A-Za-z]+(?:[ _.,/-]+(?:[A-Za-z]+|[0-9]+))*")
UUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
LINES = (
    *("Failed to write to partition audit_events_2025_12", "DLQ fallback activated for partition 2025_12"),
    *("DLQ fallback ended for partition 2025_12", "Connection pool exhausted"),
    *("Request queued, waiting for available connection", "partition-harness", "harness_canary"),
)


def fields(kind: type) -> Iterator[str]:
    yield from (field.name for field in dataclasses.fields(kind))


def names() -> Iterator[str]:
    """Names that the code of the harness itself compares with, reads back, or shows to programs."""
    yield from (*FAULTS, *CHECKERS, *KINDS, *LINES, DATABASE)
    for kind in (*FAULTS.values(), *KINDS.values(), Scenario, Load, LoadPhase, Step, Limits, Reads, blast.BlastRadius):
        yield from fields(kind)
    for module in (blast, values, base):
        for kind in vars(module).values():
            if isinstance(kind, type) and issubclass(kind, enum.Enum):
                yield from (str(member.value) for member in kind)
    for shape in vars(shapes).values():
        if typing.is_typeddict(shape):
            yield from shape.__annotations__


def test_no_name_of_the_harness_can_be_hidden() -> None:
    found = sorted(set(names()))
    assert len(found) > 300
    assert [name for name in found if can_be_hidden(name)] == []


def test_no_name_of_the_contract_can_be_hidden() -> None:
    spans = re.findall(r"`([^`]+)`", CONTRACT.read_text(encoding="utf-8"))
    found = {name for span in spans for name in IDENTIFIER.findall(span) if "token" not in name.lower()}
    assert {"audit_events", "DLQ_MAX_EVENTS", "datastorage_dlq_oldest_age_seconds"} <= found
    assert sorted(name for name in found if can_be_hidden(name)) == []


def test_no_phrase_of_an_honest_history_can_be_hidden() -> None:
    lines = "\n".join(encode(record) for record in good().records)
    phrases = set(PHRASE.findall(lines))
    assert "Failed to write to partition audit_events_2025_12" in phrases
    assert sorted(phrase for phrase in phrases if can_be_hidden(phrase)) == []


def test_nothing_that_the_load_says_can_be_hidden_but_what_it_draws_by_lot() -> None:
    load = Load(months=(Month(2025, 12),), poison_share=0.05, invalid_share=0.2)
    stream = Stream(3, 0, Month(2025, 12), load, "run")
    found = set()
    for op in range(400):
        planned = stream.next(op)
        stream.remember(op, planned)
        found |= {piece for piece in planned.content.split('"') if piece.isascii() and not UUID.fullmatch(piece)}
    assert {"user.login", "authentication", "contradicted"} <= found
    assert sorted(piece for piece in found if PHRASE.fullmatch(piece) and can_be_hidden(piece)) == ["x" * 51]


@given(st.lists(st.sampled_from(sorted(WORDS)) | st.integers(0, 999_999).map(str), min_size=1, max_size=5), st.data())
def test_words_of_histories_are_none_to_hide_however_they_are_put_together(
    parts: list[str], data: st.DataObject
) -> None:
    separators = data.draw(st.lists(st.sampled_from("_-./ "), min_size=len(parts), max_size=len(parts)))
    text = "audit" + "".join(f"{between}{part}" for between, part in zip(separators, parts, strict=True))
    assert not can_be_hidden(text)
    assert can_be_hidden(f"{text}-hunter"), "one word of another kind makes it a secret"


@pytest.mark.parametrize(
    "value",
    [
        *("audit_events_2025", "audit-events-2025", "partition-harness", "lock-partition", "datastorage", "RunStarted"),
        *("Failed to write to partition", "2025-12-01", "2025_12", "_events_2025_12", "DLQ_MAX_EVENTS", "audit"),
    ],
)
def test_a_history_says_the_same_whatever_word_of_it_stands_in_the_environment(tmp_path: Path, value: str) -> None:
    records = good().records
    history = History(tmp_path, Clock())
    history.hide((), secrets_of(None, {"DB_PASSWORD": value}).guessed)
    for record in records:
        history.add(record)
    history.close()
    assert read_history(tmp_path) == records
