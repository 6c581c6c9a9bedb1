"""Hours, sequences, latest values and the customer's days, on events whose answers are known by hand."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from personalization.as_of import AsOf
from personalization.rules import Catalog, Rule, Value, describe, evaluation_query, explain, gather_facts, parse_rule
from personalization.rules import tree as t
from personalization.rules.text import to_text
from personalization.warehouse import Session
from tests.rules import moment_strategies as m
from tests.rules import strategies as s
from tests.rules.oracle import Customer, Day, Happening, Stay

TABLES = {name: name for name in ("profile", "customer_day", "moments", "history")}
MISSING = {"visits": None, "score": None, "city": None, "joined": None, "vip": None, "time_zone": None}
LOCAL = Catalog(s.FIELDS, m.OWN_EVENTS, local_days=True)
PROPERTY = settings(
    max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
NOW = s.AS_OF.instant
HOUR, TICK = timedelta(hours=1), timedelta(microseconds=1)


def holds(
    session: Session,
    text: str,
    *happenings: Happening,
    as_of: AsOf = s.AS_OF,
    catalog: Catalog = s.CATALOG,
    stays: tuple[Stay, ...] = (),
    **fields: object,
) -> bool | None:
    """The outcome of a rule for one customer; None when it can't be decided. Explaining it must give the same."""
    s.fill(session, [Customer("t", {**MISSING, **fields}, (), happenings, stays)], as_of)
    rule = parse_rule(text, catalog)
    ((_, found, decided),) = session.rows(evaluation_query({"r": rule}, as_of, **TABLES))
    session.execute("create or replace table membership (as_of date, segment text, customer_token text, status text)")
    facts = gather_facts(session, [rule], as_of, "t", membership="membership", **TABLES)
    assert facts is not None
    trace = explain(rule, facts)
    assert trace.outcome == (found if decided else None), str(trace)
    return found if decided else None


def ago(hours: float, event: str, **properties: str | int) -> Happening:
    return Happening(NOW - timedelta(hours=hours), event, **properties)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("before", "seen"),
    [(-TICK, False), (0 * TICK, False), (TICK, True), (36 * HOUR, True), (36 * HOUR + TICK, False)],
)
def test_a_window_of_hours_is_exact(session: Session, before: timedelta, seen: bool) -> None:
    """It begins exactly 36 hours before the first instant of the day and ends just before it."""
    assert holds(session, "did('visit', within => '36 hours')", Happening(NOW - before, "visit")) is seen


def test_a_day_of_23_hours_and_24_hours_differ(session: Session) -> None:
    """The clocks went forward in the night before: midnight to midnight were 23 hours."""
    visit = Happening(NOW - 23 * HOUR - TICK, "visit")
    assert holds(session, "did('visit', within => '24 hours')", visit) is True
    assert holds(session, "did('visit', within => '1 day', category => 'X')", visit) is False
    at_midnight = Happening(datetime(2024, 3, 31, tzinfo=ZoneInfo("Europe/Berlin")).astimezone(UTC), "visit")
    assert NOW - at_midnight.at == 23 * HOUR
    assert holds(session, "first('visit', 'category', within => '1 day') = 'X'", at_midnight) is None


CART = "did('visit') THEN NOT did('purchase') WITHIN '24 hours'"


@pytest.mark.parametrize(
    ("cart", "bought", "abandoned"),
    [
        (48, None, True),
        (24, None, True),  # the last instant of its time has just passed
        (23.999, None, False),  # not yet abandoned
        (2, None, False),
        (48, 47, False),
        (48, 48, False),  # at the same instant is a purchase all the same
        (48, 24.001, False),
        (48, 24, True),  # exactly 24 hours later is too late
        (48, 49, True),  # before the cart
    ],
)
def test_abandoned_carts(session: Session, cart: float, bought: float | None, abandoned: bool) -> None:
    events = [ago(cart, "visit")] + ([ago(bought, "purchase")] if bought is not None else [])
    assert holds(session, CART, *events) is abandoned
    assert holds(session, f"NOT ({CART})", *events) is not abandoned, "always decided"


def test_one_abandoned_cart_is_enough(session: Session) -> None:
    events = (ago(90, "visit"), ago(89, "purchase"), ago(60, "visit"), ago(5, "visit"), ago(4, "purchase"))
    assert holds(session, CART, *events) is True
    assert holds(session, "did('visit', within => '48 hours') THEN NOT did('purchase') WITHIN '2 hours'", *events) is (
        False
    )


def test_steps_of_one_kind_follow_only_later(session: Session) -> None:
    rule = "did('visit') THEN did('visit') WITHIN '1 hour'"
    assert holds(session, rule, ago(5, "visit")) is False, "an event does not follow itself"
    assert holds(session, rule, ago(5, "visit"), ago(5, "visit", category="Y")) is False
    assert holds(session, rule, ago(5, "visit"), ago(4.5, "visit")) is True


def test_a_chain_may_pass_over_events(session: Session) -> None:
    rule = (
        "did('visit', category => 'y', within => '7 days') THEN did('open') WITHIN '12 hours'"
        " THEN NOT did('purchase', product => 'p1') WITHIN '24 hours'"
    )
    events = [ago(80, "visit", category="Y"), ago(75, "visit"), ago(70, "open"), ago(69, "purchase", product_id="p2")]
    assert holds(session, rule, *events) is True
    assert holds(session, rule, *events, ago(60, "purchase", product_id="p1")) is False
    assert holds(session, rule, *events[1:]) is False
    assert holds(session, rule, ago(80, "visit", category="Y"), ago(67, "open")) is False, "too late after the first"


def test_the_latest_value(session: Session) -> None:
    rule = "last('visit', 'category') = 'wine'"
    assert holds(session, rule) is None
    assert holds(session, rule, ago(5, "visit", category="Wine"), ago(9, "visit", category="Beer")) is True
    assert holds(session, rule, ago(5, "visit"), ago(9, "visit", category="Wine")) is None, "the latest has none"
    assert holds(session, rule, ago(5, "visit"), ago(5, "visit", category="Beer"), ago(5, "visit", category="Wine"))
    assert holds(session, "first('visit', 'category') <> 'beer'", ago(5, "visit", category="Wine")) is True
    assert holds(session, rule, Happening(NOW, "visit", category="Wine")) is None, "nothing of the day itself"


def test_the_first_value_and_others_at_its_instant(session: Session) -> None:
    events = (ago(9, "visit", category="Wine"), ago(9, "visit", category="Beer"), ago(5, "visit", category="Ale"))
    assert holds(session, "first('visit', 'category') = 'beer'", *events) is True, "the first of the alphabet"
    assert holds(session, "last('visit', 'category') = 'ale'", *events) is True
    both = (
        ago(5, "visit", category="Wine", detail="a"),
        ago(5, "visit", category="Beer", detail="b"),
        ago(5, "purchase", category="Zinc"),
    )
    assert holds(session, "last('visit', 'category', detail => 'b') = 'beer'", *both) is True, "of its kind only"
    assert holds(session, "last('visit', 'category') = 'wine'", *both) is True
    asked = "first('visit', 'category', detail => 'a') = 'wine' AND last('purchase', 'category') = 'zinc'"
    assert holds(session, asked, *both) is True


@pytest.mark.parametrize(
    ("events", "ever", "in_a_day"),
    [
        ((), False, False),
        ((("mailing", 50, "c1"),), False, False),
        ((("mailing", 50, "c1"), ("open", 49, "c1")), True, True),
        ((("mailing", 50, "c1"), ("open", 26, "c1")), True, False),  # exactly 24 hours after
        ((("mailing", 50, "c1"), ("open", 49, "c2")), False, False),  # another mail
        ((("mailing", 90, "c1"), ("open", 80, "c1"), ("mailing", 50, "c2")), False, False),  # not the last
        ((("mailing", 90, "c1"), ("open", 80, "c1"), ("mailing", 50, "c1")), False, False),  # sent again since
        ((("mailing", 50, "c1"), ("mailing", 50, "c2"), ("open", 40, "c2")), True, True),
    ],
)
def test_opened_previous_email(session: Session, events: tuple, ever: bool, in_a_day: bool) -> None:
    happened = [ago(hours, event, campaign_id=campaign) for event, hours, campaign in events]
    assert holds(session, "opened_previous_email()", *happened) is ever
    assert holds(session, "opened_previous_email(within => '1 day')", *happened) is in_a_day


def test_affinity_is_a_share_of_what_was_spent(session: Session) -> None:
    events = (
        ago(30, "purchase", event_id="1", category="Wine", amount=3),
        ago(30, "purchase", event_id="1", category="Beer", amount=1),
    )
    assert holds(session, "affinity('category', 'wine') = 0.75", *events) is None, "the roll-up has no purchase"
    assert holds(session, "affinity('category', 'wine', within => '48 hours') = 0.75", *events) is True
    assert holds(session, "affinity('category', 'wine', within => '24 hours') > 0", *events) is None
    assert holds(session, "count_of('purchase', within => '48 hours') = 1", *events) is True, "two lines of one order"


@pytest.mark.parametrize(("days_before", "seen"), [(-1, False), (0, False), (1, True), (7, True), (8, False)])
def test_earlier_membership(session: Session, days_before: int, seen: bool) -> None:
    """One day in the segment, left the day after."""
    stay = Stay("old", s.day(days_before), s.day(days_before - 1))
    assert holds(session, "was_in_segment('old', within => '7 days')", stays=(stay,)) is seen
    assert holds(session, "was_in_segment('old')", stays=(stay,)) is (days_before > 0)


BERLIN, AUCKLAND, ANGELES = "Europe/Berlin", "Pacific/Auckland", "America/Los_Angeles"


@pytest.mark.parametrize(
    ("zone", "today"), [(None, date(2024, 4, 1)), (BERLIN, date(2024, 4, 1)), (ANGELES, date(2024, 3, 31))]
)
def test_days_where_the_customer_is(session: Session, zone: str | None, today: date) -> None:
    """At midnight in Berlin it is still the day before in Los Angeles; without a zone the program's counts."""
    midnight = datetime.combine(today, datetime.min.time(), ZoneInfo(zone or BERLIN)).astimezone(UTC)
    for at, seen in ((midnight, False), (midnight - TICK, True)):
        visit = Happening(at, "visit")
        assert holds(session, "did('visit', within => '1 day')", visit, catalog=LOCAL, time_zone=zone) is seen
        rule = "days_since('visit') = 1"
        assert holds(session, rule, visit, catalog=LOCAL, time_zone=zone) is (True if seen else None)
    assert holds(session, f"as_of = '{today}' AND days_ago(1) < as_of", catalog=LOCAL, time_zone=zone) is True


def test_a_local_day_of_25_hours(session: Session) -> None:
    """In Auckland the clocks went back on 7 April 2024; the program in Lord Howe evaluates the day after."""
    as_of = AsOf(date(2024, 4, 8), "Australia/Lord_Howe")
    first = datetime(2024, 4, 7, tzinfo=ZoneInfo(AUCKLAND)).astimezone(UTC)
    for at, seen in (
        (first, True),
        (first - TICK, False),
        (first + 25 * HOUR - TICK, as_of.instant > first + 25 * HOUR),
    ):
        visit = Happening(at, "visit")
        found = holds(session, "did('visit', within => '1 day')", visit, as_of=as_of, catalog=LOCAL, time_zone=AUCKLAND)
        assert found is seen
    assert parse_rule("did('visit')", LOCAL).version != parse_rule("did('visit')", s.CATALOG).version, (
        "whose days count is part of the rule"
    )


def scans(*texts: str) -> list[tuple[list[str], list[str]]]:
    """Each scan of single events in the query for these rules: the bounds of its days, and the kinds of events."""
    rules = {f"r{index}": parse_rule(text, s.CATALOG) for index, text in enumerate(texts)}
    query = evaluation_query(rules, s.AS_OF)
    assert "customer_day" not in query
    found = [part[: part.index(") AS ")] for part in query.split("FROM marts.moments AS m WHERE ")[1:]]
    days = [re.findall(r"m\.event_day (\S+) CAST\('(\S+)' AS", part) for part in found]
    kinds = [re.findall(r"'(\w+)'", part[part.index("m.event IN") :]) for part in found]
    return [([" ".join(bound) for bound in bounds], names) for bounds, names in zip(days, kinds, strict=True)]


def test_single_events_are_read_no_further_back_than_needed_and_of_the_kinds_needed_only() -> None:
    cart = CART.replace("did('visit')", "did('visit', within => '7 days')")
    assert scans(cart) == [(["< 2024-04-01", ">= 2024-03-25"], ["purchase", "visit"])]
    assert scans("did('open', within => '36 hours')") == [(["< 2024-04-01", ">= 2024-03-30"], ["open"])]
    recent = (["< 2024-04-01", ">= 2024-03-30"], ["purchase"])
    assert scans("last('purchase', 'category', within => '2 days') = 'X'") == [recent, recent]
    assert scans("last('purchase', 'category') = 'X'") == [(["< 2024-04-01"], ["purchase"])] * 2
    mails = [(["< 2024-04-01"], ["mailing", "open"]), (["< 2024-04-01"], ["mailing"])]
    assert scans("opened_previous_email()") == mails
    by_day = {"r": parse_rule("did('purchase', within => '60 days', department => 'MEAT')", s.CATALOG)}
    assert "moments" not in evaluation_query(by_day, s.AS_OF)


def test_a_question_more_is_no_scan_more() -> None:
    """Counts share one, latest and first values two, the last mail two, sequences of the same kinds of events one."""
    asked = [
        "did('open', within => '36 hours')",
        "last('purchase', 'category') = 'X'",
        "opened_previous_email()",
        CART,
    ]
    more = [
        "count_of('visit', within => '5 hours') > days_since('purchase', category => 'X')",
        "last('purchase', 'product') = 'p1' OR first('visit', 'category', within => '9 days') = 'Y'",
        "opened_previous_email(within => '3 days')",
        "did('purchase', within => '3 days') THEN did('visit', category => 'X') WITHIN '2 days'",
    ]
    assert len(scans(*asked)) == len(scans(*asked, *more)) == 6
    assert len(scans(*asked, "did('mailing') THEN did('open') WITHIN '1 day'")) == 7


def test_in_words() -> None:
    rule = parse_rule(f"{CART} AND NOT was_in_segment('a', within => '3 days') AND opened_previous_email()", s.CATALOG)
    assert describe(rule) == (
        "(visited the site, and then, within 24 hours after that, not: bought something) and was not in segment 'a'"
        " in the 3 days before and opened the last mail"
    )
    week = "did('visit') THEN did('visit') WITHIN '1 week' OR opened_previous_email(within => '3 days')"
    rule = parse_rule(week, s.CATALOG)
    assert "within 7 days after that" in describe(rule)
    assert "within 3 days after it was sent" in describe(rule)
    assert to_text(rule.condition) == week.replace("1 week", "7 days")
    rule = parse_rule(
        "last('visit', 'category') = 'a' OR affinity('department', 'x', within => '2 weeks') > 0.5", s.CATALOG
    )
    assert describe(rule) == (
        "category of the latest of visits is 'A' or share of department X in the amount of purchases in the 14 days"
        " before is more than 0.5. People about whom this can't be decided are left out."
    )


def test_sequences_and_the_last_mail_are_explained_with_when_it_happened(session: Session) -> None:
    happened = (ago(30, "visit"), ago(29, "purchase"))
    days = (Day(s.day(4), "mailing", campaign_id="c1"), Day(s.day(2), "visit"), Day(s.day(2), "purchase"))
    s.fill(session, [Customer("t", {**MISSING}, days, happened)])
    rule = parse_rule(f"{CART} OR opened_previous_email()", s.CATALOG)
    facts = gather_facts(session, [rule], s.AS_OF, "t", **TABLES)
    assert facts is not None
    sequence, mail = explain(rule, facts).children
    assert sequence.value == "days since the last of visits: 2; days since the last of purchases: 2"
    assert mail.value == "days since the last of mailings: 4; no opens"


# --- what must hold whatever happened --------------------------------------------------------------------------------


def answers(session: Session, rules: dict[str, t.Condition], as_of: AsOf = s.AS_OF) -> list[dict]:
    query = evaluation_query({name: Rule("", each) for name, each in rules.items()}, as_of, **TABLES)
    return session.arrow(query).to_pylist()


@PROPERTY
@given(sequence=m.sequences(), people=s.customers())
def test_every_first_event_is_followed_or_not(session: Session, sequence: t.Sequence, people: list[Customer]) -> None:
    """Of a sequence of two steps, once the time is over; and no sequence without its first step."""
    first, step = sequence.steps[0], sequence.steps[1]
    old = t.Step(first.event, first.where, kind=first.kind)
    followed = t.Sequence((old, t.Step(step.event, step.where, step.window, kind=step.kind)))
    alone = t.Sequence((old, t.Step(step.event, step.where, step.window, negated=True, kind=step.kind)))
    # an event far enough back that its time is over
    began = t.Sequence((old, t.Step("none", (), step.window, negated=True, kind=step.kind)))
    longer = t.Sequence((old, t.Step(step.event, step.where, step.window * 2, kind=step.kind)))
    s.fill(session, people)
    rules = {"followed": followed, "alone": alone, "began": began, "longer": longer}
    rules["did"] = t.Did(t.Behaviour(first.event, "events", where=first.where, minutes=10**6, kind=first.kind))
    for row in answers(session, rules):
        assert not row["began"] or row["followed"] or row["alone"]
        assert not (row["followed"] or row["alone"]) or row["did"]
        assert not row["followed"] or row["longer"]


@PROPERTY
@given(behaviour=m.behaviours(counts_only=True), people=s.customers(), local=st.booleans())
def test_a_window_is_the_sum_of_its_parts(
    session: Session, behaviour: t.Behaviour, people: list[Customer], local: bool
) -> None:
    """14 days are 7 days and the 7 before them; so are earlier memberships."""
    people = [Customer(p.token, {**p.fields, "time_zone": None}, p.days, p.happenings, p.stays) for p in people]
    where = behaviour.where or (("detail", "home"),)
    event = "visit" if not behaviour.where else behaviour.event
    # orders that cross the border are one order of both parts: count what is no order
    measure: t.Measure = "quantity" if event == "purchase" else "events"

    def count(days: int) -> t.Behaviour:
        return t.Behaviour(event, measure, days, where, local=local, kind=m.OWN_EVENTS[event])

    found = {}
    for name, as_of, days in (("whole", s.AS_OF, 14), ("near", s.AS_OF, 7), ("far", s.AS_OF.shift(-7), 7)):
        s.fill(session, people, as_of)
        moments = m.tables(people, s.AS_OF)["moments"]
        with session.registered(_rows=moments):
            session.execute("create or replace table moments as from _rows")
        rules = {"was": Rule("", t.WasInSegment("old", days))}
        query = evaluation_query(rules, as_of, values={"v": Value("", count(days))}, **TABLES)
        found[name] = {row["customer_token"]: row for row in session.arrow(query).to_pylist()}
    for token, whole in found["whole"].items():
        assert whole["v"] == found["near"][token]["v"] + found["far"][token]["v"]
        assert whole["was"] == (found["near"][token]["was"] or found["far"][token]["was"])
