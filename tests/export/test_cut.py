"""The cut: the last look decides, covers all identifiers of a person, and without ledger or keys nothing leaves."""

from __future__ import annotations

import hashlib
import sqlite3
import threading
from datetime import UTC, datetime
from pathlib import Path

import pytest
from sqlalchemy import select

from personalization.errors import KeyFileError, LedgerError
from personalization.ledger import Ledger, VaultItem
from personalization.ledger.export_books import ExportBooks
from personalization.ledger.export_schema import outbox
from personalization.ledger.schema import now
from personalization.sandbox import Sandbox
from personalization.stages.export import delivery
from personalization.stages.export.adapters.base import Clock
from tests.export.shop import Shop, address, folders, when_requested

LATER = datetime(2018, 1, 1, tzinfo=UTC)


def link(shop: Shop, token: str, number: int) -> None:
    """Another identifier of a customer, as the identity table has it."""
    with shop.runtime.warehouse.connect() as session:
        session.execute(
            "insert into landed.identity by name select ? as identifier_token, ? as customer_token",
            [token, shop.customer(number)],
        )


def suppressed(shop: Shop) -> list[str]:
    return [row["customer_token"] for row in ended(shop) if row["state"] == "suppressed"]


def ended(shop: Shop) -> list[dict[str, str]]:
    books = ExportBooks(shop.runtime.ledger)
    return books.ended_otherwise(books.history(destination="file")[0].run)


@pytest.mark.parametrize("which", ["customer", "email", "another e-mail"])
def test_an_opt_out_on_any_identifier_covers_the_person(shop: Shop, which: str) -> None:
    other = shop.runtime.keys.token("email", "other@example.com")
    link(shop, other, 3)
    token = {"customer": shop.customer(3), "email": shop.email(3), "another e-mail": other}[which]
    shop.consent([token], "withdraw", LATER)
    shop.export("file")
    assert suppressed(shop) == [shop.customer(3)]


@pytest.mark.parametrize("which", ["customer", "email"])
def test_a_suppression_of_any_identifier_covers_the_person(shop: Shop, which: str) -> None:
    token = shop.customer(3) if which == "customer" else shop.email(3)
    shop.runtime.ledger.suppressions.add([token], "bounced", "test")
    shop.export("file")
    assert [(row["customer_token"], row["reason"]) for row in ended(shop)] == [
        (shop.customer(3), "suppressed: bounced")
    ]


def test_a_suppression_that_outlived_an_erasure_counts(shop: Shop) -> None:
    token = shop.runtime.keys.suppression_token(address(3))
    shop.runtime.ledger.suppressions.add([token], "erased", "test")
    shop.export("file")
    assert suppressed(shop) == [shop.customer(3)]


def test_who_never_agreed_is_not_written_to(shop: Shop) -> None:
    shop.rows[3]["customer_token"] = shop.runtime.keys.token("customer", "never asked")
    shop.rows[3]["email_token"] = shop.email(3)
    shop.decide()
    shop.export("file")
    (row,) = ended(shop)
    assert (row["state"], row["reason"]) == ("suppressed", "no_consent")


def test_a_purpose_that_does_not_rest_on_consent_needs_no_grant_but_heeds_a_withdrawal(shop: Shop) -> None:
    shop.edit("consent", "{title: News by e-mail}", "{title: Orders, lawful_basis: legitimate_interest}")
    for number in (3, 4):
        shop.rows[number]["customer_token"] = shop.runtime.keys.token("customer", f"never asked {number}")
    shop.decide()
    shop.consent([shop.rows[4]["customer_token"]], "withdraw", LATER)
    shop.export("file")
    assert suppressed(shop) == [shop.rows[4]["customer_token"]]


def test_a_merged_person_is_found_under_the_old_token(shop: Shop) -> None:
    """Exported as customer 3, later merged into customer 5: an opt-out of 5 retracts the contact of 3."""
    shop.export("file")
    shop.rows.pop(3)
    shop.decide()
    with shop.runtime.warehouse.connect() as session:
        session.execute(
            "insert into landed.identity by name select unnest([?, ?]) as identifier_token, ? as customer_token",
            [shop.email(3), shop.customer(3), shop.customer(5)],
        )
    shop.withdraw(5)
    assert shop.export("file").books.retractions == 2


def test_a_batch_that_waited_too_long_is_cut_again(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    """Time jumps by more than the cut may be old between cut and sending; meanwhile somebody opts out."""
    moments = iter([0.0, delivery.CUT_SECONDS + 1])

    def monotonic() -> float:
        moment = next(moments, None)
        if moment is None:
            return 2 * delivery.CUT_SECONDS
        if moment:
            shop.withdraw(3)
        return moment

    books = shop.export("file", clock=Clock(monotonic=monotonic)).books
    assert (books.acked, books.suppressed) == (7, 1)
    assert address(3) not in (folders(shop)[0] / "upserts.csv").read_text()


def test_an_opt_out_while_the_platform_works_is_retracted_in_the_same_run(shop: Shop, sandbox: Sandbox) -> None:
    """The upsert of customer 3 hangs at the platform while customer 3 opts out: too late for the cut."""
    path = f"/lists/demo000001/members/{hashlib.md5(address(3).encode(), usedforsecurity=False).hexdigest()}"
    sandbox.fault("hang_after", path=path, method="PUT", seconds=0.8)

    with when_requested(sandbox, path, lambda: Shop(shop.root).withdraw(3)):
        books = shop.export().books
    assert (books.adds, books.retractions, books.acked) == (8, 1, 9)
    assert sandbox.members()[address(3)]["status"] == "unsubscribed"


def test_no_row_leaves_whose_opt_out_was_durable_before_its_cut(tmp_path: Path, sandbox: Sandbox) -> None:
    """People opt out one after the other while an export is under way."""
    shop, other = Shop.open(tmp_path / "shop", 800), Shop(tmp_path / "shop")
    durable: dict[str, datetime] = {}
    stop = threading.Event()

    def opt_out() -> None:
        for number in sorted(shop.rows, key=lambda number: hashlib.sha256(str(number).encode()).digest()):
            if stop.is_set():
                return
            other.withdraw(number)
            durable[other.customer(number)] = now()

    thread = threading.Thread(target=opt_out)
    thread.start()
    shop.export()
    stop.set()
    thread.join()
    with shop.runtime.ledger.read() as connection:
        sent = connection.execute(
            select(outbox.c.customer_token, outbox.c.cut_at).where(
                outbox.c.operation == "add", outbox.c.state == "acked"
            )
        ).all()
    leaked = [row for row in sent if row.customer_token in durable and durable[row.customer_token] < row.cut_at]
    assert leaked == []
    assert durable
    shop.export()
    statuses = {email: member["status"] for email, member in sandbox.members().items()}
    opted_out = {address(number) for number in shop.rows if shop.customer(number) in durable}
    assert all(statuses.get(email, "unsubscribed") == "unsubscribed" for email in opted_out)


def test_without_keys_nothing_leaves(shop: Shop) -> None:
    path = shop.root / "var" / "keys.json"
    path.rename(path.with_suffix(".gone"))
    shop.__dict__.pop("runtime", None)
    with pytest.raises(KeyFileError):
        shop.export("file")
    assert folders(shop) == []


def test_a_damaged_ledger_exports_nothing(shop: Shop) -> None:
    shop.runtime.ledger.close()
    for path in (shop.root / "var").glob("ledger.sqlite-*"):
        path.unlink()
    ledger = shop.root / "var" / "ledger.sqlite"
    ledger.write_bytes(b"not a database" * 1000)
    shop.__dict__.pop("runtime", None)
    with pytest.raises(LedgerError):
        shop.export("file")
    assert folders(shop) == []


def test_consent_that_becomes_unreadable_during_the_run_stops_it(shop: Shop) -> None:
    plan = shop.plan("file")
    with sqlite3.connect(shop.root / "var" / "ledger.sqlite") as connection:
        connection.execute("drop table consent_events")
    shop.__dict__.pop("runtime", None)
    with pytest.raises(LedgerError):
        shop.export("file", plan_hash=plan.hash)
    assert folders(shop) == []


def test_a_ledger_locked_by_another_process_exports_nothing(shop: Shop) -> None:
    shop.runtime.ledger.close()
    with sqlite3.connect(shop.root / "var" / "ledger.sqlite", isolation_level=None) as other:
        other.execute("begin exclusive")
        shop.runtime.__dict__["ledger"] = Ledger.open(shop.runtime.workspace.ledger_url, wait_seconds=0.2)
        with pytest.raises(LedgerError, match="is locked by another process"):
            shop.export("file")
        other.execute("rollback")
    assert folders(shop) == []
    assert shop.export("file").books.acked == 8


@pytest.mark.parametrize("kind", ["address", "erased address"])
def test_an_opt_out_of_the_mailbox_stops_its_tags(shop: Shop, kind: str) -> None:
    """u3+news@example.com is written to; u3@example.com opts out (invariant 36)."""
    keys = shop.runtime.keys
    tagged = keys.token("email", "u3+news@example.com")
    shop.runtime.ledger.vault(keys).put([VaultItem(shop.customer(3), "email", tagged, "u3+News@example.com", "shop")])
    shop.rows[3]["email_token"] = tagged
    token = keys.token("email", address(3)) if kind == "address" else keys.suppression_token(address(3))
    shop.decide()
    shop.runtime.ledger.suppressions.add([token], "unsubscribed", "test")
    shop.export("file")
    assert suppressed(shop) == [shop.customer(3)]
