"""What the shop looks like after normalisation. That the models could be built means that their unit tests passed."""

from __future__ import annotations

from datetime import date, datetime
from decimal import Decimal

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
    ]
