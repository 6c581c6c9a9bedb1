"""Killed at any change to its files, and run again: every row landed once, and every consent event is in the ledger."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.sync.shop import HEADER, Shop, orders

REPOSITORY = Path(__file__).parents[2]
CUSTOMERS = {"entity": "customers", "path": "customers.csv", "columns": {"customer_id": "id", "email": "mail"}}
CONSENTS = {
    "entity": "consent_events",
    "path": "consents.csv",
    "columns": {"event_id": "n", "customer_id": "id", "purpose": "p", "action": "a", "effective_at": "t"},
}


def prepare(shop: Shop) -> None:
    """Three tables in two sources: appended with a cursor, replaced, and consent. Some of it landed before."""
    shop.write_lines("orders.csv", HEADER, *(f"{n},1,c{n},1,1.00,2017-01-01" for n in range(10)))
    shop.write_lines("customers.csv", "id,mail", *(f"c{n},c{n}@example.com" for n in range(10)))
    shop.write_lines("consents.csv", "n,id,p,a,t", *(f"{n},c{n},email.marketing,grant,2017-01-01" for n in range(10)))
    first = {"kind": "files", "location": "data", "tables": {"orders": orders("orders.csv", cursor="ordered")}}
    tables = {"customers": {**CUSTOMERS, "write": "replace"}, "consents": CONSENTS}
    second = {"kind": "files", "location": "data", "tables": tables}
    shop.write_program({"first": first, "second": second})


def grow(shop: Shop) -> None:
    with (shop.root / "data" / "orders.csv").open("a") as file:
        file.writelines(f"{n},1,c{n},1,1.00,2017-01-02\n" for n in range(10, 20))
    shop.write_lines("customers.csv", "id,mail", *(f"c{n},c{n}@example.com" for n in range(20)))
    with (shop.root / "data" / "consents.csv").open("a") as file:
        file.writelines(f"{n},c{n},email.marketing,grant,2017-01-01\n" for n in range(10, 20))


def run_killed(shop: Shop, *at: int) -> list[str]:
    command = [sys.executable, "-m", "tests.sync.killed", str(shop.root), *map(str, at)]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout.split("\n")[:-1]


def assert_complete(shop: Shop) -> None:
    """Everything is there once; the landing zone holds no row twice (cursor) and no consent event is missing."""
    assert sorted(int(row[0]) for row in shop.landing("order_lines__first_orders", "order_id")) == list(range(20))
    assert len(shop.landing("customers__second_customers", newest_only=True)) == 20
    assert {name: shop.split(name).valid for name in ("order_lines", "customers", "consent_events")} == {
        "order_lines": 20,
        "customers": 20,
        "consent_events": 20,
    }
    assert len(shop.ledger.consent.snapshot("email.marketing")) == 20
    tokens = [shop.keys.token("email", f"c{n}@example.com") for n in range(20)]
    assert len(shop.ledger.vault(shop.keys).reveal(tokens)) == 20


def changes_of_a_run(shop: Shop, tmp_path: Path) -> int:
    counted = Shop(Path(shutil.copytree(shop.root, tmp_path / "counted")))
    line, ended = run_killed(counted)
    assert ended == "exit 0"
    return int(line.removeprefix("changes "))


def test_killed_again_and_again_each_time_further_on(shop: Shop) -> None:
    prepare(shop)
    shop.sync()
    grow(shop)
    ended = run_killed(shop, 3, 40, 60, 70, 110)
    assert ended.count("killed") >= 4  # what an earlier process finished is not done again, so the last may get through
    shop.sync()
    assert_complete(shop)


@pytest.mark.slow
def test_killed_once_at_every_third_change(shop: Shop, tmp_path: Path) -> None:
    prepare(shop)
    shop.sync()
    grow(shop)
    for at in range(1, changes_of_a_run(shop, tmp_path) + 1, 3):
        copy = Shop(Path(shutil.copytree(shop.root, tmp_path / f"at-{at}")))
        assert run_killed(copy, at) == ["killed"], at
        copy.sync()
        assert_complete(copy)
        copy.ledger.close()


def test_a_first_run_that_was_killed(shop: Shop) -> None:
    prepare(shop)
    grow(shop)
    assert set(run_killed(shop, 1, 30, 60)) == {"killed"}
    shop.sync()
    assert_complete(shop)
