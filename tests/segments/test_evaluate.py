"""One day: who is in which segment, who is held, what was known, and what a partial run leaves alone."""

from __future__ import annotations

import pytest

from personalization.errors import DataError
from tests.segments.shop import MONDAY, Shop

PEOPLE = {
    "ann": {"orders_84d": 5, "recency_days": 3, "age_band": "25-34", "purchase_score": 0.9},
    "bob": {"orders_84d": 1, "recency_days": 40, "purchase_score": 0.2},
    "cid": {"orders_84d": 3, "recency_days": 20},
}
RULES = {
    "regulars": "orders_84d >= 3",
    "likely": "purchase_score > 0.5",
    "young": {"rule": "age_band IN ('25-34')", "unknown": "hold"},
    "maybe_young": {"rule": "age_band IN ('25-34')", "unknown": "include"},
    "young_regulars": "in_segment('regulars') AND in_segment('young')",
    "shoppers": "did('purchase', within => '7 days')",
}


def test_membership_and_summary(shop: Shop) -> None:
    shop.customers(MONDAY, **PEOPLE)
    shop.bought("bob", MONDAY.shift(-7).day)
    shop.bought("cid", MONDAY.shift(-8).day)
    found = shop.evaluate(shop.program(**RULES), MONDAY)

    assert {name: shop.members(MONDAY, name) for name in RULES} == {
        "regulars": {"ann", "cid"},
        "likely": {"ann"},
        "young": {"ann"},
        "maybe_young": {"ann", "bob", "cid"},
        "young_regulars": {"ann"},
        "shoppers": {"bob"},
    }
    assert shop.members(MONDAY, "young", "held") == {"bob", "cid"}
    assert shop.members(MONDAY, "young_regulars", "held") == set()
    assert list(found) == list(RULES)
    young = found["young"]
    assert (young.title, young.size, young.held, young.candidates, young.state) == ("Young", 1, 2, 3, "ok")
    assert (young.share, young.completeness) == (1 / 3, 1 / 3)
    assert (young.entered, young.exited) == (1, 0)
    assert found["likely"].completeness == 2 / 3
    assert found["young_regulars"].completeness == 1 / 3, "what a segment refers to counts as well"
    assert found["shoppers"].completeness == 1.0


def test_the_profile_holds_features_and_scores(shop: Shop) -> None:
    shop.customers(MONDAY, **PEOPLE)
    shop.evaluate(shop.program(**RULES), MONDAY)
    rows = shop.session.rows(
        "select customer_token, email_token, orders_84d, purchase_score from segments.profile order by customer_token"
    )
    assert rows == [("ann", "mail-ann", 5, 0.9), ("bob", "mail-bob", 1, 0.2), ("cid", "mail-cid", 3, None)]


def test_running_a_day_again_gives_identical_tables(shop: Shop) -> None:
    shop.customers(MONDAY, **PEOPLE)
    program = shop.program(**RULES)
    shop.evaluate(program, MONDAY)
    first = shop.fingerprints()
    shop.evaluate(program, MONDAY)
    assert shop.fingerprints() == first
    shop.session.execute("drop schema segments cascade")
    shop.evaluate(program, MONDAY)
    assert shop.fingerprints() == first


def test_nobody_is_a_result_and_is_marked(shop: Shop) -> None:
    shop.customers(MONDAY, **PEOPLE)
    found = shop.evaluate(shop.program(none="orders_84d > 100"), MONDAY)["none"]
    assert (found.size, found.state, found.share) == (0, "empty", 0.0)


def test_a_program_without_segments(shop: Shop) -> None:
    shop.customers(MONDAY, **PEOPLE)
    assert shop.evaluate(shop.program(), MONDAY) == {}
    assert shop.session.value("select count(*) from segments.membership") == 0
    assert shop.session.value("select count(*) from segments.profile") == 3


def test_a_part_can_be_evaluated_alone(shop: Shop) -> None:
    """Only the chosen segments change; those they refer to are computed afresh but left as they were."""
    shop.customers(MONDAY, **PEOPLE)
    program = shop.program(**RULES)
    shop.evaluate(program, MONDAY)
    everyone_regular = {name: {**fields, "orders_84d": 9} for name, fields in PEOPLE.items()}
    shop.customers(MONDAY, **{**everyone_regular, "bob": {**everyone_regular["bob"], "age_band": "25-34"}})
    found = shop.evaluate(program, MONDAY, only={"young_regulars"})
    assert shop.members(MONDAY, "young_regulars") == {"ann", "bob"}
    assert shop.members(MONDAY, "regulars") == {"ann", "cid"}
    assert shop.members(MONDAY, "young") == {"ann"}
    assert list(found) == list(RULES)


def test_a_segment_that_left_the_program_leaves_the_day(shop: Shop) -> None:
    shop.customers(MONDAY, **PEOPLE)
    shop.evaluate(shop.program(**RULES), MONDAY)
    found = shop.evaluate(shop.program(regulars="orders_84d >= 3"), MONDAY)
    assert list(found) == ["regulars"]
    assert shop.session.rows("select distinct segment from segments.membership") == [("regulars",)]


def test_a_title_may_hold_quotes(shop: Shop) -> None:
    shop.customers(MONDAY, **PEOPLE)
    title = "It's \"5 o'clock\"; --"
    found = shop.evaluate(shop.program(odd={"title": title, "rule": "TRUE"}), MONDAY)
    assert found["odd"].title == title


def test_features_of_another_day_are_an_error_and_change_nothing(shop: Shop) -> None:
    program = shop.program(**RULES)
    shop.customers(MONDAY, **PEOPLE)
    shop.evaluate(program, MONDAY)
    before = shop.fingerprints()
    with pytest.raises(DataError) as error:
        shop.evaluate(program, MONDAY.shift(1))
    assert str(error.value) == (
        "features.customer_profile has no customers for 2024-03-05: it holds 2024-03-04\n"
        "  hint: run the features stage for 2024-03-05; segments are left as they were"
    )
    assert shop.fingerprints() == before


def test_missing_tables(shop: Shop) -> None:
    shop.session.execute("drop table features.customer_profile")
    with pytest.raises(DataError, match="run the features stage first"):
        shop.evaluate(shop.program(**RULES), MONDAY)


def test_a_column_of_another_type_is_named(shop: Shop) -> None:
    shop.customers(MONDAY, **PEOPLE)
    shop.session.execute("alter table features.customer_profile alter orders_84d type varchar")
    with pytest.raises(DataError, match="orders_84d is VARCHAR, not a number"):
        shop.evaluate(shop.program(**RULES), MONDAY)


def test_without_a_scored_model_score_segments_are_incomplete(shop: Shop) -> None:
    shop.customers(MONDAY, **PEOPLE)
    shop.session.execute("drop table scores.propensity")
    found = shop.evaluate(shop.program(**RULES), MONDAY)
    assert found["likely"].state == "incomplete"
    assert found["regulars"].state == "ok"
