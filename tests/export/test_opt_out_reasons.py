"""Why somebody is opted out reaches each platform in its own words, at once, and also when the last push failed."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from personalization.sandbox import Sandbox, run_sandbox
from personalization.stages.export.opt_out_reasons import opt_out_reasons
from personalization.stages.export.retract import push_opt_outs
from tests.export import listmonk
from tests.export.shop import Shop, address, folders

LONG_AGO = datetime(2016, 1, 1, tzinfo=UTC)


def opt_out(shop: Shop, number: int, reason: str) -> None:
    if reason == "unsubscribed":
        shop.withdraw(number)
    else:
        shop.runtime.ledger.suppressions.add([shop.email(number)], reason, "another platform")


def told(shop: Shop) -> dict[str, str]:
    return {each.destination: each.state for each in push_opt_outs(shop.runtime)}


@pytest.mark.parametrize(
    ("reason", "status"), [("unsubscribed", "unsubscribed"), ("bounced", "cleaned"), ("complained", "unsubscribed")]
)
def test_each_reason_is_told_also_when_the_last_push_failed(
    shop: Shop, sandbox: Sandbox, reason: str, status: str
) -> None:
    """Invariant 33: every reason that another platform (or the person) gave, within the minute."""
    shop.export("mailchimp")
    shop.export("file")
    opt_out(shop, 3, reason)
    sandbox.fault("status", path=".*", status=403, times=99, body={"title": "Forbidden", "status": 403})
    assert told(shop) == {"mailchimp": "failed", "file": "told"}
    sandbox.clear_faults()
    assert told(shop)["mailchimp"] == "told"
    assert sandbox.members()[address(3)]["status"] == status
    assert all(push.seconds < 60 for push in shop.runtime.ledger.pushes.since(LONG_AGO))
    with (folders(shop)[-1] / "suppressions.csv").open(encoding="utf-8", newline="") as lines:
        assert [(row["email"], row["reason"]) for row in csv.DictReader(lines)] == [(address(3), reason)]


def test_a_bounce_never_hides_that_somebody_unsubscribed_there(shop: Shop, sandbox: Sandbox) -> None:
    shop.export("mailchimp")
    path = f"/lists/demo000001/members/{address(3)}"
    sandbox.call("PATCH", path, json={"status": "unsubscribed"})
    opt_out(shop, 3, "bounced")
    assert told(shop)["mailchimp"] == "told"
    member = sandbox.members()[address(3)]
    assert (member["status"], member["merge_fields"]["CAMPAIGN"]) == ("unsubscribed", "")


def test_mailchimp_that_takes_no_cleaned_is_told_unsubscribed(shop: Shop, sandbox: Sandbox) -> None:
    shop.export("mailchimp")
    opt_out(shop, 3, "bounced")
    refusal = {"title": "Invalid Resource", "detail": "status can't be cleaned", "status": 400}
    sandbox.fault("status", method="PATCH", path="/lists/.*", status=400, body=refusal)
    assert told(shop)["mailchimp"] == "told"
    assert sandbox.members()[address(3)]["status"] == "unsubscribed"


@pytest.mark.parametrize(
    ("reasons", "expected"),
    [
        (["bounced"], "bounced"),
        (["complained", "bounced", "unsubscribed"], "complained"),
        (["bounced", "unsubscribed"], "unsubscribed"),
        (["unsubscribed"], "unsubscribed"),
    ],
)
def test_the_persons_own_word_goes_before_a_bounce(
    shop: Shop, sandbox: Sandbox, reasons: list[str], expected: str
) -> None:
    shop.export("mailchimp")
    for reason in reasons:
        opt_out(shop, 3, reason)
    told(shop)
    ledger = shop.runtime.ledger
    run = shop.books("mailchimp")[0].run
    rows = ledger.outbox.rows(run, ("acked",), operations=("retract",))
    found = opt_out_reasons(ledger, rows, lambda customer, mail: (customer, mail))
    assert list(found.values()) == [expected]


@pytest.fixture(scope="module")
def list_server() -> Iterator[Sandbox]:
    with run_sandbox("listmonk", batch_seconds=0.05) as running:
        yield running


def test_listmonk_blocks_who_bounced_or_complained_and_unsubscribes_others(
    tmp_path: Path, list_server: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    list_server.reset()
    listmonk.point_at(list_server, monkeypatch)
    shop = Shop.open(tmp_path / "shop", 8)
    shop.add_destination("listmonk", listmonk.SETTINGS)
    shop.export("listmonk")
    for number, reason in ((3, "unsubscribed"), (4, "bounced"), (5, "complained")):
        opt_out(shop, number, reason)
    push_opt_outs(shop.runtime, ["listmonk"])
    held = listmonk.subscribers(list_server)
    assert [held[address(n)]["status"] for n in (2, 3, 4, 5)] == ["enabled", "enabled", "blocklisted", "blocklisted"]
    subscriptions = [held[address(n)]["lists"][0]["subscription_status"] for n in (3, 4, 5)]
    assert subscriptions == ["unsubscribed"] * 3
