"""What the shop looks like after normalisation. That the models could be built means that their unit tests passed."""

from __future__ import annotations

from datetime import date, datetime
from decimal import Decimal

from personalization.as_of import AsOf
from personalization.rules import Catalog, evaluation_query, parse_rule
from personalization.rules.events import EVENTS, event_of
from personalization.warehouse import Session


def test_records_of_one_person_are_merged(shop: Session) -> None:
    [row] = shop.rows(
        "select email_token, country, region, postcode, language, birth_date, created_at, records"
        " from marts.customers where customer_token = 'anna'"
    )
    assert row == ("e-anna", "US", "US-OH", "45202", "en", date(1980, 2, 29), datetime(2017, 2, 1, 13), 2)  # noqa: DTZ001


def test_everybody_seen_anywhere_is_a_customer(shop: Session) -> None:
    assert shop.rows("select customer_token, records from marts.customers order by 1") == [
        ("anna", 2),
        ("ben", 0),  # only bought
        ("carl", 1),
        ("dora", 1),
        ("eve", 1),
        ("fay", 0),  # only mailed
    ]


def test_a_text_that_is_no_country_is_not_guessed(shop: Session) -> None:
    assert shop.value("select country from marts.customers where customer_token = 'carl'") is None


def test_orders_fall_on_the_business_day_of_the_shop(shop: Session) -> None:
    days = dict(shop.rows("select order_id, order_day from marts.orders"))
    assert days["o1"] == date(2017, 11, 30)  # half past four in the morning of 1 December, UTC
    assert days["o5"] == date(2017, 12, 3)


def test_orders_add_up_their_lines(shop: Session) -> None:
    [row] = shop.rows(
        "select customer_token, lines, quantity, amount, discount, coupon_discount, currency"
        " from marts.orders where order_id = 'o1'"
    )
    assert row == ("anna", 2, Decimal(3), Decimal(15), Decimal(2), Decimal(1), "USD")


def test_lines_without_a_department_are_unknown(shop: Session) -> None:
    lines = shop.rows("select product_id, department from marts.order_lines where order_id in ('o2', 'o6') order by 1")
    assert lines == [("p3", "UNKNOWN"), ("p9", "UNKNOWN")]


def test_a_mistyped_gtin_is_reported(shop: Session) -> None:
    assert shop.rows("select product_id, gtin, gtin_problem from staging.stg_products order by 1") == [
        ("p1", "04006381333931", None),
        ("p2", None, "check digit is wrong"),
        ("p3", None, None),
    ]


def test_the_day_roll_up_has_departments_and_the_whole_day(shop: Session) -> None:
    rows = shop.rows(
        "select event, department, campaign_id, events, amount from marts.customer_day"
        " where customer_token = 'anna' and event_day >= date '2017-11-10' order by event_day, event, department"
    )
    assert rows == [
        ("mailing", "", "1", 1, None),  # no time of its own: the campaign's start
        ("conversion", "", "1", 2, None),  # two coupons on one day
        ("purchase", "", "", 1, Decimal(5)),
        ("purchase", "UNKNOWN", "", 1, Decimal(5)),
        ("purchase", "", "", 1, Decimal(15)),
        ("purchase", "MEAT", "", 1, Decimal(10)),
        ("purchase", "PRODUCE", "", 1, Decimal(5)),
        ("added_to_cart", "", "", 1, None),
        ("visit", "", "", 1, Decimal("3.5")),
    ]


def test_single_events_and_the_day_roll_up_tell_the_same(shop: Session) -> None:
    counted = """
        select customer_token, event_day, event, count(distinct event_id) as events from marts.moments
        where event = 'purchase' group by all
        union all
        select customer_token, event_day, event, sum(events) from marts.moments where event <> 'purchase' group by all
    """
    rolled_up = """
        select customer_token, event_day, event, sum(events) as events from marts.customer_day
        where department = '' group by all
    """
    assert shop.rows(f"({counted}) except ({rolled_up})") == []
    assert shop.rows(f"({rolled_up}) except ({counted})") == []
    assert shop.value("select count(distinct event) from marts.moments") == 5


def test_rules_read_hours_sequences_and_own_days_from_the_marts(shop: Session) -> None:
    """Anna's cart was at 10:00 UTC on 1 December, 43 hours before New York's midnight; Eve's 23 hours before it."""
    names = {**EVENTS, "added_to_cart": event_of("added_to_cart"), "visit": event_of("visit")}
    catalog, own_days = Catalog(events=names), Catalog(events=names, local_days=True)
    texts = {
        "cart": "did('added_to_cart', within => '43 hours')",
        "later": "did('added_to_cart', within => '42 hours')",
        "abandoned": "did('added_to_cart', department => 'meat') THEN NOT did('purchase') WITHIN '1 day'",
        "latest": "last('visit', 'category') = 'wine' AND sum_of('visit', 'amount', within => '1 day') = 3.5",
        "bought": "last('purchase', 'product') = 'p2' OR last('purchase', 'department') = 'produce'",
        "stage": "lifecycle_stage = 'active' AND time_zone = 'America/Los_Angeles'",
    }
    rules = {name: parse_rule(text, catalog) for name, text in texts.items()}
    # 1 December, 23:59 in New York, is the evening of 1 December in Los Angeles, where 2 December is not over yet
    rules["own day"] = parse_rule("did('visit', within => '1 day') AND as_of = '2017-12-02'", own_days)
    as_of = AsOf(date(2017, 12, 3), "America/New_York")
    query = evaluation_query(rules, as_of, profile="features.customer_profile")
    found = {row["customer_token"]: row for row in shop.arrow(query).to_pylist()}
    holds = {token: {name for name in rules if row[name]} for token, row in found.items()}
    assert holds["anna"] == {"cart", "abandoned", "bought", "stage", "own day"}
    assert holds["eve"] == {"cart", "later"}
    assert holds["carl"] == set()
