"""Membership on any day of the past, and rules that ask for it: nothing after the day is ever looked at."""

from __future__ import annotations

from pathlib import Path

import pytest

from personalization.errors import DataError
from personalization.stages.segments.past import days_of, members_at, stays_of
from tests.segments.shop import MONDAY, Shop

BUYERS = {"rule": "orders_84d >= 5"}
TUESDAY, WEDNESDAY, THURSDAY = MONDAY.shift(1), MONDAY.shift(2), MONDAY.shift(3)


def history(shop: Shop) -> Path:
    return shop.root / "var" / "history"


def three_days(shop: Shop) -> None:
    """On Monday a and b, on Tuesday a alone, on Thursday b alone; nothing is evaluated on Wednesday."""
    for day, orders in ((MONDAY, (5, 5)), (TUESDAY, (5, 1)), (THURSDAY, (1, 5))):
        shop.customers(day, a={"orders_84d": orders[0]}, b={"orders_84d": orders[1]}, c={"orders_84d": None})
        shop.evaluate(shop.program(buyers=BUYERS), day)


def test_members_of_any_day_as_they_were_known_then(shop: Shop) -> None:
    three_days(shop)
    found = {day: members_at(shop.session, history(shop), "buyers", day) for day in (MONDAY, TUESDAY, WEDNESDAY)}
    assert [each.tokens for each in found.values()] == [("a", "b"), ("a",), ("a",)]
    assert [each.evaluated_on for each in found.values()] == [MONDAY.day, TUESDAY.day, TUESDAY.day]
    assert members_at(shop.session, history(shop), "buyers", THURSDAY.shift(30)).tokens == ("b",)
    with pytest.raises(DataError, match="'buyers' was not evaluated on 2024-03-03 or before"):
        members_at(shop.session, history(shop), "buyers", MONDAY.shift(-1))
    with pytest.raises(DataError, match="did you mean 'buyers'"):
        members_at(shop.session, history(shop), "buyer", MONDAY)


def test_the_rule_of_the_day_and_the_held_are_named(shop: Shop) -> None:
    shop.customers(MONDAY, a={"orders_84d": 5}, c={"orders_84d": None})
    shop.evaluate(shop.program(buyers=BUYERS), MONDAY)
    old = members_at(shop.session, history(shop), "buyers", MONDAY)
    shop.customers(TUESDAY, a={"orders_84d": 5}, b={"orders_84d": 9}, c={"orders_84d": None})
    shop.evaluate(shop.program(buyers=BUYERS | {"unknown": "hold"}), TUESDAY)
    new = members_at(shop.session, history(shop), "buyers", TUESDAY, limit=1)
    assert (old.size, old.held, old.held_tokens) == (1, 0, ())
    assert (new.size, new.held, new.tokens, new.held_tokens) == (2, 1, ("a",), ("c",))
    assert old.rule_version != new.rule_version
    assert members_at(shop.session, history(shop), "buyers", MONDAY) == old, "Tuesday changes nothing of Monday"


def test_days_and_stays(shop: Shop) -> None:
    three_days(shop)
    days = days_of(shop.session, history(shop), "buyers")
    assert [(each.day, each.size, each.entered, each.exited) for each in days] == [
        (MONDAY.day, 2, 2, 0),
        (TUESDAY.day, 1, 0, 1),
        (THURSDAY.day, 1, 1, 1),
    ]
    stays = stays_of(shop.session, history(shop), "b")
    assert [(each.entered_on, each.exited_on) for each in stays] == [
        (MONDAY.day, TUESDAY.day),
        (THURSDAY.day, None),
    ]
    assert days_of(shop.session, history(shop), "nothing") == []


def test_a_rule_that_asks_for_earlier_membership_sees_only_days_before(shop: Shop) -> None:
    """`stayers` reads its own past: who bought once stays for two days more."""
    rules = {"buyers": BUYERS, "stayers": "in_segment('buyers') OR was_in_segment('buyers', within => '2 days')"}
    people = {MONDAY: (5, 1), TUESDAY: (1, 5), WEDNESDAY: (1, 1), THURSDAY: (1, 1)}
    for day, (a, b) in people.items():
        shop.customers(day, a={"orders_84d": a}, b={"orders_84d": b})
        shop.evaluate(shop.program(**rules), day)
    expected = {MONDAY: {"a"}, TUESDAY: {"a", "b"}, WEDNESDAY: {"a", "b"}, THURSDAY: {"b"}}
    assert {day: shop.members(day, "stayers") for day in people} == expected
    # once more, now that later days are known, and in another order
    for day in (WEDNESDAY, TUESDAY, MONDAY, THURSDAY):
        a, b = people[day]
        shop.customers(day, a={"orders_84d": a}, b={"orders_84d": b})
        shop.evaluate(shop.program(**rules), day)
    assert {day: shop.members(day, "stayers") for day in people} == expected


def test_earlier_membership_survives_the_loss_of_the_warehouse(shop: Shop) -> None:
    three_days(shop)
    shop.session.execute("drop schema segments cascade")
    friday = MONDAY.shift(4)
    shop.customers(friday, a={"orders_84d": 1}, b={"orders_84d": 1})
    shop.evaluate(shop.program(buyers=BUYERS, once="was_in_segment('buyers')"), friday)
    assert shop.members(friday, "once") == {"a", "b"}


def test_a_result_is_not_taken_over_when_an_earlier_day_changed(shop: Shop) -> None:
    rules = {"buyers": "orders_84d >= 5", "once": "was_in_segment('buyers')"}
    for day, orders in ((MONDAY, 1), (TUESDAY, 1)):
        shop.customers(day, a={"orders_84d": orders})
        shop.evaluate(shop.program(**rules), day)
    assert shop.members(TUESDAY, "once") == set()
    shop.customers(MONDAY, a={"orders_84d": 5})
    shop.evaluate(shop.program(**rules), MONDAY)
    shop.customers(TUESDAY, a={"orders_84d": 1})
    shop.evaluate(shop.program(**rules), TUESDAY)
    assert shop.members(TUESDAY, "once") == {"a"}


def test_a_result_is_not_taken_over_when_a_single_event_came(shop: Shop) -> None:
    shop.session.execute("create table marts.customer_events (customer_token varchar, us bigint, event varchar)")
    shop.session.execute(
        """
        create view marts.moments as select
            customer_token, us as moment_us, make_timestamp(us) as occurred_at,
            cast(make_timestamp(us) as date) as event_day, event, null::varchar as event_id,
            null::varchar as department, null::varchar as category, null::varchar as product_id,
            null::varchar as campaign_id, null::varchar as detail, 1 as events, 0 as quantity, 0 as amount
        from marts.customer_events
        """
    )
    rule = "did('visit', within => '36 hours') THEN NOT did('cart') WITHIN '2 hours'"
    shop.settings = "\nevents: {visit: {title: visited}, cart: {title: filled a cart}}\n"
    program = shop.program(lookers=rule)
    shop.customers(MONDAY, a={}, b={})
    shop.evaluate(program, MONDAY)
    assert shop.members(MONDAY, "lookers") == set()
    hour, start = 3_600_000_000, int(MONDAY.instant.timestamp()) * 1_000_000
    for token, hours, event in (("a", 20, "visit"), ("b", 20, "visit"), ("b", 19, "cart")):
        shop.session.execute("insert into marts.customer_events values (?, ?, ?)", [token, start - hours * hour, event])
    shop.session.set_note("marts.customer_events", None)
    shop.evaluate(program, MONDAY)
    assert shop.members(MONDAY, "lookers") == {"a"}
