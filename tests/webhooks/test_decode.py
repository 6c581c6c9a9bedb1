"""Bodies to values: strict, bounded, and silent about what is in them. Invariants 5, 9."""

from __future__ import annotations

import json
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from personalization.webhooks.decode import MAX_EVENTS, Unreadable, canonical, form, json_object, json_objects

TEXT = st.text('ab"\\[]{},: ä\n', max_size=6)
PLAIN = st.none() | st.booleans() | st.integers() | TEXT
VALUES = PLAIN | st.lists(PLAIN, max_size=3) | st.dictionaries(TEXT, PLAIN, max_size=3)


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"", "the body is empty"),
        (b"\xff{}", "not UTF-8 at byte 0"),
        ("{}".encode("utf-16"), "not UTF-8 at byte 0"),
        (b"{", "not JSON: expecting property name enclosed in double quotes at character 1"),
        (b"{} {}", "not JSON: something follows the value that ends at character 2"),
        (b'{"a": NaN}', "NaN is not JSON"),
        (b'{"a": -Infinity}', "-Infinity is not JSON"),
        (b'{"a": ' + b"9" * 5_000 + b"}", "a number in it has too many digits"),
        (b"[" * 200_000, "it is nested too deeply"),
        (b"\xef\xbb\xbf{}", "not JSON"),
        (b"null", "null where an object is expected"),
        (b'"canary"', "a text where an object is expected"),
        (b"[1, 2]", "a list of 2 where an object is expected"),
        (b"1", "a number where an object is expected"),
    ],
    ids=lambda value: repr(value)[:20],
)
def test_what_is_no_json_object_says_why(body: bytes, reason: str) -> None:
    with pytest.raises(Unreadable, match=reason) as caught:
        json_object(body)
    assert "canary" not in str(caught.value)


def test_amounts_stay_exact() -> None:
    assert json_object(b'{"a": 0.1, "b": 12.50, "c": 1e3, "d": 12345678901234567890}') == {
        "a": Decimal("0.1"),
        "b": Decimal("12.50"),
        "c": Decimal("1E+3"),
        "d": 12345678901234567890,
    }


EVENTS = st.lists(st.dictionaries(TEXT, VALUES, max_size=4), max_size=5)


@given(events=EVENTS, indent=st.sampled_from([None, 1, 4]))
@settings(max_examples=60, deadline=None)
def test_every_event_of_a_list_keeps_its_own_bytes(events: list[dict[str, object]], indent: int | None) -> None:
    body = json.dumps(events, indent=indent).encode()
    found = json_objects(body)
    assert [event for event, _ in found] == events
    assert [json.loads(raw) for _, raw in found] == events
    inside = json.dumps({"before": events, "data": events, "meta": {"data": []}}, indent=indent).encode()
    assert [json.loads(raw) for _, raw in json_objects(inside, "data")] == events
    assert json_objects(inside) == [(json.loads(inside), inside)]


def test_a_list_under_a_key_that_comes_twice_is_read_as_every_reader_reads_it() -> None:
    body = b'{"data": [{"a": 1}], "x": 1, "data": [{"a": 2}, {"a": 3.50}]}'
    assert [raw for _, raw in json_objects(body, "data")] == [b'{"a": 2}', b'{"a": 3.50}']


def test_an_element_that_is_no_object_does_not_take_the_others_with_it() -> None:
    (first, _), (second, raw), (third, _) = json_objects(b'[{"a": 1}, "canary", {"a": 2}]')
    assert (first, third) == ({"a": 1}, {"a": 2})
    assert str(second) == "a text where an object is expected"
    assert raw == b'"canary"'


@pytest.mark.parametrize("body", [b"[{},]", b"[{} {}]", b"[{}", b"[", b"[{}] x", b'[{"a": NaN}]'])
def test_a_broken_list(body: bytes) -> None:
    with pytest.raises(Unreadable):
        json_objects(body)


def test_a_list_of_very_many_events() -> None:
    assert len(json_objects(b"[" + b",".join([b"{}"] * MAX_EVENTS) + b"]")) == MAX_EVENTS
    with pytest.raises(Unreadable, match="more than 5,000 events"):
        json_objects(b"[" + b",".join([b"{}"] * (MAX_EVENTS + 1)) + b"]")


def test_forms_become_nested_objects() -> None:
    body = (
        b"type=unsubscribe&data%5Bemail%5D=ann%40example.com&data[merges][FNAME]=%C3%84nn+B&list[][id]=1&list[][id]=2"
    )
    assert form(body + b"&e=") == {
        "type": "unsubscribe",
        "data": {"email": "ann@example.com", "merges": {"FNAME": "Änn B"}},
        "list": {"0": {"id": "1"}, "1": {"id": "2"}},
        "e": "",
    }


@pytest.mark.parametrize(
    "body",
    [b"", b"garbage", b"a=%ff", b"\xff=1", b"a=1&a[b]=2", b"a[b]=1&a=2", b"[a]=1", b"a[b=1", b"a" + b"[b]" * 9 + b"=1"],
)
def test_what_is_no_form(body: bytes) -> None:
    with pytest.raises(Unreadable):
        form(body)


def test_a_form_of_very_many_fields() -> None:
    with pytest.raises(Unreadable):
        form(b"&".join(b"f%d=" % number for number in range(10_001)))


def test_one_text_for_each_content() -> None:
    assert canonical({"b": 1, "a": {"d": Decimal("1.50"), "c": "ä"}}) == '{"a":{"c":"ä","d":"1.50"},"b":1}'.encode()
    assert canonical({"a": 1, "attemptNumber": 3}, frozenset({"attemptNumber"})) == b'{"a":1}'


def test_half_a_surrogate_pair_is_no_text() -> None:
    with pytest.raises(Unreadable, match="half of a surrogate pair"):
        canonical(json_object(b'{"a": "\\ud800"}'))
