"""What people chose to read about is a field of the profile: true, false, or unknown, as of the day."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from personalization.errors import ProgramError
from personalization.ledger import Ledger
from personalization.ledger.preferences import TOPIC, PreferenceEvent
from personalization.rules import check_program, describe, program_rules
from personalization.stages.segments.evaluate import evaluate_segments
from personalization.stages.segments.topics import read_topics
from personalization.stages.segments.touched import evaluate_touched
from personalization.warehouse import Warehouse
from personalization.warehouse.touched_models import touched_rows
from tests.segments.shop import MONDAY, Shop

BEFORE, AFTER = datetime(2024, 3, 1, tzinfo=UTC), datetime(2024, 3, 5, tzinfo=UTC)
RULES = {
    "cooks": "topic_recipes",
    "explicit": "topic_recipes = true AND orders_84d > 1",
    "refused": "NOT topic_recipes",
    "open": "known(topic_wine)",
}


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    with Ledger.open(f"sqlite:///{tmp_path / 'ledger.sqlite'}") as opened:
        yield opened


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[Shop]:
    with Warehouse(tmp_path / "var" / "warehouse.duckdb", threads=1).connect() as session:
        yield Shop(session, tmp_path)


def choose(ledger: Ledger, subject: str, topic: str, value: str, at: datetime = BEFORE) -> None:
    ledger.preferences.append(
        [
            PreferenceEvent(
                event_id=f"{subject}-{topic}-{value}-{at}",
                subject_token=subject,
                kind=TOPIC,
                name=topic,
                value=value,
                effective_at=at,
                source="page",
                method="test",
            )
        ]
    )


@pytest.fixture
def chosen(shop: Shop, ledger: Ledger) -> Shop:
    people = ("yes", "no", "never", "changed", "later")
    shop.customers(MONDAY, **{name: {"orders_84d": 2} for name in people})
    shop.session.execute("insert into landed.identity values ('mail-yes', 'yes')")
    choose(ledger, "mail-yes", "recipes", "true")  # by the address: it counts for the person
    choose(ledger, "no", "recipes", "false")
    choose(ledger, "changed", "recipes", "false", datetime(2024, 2, 1, tzinfo=UTC))
    choose(ledger, "changed", "recipes", "true")
    choose(ledger, "later", "recipes", "true", AFTER)
    choose(ledger, "no", "wine", "true")
    for person in people:
        shop.session.execute("insert into landed.identity values (?, ?)", [person, person])
    return shop


def test_rules_see_the_choice_that_stood_when_the_day_began(chosen: Shop, ledger: Ledger) -> None:
    program = chosen.program(**RULES)
    evaluate_segments(
        chosen.session,
        program,
        MONDAY,
        chosen.root / "var" / "history",
        chosen_topics=lambda: read_topics(chosen.session, ledger, MONDAY),
    )
    assert chosen.members(MONDAY, "cooks") == {"yes", "changed"}
    assert chosen.members(MONDAY, "explicit") == {"yes", "changed"}
    assert chosen.members(MONDAY, "refused") == {"no"}  # who never chose has not refused
    assert chosen.members(MONDAY, "open") == {"no"}
    names = chosen.session.rows("select column_name from (describe segments.profile) where column_name like 'topic_%'")
    assert {name for (name,) in names} == {f"topic_{name}" for name in program.topics}


def test_single_customers_are_made_again_with_their_choices(chosen: Shop, ledger: Ledger) -> None:
    program, history = chosen.program(**RULES), chosen.root / "var" / "history"

    def everybody(among: str | None = None) -> object:
        return read_topics(chosen.session, ledger, MONDAY, among)

    evaluate_segments(chosen.session, program, MONDAY, history, chosen_topics=everybody)  # type: ignore[arg-type]
    choose(ledger, "never", "recipes", "true")
    chosen.session.execute("create temp table _touched as select 'never' as customer_token")
    for table in ("features.customer_profile", "marts.customer_day"):
        query = f"create temp table {touched_rows(table)} as from {table} semi join _touched using (customer_token)"
        chosen.session.execute(query)
    with chosen.session.transaction():
        assert evaluate_touched(chosen.session, program, MONDAY, history, chosen_topics=everybody)  # type: ignore[arg-type]
    assert chosen.members(MONDAY, "cooks") == {"yes", "changed", "never"}


def test_a_topic_that_nobody_declared_is_named(shop: Shop) -> None:
    (problem,) = check_program(shop.program(cooks="topic_recipies"))
    assert isinstance(problem, ProgramError)
    assert "topic_recipes" in str(problem)


def test_in_words(shop: Shop) -> None:
    rules = program_rules(shop.program(cooks="topic_recipes")).segments
    assert "chose to read about recipes" in describe(rules["cooks"])
