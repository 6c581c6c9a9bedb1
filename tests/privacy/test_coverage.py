"""Every place that can hold personal data is known: a table nobody thought of fails here (invariant 49)."""

from __future__ import annotations

from personalization.privacy.inventory import AREAS, CATEGORIES, area_of, category_of, without_purpose
from personalization.privacy.places import LEDGER, Fate
from personalization.privacy.relations import ledger_tables, tables, text_columns
from tests.privacy.town import Town

NAMED_FOR_TOKENS = ("token", "subject", "customer", "address")


def test_every_table_of_the_ledger_has_a_fate() -> None:
    known = ledger_tables()
    assert set(known) - set(LEDGER) == set(), "say in privacy/places.py what erasure does to its rows"
    assert set(LEDGER) - set(known) == {"alembic_version"}


def test_a_table_said_to_hold_nothing_of_people_has_no_column_for_it() -> None:
    named = {
        name
        for name, table in ledger_tables().items()
        if any(word in column.name for column in text_columns(table) for word in NAMED_FOR_TOKENS)
    }
    assert {name for name in named if LEDGER[name].fate is Fate.NONE} == set()


def test_every_kept_table_says_why() -> None:
    assert [name for name, place in LEDGER.items() if place.fate is Fate.KEPT and not place.why] == []


def test_every_table_has_a_stated_purpose(town: Town) -> None:
    columns = [(f"ledger.{name}", column.name) for name, table in ledger_tables().items() for column in table.c]
    assert without_purpose(columns) == []
    assert {area.category for area in AREAS} <= set(CATEGORIES)
    assert category_of("marts.customers", "birth_date") == "demographics"
    assert category_of("segments.summary", "size") == "totals"


def test_a_new_table_of_the_warehouse_is_found_by_erasure_and_missed_by_the_inventory(town: Town) -> None:
    with town.runtime.warehouse.connect() as session:
        assert "future.unheard_of" in {relation.name for relation in tables(session.raw)}
    assert area_of("future.unheard_of") is None
    assert without_purpose([("future.unheard_of", "planted")]) == ["future.unheard_of.planted"]
