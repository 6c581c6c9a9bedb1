"""The rule on frequency, and which release a platform's report stands for (invariant 40)."""

from __future__ import annotations

from datetime import date, timedelta
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from personalization.ledger.frequency import CAP, GAP, Limit, PastMailing, refusal, unreported

START = date(2016, 2, 20)  # 30 days from here hold a leap day
days = st.integers(0, 40).map(lambda number: START + timedelta(days=number))
limits = st.builds(
    Limit,
    gap_days=st.integers(0, 4),
    caps=st.lists(st.tuples(st.integers(0, 4), st.sampled_from([1, 2, 7, 10, 28])), max_size=2).map(tuple),
)


@given(wishes=st.lists(days, max_size=30), limit=limits)
def test_no_window_holds_more_than_its_cap_in_whatever_order_days_are_asked_for(
    wishes: list[date], limit: Limit
) -> None:
    allowed: list[date] = []
    for wish in wishes:
        if refusal(wish, allowed, limit) is None:
            allowed.append(wish)
    for earlier, later in pairwise(sorted(allowed)):
        assert (later - earlier).days > limit.gap_days
    for sends, span in limit.caps:
        for first in allowed:
            assert sum(0 <= (day - first).days <= span for day in allowed) <= sends


@given(others=st.lists(days, max_size=8), day=days, limit=limits)
def test_only_what_would_break_a_window_is_refused(others: list[date], day: date, limit: Limit) -> None:
    """Checked against every window there is, one by one."""
    everything = [*others, day]
    gap = any(abs((day - other).days) <= limit.gap_days for other in others)
    first_days = [day - timedelta(days=back) for back in range(60)]
    cap = any(
        first <= day <= first + timedelta(days=span)
        and sum(first <= each <= first + timedelta(days=span) for each in everything) > sends
        for sends, span in limit.caps
        for first in first_days
    )
    assert refusal(day, others, limit) == (GAP if gap else CAP if cap else None)


mailings = st.lists(st.builds(PastMailing, days, st.sampled_from(["a", "b"])), max_size=6)
reports = st.lists(st.builds(PastMailing, days, st.sampled_from(["a", "b", None])), max_size=6)


@given(releases=mailings, reported=reports)
def test_neither_releases_nor_reports_are_ever_more_than_what_is_counted(
    releases: list[PastMailing], reported: list[PastMailing]
) -> None:
    counted = [*reported, *unreported(releases, reported)]
    assert len(counted) <= len(releases) + len(reported)
    for first in range(45):
        for last in range(first, 45):
            begin, end = START + timedelta(days=first), START + timedelta(days=last)
            inside = sum(begin <= mailing.day <= end for mailing in counted)
            until_now = sum(begin <= mailing.day for mailing in counted)
            assert inside >= sum(begin <= mailing.day <= end for mailing in reported)
            assert until_now >= sum(begin <= mailing.day for mailing in releases)


@pytest.mark.parametrize(
    ("releases", "reported", "left"),
    [
        ([(0, "a")], [(2, "a")], []),
        ([(0, "a")], [(2, None)], []),
        ([(3, "a")], [(2, None)], [(3, "a")]),
        ([(0, "a")], [(2, "b")], [(0, "a")]),
        ([(0, "a"), (5, "b")], [(6, None)], [(0, "a")]),
        ([(0, "a"), (5, "b")], [(6, "a")], [(5, "b")]),
        ([(0, "a"), (5, "b")], [(6, None), (7, None)], []),
    ],
)
def test_a_report_stands_for_the_latest_release_it_can_mean(
    releases: list[tuple[int, str]], reported: list[tuple[int, str | None]], left: list[tuple[int, str]]
) -> None:
    def made(listed: list) -> list[PastMailing]:
        return [PastMailing(START + timedelta(days=number), campaign) for number, campaign in listed]

    assert unreported(made(releases), made(reported)) == made(left)
