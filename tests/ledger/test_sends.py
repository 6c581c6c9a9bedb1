"""The send ledger: a slot per campaign, person and version, whatever runs beside it (invariants 20, 40)."""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import delete, select
from sqlalchemy.exc import IntegrityError

from personalization.errors import LedgerError
from personalization.ledger import Ledger, sends
from personalization.ledger.engine import bulk_insert
from personalization.ledger.frequency import Limit, PastMailing
from personalization.ledger.sends import Wanted
from personalization.ledger.sends_schema import sends as table

DAY = date(2017, 12, 3)
NO_LIMIT = Limit(0)


def wanted(row: int, campaign: str = "a", person: str = "p", version: str = "1", **options: object) -> Wanted:
    customer, address = f"c_{person}", f"e_{person}"
    given = {"person": (customer, address), "limit": NO_LIMIT, **options}
    return Wanted(row, campaign, version, customer, address, **given)  # type: ignore[arg-type]


def ask(
    ledger: Ledger,
    *asked: Wanted,
    day: date = DAY,
    destination: str = "mailchimp",
    reported: Mapping[str, Sequence[PastMailing]] | None = None,
) -> dict[int, str]:
    with ledger.begin() as connection:
        return ledger.sends.reserve(
            connection,
            asked,
            destination=destination,
            day=day,
            as_of=day.isoformat(),
            reports=lambda tokens: {t: r for t, r in (reported or {}).items() if t in tokens},
        )


def slots(ledger: Ledger) -> list[tuple[str, str, str, str]]:
    with ledger.read() as connection:
        query = select(table.c.campaign, table.c.customer_token, table.c.state, table.c.day).order_by(table.c.id)
        return [tuple(row) for row in connection.execute(query)]


def settle(ledger: Ledger, what: str, *rows: int) -> None:
    with ledger.begin() as connection:
        {"free": sends.free, "keep": sends.keep}[what](connection, rows)


def test_a_slot_is_reserved_freed_or_kept(ledger: Ledger) -> None:
    assert ask(ledger, wanted(1), wanted(2, person="q")) == {}
    settle(ledger, "keep", 1)
    settle(ledger, "free", 1, 2)  # what is kept stays
    assert slots(ledger) == [("a", "c_p", "kept", "2017-12-03")]


def test_a_contact_in_the_audience_keeps_its_slot_and_needs_no_other(ledger: Ledger) -> None:
    ask(ledger, wanted(1, limit=Limit(3)))
    assert ask(ledger, wanted(2, limit=Limit(3)), day=DAY + timedelta(days=1)) == {}
    assert len(slots(ledger)) == 1
    settle(ledger, "free", 1)  # the row that held it before
    assert len(slots(ledger)) == 1
    settle(ledger, "free", 2)
    assert slots(ledger) == []


def test_nobody_is_released_to_the_same_mailing_again(ledger: Ledger) -> None:
    ask(ledger, wanted(1))
    settle(ledger, "keep", 1)
    moved = Wanted(2, "a", "1", "c_p", "e_other", ("c_p", "e_other"), NO_LIMIT)
    assert ask(ledger, moved) == {2: "already_mailed"}
    assert ask(ledger, wanted(3), destination="hubspot") == {3: "already_mailed"}
    merged = Wanted(4, "a", "1", "c_q", "e_q", ("c_q", "e_q", "c_p", "e_p"), NO_LIMIT)
    assert ask(ledger, merged) == {4: "already_mailed"}
    with ledger.begin() as connection:
        sends.end(connection, "mailchimp", {"e_p": "a"}, "2017-12-04")
    assert ask(ledger, wanted(5)) == {}
    with ledger.begin() as connection:
        sends.end(connection, "mailchimp", {"e_p": None}, "2017-12-04")
    assert ask(ledger, wanted(6)) == {6: "already_mailed"}
    assert ask(ledger, wanted(7, version="2")) == {7: "fatigue_gap"}
    assert ask(ledger, wanted(8, version="2"), day=DAY + timedelta(days=1)) == {}


def test_the_database_itself_refuses_a_second_slot(ledger: Ledger) -> None:
    columns = ("campaign", "version", "customer_token", "address_token", "destination", "day", "as_of", "state")
    columns = (*columns, "outbox_id", "reserved_at")
    same = ("x", DAY.isoformat(), DAY.isoformat(), "kept", 1, 0)
    for customer, address in (("c", "e2"), ("c2", "e")):
        with pytest.raises((LedgerError, IntegrityError)), ledger.begin() as connection:
            bulk_insert(connection, table, columns, [("a", "1", "c", "e", *same), ("a", "1", customer, address, *same)])
    assert slots(ledger) == []


def test_reports_and_releases_count_once_together(ledger: Ledger) -> None:
    cap = Limit(0, ((2, 28),))
    ask(ledger, wanted(1, "a", limit=cap))
    reported = {"c_p": [PastMailing(DAY + timedelta(days=1))]}
    day = DAY + timedelta(days=5)
    assert ask(ledger, wanted(2, "b", limit=cap), day=day, reported=reported) == {}
    assert ask(ledger, wanted(3, "c", limit=cap), day=day + timedelta(days=5), reported=reported) == {3: "fatigue_cap"}


def test_releases_tells_who_left_only_as_it_was_known(ledger: Ledger) -> None:
    ask(ledger, wanted(1, "a"), wanted(2, "b", person="q"))
    settle(ledger, "keep", 1, 2)
    with ledger.begin() as connection:
        sends.end(connection, "mailchimp", {"e_p": None}, "2017-12-05")
    read = ledger.sends.releases
    assert read(DAY, since=DAY).num_rows == 0
    assert read(date(2017, 12, 5), since=DAY)["ended_day"].to_pylist() == [None, None]
    assert read(date(2017, 12, 6), since=DAY)["ended_day"].to_pylist() == ["2017-12-05", None]
    later = read(date(2018, 6, 1), since=date(2018, 5, 1), campaigns=["b"])
    assert later["customer_token"].to_pylist() == ["c_q"]


def test_parallel_exporters_together_hold_the_cap(url: str) -> None:
    """Eight exporters of different campaigns and destinations, each with its own connection, want the same people."""
    people, limit = [f"p{number}" for number in range(30)], Limit(3, ((2, 28),))
    refused: list[int] = []

    def export(number: int) -> None:
        with Ledger.open(url) as ledger:
            for offset in (number % 4, number % 4 + 10):
                asked = [wanted(number, f"campaign{number}", person, str(offset), limit=limit) for person in people]
                day = DAY + timedelta(days=offset)
                refused.append(len(ask(ledger, *asked, day=day, destination=f"destination{number}")))

    threads = [threading.Thread(target=export, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with Ledger.open(url) as ledger:
        by_person = defaultdict(list)
        for _, person, _, day in slots(ledger):
            by_person[person].append(date.fromisoformat(day))
    assert {len(days) for days in by_person.values()} == {2}
    assert all(abs((first - second).days) > 3 for first, second in by_person.values())
    assert len(refused) == 16


ZONE = ZoneInfo("America/New_York")
WEEKS = datetime(2017, 10, 25, tzinfo=UTC)  # the clocks go back on 5 November
exports = st.lists(
    st.tuples(
        st.integers(0, 28 * 24 * 4),  # quarters of an hour
        st.sampled_from(["a", "b", "c"]),
        st.sampled_from(["1", "2"]),
        st.sampled_from(["mailchimp", "hubspot"]),
        st.sampled_from(["p", "q"]),
        st.sampled_from(["acked", "uncertain", "rejected", "crashed"]),
    ),
    max_size=25,
)


@settings(
    max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(exports=exports, gap=st.integers(0, 3), cap=st.tuples(st.integers(1, 3), st.sampled_from([1, 7, 28])))
def test_every_window_of_business_days_holds(
    ledger: Ledger, exports: list[tuple[int, str, str, str, str, str]], gap: int, cap: tuple[int, int]
) -> None:
    """Any order of moments, campaigns, versions, destinations, retries; a slot is kept unless the row was refused."""
    with ledger.begin() as connection:
        connection.execute(delete(table))
    limit = Limit(gap, (cap,))
    for row, (quarter, campaign, version, destination, person, outcome) in enumerate(exports):
        day = (WEEKS + quarter * timedelta(minutes=15)).astimezone(ZONE).date()
        asked = wanted(row, campaign, person, version, limit=limit)
        if ask(ledger, asked, day=day, destination=destination):
            continue
        if outcome == "crashed":
            assert ask(ledger, asked, day=day, destination=destination) == {}  # the retry takes the same slot
        settle(ledger, "free" if outcome == "rejected" else "keep", row)
    by_person = defaultdict(list)
    with ledger.read() as connection:
        for row in connection.execute(select(table.c.customer_token, table.c.day)):
            by_person[row.customer_token].append(date.fromisoformat(row.day))
    for days in by_person.values():
        assert all(abs((a - b).days) > gap for index, a in enumerate(days) for b in days[index + 1 :])
        for first in days:
            assert sum(0 <= (day - first).days < cap[1] for day in days) <= cap[0]
