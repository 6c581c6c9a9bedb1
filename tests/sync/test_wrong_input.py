"""Wrong input ends in a message that says what was found, where it was named, and what to do. Nothing of it lands."""

from __future__ import annotations

import pytest

from personalization.errors import ProgramError, SourceError
from personalization.stages.sync.tables import check_tables
from tests.sync.shop import HEADER, ORDERS, Shop, orders

LINE = "1,10,a,2,3.50,2017-01-02"
COLUMNS = {"order": [1], "product": [2], "customer": ["a"], "quantity": [1], "amount": [1.5], "ordered": ["2017-01-02"]}


def fails(shop: Shop) -> str:
    """The text of the error; neither rows nor memory of them may be left."""
    with pytest.raises(SourceError) as caught:
        shop.sync()
    assert shop.landing("order_lines__files_orders") == []
    assert caught.value.exit_code == 3
    return str(caught.value)


def yaml_line(shop: Shop, text: str) -> str:
    """`<file>:<line>` of the line of sources.yaml that holds a text."""
    path = shop.workspace.program / "sources.yaml"
    lines = path.read_text().splitlines()
    return f"{path}:{next(number for number, line in enumerate(lines, 1) if text in line)}"


def test_a_missing_file(shop: Shop) -> None:
    shop.write_lines("order.csv", HEADER)
    shop.use_files(orders=orders("orders.csv"))
    text = fails(shop)
    assert text.startswith(yaml_line(shop, "path:"))
    assert f"{shop.root}/data/orders.csv does not exist\n  hint: did you mean 'order.csv'?" in text


def test_a_missing_folder(shop: Shop) -> None:
    shop.use_files(orders=orders("orders.csv"))
    assert f"the folder {shop.root}/data does not exist, it should hold orders.csv" in fails(shop)


def test_an_empty_folder(shop: Shop) -> None:
    shop.write("x", "").unlink()
    shop.use_files(orders=orders("orders-*.csv"))
    assert f"{shop.root}/data/orders-*.csv does not exist; the folder is empty" in fails(shop)


@pytest.mark.parametrize("name", ["orders.csv", "orders.jsonl", "orders.parquet"])
def test_an_empty_file(shop: Shop, name: str) -> None:
    shop.write(name, b"")
    shop.use_files(orders=orders(name))
    text = fails(shop)
    assert f"{shop.root}/data/{name} is empty (0 bytes)" in text
    assert "hint: an export without rows still has its header or schema" in text


def test_a_missing_package(shop: Shop) -> None:
    location = "package:no_such_package/data"
    shop.write_program({"files": {"kind": "files", "location": location, "tables": {"orders": orders("orders.csv")}}})
    text = fails(shop)
    assert text.startswith(yaml_line(shop, "location:"))
    assert "the package 'no_such_package' is not installed\n  hint: install it: pip install no_such_package" in text


def test_an_unreadable_parquet_file(shop: Shop) -> None:
    whole = shop.write_parquet("orders.parquet", COLUMNS).read_bytes()
    shop.write("orders.parquet", whole[:-20])
    shop.use_files(orders=orders("orders.parquet"))
    text = fails(shop)
    assert f"{shop.root}/data/orders.parquet is not a readable Parquet file: " in text
    assert "hint: it may have been cut off while it was written; write it again" in text


@pytest.mark.parametrize("name", ["orders.csv", "orders.jsonl", "orders.parquet"])
def test_a_column_that_is_gone(shop: Shop, name: str) -> None:
    if name.endswith("csv"):
        shop.write_lines(name, HEADER.replace("customer", "customer_no"), LINE)
    else:
        renamed = {key.replace("customer", "customer_no"): value for key, value in COLUMNS.items()}
        if name.endswith("jsonl"):
            shop.write_jsonl(name, [{key: value[0] for key, value in renamed.items()}])
        else:
            shop.write_parquet(name, renamed)
    shop.use_files(orders=orders(name))
    text = fails(shop)
    assert text.startswith(yaml_line(shop, "customer_id: customer"))
    assert f"{name} has no column 'customer'; it has: " in text
    assert "customer_no" in text.splitlines()[0]
    assert "hint: did you mean 'customer_no'?" in text


def test_two_columns_of_the_mapped_name(shop: Shop) -> None:
    shop.write_lines("orders.csv", HEADER + ",order", LINE + ",2")
    shop.use_files(orders=orders("orders.csv"))
    text = fails(shop)
    assert "orders.csv has 2 columns named 'order'" in text


@pytest.mark.parametrize(
    ("column", "value", "found", "readable"),
    [
        ("quantity", {"a": 1}, "struct<a: int64>", "quantity can be read from number or text"),
        ("amount", [1], "list<element: int64>", "amount can be read from number or text"),
        ("ordered", True, "bool", "ordered_at can be read from timestamp, date or text"),
        ("customer", b"x", "binary", "customer_id can be read from text, number, boolean, date or timestamp"),
    ],
)
def test_a_column_of_a_type_that_makes_no_sense(
    shop: Shop, column: str, value: object, found: str, readable: str
) -> None:
    shop.write_parquet("orders.parquet", {**COLUMNS, column: [value]})
    shop.use_files(orders=orders("orders.parquet"))
    text = fails(shop)
    assert text.startswith(str(yaml_line(shop, f": {column}")))
    assert f"orders.parquet: column '{column}' is of type {found}; {readable}" in text


def test_a_column_whose_type_changed(shop: Shop) -> None:
    shop.write_parquet("orders.parquet", COLUMNS)
    shop.use_files(orders=orders("orders.parquet"))
    shop.sync()
    shop.write_parquet("orders.parquet", {**COLUMNS, "quantity": ["one"]})
    with pytest.raises(SourceError) as caught:
        shop.sync()
    text = str(caught.value)
    assert text.startswith(yaml_line(shop, "quantity: quantity"))
    assert "files.orders: column 'quantity' (quantity) was bigint so far and is now string" in text
    assert (
        "hint: change it back at the source; to accept the new type, give the table another name in sources.yaml"
        in text
    )
    assert len(shop.landing("order_lines__files_orders")) == 1
    shop.write_parquet(
        "orders.parquet", {**COLUMNS, "order": [7], "quantity": [2.0]}
    )  # the same number, written otherwise
    shop.sync()
    assert shop.landing("order_lines__files_orders", "order_id, quantity") == [(1, 1), (7, 2)]


def test_a_cursor_that_can_not_be_compared(shop: Shop) -> None:
    shop.write_lines("orders.csv", HEADER, "1,10,a,2,3.50,yesterday")
    shop.use_files(orders=orders("orders.csv", cursor="ordered"))
    text = fails(shop)
    assert text.startswith(yaml_line(shop, "cursor:"))
    assert "cursor column 'ordered' has neither numbers nor dates, for example 'yesterday'" in text


def test_a_failing_source_does_not_keep_the_others_from_being_loaded(shop: Shop) -> None:
    shop.write_lines("orders.csv", HEADER, LINE)
    good = {"kind": "files", "location": "data", "tables": {"orders": orders("orders.csv")}}
    half = {"orders": orders("orders.csv"), "more": orders("missing.csv")}
    bad = {"kind": "files", "location": "data", "tables": half}
    shop.write_program({"bad": bad, "good": good, "worse": {**bad, "location": "nowhere"}})
    with pytest.raises(SourceError) as caught:
        shop.sync()
    assert str(caught.value).startswith("2 sources failed:\n")
    assert "missing.csv does not exist" in str(caught.value)
    assert "nowhere does not exist" in str(caught.value)
    assert len(shop.landing("order_lines__good_orders")) == 1
    assert shop.landing("order_lines__bad_orders") == []  # a source lands whole or not at all
    shop.write_lines("missing.csv", HEADER)
    shop.write_program({"bad": bad, "good": good})
    shop.sync()
    assert len(shop.landing("order_lines__bad_orders")) == 1


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"columns": {**ORDERS, "custmer_id": "c"}}, "'custmer_id' is not a column of order_lines (did you mean"),
        (
            {"columns": {name: column for name, column in ORDERS.items() if name != "amount"}},
            "order_lines needs the column 'amount', which is not mapped",
        ),
        ({"constants": {"quantity": 1}}, "'quantity' is both mapped and a constant"),
        ({"path": None}, "a table of a files source needs 'path'"),
        ({"path": "orders.xlsx"}, "can't tell the format of 'orders.xlsx'"),
        ({"delimiter": "||"}, "delimiter must be one character, not '||'"),
    ],
)
def test_mistakes_that_are_seen_without_data(shop: Shop, changes: dict[str, object], problem: str) -> None:
    table = {key: value for key, value in (orders("orders.csv") | changes).items() if value is not None}
    shop.use_files(orders=table)
    problems = check_tables(shop.program)
    assert problem in str(problems[0])
    assert str(problems[0]).startswith(str(shop.workspace.program / "sources.yaml"))
    with pytest.raises(ProgramError):
        shop.sync()


def test_append_without_a_cursor_would_load_a_database_again_and_again(shop: Shop) -> None:
    table = {"entity": "order_lines", "table": "orders", "columns": ORDERS}
    shop.write_program({"db": {"kind": "database", "connection": "sqlite://", "tables": {"orders": table}}})
    (problem,) = check_tables(shop.program)
    assert "db.orders: write: append needs a cursor, else every run would load every row again" in str(problem)


def test_two_tables_that_would_share_a_landing_table(shop: Shop) -> None:
    one = {"kind": "files", "location": "data", "tables": {"b_c": orders("x.csv")}}
    other = {"kind": "files", "location": "data", "tables": {"c": orders("x.csv")}}
    shop.write_program({"a": one, "a_b": other})
    (problem,) = check_tables(shop.program)
    assert "a_b.c and a.b_c would share the landing table 'order_lines__a_b_c'" in str(problem)


def test_a_consent_table_needs_somebody_who_consents(shop: Shop) -> None:
    columns = {"event_id": "id", "purpose": "p", "action": "a", "effective_at": "t"}
    shop.use_files(consents={"entity": "consent_events", "path": "c.csv", "columns": columns})
    (problem,) = check_tables(shop.program)
    assert "consent_events needs one of: customer_id, email" in str(problem)
