"""Hygiene: each kind of untidy segment is found, with its numbers and a suggestion, and tidy ones are not."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest

from personalization.program import Program, load_program
from personalization.stages.segments.hygiene import Finding, hygiene
from personalization.warehouse import Warehouse
from tests.segments.shop import MONDAY, Shop

CAMPAIGN = {"title": "Spring", "purpose": "email.marketing"}


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[Shop]:
    with Warehouse(tmp_path / "var" / "warehouse.duckdb", threads=1).connect() as session:
        yield Shop(session, tmp_path)


def using(shop: Shop, program: Program, *segments: str) -> Program:
    """The program with a campaign for each of some segments."""
    campaigns = {f"c_{name}": {**CAMPAIGN, "audience": f"in_segment('{name}')"} for name in segments}
    (program.root / "campaigns.yaml").write_text(json.dumps({"campaigns": campaigns}))
    return load_program(program.root)


def found(shop: Shop, program: Program, kind: str | None = None) -> dict[str, Finding]:
    return {each.segment: each for each in hygiene(shop.session, program, MONDAY) if kind in (None, each.kind)}


def people(number: int, **fields: Any) -> dict[str, dict[str, Any]]:
    return {f"t{index}": {"orders_84d": index, **fields} for index in range(number)}


def sizes(shop: Shop, segment: str, *numbers: int, state: str = "ok", version: str | None = None) -> None:
    """Earlier sizes of a segment, the last one the day before."""
    for back, size in enumerate(reversed(numbers), 1):
        shop.session.execute(
            "insert into segments.summary by name select * replace (? as as_of, ? as size, ? as state,"
            " coalesce(?, rule_version) as rule_version) from segments.summary where segment = ? and as_of = ?",
            [MONDAY.shift(-back).day, size, state, version, segment, MONDAY.day],
        )


def test_tidy_segments_are_not_named(shop: Shop) -> None:
    shop.customers(MONDAY, **people(8))
    program = using(shop, shop.program(few="orders_84d < 3", many="orders_84d > 5"), "few", "many")
    shop.evaluate(program, MONDAY)
    assert hygiene(shop.session, program, MONDAY) == []


def test_before_anything_was_evaluated(shop: Shop) -> None:
    program = using(shop, shop.program(few="orders_84d < 3"), "few")
    (finding,) = hygiene(shop.session, program, MONDAY)
    assert (finding.kind, finding.found) == ("stale", "it was not evaluated for 2024-03-04 (never so far)")


def test_empty_for_ever_and_emptied(shop: Shop) -> None:
    shop.customers(MONDAY, **people(8))
    program = using(shop, shop.program(none="orders_84d > 900", gone="orders_84d > 800"), "none", "gone")
    shop.evaluate(program, MONDAY)
    sizes(shop, "none", 0, 0)
    sizes(shop, "gone", 70, 0)
    empty = found(shop, program, "empty")
    misspelt = using(shop, shop.program(none="orders_84d > 900 OR age_band = '25'"), "none")
    assert "no customer has age_band '25'" in found(shop, misspelt, "empty")["none"].suggestion
    assert empty["none"].found == "nobody is in it, on none of 3 evaluated days"
    assert "orders_84d > 900" in empty["none"].suggestion
    assert empty["gone"].found == f"nobody is in it; the last time somebody was: {MONDAY.shift(-2).day}"


@pytest.mark.parametrize(
    ("earlier", "kind"),
    [
        ((100, 102, 98, 101), "exploding"),
        ((100, 102), None),  # too little history for a verdict
        ((250, 300, 340), None),
        ((100, 500, 900, 300, 700), None),  # it always swings like that
        ((900, 910, 905), "collapsing"),
    ],
)
def test_a_jump_against_its_own_history(shop: Shop, earlier: tuple[int, ...], kind: str | None) -> None:
    shop.customers(MONDAY, **people(3))
    program = using(shop, shop.program(all="orders_84d >= 0"), "all")
    shop.evaluate(program, MONDAY)
    sizes(shop, "all", *earlier)
    shop.session.execute("update segments.summary set size = 320 where as_of = ?", [MONDAY.day])
    assert {each.kind for each in hygiene(shop.session, program, MONDAY)} == ({kind} if kind else set())


def test_a_jump_names_a_changed_rule(shop: Shop) -> None:
    shop.customers(MONDAY, **people(3))
    program = using(shop, shop.program(all="orders_84d >= 0"), "all")
    shop.evaluate(program, MONDAY)
    sizes(shop, "all", 100, 100, 100, version="another")
    shop.session.execute("update segments.summary set size = 900 where as_of = ?", [MONDAY.day])
    finding = found(shop, program)["all"]
    assert finding.found == "900 people, usually 100 in 3 evaluations of the last 56 days"
    assert finding.suggestion.startswith(f"Its rule changed after {MONDAY.shift(-1).day}")


def test_unused_and_used_by_an_unused_one_only(shop: Shop) -> None:
    shop.customers(MONDAY, **people(8))
    rules = {
        "base": "orders_84d > 5",
        "on": "in_segment('base')",
        "lost": "in_segment('dust')",
        "dust": "orders_84d > 6",
    }
    program = using(shop, shop.program(**rules), "on")
    shop.evaluate(program, MONDAY)
    unused = found(shop, program, "unused")
    assert set(unused) == {"lost", "dust"}
    assert unused["dust"].found.endswith(", only lost, which nothing refers to either")


@pytest.mark.parametrize("file", ["offers", "content", "fatigue", "sunset"])
def test_every_place_that_can_use_a_segment_counts(shop: Shop, file: str) -> None:
    program = shop.program(base="orders_84d > 5")
    rule = "in_segment('base')"
    if file == "offers":
        (program.root / "offers.yaml").write_text(
            json.dumps({"offers": {"a": {"code": "A", "title": "A", "when": rule}}})
        )
    elif file == "content":
        block = {"title": "H", "branches": [{"code": "A", "when": rule}], "otherwise": {"code": "B"}}
        (program.root / "content.yaml").write_text(json.dumps({"blocks": {"hero": block}}))
    else:
        caps = {"caps": [{"tier": "a", "when": rule, "sends": 1, "days": 7}]}
        settings = {"fatigue": caps} if file == "fatigue" else {"sunset": {"when": rule}}
        (program.root / "program.yaml").write_text(json.dumps({"name": "T", "start": "2024-01-01", **settings}))
    assert found(shop, load_program(program.root), "unused") == {}


def test_the_same_members_and_the_same_rule(shop: Shop) -> None:
    shop.customers(MONDAY, **people(8))
    rules = {
        "first": "orders_84d > 5",
        "again": "orders_84d  >  5",
        "alike": "orders_84d >= 6",
        "other": "orders_84d < 2",  # two members as well, but others
    }
    program = using(shop, shop.program(**rules), *rules)
    shop.evaluate(program, MONDAY)
    twins = found(shop, program, "duplicate")
    assert {name: each.found for name, each in twins.items()} == {
        "again": "its rule means the same as that of first (2 people)",
        "alike": "it has the same members as first (2 people)",
    }
    assert "in_segment('first')" in twins["again"].suggestion


def test_stale_not_evaluated_old_inputs_and_incomplete_for_long(shop: Shop) -> None:
    shop.customers(MONDAY, **people(8))
    shop.bought("t1", date(2024, 2, 1))
    rules = {
        "buyers": "did('purchase', within => '60 days')",
        "scored": "purchase_score > 0.5",
        "late": "orders_84d > 5",
    }
    program = using(shop, shop.program(**rules), *rules)
    shop.evaluate(program, MONDAY)
    shop.session.execute("delete from segments.summary where segment = 'late'")
    sizes(shop, "scored", *[0] * 7, state="incomplete")
    stale = found(shop, program, "stale")
    assert stale["late"].found == "it was not evaluated for 2024-03-04 (never so far)"
    assert stale["buyers"].found == "nothing new to look at for more than 14 days: last purchase on 2024-02-01"
    since = MONDAY.day - timedelta(days=7)
    assert stale["scored"].found == f"incomplete since {since}: its members are those of an earlier day"
    shop.bought("t1", date(2024, 3, 1))
    assert "buyers" not in found(shop, program, "stale")
