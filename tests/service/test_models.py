"""Events: what is refused, and what is equal."""

import json
import uuid
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.models import (
    EVENT_DATA_MAX_BYTES,
    Event,
    InvalidError,
    JsonValue,
    canonical,
    parse_event,
    parse_json,
)

EARLIEST, LATEST = datetime(2020, 1, 1, tzinfo=UTC), datetime(2030, 1, 1, tzinfo=UTC)


def body(**changes: object) -> dict[str, object]:
    made: dict[str, object] = {
        "event_id": "0E37DF36-f698-11e6-8dd4-cb9ced3df976",
        "event_timestamp": "2025-12-31T23:30:00-01:00",
        "event_type": "login",
        "event_category": "auth",
        "event_action": "create",
        "event_outcome": "success",
        "correlation_id": "c-1",
        "event_data": {"amount": 1},
    }
    made.update(changes)
    return made


def parse(made: object) -> Event:
    return parse_event(parse_json(json.dumps(made)), EARLIEST, LATEST)


def test_an_event_gets_its_month_from_utc_and_its_defaults() -> None:
    event = parse(body())
    assert event.month == "2026_01"
    assert event.event_date == "2026-01-01"
    assert '"event_timestamp":"2026-01-01T00:30:00Z"' in event
    assert '"version":"1.0"' in event
    assert event.event_id == "0e37df36-f698-11e6-8dd4-cb9ced3df976"


def test_a_missing_id_is_made() -> None:
    without = body()
    del without["event_id"]
    assert uuid.UUID(parse(without).event_id).version == 4


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("event_id", "{0e37df36-f698-11e6-8dd4-cb9ced3df976}"),
        ("event_id", None),
        ("event_timestamp", "2025-12-31T23:30:00"),
        ("event_timestamp", "2025-12-31T23:30:00.1234567Z"),
        ("event_timestamp", "2025-02-30T00:00:00Z"),
        ("event_timestamp", "0001-01-01T00:00:00+10:00"),
        ("event_timestamp", "2025-12-31"),
        ("event_timestamp", 1765000000),
        ("version", ""),
        ("version", "x" * 21),
        ("event_type", "x" * 101),
        ("event_category", "x" * 51),
        ("event_outcome", "maybe"),
        ("correlation_id", "x" * 256),
        ("correlation_id", "a\x00b"),
        ("event_data", []),
        ("event_data", None),
        ("event_data", {"a": "\x00"}),
        ("event_data", {"\x00": 1}),
        ("event_data", {"a": "\ud800"}),
        ("event_data", {"a": "x" * EVENT_DATA_MAX_BYTES}),
        ("surprise", 1),
    ],
)
def test_a_wrong_field_is_named(field: str, value: object) -> None:
    with pytest.raises(InvalidError) as refusal:
        parse(body(**{field: value}))
    assert list(refusal.value.errors) == [field]


def test_every_required_field_is_required_and_all_errors_are_listed() -> None:
    with pytest.raises(InvalidError) as refusal:
        parse({})
    assert set(refusal.value.errors) == set(body()) - {"event_id"}


def test_depth_and_size_are_allowed_up_to_their_limits() -> None:
    deep: object = 1
    for _ in range(9):
        deep = [deep]
    assert parse(body(event_data={"a": deep}))
    with pytest.raises(InvalidError):
        parse(body(event_data={"a": [deep]}))
    room = EVENT_DATA_MAX_BYTES - len('{"a":""}')
    assert parse(body(event_data={"a": "é" * (room // 2)}))
    with pytest.raises(InvalidError):
        parse(body(event_data={"a": "é" * (room // 2 + 1)}))


@pytest.mark.parametrize(
    "text",
    ["", "{", '{"a":1,"a":2}', '{"a":{"b":1,"b":1}}', "NaN", '{"a":Infinity}', b"\xff", b"\xef\xbb\xbf{}", "[" * 10**5],
)
def test_what_is_not_strict_json_is_refused(text: str | bytes) -> None:
    with pytest.raises(InvalidError):
        parse_json(text)


def test_the_window_refuses_what_is_too_old_or_too_far_ahead() -> None:
    earliest, latest = datetime(2025, 12, 1, tzinfo=UTC), datetime(2025, 12, 31, tzinfo=UTC)
    for stamp in (earliest, latest):
        assert parse_event(body(event_timestamp=stamp.isoformat()), earliest, latest)  # type: ignore[arg-type]
    for stamp in (earliest - timedelta(microseconds=1), latest + timedelta(microseconds=1)):
        with pytest.raises(InvalidError, match="window"):
            parse_event(body(event_timestamp=stamp.isoformat()), earliest, latest)  # type: ignore[arg-type]


def test_no_way_to_write_a_number_is_shorter_than_its_canonical_form() -> None:
    many = json.dumps(body(event_data={})).replace("{}", '{"a":[' + ",".join(["1e30"] * 50_000) + "]}")
    assert parse_event(parse_json(many), EARLIEST, LATEST)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ('{"a":1.50,"b":2}', '{"b":2e0,"a":15e-1}'),
        ('{"a":-0.0}', '{"a":0}'),
        ('{"a":1e400}', '{"a":' + "1" + "0" * 400 + "}"),
        ('{"a":1e-40}', '{"a":0.1e-39}'),
        ('{"a":"\\u00e9"}', '{"a":"é"}'),
    ],
)
def test_contents_are_equal_when_their_json_values_are(one: str, other: str) -> None:
    assert canonical(parse_json(one)) == canonical(parse_json(other))


def test_numbers_that_a_float_would_confuse_differ() -> None:
    assert canonical(parse_json("0.1")) != canonical(parse_json("0.1000000000000000055511151231257827"))
    assert canonical(parse_json("9007199254740993")) != canonical(parse_json("9007199254740992"))


values: st.SearchStrategy[JsonValue] = st.recursive(
    st.none()
    | st.booleans()
    | st.decimals(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00")),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(alphabet="abcé", max_size=3), inner, max_size=4)
    ),
    max_leaves=20,
)


def depth_of(value: JsonValue) -> int:
    if isinstance(value, dict):
        return 1 + max(map(depth_of, value.values()), default=0)
    return 1 + max(map(depth_of, value), default=0) if isinstance(value, list) else 0


@settings(deadline=None)
@given(st.dictionaries(st.text(alphabet="xyz", max_size=3), values.filter(lambda v: depth_of(v) < 10), max_size=4))
def test_the_canonical_form_reads_back_as_the_same_value_and_is_stable(value: dict[str, JsonValue]) -> None:
    text = canonical(value)
    again = parse_json(text)
    assert again == value
    assert canonical(again) == text


@settings(deadline=None)
@given(st.decimals(allow_nan=False, allow_infinity=False))
def test_equal_numbers_have_one_form(number: Decimal) -> None:
    sign, digits, exponent = number.as_tuple()
    assert isinstance(exponent, int)
    padded = Decimal((sign, (*digits, 0, 0), exponent - 2))
    assert canonical(number) == canonical(padded)
    assert Decimal(canonical(number)) == number


def test_a_queued_event_reads_back_equal() -> None:
    event = parse(
        body(event_data={"b": [None, True, 1.25], "a": "\u2028é"}, event_timestamp="2025-12-01T00:00:00.000001Z")
    )
    assert parse_event(parse_json(event), EARLIEST, LATEST) == event
