"""Each rule, by rows that break it: the reason says what was found, and never shows an identifier."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from personalization.stages.sync.entities import ENTITIES
from personalization.stages.validation.rules import SHOWN, rules_for
from personalization.stages.validation.words import EMAIL_EVENT_WORDS
from tests.sync.shop import HEADER, Shop, orders

GOOD = {"order": "1", "product": "10", "customer": "a", "quantity": "2", "amount": "3.50", "ordered": "2017-01-02"}
MACRO = Path(__file__).parents[2] / "dbt_project" / "macros" / "email_event.sql"


def load_orders(shop: Shop, *rows: dict[str, str]) -> None:
    """Order lines with values of their own, the rest as in `GOOD`; each row has its own order id."""
    lines = [",".join((GOOD | {"order": str(number)} | row).values()) for number, row in enumerate(rows, 1)]
    shop.write_lines("orders.csv", HEADER + ",discount", *lines)
    table = orders("orders.csv")
    shop.use_files(orders=table | {"columns": {**table["columns"], "discount": "discount"}})
    shop.sync()
    shop.split("order_lines")


def test_what_is_valid(shop: Shop) -> None:
    rows = [
        {"quantity": "0", "discount": ""},
        {"quantity": "89638", "discount": ""},
        {"quantity": " 1.5 ", "discount": "0.25"},
        {"amount": "-0.0", "discount": "N/A"},
        *({"ordered": written, "discount": ""} for written in DATES),
    ]
    load_orders(shop, *rows)
    assert shop.query("select order_id, reasons from quarantine.order_lines") == []
    assert shop.query("select count(*) from landed.order_lines") == [(len(rows),)]
    assert shop.query("select count(*) from landed.order_lines where discount is null") == [(len(rows) - 1,)]


DATES = (
    "2017-01-02",
    "2017-01-02 03:04",
    "2017-01-02 03:04:05",
    "2017-01-02 03:04:05.123456",
    "2017-01-02T03:04:05",
    "2017-01-02T03:04:05Z",
    "2017-01-02T03:04:05.5Z",
    "2017-01-02T03:04:05+02:00",
    "2017-01-02 03:04:05 -0500",
    "02.01.2017",
    "02.01.2017 03:04",
    "20170102",
    '"Mon, 02 Jan 2017 03:04:05 +0100"',
)


WRONG: list[tuple[dict[str, str], list[str]]] = [
    ({"customer": ""}, ["customer_key: missing"]),
    ({"product": "NULL"}, ["product_id: missing"]),
    ({"quantity": " "}, ["quantity: missing"]),
    ({"quantity": "two"}, ["quantity: not a number ('two')"]),
    ({"quantity": "-1"}, ["quantity: negative ('-1')"]),
    ({"amount": "1e30"}, ["amount: not a number ('1e30')"]),
    ({"amount": "NaN"}, ["amount: not a number ('NaN')"]),
    ({"amount": "3,50"}, ["8 columns where the header has 7"]),
    ({"discount": "free"}, ["discount: not a number ('free')"]),
    ({"ordered": "31.02.2017"}, ["ordered_at: not a date ('31.02.2017')"]),
    ({"ordered": "03/04/2017"}, ["ordered_at: not a date ('03/04/2017')"]),
    ({"ordered": "0017-01-02"}, ["ordered_at: not between 1900 and 2100 ('0017-01-02')"]),
    ({"ordered": "x" * 50}, [f"ordered_at: not a date ('{'x' * SHOWN}…')"]),
    (
        {"quantity": "many", "ordered": "then"},
        ["quantity: not a number ('many')", "ordered_at: not a date ('then')"],
    ),
]


def test_what_is_not(shop: Shop) -> None:
    load_orders(shop, {"discount": ""}, *({"discount": ""} | row for row, _ in WRONG))
    found = dict(shop.query("select _row, reasons from quarantine.order_lines"))
    assert found == {line: reasons for line, (_, reasons) in enumerate(WRONG, 3)}
    assert shop.query("select order_id, _source, _row from landed.order_lines") == [("1", "files/orders.csv", 2)]


def load(shop: Shop, entity: str, columns: dict[str, str], *lines: str) -> dict[str, Any]:
    shop.write_lines("data.csv", ",".join(columns.values()), *lines)
    shop.use_files(data={"entity": entity, "path": "data.csv", "columns": columns})
    shop.sync()
    return vars(shop.split(entity))


def test_e_mail_events(shop: Shop) -> None:
    columns = {"campaign_id": "c", "customer_id": "id", "event": "e", "occurred_at": "t"}
    lines = ["1,a,Hard Bounce,", "1,a,sent,2017-01-02", "1,a,teleported,", "1,a,opened,never", ",a,sent,"]
    load(shop, "email_events", columns, *lines)
    assert shop.query("select event, occurred_at from landed.email_events order by event") == [
        ("Hard Bounce", None),
        ("sent", "2017-01-02"),
    ]
    assert shop.query("select reasons from quarantine.email_events order by _row") == [
        (["event: no kind of e-mail event ('teleported')"],),
        (["occurred_at: not a date ('never')"],),
        (["campaign_id: missing"],),
    ]


def test_a_customer_stays_without_what_is_wrong_about_them(shop: Shop) -> None:
    columns = {"customer_id": "id", "email": "mail", "birth_date": "born", "created_at": "since", "city": "city"}
    books = load(shop, "customers", columns, "1,nobody,1.2.1980,long ago,Köln", "2,b@example.com,1700-01-01,,", ",,,,")
    assert books["valid"] == 2
    assert books["dropped_values"] == {
        "birth_date: not between 1900 and 2100": 1,
        "created_at: not a date": 1,
        "email_problem: the e-mail address is not valid": 1,
    }
    assert shop.query(
        "select email_token is null, email_problem, birth_date, created_at, city from landed.customers order by _row"
    ) == [(True, "not a valid e-mail address", "1.2.1980", None, "Köln"), (False, None, None, None, None)]
    assert shop.query("select reasons from quarantine.customers") == [(["customer_key: missing"],)]
    shop.validate()
    assert ("customers", "value_dropped", "created_at: not a date", 1) in shop.query("from validation.reasons")


def test_typed_sources_are_checked_by_the_same_rules(shop: Shop) -> None:
    columns = {"order": [1, 2], "product": [1.0, None], "customer": ["a", "b"], "quantity": [1, -2]}
    shop.write_parquet("orders.parquet", {**columns, "amount": [float("nan"), 1.0], "ordered": [20170102, 99999999]})
    shop.use_files(orders=orders("orders.parquet"))
    shop.sync()
    shop.split("order_lines")
    assert shop.query("select product_id, reasons from quarantine.order_lines order by _row") == [
        ("1", ["amount: not a number ('nan')"]),
        (None, ["product_id: missing", "quantity: negative ('-2')", "ordered_at: not a date ('99999999')"]),
    ]


@pytest.mark.parametrize("entity", list(ENTITIES))
def test_no_rule_shows_a_token(shop: Shop, entity: str) -> None:
    shop.use_files()
    hidden = {"customer_key", "email_token", "phone_token", "email_problem"}
    rules = rules_for(entity, shop.program)
    assert all(not rule.shows_value for rule in rules if rule.column in hidden)
    assert len({rule.name for rule in rules}) == len(rules)


def test_the_words_for_events_are_those_that_dbt_understands() -> None:
    lists = re.findall(r"'\w+': \[([^\]]+)\]", MACRO.read_text(encoding="utf-8"))
    assert set(re.findall(r"'([^']+)'", " ".join(lists))) == EMAIL_EVENT_WORDS
