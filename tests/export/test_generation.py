"""A ledger restored from a backup exports nothing until it is reconciled with its destinations (invariant 29)."""

from __future__ import annotations

import hashlib
import shutil
import sqlite3
from pathlib import Path

import pytest
from sqlalchemy import select

from personalization.errors import LedgerError
from personalization.ledger.sends_schema import generations, sends
from personalization.sandbox import Sandbox
from personalization.stages.export.reconcile import reconcile
from tests.export.shop import Shop, address, folders
from tests.export.test_frequency import mailing

AGAIN = "is not the one that exported until .* but an older copy or another one"


def ledger_of(shop: Shop) -> Path:
    return shop.root / "var" / "ledger.sqlite"


def back_up(shop: Shop) -> Path:
    shop.runtime.ledger.close()
    copy = shop.root / "backup.sqlite"
    with sqlite3.connect(ledger_of(shop)) as source, sqlite3.connect(copy) as target:
        source.backup(target)
    return copy


def restore(shop: Shop, copy: Path) -> None:
    shop.runtime.ledger.close()
    for path in (shop.root / "var").glob("ledger.sqlite*"):
        path.unlink()
    shutil.copy(copy, ledger_of(shop))
    shop.__dict__.pop("runtime", None)


@pytest.mark.parametrize("since", ["an opt-out", "a suppression", "only an export"])
def test_an_older_copy_is_recognised(shop: Shop, since: str) -> None:
    shop.export("file")
    copy = back_up(shop)
    if since == "an opt-out":
        shop.withdraw(3)
    elif since == "a suppression":
        shop.runtime.ledger.suppressions.add([shop.email(3)], "bounced", "test")
    shop.export("file")
    files = len(folders(shop))
    restore(shop, copy)
    with pytest.raises(LedgerError, match=AGAIN) as refused:
        shop.export("file")
    assert "personalization export reconcile" in (refused.value.hint or "")
    assert len(folders(shop)) == files


def test_another_ledger_and_a_deleted_one_export_nothing(shop: Shop) -> None:
    shop.export("file")
    shop.runtime.ledger.close()
    for path in (shop.root / "var").glob("ledger.sqlite*"):
        path.unlink()
    shop.__dict__.pop("runtime", None)
    with pytest.raises(LedgerError, match="it does not know that generation"):
        shop.export("file")
    assert len(folders(shop)) == 1


def test_an_older_copy_that_lived_on_is_recognised_too(shop: Shop) -> None:
    shop.export("file")
    copy = back_up(shop)
    shop.withdraw(3)
    shop.export("file")
    restore(shop, copy)
    shop.withdraw(1, 2, 4)
    with pytest.raises(LedgerError, match="consent event 9 is another one"):
        shop.export("file")


def test_the_same_ledger_goes_on_and_so_does_one_whose_mark_is_behind(shop: Shop) -> None:
    mark = shop.root / "var" / "ledger_mark.json"
    shop.export("file")
    before = mark.read_bytes()
    shop.withdraw(3)
    shop.export("file")
    mark.write_bytes(before)  # as if it had been killed before it was written
    shop.export("file")
    mark.unlink()
    shop.export("file")
    assert mark.exists()
    mark.write_text("{")
    with pytest.raises(LedgerError, match="can't be read"):
        shop.export("file")


def test_reconciling_takes_opt_outs_over_and_resends_nothing(shop: Shop, sandbox: Sandbox) -> None:
    """Between the backup and the loss: an export, a release of a new contact, and an unsubscribe at the platform."""
    mailing(shop, "mailchimp")
    gone = shop.rows.pop(7)
    shop.decide()
    shop.export()
    copy = back_up(shop)
    shop.rows[7] = gone
    shop.decide()
    shop.export()
    member = f"/lists/demo000001/members/{hashlib.md5(address(3).encode(), usedforsecurity=False).hexdigest()}"
    sandbox.call("PATCH", member, json={"status": "unsubscribed"})
    restore(shop, copy)
    with pytest.raises(LedgerError, match=AGAIN):
        shop.export()
    found = {each.destination: each for each in reconcile(shop.runtime, actor="Ada", reason="disk broke")}
    assert (found["mailchimp"].opted_out, found["mailchimp"].unknown, found["mailchimp"].mailed) == (1, 1, 1)
    sandbox.forget_requests()
    books = shop.export().books
    assert (books.adds, books.suppressed, books.retractions) == (0, 1, 1)
    assert sandbox.members()[address(3)]["status"] == "unsubscribed"
    with shop.runtime.ledger.read() as connection:
        assert connection.execute(select(generations.c.actor).order_by(generations.c.number)).scalars().all() == [
            None,
            "Ada",
        ]
        released = set(connection.execute(select(sends.c.customer_token)).scalars())
    assert shop.customer(7) in released
