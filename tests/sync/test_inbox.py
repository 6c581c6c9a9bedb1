"""Webhook events to landing and landed tables (invariants 8, 12, 13, 14, 15 and 16 of the reliability notes)."""

from __future__ import annotations

import itertools
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from personalization.errors import KeyFileError
from personalization.ledger import Keyring
from personalization.ledger.inbox_event import Arrival
from personalization.stages.sync import inbox as applying
from personalization.stages.sync.identity import update_identity, write_identity
from personalization.stages.sync.identity_links import record_links
from personalization.stages.sync.inbox import AppliedEvents, apply_inbox
from personalization.stages.sync.landing import CONSUMER, all_inbox_files, inbox_files
from personalization.stages.validation.applied import LANDED, Applied, read_applied
from personalization.stages.validation.touched import land_touched
from personalization.stages.validation.validate import validate_landed
from personalization.warehouse import Session
from tests.sync.shop import HEADER, Shop, orders

NOON = datetime(2017, 5, 1, 12, tzinfo=UTC)
WEBHOOKS = {
    "kind": "webhook",
    "sender": "standard",
    "secrets": ["${env:SHOP_SECRET}"],
    "tables": {
        "orders": {
            "entity": "order_lines",
            "when": {"type": "order"},
            "records": "lines",
            "columns": {
                "order_id": "id",
                "customer_id": "customer",
                "ordered_at": "at",
                "product_id": ".sku",
                "quantity": ".quantity",
                "amount": ".amount",
            },
        },
        "customers": {
            "entity": "customers",
            "when": {"type": "customer"},
            "columns": {"customer_id": "id", "email": "email", "city": "city"},
        },
        "products": {
            "entity": "products",
            "when": {"type": "product"},
            "columns": {"product_id": "id", "department": "department"},
        },
    },
}


@pytest.fixture
def shop(shop: Shop) -> Shop:
    shop.write_program(
        {
            "files": {"kind": "files", "location": "data", "tables": {"sales": orders("sales.csv")}},
            "web": WEBHOOKS,
        }
    )
    shop.write_lines("sales.csv", HEADER, "o1,p1,c1,1,2.50,2017-01-01", "o2,p1,c2,1,2.50,2017-01-02")
    return shop


def order(number: str, customer: str = "c1", at: str = "2017-05-01T10:00:00Z", amount: Any = 9.5) -> dict[str, Any]:
    lines = [{"sku": "p1", "quantity": 1, "amount": amount}, {"sku": "p2", "quantity": 2, "amount": 1}]
    return {"type": "order", "id": number, "customer": customer, "at": at, "lines": lines}


def customer(number: str, email: str, city: str = "Bonn") -> dict[str, Any]:
    return {"type": "customer", "id": number, "email": email, "city": city}


def product(number: str, department: str) -> dict[str, Any]:
    return {"type": "product", "id": number, "department": department}


def receive(
    shop: Shop, events: Iterable[dict[str, Any] | bytes], *, keys: list[str] | None = None, at: datetime = NOON
) -> None:
    """Put events into the inbox, one minute after another."""
    start = shop.ledger.inbox.last_seq()
    bodies = [event if isinstance(event, bytes) else json.dumps(event).encode() for event in events]
    shop.ledger.inbox.receive(
        [
            Arrival.sealed(
                shop.keys,
                source="web",
                event_key=keys[index] if keys else f"e{start + index}",
                body=body,
                received_at=NOON + timedelta(days=1),
                event_at=at + timedelta(minutes=index),
            )
            for index, body in enumerate(bodies)
        ]
    )


def apply(shop: Shop, **options: Any) -> AppliedEvents:
    return apply_inbox(shop.program, shop.workspace, shop.keys, shop.ledger, **options)


def tables(session: Session) -> dict[str, str]:
    names = session.rows(
        "select table_schema || '.' || table_name from information_schema.tables"
        " where table_schema in ('landed', 'quarantine', 'validation')"
    )
    return {name: session.fingerprint(name) for (name,) in names}


def validated(shop: Shop) -> dict[str, str]:
    """The tables as a run of everything makes them from what is in the landing zone."""
    with shop.warehouse.connect() as session:
        watermark = shop.ledger.inbox.watermark(CONSUMER)
        record_links(shop.program, shop.workspace, inbox=watermark)
        validate_landed(shop.program, shop.workspace, session, inbox=watermark)
        write_identity(session, shop.workspace.history)
        return tables(session)


def landed_as_they_come(shop: Shop, then: Callable[[], None] | None = None) -> dict[str, str]:
    """The tables after only what is new was taken over; `then` is called when that is committed."""
    with shop.warehouse.connect() as session:
        with session.transaction():
            since = read_applied(session, LANDED) or Applied()
            watermark = shop.ledger.inbox.watermark(CONSUMER)
            land_touched(session, shop.program, shop.workspace.landing, since, Applied(watermark))
            record_links(shop.program, shop.workspace, inbox=watermark, after=since.inbox)
            update_identity(session, shop.workspace.history)
        if then:
            then()
        return tables(session)


def dead(shop: Shop) -> dict[int, str]:
    return {letter.seq: letter.reason for letter in shop.ledger.inbox.dead_letters.all()}


def test_events_become_rows_beside_those_of_files(shop: Shop) -> None:
    shop.sync()
    receive(shop, [order("w1"), customer("c1", "a@example.com"), {"type": "other"}])
    assert apply(shop).rows == {"web.orders": 2, "web.customers": 1}
    validated(shop)
    assert shop.query("select order_id, product_id, amount, _source, _row from landed.order_lines order by 1, 2") == [
        ("o1", "p1", "2.50", "files/sales.csv", 2),
        ("o2", "p1", "2.50", "files/sales.csv", 3),
        ("w1", "p1", "9.5", "web/event 1", 1),
        ("w1", "p2", "1", "web/event 1", 2),
    ]
    assert shop.query("select customer_key, email_token from landed.customers") == [
        (shop.keys.token("customer", "c1"), shop.keys.token("email", "a@example.com"))
    ]
    assert not [path for path in shop.workspace.landing.rglob("*.parquet") if b"a@example.com" in path.read_bytes()]


def test_one_bad_event_among_many_stops_none_of_them(shop: Shop) -> None:
    shop.sync()
    events: list[dict[str, Any] | bytes] = [order(f"w{number}") for number in range(500)]
    events[250] = b'{"type": "order", "id": '
    events[300] = {"type": "order", "id": "w300", "lines": "none"}
    events[301] = order("w301", at="31.02.2017")
    receive(shop, events)
    done = apply(shop, range_size=100)
    assert (done.events, done.dead, done.rows) == (500, 2, {"web.orders": 996})
    assert dead(shop) == {
        251: "not JSON: expecting value at character 24",
        301: "lines: a list is expected there, found a text",
    }
    validated(shop)
    assert shop.query("select landed, valid, quarantined from validation.books where entity = 'order_lines'") == [
        (998, 996, 2)
    ]
    assert shop.query("select distinct unnest(reasons) from quarantine.order_lines") == [
        ("ordered_at: not a date ('31.02.2017')",)
    ]


def test_a_body_that_was_altered_is_a_dead_letter_and_lost_keys_stop_everything(shop: Shop, tmp_path: Path) -> None:
    receive(shop, [order("w1"), order("w2")])
    with shop.ledger.begin() as connection:
        connection.exec_driver_sql("update inbox set body = randomblob(80) where seq = 1")
    assert apply(shop).dead == 1
    assert dead(shop) == {1: "its body can't be opened: it was altered, or its key is lost"}
    receive(shop, [order("w3")])
    with shop.ledger.begin() as connection:
        connection.exec_driver_sql("update inbox set body = randomblob(80) where seq = 3")
    with pytest.raises(KeyFileError):
        apply(shop)
    assert shop.ledger.inbox.watermark(CONSUMER) == 2


def test_only_what_is_new_gives_the_same_tables_as_everything(shop: Shop) -> None:
    shop.sync()
    validated(shop)
    steps: list[list[dict[str, Any] | bytes]] = [
        [order("w1"), order("w2", "c9"), customer("c1", "a@example.com"), customer("c2", "b@example.com")],
        [order("o1", "c2"), customer("c1", "b@example.com"), product("p1", "meat"), order("w3", amount="x")],
        [order("w3", amount=4), customer("c2", "c@example.com"), customer("c3", "no address"), product("p1", "")],
    ]
    for number, events in enumerate(steps):
        receive(shop, events, at=NOON + timedelta(hours=number))
        apply(shop)
        quick = landed_as_they_come(shop)
        assert quick == validated(shop), f"step {number}"
    shop.workspace.warehouse.unlink()
    assert validated(shop) == quick


def test_the_order_of_arrival_does_not_matter(shop: Shop, tmp_path: Path) -> None:
    events = {
        "a": (customer("c1", "old@example.com", "Bonn"), 0),
        "b": (customer("c1", "new@example.com", "Köln"), 5),
        "c": (customer("c1", "other@example.com", "Ulm"), 5),  # at the same moment as b
        "d": (product("p1", "meat"), 1),
        "e": (product("p1", "fish"), 2),
    }
    found = set()
    for index, arrival_order in enumerate(itertools.permutations("abcde")):
        if index % 17:  # eight of the 120 arrival orders, from all over
            continue
        fresh = Shop(Path(shutil.copytree(shop.root, tmp_path / "".join(arrival_order))))
        for key in arrival_order:
            receive(fresh, [events[key][0]], keys=[key], at=NOON + timedelta(minutes=events[key][1]))
            receive(fresh, [events[key][0]], keys=[key])  # and again: it has no second effect
        apply(fresh)
        validated(fresh)
        found.add(
            (
                *fresh.query("select customer_key, email_token, city, updated_at from landed.customers"),
                *fresh.query("select product_id, department from landed.products"),
            )
        )
        fresh.ledger.close()
    assert len(found) == 1
    assert "fish" in str(found)
    assert "Bonn" not in str(found)


def test_a_late_event_does_not_undo_what_a_newer_file_says(shop: Shop) -> None:
    shop.sync()  # now, long after the event happened
    receive(shop, [order("o1", customer="c7", amount=77)])
    apply(shop)
    validated(shop)
    assert shop.query("select amount from landed.order_lines where order_id = 'o1' and product_id = 'p1'") == [
        ("2.50",)
    ]


def test_typed_times_of_files_mean_the_same_beside_the_text_of_events(shop: Shop) -> None:
    moment = datetime(2017, 3, 1, 23, 30)  # noqa: DTZ001  (Parquet's own kind of UTC)
    shop.write_parquet(
        "sales.parquet",
        {
            "order": ["t1", "t2"],
            "product": [1, 2],
            "customer": [1, 2],
            "quantity": [1.0, 2.0],
            "amount": [1.5, 2.25],
            "ordered": [moment, datetime(2017, 3, 2)],  # noqa: DTZ001
        },
    )
    shop.write_program(
        {
            "files": {"kind": "files", "location": "data", "tables": {"sales": orders("sales.parquet")}},
            "web": WEBHOOKS,
        }
    )
    shop.sync()
    validated(shop)
    assert shop.query("select order_id, ordered_at, amount from landed.order_lines order by 1") == [
        ("t1", "2017-03-01T23:30:00.000000+00:00", "1.5"),
        ("t2", "2017-03-02T00:00:00.000000+00:00", "2.25"),
    ]


def test_a_dead_letter_is_applied_when_it_is_understood(shop: Shop) -> None:
    receive(shop, [{"type": "order", "id": "w1", "customer": "c1", "at": "2017-05-01", "lines": "none"}, order("w2")])
    assert apply(shop).dead == 1
    validated(shop)
    text = (shop.workspace.program / "sources.yaml").read_text()
    (shop.workspace.program / "sources.yaml").write_text(
        text.replace("records: lines", "when_old: 1").replace("when_old: 1", "records: lines")
    )
    columns = {**WEBHOOKS["tables"]["orders"]["columns"], "product_id": "lines", "quantity": "id", "amount": "id"}  # type: ignore[index]
    orders_now = {**WEBHOOKS["tables"]["orders"], "columns": columns}  # type: ignore[index]
    del orders_now["records"]
    shop.write_program({"web": {**WEBHOOKS, "tables": {**WEBHOOKS["tables"], "orders": orders_now}}})  # type: ignore[dict-item]
    shop.ledger.inbox.replay([1])
    assert apply(shop).replayed == 1
    assert dead(shop) == {}
    validated(shop)
    assert shop.query("select count(*) from quarantine.order_lines where _source = 'web/event 1'") == [(1,)]
    assert apply(shop).replayed == 0


def test_many_small_files_are_merged_and_nothing_changes(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(applying, "MAX_FILES", 4)
    table = "order_lines__web_orders"
    for number in range(8):
        receive(shop, [order(f"w{number}")])
        apply(shop)
        assert len(all_inbox_files(shop.workspace.landing, table)) <= 5
    merged = validated(shop)
    (whole, *_) = inbox_files(shop.workspace.landing, table, up_to=8)
    assert (whole.first, whole.last) == (1, 5)
    leftover = whole.path.with_name("inbox.000000000002-000000000003.parquet")
    leftover.write_bytes(whole.path.read_bytes())  # killed before the merged ones were deleted
    assert validated(shop) == merged
    apply(shop)
    assert not leftover.exists()


# --- killed ----------------------------------------------------------------------------------------------------------

CODE = """
import os
import sys
from pathlib import Path
from tests.sync.shop import Shop
from tests.sync.test_inbox import apply, landed_as_they_come
shop = Shop(Path(sys.argv[1]))
apply(shop, range_size=3)
if sys.argv[2] == "land":
    landed_as_they_come(shop, lambda: os._exit(0))  # gone without closing anything
"""


def in_a_process(shop: Shop, what: str, crash_at: str = "") -> int:
    environment = {**os.environ, "PERSONALIZATION_CRASH_AT": crash_at}
    return subprocess.run(
        [sys.executable, "-c", CODE, str(shop.root), what], env=environment, check=False, capture_output=True
    ).returncode


@pytest.mark.parametrize("point", ["inbox.after_files", "inbox.after_advance"])
def test_killed_between_file_and_watermark_nothing_is_lost_or_doubled(shop: Shop, point: str) -> None:
    shop.sync()
    receive(shop, [order(f"w{number}") for number in range(5)])
    assert in_a_process(shop, "", crash_at=point) == -signal.SIGKILL
    receive(shop, [order("w9")])  # what comes meanwhile makes the range another one
    validated(shop)  # what a reader sees now: whole ranges only
    assert shop.query("select count(*) from landed.order_lines") in [[(2,)], [(8,)]]
    apply(shop)
    validated(shop)
    assert shop.query("select landed, valid, superseded from validation.books where entity = 'order_lines'") == [
        (14, 14, 0)
    ]


def test_a_torn_warehouse_is_noticed_and_brought_up_again(shop: Shop) -> None:
    shop.sync()
    validated(shop)
    receive(shop, [order("w1")])
    assert in_a_process(shop, "land") == 0
    wal = shop.workspace.warehouse.with_name("warehouse.duckdb.wal")
    content = wal.read_bytes()
    wal.write_bytes(content[:-10])  # DuckDB opens this without a word, without the last transaction
    with shop.warehouse.connect() as session:
        mark = read_applied(session, LANDED)
    assert mark == Applied(0)  # the mark went with the rows
    assert shop.ledger.inbox.watermark(CONSUMER) == 1
    assert landed_as_they_come(shop) == validated(shop)


def test_a_damaged_warehouse_is_set_aside_and_made_again(shop: Shop, caplog: pytest.LogCaptureFixture) -> None:
    shop.sync()
    validated(shop)
    receive(shop, [order("w1")])
    assert in_a_process(shop, "land") == 0
    wal = shop.workspace.warehouse.with_name("warehouse.duckdb.wal")
    content = bytearray(wal.read_bytes())
    content[len(content) // 2] ^= 0xFF
    wal.write_bytes(content)
    folder = shop.warehouse.set_aside_if_damaged()
    assert folder is not None
    assert {path.name for path in folder.iterdir()} == {"warehouse.duckdb", "warehouse.duckdb.wal", "why.txt"}
    assert "is damaged and was moved" in caplog.text
    rebuilt = validated(shop)
    assert shop.query("select count(*) from landed.order_lines") == [(4,)]
    assert shop.warehouse.set_aside_if_damaged() is None
    assert validated(shop) == rebuilt


def test_applying_twice_or_at_once_changes_nothing(shop: Shop) -> None:
    receive(shop, [order("w1")])
    apply(shop)
    first = validated(shop)
    assert apply(shop).events == 0
    with shop.ledger.leases.held("inbox:landing"), pytest.raises(Exception, match="'inbox:landing' is being worked on"):
        apply(shop)
    assert validated(shop) == first


def test_a_mapping_that_can_not_work_is_told_before_anything_runs(shop: Shop) -> None:
    from personalization.stages.sync.tables import check_tables

    tables = {"orders": {"entity": "order_lines", "columns": {"order_id": "id", "colour": "x"}}}
    shop.write_program({"web": {**WEBHOOKS, "tables": tables}})
    messages = [problem.message for problem in check_tables(shop.program)]
    assert any("web.orders: 'colour' is not a column of order_lines" in message for message in messages)
    assert "web.orders: order_lines needs the column 'amount', which is not mapped" in messages


def test_keys_of_another_ledger_apply_nothing(shop: Shop, tmp_path: Path) -> None:
    receive(shop, [order("w1"), order("w2")])
    shop.ledger.vault(shop.keys)
    other = Keyring.create(tmp_path / "other.json")
    with pytest.raises(KeyFileError):
        apply_inbox(shop.program, shop.workspace, other, shop.ledger)
    assert shop.ledger.inbox.watermark(CONSUMER) == 0
