"""Results are taken from the last evaluation where nothing they follow from has changed, and only there."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
from datetime import date
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from personalization.as_of import AsOf
from personalization.crash_points import VARIABLE
from personalization.program import Program
from personalization.stages.segments.touched import evaluate_touched
from personalization.warehouse import Warehouse
from tests.segments.shop import MONDAY, Shop

TUESDAY, WEDNESDAY, FRIDAY = (MONDAY.shift(days) for days in (1, 2, 4))
PEOPLE: dict[str, dict[str, Any]] = {
    "ann": {"orders_84d": 5, "recency_days": 3, "purchase_score": 0.9},
    "bob": {"orders_84d": 1, "recency_days": 40, "purchase_score": 0.2},
    "cid": {"orders_84d": 3, "recency_days": 20, "purchase_score": 0.6},
}
RULES: dict[str, Any] = {
    "regulars": "orders_84d >= 3",
    "likely": "purchase_score > 0.5",
    "shoppers": "did('purchase', within => '7 days')",
    "mailed": "did('mailing', within => '30 days')",
    "both": "in_segment('regulars') AND in_segment('shoppers')",
    "not_both": "NOT in_segment('both')",
}
READ = ("marts.customer_day", "features.customer_profile", "scores.propensity", "segments.profile", "read_parquet")
"""What a query names that reads data; `segments.membership` and the like are results."""


@pytest.fixture
def evaluated(shop: Shop) -> Shop:
    shop.customers(MONDAY, **PEOPLE)
    shop.bought("bob", MONDAY.shift(-2).day)
    shop.bought("cid", MONDAY.shift(-2).day)
    shop.evaluate(shop.program(**RULES), MONDAY)
    return shop


def evaluate(shop: Shop, program: Program, day: AsOf = MONDAY, **options: Any) -> tuple[set[str], list[str]]:
    """Which segments were evaluated, and all queries that DuckDB ran meanwhile."""
    shop.session.execute("call enable_logging('QueryLog')")
    shop.session.execute("call truncate_duckdb_logs()")
    shop.evaluate(program, day, **options)
    queries = [text for (text,) in shop.session.rows("select message from duckdb_logs where type = 'QueryLog'")]
    shop.session.execute("call disable_logging()")
    assert any("comment from duckdb_tables" in query for query in queries), "the log holds what was run"
    assert shop.last is not None
    return set(shop.last.evaluated), queries


def reading(queries: list[str], *names: str) -> list[str]:
    """Queries that read one of these tables; what is only written to, described or noted is not read."""
    skipped = ("comment on", "delete from", "select column_name", "select comment", "select count(*) from information")
    return [
        query
        for query in queries
        if not query.strip().lower().startswith(skipped) and any(name in query for name in names)
    ]


def test_nothing_changed_nothing_is_read(evaluated: Shop) -> None:
    before = evaluated.fingerprints()
    file = evaluated.root / "var" / "history" / "segments" / f"as_of={MONDAY.key}.parquet"
    written = file.stat()
    again, queries = evaluate(evaluated, evaluated.program(**RULES))
    assert again == set()
    assert reading(queries, *READ) == []
    assert file.stat() == written
    assert evaluated.fingerprints() == before


def test_nothing_changed_in_a_warehouse_opened_again(evaluated: Shop) -> None:
    """What is known of the tables is in the file, not in the process."""
    evaluated.session.raw.close()
    with Warehouse(evaluated.root / "var" / "warehouse.duckdb", threads=1).connect() as session:
        again = Shop.__new__(Shop)
        again.session, again.root = session, evaluated.root
        found, queries = evaluate(again, again.program(**RULES))
    assert found == set()
    assert reading(queries, *READ) == []


def test_a_changed_rule_and_what_refers_to_it(evaluated: Shop) -> None:
    rules = RULES | {"regulars": "orders_84d >= 1"}
    found, queries = evaluate(evaluated, evaluated.program(**rules))
    assert found == {"regulars", "both", "not_both"}
    assert reading(queries, "marts.customer_day", "features.customer_profile", "scores.propensity") == [], (
        "'shoppers' is taken over: no behaviour is needed"
    )
    assert evaluated.members(MONDAY, "both") == {"bob", "cid"}
    assert evaluated.members(MONDAY, "not_both") == {"ann"}


def test_only_the_behaviour_that_a_changed_rule_needs_is_read(evaluated: Shop) -> None:
    rules = RULES | {"mailed": "did('open', within => '14 days') OR did('purchase', within => '14 days')"}
    found, queries = evaluate(evaluated, evaluated.program(**rules))
    assert found == {"mailed"}
    (scan,) = reading(queries, "marts.customer_day")
    assert "'open'" in scan
    assert "'mailing'" not in scan
    assert scan.count("SUM(") == 2
    assert evaluated.members(MONDAY, "mailed") == {"bob", "cid"}


def test_white_space_and_order_are_no_change_and_unknown_is(evaluated: Shop) -> None:
    rules = dict(reversed(RULES.items())) | {"likely": "purchase_score   >\n 0.5"}
    assert evaluate(evaluated, evaluated.program(**rules))[0] == set()
    rules |= {"likely": {"rule": "purchase_score > 0.5", "unknown": "hold"}}
    assert evaluate(evaluated, evaluated.program(**rules))[0] == {"likely"}


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda shop: shop.bought("ann", MONDAY.shift(-1).day), {"shoppers", "mailed", "both", "not_both"}),
        (lambda shop: shop.customers(MONDAY, **PEOPLE | {"bob": PEOPLE["bob"] | {"purchase_score": 0.8}}), {"likely"}),
        (lambda shop: shop.customers(MONDAY, **PEOPLE | {"dan": {}}), set(RULES)),
        (lambda shop: shop.customers(MONDAY, **dict(reversed(PEOPLE.items()))), set()),
    ],
    ids=["behaviour", "score", "customers", "other order"],
)
def test_changed_data_concern_those_who_read_them(evaluated: Shop, change: Any, expected: set[str]) -> None:
    change(evaluated)
    assert evaluate(evaluated, evaluated.program(**RULES))[0] == expected
    assert evaluated.session.value("select count(*) from segments.profile") == evaluated.session.value(
        "select count(*) from features.customer_profile"
    )


def test_another_day_is_evaluated_and_the_first_one_is_kept(evaluated: Shop) -> None:
    evaluated.customers(TUESDAY, **PEOPLE)
    assert evaluate(evaluated, evaluated.program(**RULES), TUESDAY)[0] == set(RULES)
    evaluated.customers(MONDAY, **PEOPLE)
    found, queries = evaluate(evaluated, evaluated.program(**RULES), MONDAY)
    assert found == {"likely"}, "the table of scores holds another day as well now; all else is as it was"
    assert reading(queries, "SUM(") == []


def test_a_renamed_segment_is_another_one(evaluated: Shop) -> None:
    rules = {"loyal" if name == "regulars" else name: rule for name, rule in RULES.items()}
    rules["both"] = "in_segment('loyal') AND in_segment('shoppers')"
    found, _ = evaluate(evaluated, evaluated.program(**rules))
    assert found == {"loyal", "both", "not_both"}
    assert evaluated.members(MONDAY, "regulars") == set()
    assert evaluated.members(MONDAY, "loyal") == {"ann", "cid"}
    assert evaluated.stays("regulars") == []


def test_two_segments_that_swap_their_names(evaluated: Shop) -> None:
    rules = RULES | {"regulars": RULES["likely"], "likely": RULES["regulars"]}
    found, _ = evaluate(evaluated, evaluated.program(**rules))
    assert found == {"regulars", "likely", "both", "not_both"}
    assert evaluated.session.value("select count(*) from segments.history where segment = 'both'") == 1


def test_incomplete_segments_and_what_refers_to_them_are_never_taken_over(shop: Shop) -> None:
    rules = {
        "likely": {"rule": "purchase_score > 0.5", "min_completeness": 0.9},
        "unlikely": "NOT in_segment('likely')",
        "regulars": "orders_84d >= 3",
    }
    program = shop.program(**rules)
    shop.customers(MONDAY, **PEOPLE)
    shop.evaluate(program, MONDAY)
    shop.customers(TUESDAY, ann={"orders_84d": 3}, bob={"orders_84d": 1})
    found = shop.evaluate(program, TUESDAY)
    assert found["likely"].state == "incomplete"
    assert evaluate(shop, program, TUESDAY)[0] == {"likely", "unlikely"}
    assert shop.members(TUESDAY, "likely") == {"ann"}
    # people of whom no score may be used any more are left out, though no table changed
    assert evaluate(shop, program, TUESDAY, may_be_scored={"bob"})[0] == {"likely", "unlikely"}
    assert shop.members(TUESDAY, "likely") == set()


def test_a_held_segment_is_taken_over_with_whom_it_holds(evaluated: Shop) -> None:
    evaluated.customers(MONDAY, **PEOPLE | {"dan": {"orders_84d": 9}})
    rules = RULES | {
        "likely": {"rule": "purchase_score > 0.5", "unknown": "hold"},
        "sure": {"rule": "in_segment('likely')", "unknown": "include"},
    }
    evaluated.evaluate(evaluated.program(**rules), MONDAY)
    rules["sure"] = {"rule": "NOT in_segment('likely')", "unknown": "include"}
    assert evaluate(evaluated, evaluated.program(**rules))[0] == {"sure"}
    assert evaluated.members(MONDAY, "likely", "held") == {"dan"}
    assert evaluated.members(MONDAY, "sure") == {"bob", "dan"}


def test_a_part_that_was_evaluated_alone(evaluated: Shop) -> None:
    """A segment that others refer to is computed with its present rule and left as it was; the next run writes it."""
    program = evaluated.program(**RULES | {"regulars": "orders_84d >= 1"})
    assert evaluate(evaluated, program, only={"both"})[0] == {"both"}
    assert evaluated.members(MONDAY, "both") == {"bob", "cid"}
    assert evaluated.members(MONDAY, "regulars") == {"ann", "cid"}
    assert evaluate(evaluated, program)[0] == {"regulars", "not_both"}
    assert evaluated.members(MONDAY, "regulars") == {"ann", "bob", "cid"}


def test_after_single_customers_were_brought_up_to_date_everything_is_evaluated(evaluated: Shop) -> None:
    session, program = evaluated.session, evaluated.program(**RULES)
    session.execute("create temp table _touched as select 'ann' as customer_token")
    session.replace_rows("marts.customer_day", "customer_token = 'ann'", "from marts.customer_day limit 0")
    evaluated.bought("ann", MONDAY.shift(-1).day)
    for table in ("marts.customer_day", "features.customer_profile"):
        session.execute(
            f"create temp table _touched_{table.replace('.', '_')} as from {table} where customer_token = 'ann'"
        )
    with session.transaction():
        assert evaluate_touched(session, program, MONDAY, evaluated.root / "var" / "history")
    assert evaluated.members(MONDAY, "shoppers") == {"ann", "bob", "cid"}
    assert ("ann", MONDAY.day, None) in evaluated.stays("shoppers")
    before = evaluated.fingerprints()
    assert evaluate(evaluated, program)[0] == set(RULES)
    assert evaluated.fingerprints() == before
    assert evaluate(evaluated, program)[0] == set()


CRASH = """
import sys
from pathlib import Path
from personalization.warehouse import Warehouse
from tests.segments.shop import MONDAY, Shop
from tests.segments.test_reuse import RULES
root = Path(sys.argv[1])
with Warehouse(root / "var" / "warehouse.duckdb", threads=1).connect() as session:
    shop = Shop.__new__(Shop)
    shop.session, shop.root = session, root
    shop.evaluate(shop.program(**RULES | {"regulars": "orders_84d >= 1"}), MONDAY)
"""


def test_killed_between_the_day_file_and_the_tables(evaluated: Shop) -> None:
    evaluated.session.raw.close()
    killed = subprocess.run(
        [sys.executable, "-c", CRASH, str(evaluated.root)],
        env={**os.environ, VARIABLE: "segments.after_day_file"},
        cwd=Path(__file__).parents[2],
        check=False,
    )
    assert killed.returncode == -signal.SIGKILL
    with Warehouse(evaluated.root / "var" / "warehouse.duckdb", threads=1).connect() as session:
        shop = Shop.__new__(Shop)
        shop.session, shop.root = session, evaluated.root
        assert shop.members(MONDAY, "regulars") == {"ann", "cid"}, "the tables are those of before"
        found, _ = evaluate(shop, shop.program(**RULES | {"regulars": "orders_84d >= 1"}))
        assert found == set(), "the file has it all"
        assert shop.members(MONDAY, "regulars") == {"ann", "bob", "cid"}
        assert shop.members(MONDAY, "not_both") == {"ann"}
        assert [token for token, _, _ in shop.stays("regulars")] == ["ann", "bob", "cid"]
        before = shop.fingerprints()
        session.execute("drop schema segments cascade")
        shop.evaluate(shop.program(**RULES | {"regulars": "orders_84d >= 1"}), MONDAY)
        assert shop.fingerprints() == before


# --- any order of days, rules and data ends as if each day had been evaluated once, on nothing ------------------------

CHOICES: dict[str, list[Any]] = {
    "a": ["orders_84d >= 3", "orders_84d >= 2", "recency_days < 30", None],
    "b": ["did('purchase', within => '3 days')", "did('purchase', within => '5 days', at_least => 2)", None],
    "c": ["in_segment('a')", "NOT in_segment('a')", "in_segment('a') OR recency_days > 25"],
    "d": ["in_segment('c') AND in_segment('b')", {"rule": "purchase_score > 0.5", "unknown": "hold"}, "TRUE", None],
}
DAYS = (MONDAY, TUESDAY, WEDNESDAY, FRIDAY)


def a_program(shop: Shop, chance: random.Random) -> dict[str, Any]:
    rules = {name: chance.choice(choices) for name, choices in CHOICES.items()}
    if rules["a"] is None:
        rules["a"] = "FALSE" if chance.random() < 0.5 else "orders_84d > 0"
    if rules["b"] is None:
        rules["d"] = "in_segment('c')"
    return {name: rule for name, rule in rules.items() if rule is not None}


def some_people(chance: random.Random) -> dict[str, dict[str, Any]]:
    return {
        f"t{index}": {
            "orders_84d": chance.randint(0, 5),
            "recency_days": chance.randint(1, 50),
            **({"purchase_score": chance.random()} if chance.random() < 0.7 else {}),
        }
        for index in range(chance.randint(4, 9))
    }


@pytest.mark.parametrize(
    ("seed", "steps"),
    [(1, 8), *(pytest.param(seed, 14, marks=pytest.mark.slow) for seed in range(4))],  # of 8 steps not all reuse
)
def test_any_order_ends_as_if_each_day_had_been_evaluated_once(
    shop: Shop, tmp_path: Path, seed: int, steps: int
) -> None:
    chance = random.Random(seed)
    people = some_people(chance)
    rules = a_program(shop, chance)
    for index in range(12):
        shop.bought(f"t{index % 6}", date(2024, 3, 1 + index % 7))
    last: dict[AsOf, tuple[dict[str, Any], dict[str, dict[str, Any]]]] = {}
    reused = 0
    for _ in range(steps):
        if chance.random() < 0.6:
            rules = a_program(shop, chance)
        if chance.random() < 0.3:
            people = some_people(chance)
        day = chance.choice(DAYS)
        shop.customers(day, **people)
        shop.evaluate(shop.program(**rules), day)
        last[day] = (rules, people)
        assert shop.last is not None
        reused += len(rules) - len(shop.last.evaluated)
    assert reused > 2
    with Warehouse(tmp_path / "other" / "warehouse.duckdb", threads=1).connect() as session:
        other = Shop(session, tmp_path / "other")
        other.session.execute("drop table marts.customer_day")
        with session.registered(_rows=_rows(shop)):
            session.execute("create table marts.customer_day as from _rows")
        for day, (final, present) in sorted(last.items()):
            other.customers(day, **present)
            other.evaluate(other.program(**final), day)
        for table in ("membership", "history"):
            assert shop.session.fingerprint(f"segments.{table}") == session.fingerprint(f"segments.{table}"), table
        day = max(last)
        of_day = "(select * from segments.summary where as_of = ?)"
        moves = f"select segment, size, held, state, entered, exited, rule_version from {of_day} order by all"
        shop.customers(day, **last[day][1])
        shop.evaluate(shop.program(**last[day][0]), day)
        assert shop.session.rows(moves, [day.day]) == session.rows(moves, [day.day])


def _rows(shop: Shop) -> pa.Table:
    return shop.session.arrow("from marts.customer_day")
