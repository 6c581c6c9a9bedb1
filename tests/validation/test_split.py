"""The books of validation close: every landed row is valid, in quarantine, or superseded by a newer one."""

from __future__ import annotations

from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from personalization.stages.sync.entities import ENTITIES
from tests.sync.shop import HEADER, Shop, orders


def load(shop: Shop, *lines: str, **settings_: Any) -> tuple[int, int, int, int]:
    """Sync and validate; landed, valid, quarantined, superseded."""
    shop.write_lines("orders.csv", HEADER, *lines)
    shop.use_files(orders=orders("orders.csv", **settings_))
    shop.sync()
    books = shop.split("order_lines")
    return books.landed, books.valid, books.quarantined, books.superseded


def test_of_rows_with_the_same_key_the_last_counts(shop: Shop) -> None:
    assert load(shop, "1,1,a,1,1.00,2017-01-01", "1,1,a,5,5.00,2017-01-01", "1,2,a,1,1.00,2017-01-01") == (3, 2, 0, 1)
    assert shop.query("select quantity from landed.order_lines where product_id = '1'") == [("5",)]


def test_a_later_load_wins_over_a_later_row(shop: Shop) -> None:
    load(shop, "9,9,a,1,1.00,2017-01-01", "1,1,a,1,1.00,2017-01-01")
    assert load(shop, "1,1,a,7,1.00,2017-01-01") == (3, 2, 0, 1)
    assert shop.query("select quantity, _row from landed.order_lines where order_id = '1'") == [("7", 2)]


def test_a_corrected_row_leaves_the_quarantine(shop: Shop) -> None:
    assert load(shop, "1,1,a,one,1.00,2017-01-01") == (1, 0, 1, 0)
    assert load(shop, "1,1,a,1,1.00,2017-01-01") == (2, 1, 0, 1)


def test_a_row_that_became_wrong_is_shown_beside_the_one_that_still_counts(shop: Shop) -> None:
    load(shop, "1,1,a,1,1.00,2017-01-01")
    assert load(shop, "1,1,a,one,1.00,2017-01-01") == (2, 1, 1, 0)


def test_wrong_rows_that_land_again_are_counted_once(shop: Shop) -> None:
    wrong = ["1,1,a,one,1.00,2017-01-01", "broken", "also broken"]
    assert load(shop, *wrong) == (3, 0, 3, 0)
    assert load(shop, *wrong, "2,1,a,1,1.00,2017-01-01") == (7, 1, 3, 3)


def test_only_the_newest_load_of_a_replaced_table_counts(shop: Shop) -> None:
    load(shop, "1,1,a,1,1.00,2017-01-01", "2,1,a,one,1.00,2017-01-01", write="replace")
    assert load(shop, "3,1,a,1,1.00,2017-01-01", write="replace") == (1, 1, 0, 0)


def test_reasons_are_counted_without_their_values(shop: Shop) -> None:
    load(shop, "1,1,a,one,1.00,2017-01-01", "2,1,a,two,1.00,2017-01-01", "3,1,,x,1.00,2017-01-01")
    assert shop.validate()["order_lines"].reasons == {"quantity: not a number": 3, "customer_key: missing": 1}
    assert shop.query("from validation.books where entity = 'order_lines'") == [("order_lines", 3, 0, 3, 0)]


def test_tables_of_different_kinds_make_one_entity(shop: Shop) -> None:
    """Typed values stay typed where only typed tables have them, and become text beside text."""
    shop.write_parquet("a.parquet", {"c": [1], "id": [1], "e": ["sent"]})
    shop.write_parquet("b.parquet", {"c": [2], "id": [1.0], "e": ["sent"], "n": [5]})
    columns = {"campaign_id": "c", "customer_id": "id", "event": "e"}
    a = {"entity": "email_events", "path": "a.parquet", "columns": columns}
    b = {"entity": "email_events", "path": "b.parquet", "columns": {**columns, "occurred_at": "n"}}
    shop.use_files(a=a, b=b)
    shop.sync()
    shop.split("email_events")
    types = dict(shop.query("select column_name, column_type from (describe landed.email_events)"))
    assert types["occurred_at"] == "BIGINT"
    assert types["campaign_id"] == types["detail"] == "VARCHAR"
    assert shop.query("select count(distinct customer_key) from landed.email_events") == [(1,)]


def test_every_entity_has_its_tables_with_all_columns(shop: Shop) -> None:
    shop.use_files()
    books = shop.validate()
    assert set(books) == set(ENTITIES)
    for name, entity in ENTITIES.items():
        columns = [row[0] for row in shop.query(f"select column_name from (describe landed.{name})")]
        assert columns == [*entity.landed_columns, "_source", "_row"]
        assert shop.query(f"select count(*) from quarantine.{name}") == [(0,)]


def test_completeness(shop: Shop) -> None:
    load(shop, "1,1,a,1,1.00,2017-01-01", "2,1,a,1,1.00,2017-01-01", constants={"currency": "EUR"})
    shop.validate()
    share = dict(
        shop.query("select column_name, share from validation.completeness where table_name = 'landed.order_lines'")
    )
    assert (share["order_id"], share["currency"], share["discount"]) == (1.0, 1.0, 0.0)
    assert shop.query(
        "select rows, known, share from validation.completeness"
        " where table_name = 'landed.products' and column_name = 'gtin'"
    ) == [(0, 0, None)]


def test_a_rebuilt_warehouse_is_the_same(shop: Shop) -> None:
    load(shop, *(f"{n % 7},{n % 3},a,{'x' if n % 5 else n},1.00,2017-01-01" for n in range(40)), "broken")
    shop.validate()

    def fingerprints() -> list[str]:
        tables = ["landed.order_lines", "quarantine.order_lines", "validation.reasons", "validation.completeness"]
        with shop.warehouse.connect() as session:
            return [session.fingerprint(table) for table in tables]

    first = fingerprints()
    shop.workspace.warehouse.unlink()
    shop.validate()
    assert fingerprints() == first


lines = st.builds(
    "{},{},{},{},1.00,{}".format,
    st.sampled_from(["1", "2", ""]),
    st.sampled_from(["1", "2"]),
    st.sampled_from(["a", ""]),
    st.sampled_from(["1", "2", "x", "-1"]),
    st.sampled_from(["2017-01-01", "never"]),
)


@settings(max_examples=5, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.one_of(lines, st.just("broken")), max_size=12))
def test_the_books_close_whatever_lands(shop: Shop, rows: list[str]) -> None:
    before = shop.split("order_lines").landed if (shop.workspace.program / "sources.yaml").exists() else 0
    landed, valid, quarantined, superseded = load(shop, *rows)
    assert landed == valid + quarantined + superseded
    assert superseded >= 0
    assert landed - before in (0, len(rows))
    assert shop.query("select count(*) from (select order_id, product_id from landed.order_lines group by all)") == [
        (valid,)
    ]
