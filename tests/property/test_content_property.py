"""Two contents have one fingerprint if and only if the contract calls them equal."""

from __future__ import annotations

import json

from hypothesis import example, given
from hypothesis import strategies as st

from harness.checkers._content import fingerprint, parse_content

plain = ["0", "-0", "0.0", "-0.0", "1", "1.0", "10", "120", "1200", "0.1", "0.10", "-2.50", "1.5"]
with_exponent = ["1e0", "1e1", "1E+1", "100e-1", "1e-1", "-25e-1", "1.2e2"]
numbers = st.sampled_from([*plain, *with_exponent])
others = st.sampled_from(
    ['"1"', '"1.0"', "true", "null", "[1]", '["1"]', '{"a":1,"b":2.0}', '{"b":2,"a":1.0}', '"\\u0000"', '"\\u0001"']
)
spelt = st.one_of(numbers, others)
moments = st.sampled_from(
    ["2025-12-01T00:00:00Z", "2025-12-01T01:00:00+01:00", "2025-12-01t00:00:00.000z", "2025-12-01T00:00:01Z", "soon"]
)


def event(version: str | None, moment: str, number: str) -> str:
    fields = [f'"event_timestamp":{json.dumps(moment)}', f'"event_data":{{"n":{number}}}', '"event_id":"A-1"']
    if version is not None:
        fields.insert(0, f'"version":"{version}"')
    return "{" + ",".join(fields) + "}"


events = st.builds(event, st.sampled_from([None, "1.0", "2.0"]), moments, spelt)


@given(events, events)
@example(event(None, "soon", "10"), event("1.0", "soon", "1e1"))
def test_fingerprints_are_equal_where_contents_are(one: str, other: str) -> None:
    equal = not parse_content(one).differing(parse_content(other))
    same = fingerprint(one)[0] == fingerprint(other)[0]
    # What holds the mark of a number is only ever equal to itself, letter by letter.
    assert same == equal or (equal and "\\u0000" in one and one != other)


@given(st.text(), st.text())
def test_texts_that_are_no_events_are_equal_only_to_themselves(one: str, other: str) -> None:
    if not one.strip().startswith("{"):
        assert (fingerprint(one)[0] == fingerprint(other)[0]) == (one == other)
