"""Strategies for single events and what rules ask of them: instants at the edges of windows and of days anywhere."""

from __future__ import annotations

from dataclasses import fields, replace
from datetime import UTC, date, datetime, time, timedelta
from functools import cache
from typing import TypeVar
from zoneinfo import ZoneInfo

import pyarrow as pa
from hypothesis import strategies as st

from personalization.as_of import AsOf
from personalization.rules import tree as t
from personalization.rules.events import EVENTS, OWN_PROPERTIES, Event
from tests.rules.oracle import Customer, Happening, Stay

DAYS = (
    AsOf(date(2024, 4, 1), "Europe/Berlin"),  # the day before had 23 hours; windows reach over a leap day
    AsOf(date(2024, 3, 1), "UTC"),  # the day after the leap day
    AsOf(date(2024, 11, 4), "America/New_York"),  # the day before had 25 hours
    AsOf(date(2024, 3, 11), "America/New_York"),  # the day before had 23 hours
    AsOf(date(2024, 4, 7), "Australia/Lord_Howe"),  # this day itself turns the clock by half an hour
)
ZONES = ("Europe/Berlin", "America/Los_Angeles", "Pacific/Auckland", "Asia/Kolkata")
VISIT = Event("visited the site", "visits", OWN_PROPERTIES, ("amount", "quantity"))
OWN_EVENTS = {**EVENTS, "visit": VISIT}
WINDOWS = (60, 720, 1440, 2160, 4320)
PAST_SEGMENTS = ("old", "older")
N = TypeVar("N", bound=t.Node)
_TICK = timedelta(microseconds=1)


@cache
def instants(as_of: AsOf) -> tuple[datetime, ...]:
    """Exactly at, just before and just after the edges of windows, and midnights here and elsewhere."""
    hours = (-1, 0, 1, 12, 24, 36, 48, 60, 72, 96)
    found = [as_of.instant - timedelta(hours=each) for each in hours]
    for zone in (as_of.timezone, *ZONES):
        found += [
            datetime.combine(as_of.day - timedelta(days=days), time.min, ZoneInfo(zone)).astimezone(UTC)
            for days in (0, 1, 2, 7, 8, 28, 32)
        ]
    return tuple(sorted({near for each in found for near in (each - _TICK, each, each + _TICK)}))


@cache
def happenings(as_of: AsOf) -> st.SearchStrategy[Happening]:
    at = st.sampled_from(instants(as_of))
    amounts = {"quantity": st.integers(0, 3), "amount": st.integers(0, 9)}
    things = {
        "category": st.sampled_from((None, "Y", "y", "it's")),
        "product_id": st.sampled_from((None, "p1", "p2")),
        "department": st.sampled_from((None, "FLORAL", "Floral", "MEAT")),
    }
    bought = st.builds(
        Happening, at=at, event=st.just("purchase"), event_id=st.sampled_from(("o1", "o2", "o3")), **things, **amounts
    )
    own = st.builds(
        Happening,
        at=at,
        event=st.just("visit"),
        events=st.integers(1, 2),
        detail=st.sampled_from((None, "home")),
        **things,
        **amounts,
    )
    mail = st.builds(
        Happening,
        at=at,
        event=st.sampled_from(("mailing", "open", "open", "mailing", "conversion")),
        campaign_id=st.sampled_from(("c1", "c2", None)),
        detail=st.sampled_from((None, "home", "it's")),
        events=st.integers(1, 2),
    )
    return st.one_of(bought, own, mail)


@cache
def stays(as_of: AsOf) -> st.SearchStrategy[Stay]:
    days = st.sampled_from([as_of.day - timedelta(days=days) for days in (-1, 0, 1, 6, 7, 8, 28, 400)])
    return st.builds(Stay, st.sampled_from(PAST_SEGMENTS), days, st.one_of(st.none(), days)).filter(
        lambda stay: stay.exited is None or stay.exited > stay.entered
    )


_WHERE = {
    "purchase": ((), (("category", "Y"),), (("product", "p1"),), (("department", "MEAT"), ("product", "p2"))),
    "visit": ((), (("category", "Y"),), (("detail", "home"),)),
    "mailing": ((), (("campaign_id", "c1"),)),
    "open": ((), (("campaign_id", "c2"),), (("detail", "it's"),)),
    "conversion": ((),),
}


@st.composite
def _windows(draw: st.DrawFn) -> tuple[int | None, int | None, bool]:
    """Days, minutes and whether days are the customer's."""
    kind = draw(st.sampled_from(("minutes", "days", "local", "none", "local none")))
    if kind == "minutes":
        return None, draw(st.sampled_from(WINDOWS)), False
    days = draw(st.sampled_from((1, 7, 28))) if "none" not in kind else None
    return days, None, kind.startswith("local")


@st.composite
def behaviours(draw: st.DrawFn, counts_only: bool = False) -> t.Behaviour:
    """Behaviour that only single events can answer."""
    event = draw(st.sampled_from(("purchase", "visit", "open")))
    measures: list[t.Measure] = ["events"] if counts_only else ["events", "days_since"]
    if event != "open" and not counts_only:
        measures += ["amount", "quantity"]
    days, minutes, local = draw(_windows())
    made = t.Behaviour(
        event,
        draw(st.sampled_from(measures)),
        days,
        draw(st.sampled_from(_WHERE[event])),
        minutes=minutes,
        local=local,
        kind=OWN_EVENTS[event],
    )
    if made.exact:
        return made
    return t.Behaviour(event, made.measure, None, made.where, minutes=1440, kind=OWN_EVENTS[event])


@st.composite
def recalled(draw: st.DrawFn) -> t.Recalled:
    event = draw(st.sampled_from(("purchase", "visit", "mailing")))
    key = draw(st.sampled_from(tuple(OWN_EVENTS[event].properties)))
    days, minutes, local = draw(_windows())
    which = draw(st.sampled_from(("last", "first")))
    where = draw(st.sampled_from(_WHERE[event]))
    return t.Recalled(event, key, which, days, where, minutes=minutes, local=local, kind=OWN_EVENTS[event])


@st.composite
def _comparisons(draw: st.DrawFn) -> t.Comparison:
    asked = draw(recalled())
    value = draw(st.sampled_from(("Y", "it's", "p1", "home")))
    upper = asked.about.properties[asked.key].upper
    constant = t.Constant(value.upper() if upper else value, "text")
    return t.Comparison(draw(st.sampled_from(("=", "<>"))), asked, constant)


@st.composite
def sequences(draw: st.DrawFn) -> t.Sequence:
    names = st.sampled_from(("visit", "purchase", "open", "mailing"))
    event = draw(names)
    days, minutes, local = draw(_windows())
    where = draw(st.sampled_from(_WHERE[event]))
    steps = [t.Step(event, where, within=days, minutes=minutes, local=local, kind=OWN_EVENTS[event])]
    count = draw(st.integers(1, 3))
    for index in range(count):
        event = draw(names)
        negated = index == count - 1 and draw(st.booleans())
        window, where = draw(st.sampled_from(WINDOWS)), draw(st.sampled_from(_WHERE[event]))
        steps.append(t.Step(event, where, window, negated, kind=OWN_EVENTS[event]))
    return t.Sequence(tuple(steps))


@st.composite
def affinities(draw: st.DrawFn) -> t.Affinity:
    days, minutes, local = draw(_windows())
    where = draw(st.sampled_from(((("department", "FLORAL"),), (("category", "Y"),), (("product", "p1"),))))
    part = t.Behaviour("purchase", "amount", days, where, minutes=minutes, local=local)
    return t.Affinity(part, t.Behaviour("purchase", "amount", days, minutes=minutes, local=local))


@cache
def conditions() -> st.SearchStrategy[t.Condition]:
    """Conditions on single events and earlier memberships, none of which is made of others."""
    return st.one_of(
        sequences(),
        st.builds(t.Did, behaviours(counts_only=True), st.integers(1, 3)),
        st.builds(t.OpenedPrevious, st.sampled_from((None, *WINDOWS))),
        st.builds(t.WasInSegment, st.sampled_from(PAST_SEGMENTS), st.sampled_from((None, 1, 7, 28))),
        _comparisons(),
        st.builds(t.Known, recalled()),
    )


def with_days_of_the_program(node: N) -> N:
    """The same tree with no days of the customer's: whose days count is the catalogue's, not the text's."""
    changed: dict[str, object] = {}
    for each in fields(node):  # type: ignore[arg-type]
        value = getattr(node, each.name)
        if isinstance(value, t.Node):
            changed[each.name] = with_days_of_the_program(value)
        elif isinstance(value, tuple) and value and isinstance(value[0], t.Node):
            changed[each.name] = tuple(with_days_of_the_program(item) for item in value)
        elif each.name == "local":
            changed[each.name] = False
    return replace(node, **changed)  # type: ignore[type-var]


_MOMENTS = pa.schema(
    {
        "customer_token": pa.string(),
        "moment_us": pa.int64(),
        "occurred_at": pa.timestamp("us"),
        "event_day": pa.date32(),
        "event": pa.string(),
        "event_id": pa.string(),
        "department": pa.string(),
        "category": pa.string(),
        "product_id": pa.string(),
        "campaign_id": pa.string(),
        "detail": pa.string(),
        "events": pa.int64(),
        "quantity": pa.decimal128(38, 4),
        "amount": pa.decimal128(38, 4),
    }
)
_HISTORY = pa.schema(
    {
        "segment": pa.string(),
        "customer_token": pa.string(),
        "entered_on": pa.date32(),
        "exited_on": pa.date32(),
        "rule_version": pa.string(),
    }
)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def tables(people: list[Customer], as_of: AsOf) -> dict[str, pa.Table]:
    """Customers' single events and stays as tables `moments` and `history`."""
    moments = [
        {
            **vars(each),
            "customer_token": person.token,
            "moment_us": (each.at - _EPOCH) // _TICK,
            "occurred_at": each.at.replace(tzinfo=None),
            "event_day": each.at.astimezone(ZoneInfo(as_of.timezone)).date(),
        }
        for person in people
        for each in person.happenings
    ]
    history = [
        {
            "customer_token": person.token,
            "segment": stay.segment,
            "entered_on": stay.entered,
            "exited_on": stay.exited,
            "rule_version": "v",
        }
        for person in people
        for stay in person.stays
    ]
    return {
        "moments": pa.Table.from_pylist(moments, schema=_MOMENTS),
        "history": pa.Table.from_pylist(history, schema=_HISTORY),
    }
