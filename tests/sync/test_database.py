"""SQL databases, against a real PostgreSQL: types, incremental loads by cursor, and errors."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import pytest
import sqlalchemy as sa

from personalization.errors import SourceError
from tests.postgres import new_database
from tests.sync.shop import ORDERS, Shop

TABLE = "order_lines__db_orders"
CREATE = """
    create table orders (
        "order" bigint, product text, customer uuid, quantity integer, amount numeric(10, 2),
        ordered timestamptz, day date, local timestamp, ratio double precision, anything numeric, note jsonb
    )
"""
INSERT = (
    "insert into orders select n, 'p' || n, md5('customer' || mod(n, 3))::uuid, n, n + 0.25,"
    " '2017-01-01'::timestamptz + n * interval '1 day', date '2017-01-01' + n, '2017-01-01'::timestamp, n / 2.0, n"
    " from generate_series({first}, {last}) n"
)


@pytest.fixture
def database(postgres_server: str) -> Iterator[sa.Connection]:
    engine = sa.create_engine(new_database(postgres_server))
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.exec_driver_sql("set time zone 'UTC'")
        connection.exec_driver_sql(CREATE)
        connection.exec_driver_sql(INSERT.format(first=1, last=5))
        yield connection
    engine.dispose()


def use(shop: Shop, database: sa.Connection, **settings: Any) -> None:
    table = {"entity": "order_lines", "table": "orders", "columns": ORDERS, "cursor": "ordered"} | settings
    url = database.engine.url.render_as_string(hide_password=False)
    shop.write_program({"db": {"kind": "database", "connection": url, "tables": {"orders": table}}})


def test_rows_land_with_the_database_s_own_types(shop: Shop, database: sa.Connection) -> None:
    use(shop, database, columns={**ORDERS, "discount": "ratio", "coupon_discount": "anything", "channel": "local"})
    assert shop.sync().rows == 5
    types = shop.landed_types(TABLE)
    assert {name: types[name] for name in ("order_id", "product_id", "quantity", "amount", "ordered_at")} == {
        "order_id": "BIGINT",
        "product_id": "VARCHAR",
        "quantity": "BIGINT",
        "amount": "DECIMAL(10,2)",
        "ordered_at": "TIMESTAMP WITH TIME ZONE",
    }
    assert (types["discount"], types["coupon_discount"], types["channel"]) == ("DOUBLE", "DECIMAL(38,9)", "TIMESTAMP")
    amount, ordered_at, source, row = shop.landing(TABLE, "amount, ordered_at, _source, _row")[0]
    assert (amount, ordered_at, source, row) == (Decimal("1.25"), datetime(2017, 1, 2, tzinfo=UTC), "db/orders", 1)
    assert len(set(shop.landing(TABLE, "customer_key"))) == 3


@pytest.mark.parametrize("cursor", ["ordered", "day", "order", "amount"])
def test_only_new_rows_are_fetched_and_no_tie_is_lost(shop: Shop, database: sa.Connection, cursor: str) -> None:
    use(shop, database, cursor=cursor)
    shop.sync()
    assert shop.sync().tables[0].unchanged
    database.exec_driver_sql(INSERT.format(first=6, last=8))
    # a row with the cursor values of the last one that was loaded, and one without
    database.exec_driver_sql(
        "insert into orders select 5, 'tie', customer, 9, 5.25, ordered, day from orders where quantity = 5"
    )
    database.exec_driver_sql("insert into orders values (null, 'none', null, 1, null, null, null)")
    assert shop.sync().rows == 5
    landed = {row[0] for row in shop.landing(TABLE, "product_id")}
    assert landed == {*(f"p{n}" for n in range(1, 9)), "tie", "none"}


def test_the_database_itself_leaves_out_old_rows(shop: Shop, database: sa.Connection) -> None:
    use(shop, database)
    shop.sync()
    database.exec_driver_sql("alter table orders rename to all_orders")
    # dividing by zero shows whether an old row was ever looked at
    database.exec_driver_sql(
        'create view orders as select "order", product, customer,'
        " case when ordered < '2017-01-06' then quantity / 0 else quantity end as quantity, amount, ordered"
        " from all_orders"
    )
    assert shop.sync().tables[0].unchanged


def test_a_replaced_table_is_loaded_whole(shop: Shop, database: sa.Connection) -> None:
    use(shop, database, write="replace", cursor=None)
    shop.sync()
    database.exec_driver_sql("delete from orders where quantity > 1")
    assert shop.sync().rows == 1
    assert shop.landing(TABLE, "product_id", newest_only=True) == [("p1",)]
    database.exec_driver_sql("delete from orders")
    assert shop.sync().rows == 0
    assert shop.landing(TABLE, "product_id", newest_only=True) == []


def test_many_rows_are_fetched_in_batches(shop: Shop, database: sa.Connection, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("personalization.stages.sync.database.BATCH_ROWS", 1_000)
    database.exec_driver_sql(INSERT.format(first=6, last=10_500))
    use(shop, database)
    assert shop.sync().rows == 10_500
    landed = shop.landing(TABLE, "order_id, _row")
    assert {row for _, row in landed} == {order for order, _ in landed} == set(range(1, 10_501))


def fails(shop: Shop) -> str:
    with pytest.raises(SourceError) as caught:
        shop.sync()
    assert shop.landing(TABLE) == []
    return str(caught.value)


def test_a_missing_table(shop: Shop, database: sa.Connection) -> None:
    use(shop, database, table="order")
    assert "source 'db' has no table 'order'\n  hint: did you mean 'orders'?" in fails(shop)


def test_a_missing_column(shop: Shop, database: sa.Connection) -> None:
    use(shop, database, columns={**ORDERS, "customer_id": "custmer"})
    text = fails(shop)
    assert "orders has no column 'custmer'; it has: order, product, customer, " in text
    assert "hint: did you mean 'customer'?" in text


def test_a_column_that_is_no_plain_value(shop: Shop, database: sa.Connection) -> None:
    use(shop, database, columns={**ORDERS, "channel": "note"})
    text = fails(shop)
    assert "orders: column 'note' is of type JSONB(" in text
    assert "hint: map a column of a plain type, or make a view that casts it" in text


def test_a_server_that_is_not_there(shop: Shop, database: sa.Connection) -> None:
    use(shop, database)
    path = shop.workspace.program / "sources.yaml"
    path.write_text(path.read_text().replace(f":{database.engine.url.port}/", ":9/"))
    text = fails(shop)
    assert "source 'db': the database answered: connection failed" in text
    assert text.startswith(f"{path}:")


def test_a_url_that_is_none(shop: Shop, database: sa.Connection) -> None:
    use(shop, database)
    path = shop.workspace.program / "sources.yaml"
    path.write_text(path.read_text().replace("postgresql+psycopg:", "nosuch:"))
    assert "source 'db': the connection URL can't be used: " in fails(shop)


def test_a_changed_type_stops_the_source(shop: Shop, database: sa.Connection) -> None:
    use(shop, database)
    shop.sync()
    database.exec_driver_sql("alter table orders alter quantity type date using date '2017-01-01' + quantity")
    with pytest.raises(SourceError) as caught:
        shop.sync()
    assert "orders: column 'quantity' is of type date32[day]; quantity can be read from number or text" in str(
        caught.value
    )
    assert len(shop.landing(TABLE)) == 5


def test_days_are_dates(shop: Shop, database: sa.Connection) -> None:
    use(shop, database, columns={**ORDERS, "ordered_at": "day"}, cursor="order")
    shop.sync()
    assert shop.landing(TABLE, "ordered_at")[0] == (date(2017, 1, 2),)


def test_a_value_that_contradicts_its_column_s_type_is_not_shown(shop: Shop) -> None:
    """SQLite keeps any value in any column."""
    engine = sa.create_engine(f"sqlite:///{shop.root / 'shop.sqlite'}")
    with engine.begin() as connection:
        connection.exec_driver_sql(
            'create table orders ("order" int, product text, customer int, quantity int, amount numeric, ordered text)'
        )
        connection.exec_driver_sql("insert into orders values (1, 'p', 'ann@example.com', 1, 1, '2017-01-01')")
    engine.dispose()
    table = {"entity": "order_lines", "table": "orders", "columns": ORDERS, "write": "replace"}
    url = f"sqlite:///{shop.root / 'shop.sqlite'}"
    shop.write_program({"db": {"kind": "database", "connection": url, "tables": {"orders": table}}})
    text = fails(shop)
    assert "orders: column 'customer' has a value that is no int64" in text
    assert "ann@example.com" not in text
