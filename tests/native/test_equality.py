"""Members by a platform's own segment are our members: generated rules, missing values, ties, former contacts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import date
from functools import cache
from typing import Any

import duckdb
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from personalization.rules import Rule
from personalization.rules import tree as t
from personalization.rules.native import definitions
from personalization.rules.native import formula as f
from personalization.rules.native.normal_form import Normal
from tests.native.comparing import World, differences
from tests.rules.strategies import FIELDS, Customer, day, fields

NUMBERS = (-1, 0, 0.5, 0.7, 0.70004, 0.70005, 1, 2, 7)
TEXTS = ("Bonn", "it's", "50%", "a_b", '"x"; --', "ü\\", "[a-z]", "~", "N'x'")
DAYS = (0, 1, 7, 14)
PATTERNS = ("B%", "%n", "%o%", "%", "it's", "a_b", "50%", "%\\", "[a%", "%~%", "%'%")


@cache
def leaves() -> st.SearchStrategy[t.Condition]:
    def constants(values: tuple[Any, ...], kind: t.Type) -> st.SearchStrategy[t.Constant]:
        return st.sampled_from(values).map(lambda value: t.Constant(value, kind))

    signs = st.sampled_from(("=", "<>", "<", "<=", ">", ">="))
    numbers, texts = constants(NUMBERS, "number"), constants(TEXTS, "text")
    days = st.one_of(st.sampled_from(DAYS).map(t.DayBefore), constants(tuple(map(day, DAYS)), "date"))
    any_field = st.sampled_from(sorted(FIELDS)).flatmap(lambda name: st.just(t.FieldRef(name, FIELDS[name].type)))
    return st.one_of(
        st.builds(t.Comparison, signs, fields("number"), numbers),
        st.builds(t.Comparison, signs, numbers, fields("number")),
        st.builds(t.Comparison, signs, fields("date"), days),
        st.builds(t.Comparison, st.sampled_from(("=", "<>")), fields("text"), texts),
        st.builds(t.Between, fields("number"), numbers, numbers),
        st.builds(t.OneOf, fields("number"), st.lists(numbers, min_size=1, max_size=3).map(tuple)),
        st.builds(t.OneOf, fields("text"), st.lists(texts, min_size=1, max_size=3).map(tuple)),
        st.builds(t.Like, fields("text"), st.sampled_from(PATTERNS)),
        st.builds(t.Known, any_field),
        fields("boolean").map(t.Holds),
        st.booleans().map(t.Always),
    )


def conditions(segments: tuple[str, ...]) -> st.SearchStrategy[t.Condition]:
    leaf = st.one_of(leaves(), st.sampled_from(segments).map(t.InSegment)) if segments else leaves()

    def joined(inner: st.SearchStrategy[t.Condition]) -> st.SearchStrategy[t.Condition]:
        parts = st.lists(inner, min_size=2, max_size=3).map(tuple)
        return st.one_of(inner.map(t.Not), parts.map(t.And), parts.map(t.Or))

    return st.recursive(leaf, joined, max_leaves=4)


@st.composite
def programs(draw: st.DrawFn) -> dict[str, Rule]:
    found: dict[str, Rule] = {}
    for index in range(4):
        choice = draw(st.sampled_from(("exclude", "include", "hold")))
        found[f"s{index}"] = Rule("", draw(conditions(tuple(found))), choice)
    return found


@cache
def people() -> st.SearchStrategy[list[Customer]]:
    def optional(values: tuple[Any, ...]) -> st.SearchStrategy[Any]:
        return st.one_of(st.none(), st.sampled_from(values))

    known = st.fixed_dictionaries(
        {
            "visits": optional((-1, 0, 1, 2, 7)),
            "score": optional(NUMBERS),
            "city": optional(TEXTS),
            "joined": optional(tuple(map(day, DAYS))),
            "vip": optional((True, False)),
        }
    )
    return st.lists(known, min_size=2, max_size=6).map(
        lambda rows: [Customer(f"t{index}", row) for index, row in enumerate(rows)]
    )


@pytest.fixture(scope="module")
def connection() -> Iterator[duckdb.DuckDBPyConnection]:
    with duckdb.connect() as opened:
        yield opened


def compare_generated(connection: duckdb.DuckDBPyConnection, examples: int) -> Counter[str]:
    """How many segments were compared at each platform."""
    compared: Counter[str] = Counter()

    # a difference names rule and members already; making it smaller takes minutes
    @settings(
        max_examples=examples,
        deadline=None,
        suppress_health_check=list(HealthCheck),
        phases=(Phase.explicit, Phase.reuse, Phase.generate),
    )
    @given(programs(), people())
    def check(rules: dict[str, Rule], customers: list[Customer]) -> None:
        found = differences(World(connection, customers), rules, lambda platform: compared.update([platform]))
        assert not found, found

    check()
    return compared


def test_members_are_the_same_everywhere(connection: duckdb.DuckDBPyConnection) -> None:
    compared = compare_generated(connection, 16)
    assert min(compared[name] for name in ("mailchimp", "hubspot", "listmonk", "salesforce")) > 12, compared


@pytest.mark.slow
def test_members_are_the_same_everywhere_in_many_programs(connection: duckdb.DuckDBPyConnection) -> None:
    compared = compare_generated(connection, 1500)
    assert min(compared[name] for name in ("mailchimp", "hubspot", "listmonk", "salesforce")) > 1500, compared


# --- would the comparison notice? -------------------------------------------------------------------------------------


def field(name: str) -> t.FieldRef:
    return t.FieldRef(name, FIELDS[name].type)


def number(value: float) -> t.Constant:
    return t.Constant(value, "number")


EXAMPLES = {
    "not_known": Rule("", t.Not(t.Known(field("city")))),
    "at_least": Rule("", t.Comparison(">=", field("score"), number(0.7))),
    "included": Rule("", t.Comparison("<", field("visits"), number(2)), "include"),
    "is_not": Rule("", t.Comparison("<>", field("city"), t.Constant("Bonn", "text"))),
    "recent": Rule("", t.Comparison(">", field("joined"), t.DayBefore(7))),
    "of_included": Rule("", t.Not(t.InSegment("included")), "exclude"),
}
# a flat list of conditions can't say "or not known" beside what marks a contact; HubSpot has no days
EXPRESSIBLE = {"mailchimp": 5, "hubspot": 5, "listmonk": 6, "salesforce": 6}
CUSTOMERS = [
    Customer(f"t{index}", {"visits": v, "score": s, "city": c, "joined": j, "vip": None})
    for index, (v, s, c, j) in enumerate(
        [
            (1, 0.7, "Bonn", day(7)),
            (2, 0.69995, "Ulm", day(6)),
            (None, None, None, None),
            (7, 0.6999, None, day(1)),
        ]
    )
]


def test_the_examples_are_the_same_everywhere(connection: duckdb.DuckDBPyConnection) -> None:
    compared: Counter[str] = Counter()
    assert not differences(World(connection, CUSTOMERS), EXAMPLES, lambda platform: compared.update([platform]))
    assert compared == EXPRESSIBLE


def _each(change: Callable[[f.Leaf], f.Formula]) -> Callable[[f.Formula], f.Formula]:
    def changed(formula: f.Formula) -> f.Formula:
        if isinstance(formula, f.AllOf):
            return f.all_of(*map(changed, formula.parts))
        if isinstance(formula, f.AnyOf):
            return f.any_of(*map(changed, formula.parts))
        return change(formula)

    return changed


def _bounds_moved(leaf: f.Leaf) -> f.Formula:
    signs: dict[f.Sign, f.Sign] = {">=": ">", "<": "<="}
    return replace(leaf, sign=signs.get(leaf.sign, leaf.sign)) if isinstance(leaf, f.Test) else leaf


MISTAKES: dict[str, Callable[[f.Leaf], f.Formula]] = {
    "the unknown are forgotten where they are included": lambda leaf: (
        replace(leaf, or_unknown=False) if isinstance(leaf, f.Test) else leaf
    ),
    "not known is taken for known": lambda leaf: (
        f.IsKnown(leaf.field, leaf.kind) if isinstance(leaf, f.IsUnknown) else leaf
    ),
    "a bound belongs to the other side": _bounds_moved,
    "different takes the unknown in": lambda leaf: (
        replace(leaf, or_unknown=True) if isinstance(leaf, f.Test) and leaf.sign == "<>" else leaf
    ),
    "a day is missed": lambda leaf: (
        replace(leaf, values=(date.fromordinal(leaf.values[0].toordinal() - 1),))
        if isinstance(leaf, f.Test) and isinstance(leaf.values[0], date)
        else leaf
    ),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_in_the_normal_form_is_noticed(
    connection: duckdb.DuckDBPyConnection, monkeypatch: pytest.MonkeyPatch, mistake: str
) -> None:
    right = definitions.normal_form

    def wrong(*arguments: Any) -> Normal:
        normal = right(*arguments)
        return replace(normal, formula=_each(MISTAKES[mistake])(normal.formula))

    monkeypatch.setattr(definitions, "normal_form", wrong)
    assert differences(World(connection, CUSTOMERS), EXAMPLES)


@pytest.mark.parametrize("marker", ["vip", "external"])
def test_a_marker_that_does_not_mark_is_noticed(
    connection: duckdb.DuckDBPyConnection, monkeypatch: pytest.MonkeyPatch, marker: str
) -> None:
    """The customer's token stays with former contacts, so it does not tell them from current ones."""

    def wrong(place: Any) -> str:
        if place.platform == "listmonk":
            return "external_id"
        if marker == "vip":
            return next(each.name for each in place.fields if each.column == "vip")
        return {"mailchimp": "EXTERNALID", "hubspot": "personalization_id", "salesforce": "ExternalId"}[place.platform]

    monkeypatch.setattr(definitions, "_marker", wrong)
    found = differences(World(connection, CUSTOMERS), EXAMPLES)
    assert {text.split()[0] for text in found} == {"mailchimp", "hubspot", "salesforce"}
