"""Column lineage is read off the SQL."""

from __future__ import annotations

import pytest
from sqlglot.errors import SqlglotError

from personalization.warehouse.lineage import column_lineage

ORDERS = {"marts.orders": {"id": "VARCHAR", "amount": "DECIMAL(18,4)", "day": "DATE"}}


def test_columns_are_followed_through_ctes_stars_and_unions() -> None:
    sql = """
        with orders as (select * from "shop"."marts"."orders"),
        both_ as (select id, amount from orders union all select id, null from orders)
        select id, sum(amount) as total, count(*) as rows_ from both_ group by id
    """
    assert column_lineage(sql, ORDERS) == {
        "id": [("marts.orders", "id")],
        "total": [("marts.orders", "amount")],
        "rows_": [],
    }


def test_an_unknown_column_is_an_error() -> None:
    with pytest.raises(SqlglotError, match="nowhere"):
        column_lineage("select nowhere from marts.orders", ORDERS)
