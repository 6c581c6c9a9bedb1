"""pandera schemas of landed and mart tables: what holds passes, what does not is named with a few keys."""

from __future__ import annotations

import pytest

from personalization.stages.sync.entities import ENTITIES
from personalization.stages.validation.checks import MART_TABLES
from personalization.stages.validation.marts import MARTS
from personalization.stages.validation.schemas import MAX_EXAMPLES, Failure, TableSchema, check_table, landed_schema
from personalization.warehouse import Session
from tests.sync.shop import HEADER, Shop, orders

CUSTOMER_DAYS = """
    create or replace table marts.customer_day as select
        'c' || n as customer_token, date '2017-01-01' + n::int as event_day, 'purchase' as event, '' as department,
        '' as campaign_id, 1 as events, 2.0::decimal(18, 4) as quantity, 3.5::decimal(18, 4) as amount
    from range(100) r(n)
"""


def check_marts(shop: Shop, *changes: str) -> list[Failure]:
    """The failures of marts.customer_day after some changes to good rows."""
    with shop.warehouse.connect() as session:
        session.execute("create schema if not exists marts")
        session.execute(CUSTOMER_DAYS)
        for change in changes:
            session.execute(change)
        return check_table(mart("marts.customer_day"), session)


def mart(table: str) -> TableSchema:
    return next(schema for schema in MARTS if schema.table == table)


def test_what_holds_passes(shop: Shop) -> None:
    assert check_marts(shop) == []


@pytest.mark.parametrize(
    ("change", "check", "rows"),
    [
        ("update marts.customer_day set amount = -1 where event_day < '2017-01-04'", "amount_not_negative", 3),
        ("update marts.customer_day set customer_token = null where customer_token = 'c7'", "customer_token_known", 1),
        ("update marts.customer_day set event = 'Visit!' where customer_token = 'c7'", "event_named", 1),
        (
            "update marts.customer_day set event_day = '1700-01-01' where customer_token = 'c7'",
            "event_day_plausible",
            1,
        ),
        ("update marts.customer_day set events = 0 where customer_token = 'c7'", "has_events", 1),
        ("insert into marts.customer_day from marts.customer_day where customer_token = 'c7'", "unique_key", 1),
    ],
)
def test_what_does_not_is_named(shop: Shop, change: str, check: str, rows: int) -> None:
    (failure,) = check_marts(shop, change)
    assert (failure.check, failure.rows, len(failure.examples)) == (check, rows, rows)


def test_examples_are_few_and_the_first_in_key_order(shop: Shop) -> None:
    (failure,) = check_marts(shop, "update marts.customer_day set amount = -1")
    assert failure.rows == 100
    assert failure.message == "amount is negative"
    assert len(failure.examples) == MAX_EXAMPLES
    assert [row[0] for row in failure.examples[:3]] == ["c0", "c1", "c10"]


def test_a_missing_column_is_named(shop: Shop) -> None:
    (failure,) = check_marts(shop, "alter table marts.customer_day drop column amount")
    assert failure.message == "marts.customer_day has no column amount"


def test_every_mart_has_a_schema_and_a_check() -> None:
    assert tuple(schema.table for schema in MARTS) == MART_TABLES


def test_landed_tables_pass_their_own_rules(shop: Shop) -> None:
    shop.write_lines(
        "orders.csv", HEADER, "1,1,a,1,1.00,2017-01-01", "1,1,a,1,2.00,2017-01-01", "2,1,a,x,1.00,2017-01-01"
    )
    shop.use_files(orders=orders("orders.csv"))
    shop.sync()
    shop.validate()
    with shop.warehouse.connect() as session:
        for entity in ENTITIES:
            assert check_table(landed_schema(entity, shop.program), session) == []


def test_a_landed_table_that_was_tampered_with_fails(shop: Shop) -> None:
    shop.write_lines("orders.csv", HEADER, "1,1,a,1,1.00,2017-01-01", "2,1,a,1,1.00,2017-01-01")
    shop.use_files(orders=orders("orders.csv"))
    shop.sync()
    shop.split("order_lines")

    def failures(session: Session) -> list[tuple[str, int, list[tuple[str, ...]]]]:
        found = check_table(landed_schema("order_lines", shop.program), session)
        return [(failure.message, failure.rows, failure.examples) for failure in found]

    with shop.warehouse.connect() as session:
        session.execute("update landed.order_lines set quantity = '-3' where order_id = '2'")
        assert failures(session) == [("quantity: negative", 1, [("2", "1")])]
        session.execute("insert into landed.order_lines from landed.order_lines where order_id = '1'")
        assert ("more than one row with the same order_id, product_id", 1, [("1", "1", 2)]) in failures(session)
