"""Features of the shop, counted by hand. Anna bought on 1 June, 15 October, 20 and 30 November 2017."""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from typing import Any

import pytest

from personalization.warehouse import Session
from tests.normalise.landed import VARIABLES


@pytest.fixture(scope="module")
def anna(shop: Session) -> dict[str, Any]:
    """Anna's features on 3 December."""
    return features_of(shop, "anna")


def features_of(shop: Session, customer: str, as_of: str = "2017-12-03") -> dict[str, Any]:
    table = shop.arrow(
        "select * from features.customer_features where as_of = $day and customer_token = $customer",
        {"day": as_of, "customer": customer},
    )
    [row] = table.to_pylist()
    return row


@pytest.mark.parametrize(
    ("feature", "value"),
    [
        ("recency_days", 3),
        ("tenure_days", 305),  # since the record of 1 February
        ("orders_7d", 1),
        ("orders_28d", 2),
        ("orders_84d", 3),
        ("orders_total", 4),
        ("spend_28d", 20.0),
        ("spend_84d", 40.0),
        ("spend_total", 48.0),
        ("average_order_value_84d", 40 / 3),
        ("items_84d", 8.0),
        ("mean_gap_days_84d", 28.0),
        ("recency_to_gap", 3 / 28),
        ("active_weeks_12w", 3),
        ("spend_trend", 1.0),
        ("discount_share_84d", 2 / 43),
        ("coupon_share_84d", 1 / 43),
        ("departments_84d", 2),  # UNKNOWN is none
        ("top_department_84d", "MEAT"),
        ("top_department_share_84d", 0.75),
        ("produce_share_84d", 0.125),
        ("meat_share_84d", 0.75),
        ("grocery_share_84d", 0.0),
        ("weekend_share_84d", 1 / 3),
        ("mailings_28d", 1),
        ("mailings_84d", 1),
        ("mailings_total", 1),
        ("last_mailing_days", 23),
        ("conversions_84d", 2),
        ("conversions_total", 2),
        ("last_conversion_days", 13),
    ],
)
def test_features(anna: dict[str, Any], feature: str, value: Any) -> None:
    assert anna[feature] == value


def test_zero_is_known_and_null_is_not(shop: Session) -> None:
    """Carl has a record and nothing else: no orders is a fact, the time since the last one is not."""
    carl = features_of(shop, "carl")
    zeros = {name for name, value in carl.items() if value == 0}
    assert {"orders_84d", "spend_total", "mailings_total", "active_weeks_12w", "departments_84d"} <= zeros
    nulls = {name for name, value in carl.items() if value is None}
    assert nulls == {
        "recency_days",
        "tenure_days",
        "average_order_value_84d",
        "mean_gap_days_84d",
        "recency_to_gap",
        "spend_trend",
        "discount_share_84d",
        "coupon_share_84d",
        "top_department_84d",
        "top_department_share_84d",
        "produce_share_84d",
        "meat_share_84d",
        "grocery_share_84d",
        "weekend_share_84d",
        "last_mailing_days",
        "last_conversion_days",
    }


def test_people_are_known_from_their_first_event_or_record_on(shop: Session) -> None:
    people: dict[str, list[str]] = {}
    for as_of, customer in shop.rows("select as_of, customer_token from features.customer_features order by all"):
        people.setdefault(as_of.isoformat(), []).append(customer)
    assert people == {
        "2017-10-08": ["anna", "carl"],  # carl's record has no date: he was always there
        "2017-11-05": ["anna", "carl"],
        "2017-12-03": ["anna", "carl", "eve", "fay"],  # ben's first order and dora's record are of the day itself
    }


def test_equal_departments_are_told_apart_by_name(shop: Session) -> None:
    early = features_of(shop, "anna", "2017-10-08")
    assert early["top_department_84d"] is None  # the order of June is more than 84 days ago
    assert early["orders_84d"] == 0
    assert early["recency_days"] == 129


def test_labels_are_there_when_their_window_has_closed(shop: Session) -> None:
    labels = shop.rows("select * from features.customer_labels order by all")
    assert labels == [
        (date(2017, 10, 8), "anna", True, Decimal(20)),
        (date(2017, 10, 8), "carl", False, Decimal(0)),
        (date(2017, 11, 5), "anna", True, Decimal(20)),
        (date(2017, 11, 5), "carl", False, Decimal(0)),
        (date(2017, 12, 3), "anna", False, Decimal(0)),
        (date(2017, 12, 3), "carl", False, Decimal(0)),
        (date(2017, 12, 3), "eve", False, Decimal(0)),
        (date(2017, 12, 3), "fay", False, Decimal(0)),
    ]


def test_the_profile_is_the_day_with_what_is_known_about_the_person(shop: Session) -> None:
    rows = shop.rows(
        "select as_of, customer_token, email_token, orders_84d, household_size, country, region, language"
        " from features.customer_profile order by customer_token"
    )
    day = date.fromisoformat(VARIABLES["as_of"])
    assert rows == [
        (day, "anna", "e-anna", 3, 5, "US", "US-OH", "en"),
        (day, "carl", "e-carl", 0, None, None, None, None),
        (day, "eve", "e-eve", 0, None, None, None, None),
        (day, "fay", None, 0, None, None, None, None),
    ]
