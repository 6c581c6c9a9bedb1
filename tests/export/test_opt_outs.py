"""Opt-outs reach every platform at once (invariant 33), also after a failure and while an export is under way."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from pathlib import Path
from threading import Thread

import pytest

from personalization.ledger.export_books import OPT_OUTS, ExportBooks
from personalization.sandbox import Sandbox, run_sandbox
from personalization.stages.export.retract import push_opt_outs
from tests.export.shop import DAY, Shop, address

LONG_AGO = datetime(2016, 1, 1, tzinfo=UTC)


def told(shop: Shop) -> dict[str, tuple[str, int]]:
    return {each.destination: (each.state, each.contacts) for each in push_opt_outs(shop.runtime)}


def status(sandbox: Sandbox, number: int) -> str:
    return str(sandbox.members()[address(number)]["status"])


def exported(shop: Shop) -> Shop:
    for name in ("mailchimp", "file"):
        shop.export(name)
    return shop


def test_every_destination_is_told_of_a_withdrawal_and_of_a_hard_bounce(shop: Shop, sandbox: Sandbox) -> None:
    exported(shop)
    shop.withdraw(3)
    shop.runtime.ledger.suppressions.add([shop.email(4)], "bounced", "mailchimp")
    assert told(shop) == {"mailchimp": ("told", 2), "file": ("told", 2)}
    assert [status(sandbox, number) for number in (3, 4, 5)] == ["unsubscribed", "cleaned", "subscribed"]
    pushes = shop.runtime.ledger.pushes.since(LONG_AGO)
    assert sorted(push.destination for push in pushes) == ["file", "file", "mailchimp", "mailchimp"]
    assert all(0 <= push.seconds < 60 for push in pushes)


def test_a_second_push_makes_no_request(shop: Shop, sandbox: Sandbox) -> None:
    exported(shop)
    shop.withdraw(3)
    told(shop)
    sandbox.forget_requests()
    assert told(shop) == {"mailchimp": ("nothing new", 0), "file": ("nothing new", 0)}
    assert sandbox.request_log() == []


def test_after_a_failure_it_is_tried_again(shop: Shop, sandbox: Sandbox) -> None:
    exported(shop)
    shop.withdraw(3)
    sandbox.fault("status", path=".*", status=403, times=99, body={"title": "Forbidden", "status": 403})
    assert told(shop) == {"mailchimp": ("failed", 0), "file": ("told", 1)}
    assert shop.runtime.ledger.pushes.waiting("mailchimp")
    sandbox.clear_faults()
    assert told(shop) == {"mailchimp": ("told", 1), "file": ("nothing new", 0)}
    assert status(sandbox, 3) == "unsubscribed"
    assert not shop.runtime.ledger.pushes.waiting("mailchimp")


def test_the_books_of_a_push_close_and_leave_those_of_the_day_alone(shop: Shop, sandbox: Sandbox) -> None:
    exported(shop)
    shop.withdraw(3)
    told(shop)
    books = ExportBooks(shop.runtime.ledger)
    push, day = books.history(destination="mailchimp")
    assert (push.plan_hash, push.planned, push.acked, push.closes) == (OPT_OUTS, 1, 1, True)
    assert books.history(destination="mailchimp", as_of=shop.runtime.as_of(DAY)) == [day]


def test_an_interrupted_export_does_not_hold_it_up(shop: Shop, sandbox: Sandbox) -> None:
    exported(shop)
    for row in shop.rows.values():
        row["offer"] = "THANKS10"
    shop.decide()
    outbox, leases = shop.runtime.ledger.outbox, shop.runtime.ledger.leases
    plan = shop.plan()
    from personalization.ledger.outbox import RunHead

    with leases.held("export:mailchimp") as lease:  # killed after its plan
        head = RunHead("mailchimp", shop.runtime.as_of(DAY), plan.hash, plan.mapping_version, 8, 0)
        outbox.start(lease, head, plan.rows.to_pylist())
    shop.withdraw(3)
    assert told(shop)["mailchimp"] == ("told", 1)
    assert status(sandbox, 3) == "unsubscribed"
    assert outbox.open_run("mailchimp") is not None
    books = shop.export().books
    assert books.closes
    assert sandbox.members()[address(5)]["merge_fields"]["OFFER"] == "THANKS10"
    assert sandbox.members()[address(3)]["merge_fields"]["OFFER"] == ""


def test_a_long_export_tells_the_platform_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The platform takes six seconds for a batch; the opt-out is there long before the export ends."""
    with run_sandbox("mailchimp", batch_seconds=6) as slow:
        monkeypatch.setenv("MAILCHIMP_BASE_URL", slow.base_url)
        monkeypatch.setenv("MAILCHIMP_API_KEY", slow.api_key)
        shop = Shop.open(tmp_path / "shop", 8)
        shop.export()
        shop.add(range(100, 160))
        shop.decide()
        export = Thread(target=shop.export)
        export.start()
        while not any(entry["path"] == "/batches" for entry in slow.request_log()):
            time.sleep(0.05)
        shop.withdraw(3)
        assert told(shop)["mailchimp"] == ("exporting", 0)
        while export.is_alive() and status(slow, 3) != "unsubscribed":
            time.sleep(0.05)
        assert export.is_alive()
        assert status(slow, 3) == "unsubscribed"
        export.join()
        assert status(slow, 130) == "subscribed"
        assert shop.books()[0].closes
        (push,) = shop.runtime.ledger.pushes.since(LONG_AGO)
        assert push.seconds < 6


def test_an_opt_out_in_the_batch_under_way_is_told_when_the_batch_is_through(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with run_sandbox("mailchimp", batch_seconds=2) as slow:
        monkeypatch.setenv("MAILCHIMP_BASE_URL", slow.base_url)
        monkeypatch.setenv("MAILCHIMP_API_KEY", slow.api_key)
        shop = Shop.open(tmp_path / "shop", 60)
        export = Thread(target=shop.export)
        export.start()
        while not any(entry["path"] == "/batches" for entry in slow.request_log()):
            time.sleep(0.05)
        shop.withdraw(3)
        export.join()
        assert status(slow, 3) == "unsubscribed"
        assert shop.books()[0].closes
