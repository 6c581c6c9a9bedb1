"""Trying a rule before it is saved."""

from __future__ import annotations

import pytest

from personalization.errors import DataError, ProgramError
from personalization.stages.segments.preview import Overlap, preview
from tests.segments.shop import MONDAY, Shop

PEOPLE = {f"t{index}": {"orders_84d": index, "age_band": "25-34" if index < 4 else None} for index in range(8)}
RULES = {"many": "orders_84d >= 5", "none": "orders_84d > 100"}


def test_size_share_completeness_overlap_and_examples(shop: Shop) -> None:
    shop.customers(MONDAY, **PEOPLE)
    program = shop.program(**RULES)
    shop.evaluate(program, MONDAY)
    before = shop.fingerprints()
    found = preview(shop.session, program, MONDAY, "age_band = '25-34' AND orders_84d > 1 OR in_segment('many')")
    assert (found.size, found.candidates, found.share) == (5, 8, 5 / 8)
    assert (found.undecided, found.completeness) == (1, 0.5)
    assert found.overlaps == (Overlap("many", 3, 3), Overlap("none", 0, 0))
    assert found.examples == ("t2", "t3", "t5", "t6", "t7")
    assert found.words.startswith(
        "(age band is '25-34' and orders in the last 84 days is more than 1) or is in segment"
    )
    assert shop.fingerprints() == before, "it reads only"


def test_a_mistake_is_shown_with_its_place(shop: Shop) -> None:
    with pytest.raises(ProgramError) as error:
        preview(shop.session, shop.program(**RULES), MONDAY, "order_84d > 1")
    assert str(error.value) == (
        "expression:1:1: unknown field 'order_84d' (did you mean 'orders_84d'?)\n    order_84d > 1\n    ^^^^^^^^^"
    )


def test_a_value_that_nobody_has_is_named_with_the_nearest(shop: Shop) -> None:
    shop.customers(MONDAY, **PEOPLE)
    shop.bought("t1", MONDAY.shift(-3).day)
    shop.session.execute("update marts.customer_day set department = 'FLORAL'")
    program = shop.program(**RULES)
    shop.evaluate(program, MONDAY)
    rule = (
        "age_band IN ('25-34', '25-43') OR did('purchase', department => 'florals')"
        " OR did('purchase', department => 'Floral') OR age_band <> '25-34' OR affinity('department', 'FLO') > 0.3"
    )
    assert preview(shop.session, program, MONDAY, rule).unseen == (
        "no customer has age_band '25-43' (did you mean '25-34'?)",
        "none of the purchases has department 'FLORALS' (did you mean 'FLORAL'?)",
        "none of the purchases has department 'FLO' (did you mean 'FLORAL'?)",
    )
    assert preview(shop.session, program, MONDAY, "orders_84d > 1 AND age_band LIKE 'x%'").unseen == ()


def test_before_the_first_run(shop: Shop) -> None:
    with pytest.raises(DataError, match="no segments were evaluated yet"):
        preview(shop.session, shop.program(**RULES), MONDAY, "orders_84d > 1")
    shop.customers(MONDAY, **PEOPLE)
    shop.evaluate(shop.program(**RULES), MONDAY)
    with pytest.raises(DataError, match="no customer has a profile for 2024-03-05"):
        preview(shop.session, shop.program(**RULES), MONDAY.shift(1), "orders_84d > 1")
