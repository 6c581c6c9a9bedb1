"""Several days: who entered and exited when, incomplete days, and days run again or in another order."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest

from tests.segments.shop import MONDAY, Shop

TUESDAY, WEDNESDAY, THURSDAY, FRIDAY = (MONDAY.shift(days) for days in (1, 2, 3, 4))
BUSY, QUIET = {"orders_84d": 5}, {"orders_84d": 0}
WEEK = {
    MONDAY: {"ann": BUSY, "bob": QUIET},
    TUESDAY: {"ann": BUSY, "bob": BUSY},
    THURSDAY: {"ann": QUIET, "bob": BUSY},
    FRIDAY: {"ann": BUSY, "bob": BUSY, "cid": BUSY},
}
STAYS = [
    ("ann", MONDAY.day, THURSDAY.day),
    ("ann", FRIDAY.day, None),
    ("bob", TUESDAY.day, None),
    ("cid", FRIDAY.day, None),
]


def run(shop: Shop, days: list, rule: str = "orders_84d >= 3", **options) -> None:
    program = shop.program(busy={"rule": rule, **options})
    for day in days:
        shop.customers(day, **WEEK[day])
        shop.evaluate(program, day)


def test_entered_and_exited(shop: Shop) -> None:
    """A day that was never run (Wednesday) ends no stay."""
    run(shop, list(WEEK))
    assert shop.stays("busy") == STAYS
    moves = shop.session.rows("select size, entered, exited from segments.summary order by as_of")
    assert moves == [(1, 1, 0), (2, 1, 0), (1, 0, 1), (3, 2, 0)]


@pytest.mark.parametrize("order", list(itertools.permutations(WEEK))[::5])
def test_the_order_of_days_does_not_matter(shop: Shop, order: tuple) -> None:
    run(shop, list(order))
    assert shop.stays("busy") == STAYS


def test_an_earlier_day_run_again_changes_nothing(shop: Shop) -> None:
    run(shop, list(WEEK))
    before = shop.fingerprints()
    run(shop, [MONDAY, THURSDAY])
    assert shop.fingerprints() == before


def test_everything_is_rebuilt_from_the_day_files(shop: Shop) -> None:
    run(shop, list(WEEK))
    history = shop.session.fingerprint("segments.history")
    shop.session.execute("drop schema segments cascade")
    run(shop, [FRIDAY])
    assert shop.session.fingerprint("segments.history") == history
    assert shop.session.rows("select size, entered, exited from segments.summary") == [(3, 2, 0)]


def test_a_stay_keeps_the_rule_it_began_with(shop: Shop) -> None:
    run(shop, [MONDAY, TUESDAY])
    run(shop, [FRIDAY], rule="orders_84d >= 4")
    versions = dict(shop.session.rows("select customer_token, rule_version from segments.history"))
    assert versions["ann"] == versions["bob"] != versions["cid"]


def test_a_file_half_written_by_a_crash_is_ignored(shop: Shop) -> None:
    run(shop, [MONDAY])
    folder = shop.root / "var" / "history" / "segments"
    (folder / f".as_of={TUESDAY.key}.parquet.tmp").write_bytes(b"PAR1 half")
    run(shop, [TUESDAY])
    assert shop.stays("busy") == [("ann", MONDAY.day, None), ("bob", TUESDAY.day, None)]
    assert sorted(Path(each).name for each in folder.iterdir()) == [
        "as_of=2024-03-04.parquet",
        "as_of=2024-03-05.parquet",
    ]


# --- incomplete days -------------------------------------------------------------------------------------------------

KNOWN = {"ann": {"purchase_score": 0.9}, "bob": {"purchase_score": 0.9}, "cid": {"purchase_score": 0.1}}
LITTLE_KNOWN = {"ann": {}, "bob": {}, "cid": {"purchase_score": 0.9}}
LIKELY = {
    "likely": {"rule": "purchase_score > 0.5", "min_completeness": 0.5},
    "unlikely": "NOT in_segment('likely')",
    "absent": "NOT known(purchase_score)",
}


def test_an_incomplete_segment_keeps_its_last_good_members(shop: Shop) -> None:
    program = shop.program(**LIKELY)
    shop.customers(MONDAY, **KNOWN)
    shop.evaluate(program, MONDAY)
    shop.customers(TUESDAY, **LITTLE_KNOWN)
    found = shop.evaluate(program, TUESDAY)
    assert shop.members(TUESDAY, "likely") == {"ann", "bob"}
    assert (found["likely"].state, found["likely"].completeness) == ("incomplete", 1 / 3)
    assert (found["likely"].entered, found["likely"].exited) == (0, 0)
    assert shop.members(TUESDAY, "unlikely") == {"cid"}, "a reference sees the members that were kept"
    assert shop.members(TUESDAY, "absent") == {"ann", "bob"}, "known(…) asks, it does not need"
    shop.customers(WEDNESDAY, **KNOWN)
    found = shop.evaluate(program, WEDNESDAY)
    assert found["likely"].state == "ok"
    assert shop.stays("likely") == [("ann", MONDAY.day, None), ("bob", MONDAY.day, None)]


def test_who_may_not_be_scored_any_more_keeps_no_place_that_a_score_gave(shop: Shop) -> None:
    """Invariant 47, on a day whose scores are too few to decide anew."""
    rules = LIKELY | {"likely_too": {"rule": "in_segment('likely')", "min_completeness": 1.0}}
    program = shop.program(**rules)
    shop.customers(MONDAY, **KNOWN)
    shop.evaluate(program, MONDAY, may_be_scored=KNOWN)
    shop.customers(TUESDAY, **LITTLE_KNOWN)
    found = shop.evaluate(program, TUESDAY, may_be_scored={"bob", "cid"})
    assert found["likely"].state == "incomplete"
    assert shop.members(TUESDAY, "likely") == {"bob"}
    assert shop.members(TUESDAY, "likely_too") == {"bob"}
    assert shop.stays("likely")[0] == ("ann", MONDAY.day, TUESDAY.day)


def test_two_incomplete_days_keep_the_last_complete_one(shop: Shop) -> None:
    program = shop.program(**LIKELY)
    for day, people in ((MONDAY, KNOWN), (TUESDAY, LITTLE_KNOWN), (WEDNESDAY, LITTLE_KNOWN)):
        shop.customers(day, **people)
        shop.evaluate(program, day)
    assert shop.members(WEDNESDAY, "likely") == {"ann", "bob"}


def test_the_last_good_day_is_an_earlier_one(shop: Shop) -> None:
    """A good day that lies later is the future of an incomplete one."""
    program = shop.program(**LIKELY)
    for day, people in ((TUESDAY, KNOWN), (MONDAY, LITTLE_KNOWN)):
        shop.customers(day, **people)
        shop.evaluate(program, day)
    assert shop.members(MONDAY, "likely") == set()


def test_an_incomplete_segment_without_a_good_day_is_empty_and_says_so(shop: Shop) -> None:
    shop.customers(MONDAY, **LITTLE_KNOWN)
    found = shop.evaluate(shop.program(**LIKELY), MONDAY)["likely"]
    assert (found.size, found.state) == (0, "incomplete")


def test_people_who_are_no_customers_any_more_are_not_kept(shop: Shop) -> None:
    program = shop.program(**LIKELY)
    shop.customers(MONDAY, **KNOWN)
    shop.evaluate(program, MONDAY)
    shop.customers(TUESDAY, bob={}, cid=LITTLE_KNOWN["cid"], dan={})
    shop.evaluate(program, TUESDAY)
    assert shop.members(TUESDAY, "likely") == {"bob"}


def test_a_kept_membership_carries_the_version_of_the_rule_that_chose_it(shop: Shop) -> None:
    shop.customers(MONDAY, **KNOWN)
    good = shop.evaluate(shop.program(**LIKELY), MONDAY)["likely"]
    shop.customers(TUESDAY, **LITTLE_KNOWN)
    changed = {**LIKELY, "likely": {"rule": "purchase_score > 0.6", "min_completeness": 0.5}}
    kept = shop.evaluate(shop.program(**changed), TUESDAY)["likely"]
    assert kept.rule_version == good.rule_version


def test_held_people_are_kept_as_held(shop: Shop) -> None:
    program = shop.program(likely={"rule": "purchase_score > 0.5", "unknown": "hold", "min_completeness": 0.6})
    shop.customers(MONDAY, **{**KNOWN, "bob": {}})
    shop.evaluate(program, MONDAY)
    shop.customers(TUESDAY, **LITTLE_KNOWN)
    found = shop.evaluate(program, TUESDAY)["likely"]
    assert (found.size, found.held, found.state) == (1, 1, "incomplete")
    assert shop.members(TUESDAY, "likely", "held") == {"bob"}
