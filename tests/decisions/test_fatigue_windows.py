"""Frequency caps hold in every sliding window, whatever days campaigns try to mail on (invariant 40)."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, timedelta
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from personalization.as_of import AsOf
from personalization.program.models import Fatigue, FrequencyCap
from personalization.stages.decisions.fatigue import cap_reached, gap_too_small, sends_query, tier_name
from personalization.warehouse import Session, Warehouse
from tests.decisions.world import SCHEMA, add_sends

START = date(2016, 2, 20)  # 30 days from here hold a leap day
CUSTOMERS = ["a", "b", "c"]


@pytest.fixture(scope="module")
def session() -> Iterator[Session]:
    with Warehouse(Path(":memory:"), threads=1).connect() as session:
        session.execute("create table customers as select unnest(?) as customer_token", [CUSTOMERS])
        yield session


caps = st.builds(FrequencyCap, tier=st.just("all"), sends=st.integers(0, 4), days=st.sampled_from([1, 2, 7, 10, 28]))
fatigues = st.builds(Fatigue, min_gap_days=st.integers(0, 5), caps=st.lists(caps, max_size=1))
wishes = st.lists(st.sets(st.sampled_from(CUSTOMERS)), min_size=5, max_size=30)


def stopped(session: Session, fatigue: Fatigue, day: date) -> dict[str, tuple[bool, bool]]:
    """For each customer whether the gap and the cap stop a mail on the day."""
    rows = session.rows(f"""
        select customer_token, {gap_too_small(fatigue)}, {cap_reached(fatigue)}
        from (select *, {tier_name(fatigue)} as tier from customers)
        left join ({sends_query(fatigue, AsOf(day))}) using (customer_token)
    """)
    return {token: (gap, cap) for token, gap, cap in rows}


@settings(max_examples=25, deadline=None)
@given(fatigue=fatigues, wishes=wishes)
def test_no_window_holds_more_sends_than_its_cap(session: Session, fatigue: Fatigue, wishes: list[set[str]]) -> None:
    session.execute(SCHEMA)
    sent: dict[str, list[date]] = {customer: [] for customer in CUSTOMERS}
    for number, wanted in enumerate(wishes):
        day = START + timedelta(days=number)
        verdicts = stopped(session, fatigue, day)
        allowed = [customer for customer in sorted(wanted) if not any(verdicts[customer])]
        add_sends(session, [(customer, day) for customer in allowed])
        for customer in allowed:
            sent[customer].append(day)
    for days in sent.values():
        for earlier, later in pairwise(days):
            assert (later - earlier).days > fatigue.min_gap_days
        for cap in fatigue.caps:
            for first in days:
                assert sum(0 <= (day - first).days < cap.days for day in days) <= cap.sends


@settings(max_examples=40, deadline=None)
@given(fatigue=fatigues, ages=st.lists(st.integers(-3, 40), max_size=8))
def test_the_verdict_is_that_of_counting_by_hand(session: Session, fatigue: Fatigue, ages: list[int]) -> None:
    session.execute(SCHEMA)
    add_sends(session, [("a", START - timedelta(days=age)) for age in ages])
    known = [age for age in ages if age > 0]
    gap = bool(known) and min(known) <= fatigue.min_gap_days
    cap = any(sum(age <= each.days for age in known) >= each.sends for each in fatigue.caps)
    assert stopped(session, fatigue, START)["a"] == (gap, cap)
    assert stopped(session, fatigue, START)["b"] == (False, any(each.sends == 0 for each in fatigue.caps))
