"""Old rows leave the outbox, their books stay, and what still matters is kept."""

from __future__ import annotations

from contextlib import suppress
from datetime import UTC, datetime, timedelta

from sqlalchemy import func, select

from personalization.errors import ExportError
from personalization.ledger.export_books import ExportBooks
from personalization.ledger.export_schema import outbox
from personalization.ledger.outbox_retention import expire_rows, overdue_rows
from personalization.ledger.rejections import Rejections
from personalization.sandbox import Sandbox
from tests.export.shop import Shop

LATER = datetime.now(UTC) + timedelta(days=500)


def rows(shop: Shop) -> int:
    with shop.runtime.ledger.read() as connection:
        return connection.execute(select(func.count()).select_from(outbox)).scalar_one()


def test_settled_rows_go_and_the_books_say_the_same(shop: Shop, sandbox: Sandbox) -> None:
    shop.withdraw(2)
    shop.export()
    shop.rows[3]["offer"] = "POINTS2"
    shop.decide()
    shop.export()
    ledger = shop.runtime.ledger
    before = ExportBooks(ledger).history(destination="mailchimp")
    assert expire_rows(ledger, datetime.now(UTC) - timedelta(days=1)) == 0, "nothing is old yet"
    assert overdue_rows(ledger, LATER) == rows(shop)
    assert expire_rows(ledger, LATER) > 0
    assert rows(shop) == 0
    after = ExportBooks(ledger).history(destination="mailchimp")
    assert after == before
    assert all(books.closes for books in after)
    assert shop.export().books.acked == 0, "what is acknowledged is known all the same"


def test_refusals_that_count_stay_and_go_when_the_contact_was_taken(shop: Shop, sandbox: Sandbox) -> None:
    sandbox.fault("status", method="PUT", times=1, status=400, body={"title": "Invalid Resource", "detail": "no"})
    shop.export()
    ledger = shop.runtime.ledger
    assert len(Rejections(ledger).of("mailchimp")) == 1
    expire_rows(ledger, LATER)
    assert rows(shop) == 1
    assert len(Rejections(ledger).of("mailchimp")) == 1
    assert shop.export().books.acked == 1
    assert expire_rows(ledger, LATER) == 2
    assert not Rejections(ledger).of("mailchimp")


def test_rows_of_unclear_end_stay(shop: Shop, sandbox: Sandbox) -> None:
    sandbox.fault("reset_after", method="PUT", times=200)
    sandbox.fault("reset", method="GET", path=".*/members/.*", times=200)
    with suppress(ExportError):
        shop.export()
    (books,) = shop.books()
    assert books.uncertain
    expire_rows(shop.runtime.ledger, LATER)
    assert rows(shop) == books.uncertain
    sandbox.clear_faults()
    forgive(shop)
    shop.export()
    assert expire_rows(shop.runtime.ledger, LATER) > books.uncertain, "they are certain now"
    assert rows(shop) == 0
    assert all(books.closes for books in shop.books())


def forgive(shop: Shop) -> None:
    """The circuit is closed again: the time after failures is not what these tests are about."""
    shop.runtime.ledger.traffic.answered("mailchimp")
