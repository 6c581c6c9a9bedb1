"""Hypothesis strategies: typed rule trees and customers, with values that often meet, and days at window edges."""

from __future__ import annotations

from datetime import date, timedelta
from decimal import Decimal
from functools import cache

import pyarrow as pa
from hypothesis import strategies as st

from personalization.as_of import AsOf
from personalization.rules import Catalog, Rule
from personalization.rules import tree as t
from personalization.rules.catalog import Field
from personalization.warehouse import Session
from tests.rules import moment_strategies as m
from tests.rules.oracle import Customer, Day

AS_OF = m.DAYS[0]  # windows reach over a leap day and one of 23 hours
FIELDS = {
    "visits": Field("number", "visits"),
    "score": Field("number", "score"),
    "city": Field("text", "city"),
    "joined": Field("date", "day of joining"),
    "vip": Field("boolean", "a very important person"),
}
CATALOG = Catalog(FIELDS, m.OWN_EVENTS)
NUMBERS = (-1, 0, 0.5, 1, 2, 7)
TEXTS = ("", "Bonn", "bonn", "it's", "50%", "a_b", '"x"; --', "ü\\")
EDGES = (0, 1, 6, 7, 8, 13, 14, 15, 28, 29, 32, 366)
WINDOWS = (None, 1, 7, 14, 28)


def day(days_before: int) -> date:
    return AS_OF.day - timedelta(days=days_before)


@cache  # building a strategy costs more than drawing from it
def fields(kind: t.Type) -> st.SearchStrategy[t.FieldRef]:
    names = sorted(name for name, each in FIELDS.items() if each.type == kind)
    return st.sampled_from(names).map(lambda name: t.FieldRef(name, kind, FIELDS[name].title))


@st.composite
def behaviours(draw: st.DrawFn, counts_only: bool = False) -> t.Behaviour:
    event = draw(st.sampled_from(("purchase", "mailing", "conversion")))
    measures = ["events"] if counts_only else ["events", "days_since"]
    if event == "purchase" and not counts_only:
        measures += ["amount", "quantity"]
    key, values = ("department", ("FLORAL", "MEAT")) if event == "purchase" else ("campaign_id", ("c1", "c2"))
    where = draw(st.sampled_from(((), *(((key, value),) for value in values))))
    return t.Behaviour(event, draw(st.sampled_from(measures)), draw(st.sampled_from(WINDOWS)), where)


@cache
def number_constants() -> st.SearchStrategy[t.Constant]:
    return st.sampled_from(NUMBERS).map(lambda value: t.Constant(value, "number"))


@cache
def numbers() -> st.SearchStrategy[t.Scalar]:
    exact = st.one_of(m.behaviours(), m.affinities())
    leaves = st.one_of(number_constants(), fields("number"), behaviours(), behaviours(), exact)
    compound = st.recursive(
        leaves,
        lambda inner: st.one_of(
            st.builds(t.Arithmetic, st.sampled_from("+-*/"), inner, inner).filter(_divides_by_something),
            inner.filter(lambda node: not isinstance(node, t.Constant)).map(t.Negative),
        ),
        max_leaves=4,
    )
    dates_apart = st.builds(t.Arithmetic, st.just("-"), dates(), dates())
    return st.one_of(leaves, compound, dates_apart)


def _divides_by_something(node: t.Arithmetic) -> bool:
    """A division by the number 0 is refused; one by a value that may be 0 is not."""
    return node.sign != "/" or not isinstance(node.right, t.Constant) or node.right.value != 0


@cache
def dates() -> st.SearchStrategy[t.Scalar]:
    return st.one_of(
        fields("date"),
        st.builds(t.DayBefore, st.sampled_from((-3, *EDGES)), local=st.booleans()),
        st.sampled_from(EDGES).map(lambda days: t.Constant(day(days), "date")),
        st.builds(
            lambda field, sign, days: t.Arithmetic(sign, field, t.Constant(days, "number"), "date"),
            fields("date"),
            st.sampled_from("+-"),
            st.sampled_from(EDGES),
        ),
    )


@cache
def text_constants() -> st.SearchStrategy[t.Constant]:
    return st.sampled_from(TEXTS).map(lambda value: t.Constant(value, "text"))


@cache
def conditions(segments: tuple[str, ...] = ()) -> st.SearchStrategy[t.Condition]:
    signs = st.sampled_from(("=", "<>", "<", "<=", ">", ">="))
    equal = st.sampled_from(("=", "<>"))
    leaves: list[st.SearchStrategy[t.Condition]] = [
        st.builds(t.Comparison, signs, numbers(), numbers()),
        st.builds(t.Comparison, signs, dates(), dates()),
        st.builds(t.Comparison, equal, fields("text"), text_constants()),
        st.builds(t.Comparison, equal, fields("boolean"), st.booleans().map(lambda v: t.Constant(v, "boolean"))),
        st.builds(t.Between, numbers(), fields("number"), numbers()),
        st.builds(t.OneOf, fields("number"), st.lists(number_constants(), min_size=1, max_size=3).map(tuple)),
        st.builds(t.OneOf, fields("text"), st.lists(text_constants(), min_size=1, max_size=3).map(tuple)),
        st.builds(t.Like, fields("text"), st.sampled_from(("b%", "%n_", "%", "it's", "50%", "a_b", "", "%\\", "!%\\"))),
        st.builds(t.Known, st.one_of(fields("text"), fields("date"), numbers())),
        fields("boolean").map(t.Holds),
        st.builds(t.Did, behaviours(counts_only=True), st.integers(1, 3)),
        st.booleans().map(t.Always),
        m.conditions(),
    ]
    if segments:
        leaves.append(st.sampled_from(segments).map(t.InSegment))
    return st.recursive(
        st.one_of(leaves),
        lambda inner: st.one_of(
            inner.map(t.Not),
            st.lists(inner, min_size=2, max_size=3).map(lambda parts: t.And(tuple(parts))),
            st.lists(inner, min_size=2, max_size=3).map(lambda parts: t.Or(tuple(parts))),
        ),
        max_leaves=6,
    )


@st.composite
def segments(draw: st.DrawFn, count: int = 5) -> dict[str, Rule]:
    """Rules that may refer to those before them."""
    found: dict[str, Rule] = {}
    for index in range(count):
        condition = draw(conditions(tuple(found)))
        found[f"s{index}"] = Rule("", condition, draw(st.sampled_from(("exclude", "include", "hold"))))
    return found


@cache
def days() -> st.SearchStrategy[Day]:
    common = {
        "event_day": st.sampled_from((-1, *EDGES)).map(day),
        "events": st.integers(1, 2),
        "quantity": st.integers(0, 3),
        "amount": st.integers(0, 9),
    }
    purchase = st.builds(
        Day, event=st.just("purchase"), department=st.sampled_from(("", "FLORAL", "Floral", "MEAT")), **common
    )
    mail = st.builds(
        Day, event=st.sampled_from(("mailing", "conversion")), campaign_id=st.sampled_from(("c1", "c2")), **common
    )
    return st.one_of(purchase, mail)


@cache
def customers(as_of: AsOf = AS_OF) -> st.SearchStrategy[list[Customer]]:
    def optional(values: tuple) -> st.SearchStrategy:
        return st.one_of(st.none(), st.sampled_from(values))

    known = st.fixed_dictionaries(
        {
            "visits": optional(tuple(n for n in NUMBERS if isinstance(n, int))),
            "score": optional(tuple(float(n) for n in NUMBERS)),
            "city": optional(TEXTS),
            "joined": optional(tuple(day(edge) for edge in EDGES)),
            "vip": optional((True, False)),
            "time_zone": optional(m.ZONES),
        }
    )
    moments = st.lists(m.happenings(as_of), max_size=6).map(tuple)
    one = st.tuples(known, st.lists(days(), max_size=4).map(tuple), moments, st.lists(m.stays(as_of), max_size=2))
    return st.lists(one, min_size=1, max_size=6).map(
        lambda rows: [Customer(f"t{index}", *row) for index, row in enumerate(rows)]
    )


_PROFILE = pa.schema(
    {
        "as_of": pa.date32(),
        "customer_token": pa.string(),
        "visits": pa.int64(),
        "score": pa.float64(),
        "city": pa.string(),
        "joined": pa.date32(),
        "vip": pa.bool_(),
        "time_zone": pa.string(),
    }
)
_DAYS = pa.schema(
    {
        "customer_token": pa.string(),
        "event_day": pa.date32(),
        "event": pa.string(),
        "department": pa.string(),
        "campaign_id": pa.string(),
        "events": pa.int64(),
        "quantity": pa.decimal128(38, 4),
        "amount": pa.decimal128(38, 4),
    }
)


def tables(people: list[Customer], as_of: AsOf = AS_OF) -> dict[str, pa.Table]:
    """Customers as tables `profile` (with rows of another day to be left alone), `customer_day` and those of `m`."""
    profile = [{"as_of": as_of.day, "customer_token": each.token, **each.fields} for each in people]
    profile += [{**row, "as_of": as_of.day - timedelta(days=1), "time_zone": "Asia/Tokyo"} for row in profile]
    rows = [
        {
            **vars(each),
            "customer_token": person.token,
            "quantity": Decimal(each.quantity),
            "amount": Decimal(each.amount),
        }
        for person in people
        for each in person.days
    ]
    return {
        "profile": pa.Table.from_pylist(profile, schema=_PROFILE),
        "customer_day": pa.Table.from_pylist(rows, schema=_DAYS),
        **m.tables(people, as_of),
    }


def fill(session: Session, people: list[Customer], as_of: AsOf = AS_OF) -> None:
    """Write customers as tables of the warehouse."""
    for name, table in tables(people, as_of).items():
        with session.registered(_rows=table):
            session.execute(f"create or replace table {name} as from _rows")
