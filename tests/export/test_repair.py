"""Reconciliation: what differs at a platform is found by audience and field, seen twice, and put right by exports."""

from __future__ import annotations

import pytest
from sqlalchemy import select

from personalization.errors import ExportError
from personalization.ledger.export_schema import export_repairs
from personalization.sandbox import Sandbox
from personalization.stages.export.adapters.base import Clock
from personalization.stages.monitoring.audit import audit_destination
from personalization.stages.monitoring.repair import BY_HAND, plan_repair, repair
from tests.export.shop import Shop, address, fields

AT_ONCE = Clock(sleep=lambda _: None)
MEMBERS = "/lists/demo000001/members"


def put(sandbox: Sandbox, number: int | str, **body: object) -> None:
    """Somebody changes a member at the platform."""
    email = number if isinstance(number, str) else address(number)
    assert sandbox.call("PUT", f"{MEMBERS}/{email}", json={"email_address": email, **body}).ok


@pytest.fixture
def changed(shop: Shop, sandbox: Sandbox) -> Shop:
    """After an export: one contact deleted, one changed, one opted out here and active there, two put there."""
    shop.rows[2]["campaign"] = "favourites"
    shop.decide()
    shop.export()
    shop.withdraw(4)
    shop.export()
    put(sandbox, 4, status="pending")  # who has opted out here is asked to subscribe there by somebody
    assert sandbox.call("DELETE", f"{MEMBERS}/{address(1)}").status_code == 204
    put(sandbox, 2, merge_fields={"OFFER": "OTHER", "SCORE": 0.99})
    put(sandbox, "stranger@example.com", status_if_new="subscribed", merge_fields={"CAMPAIGN": "december"})
    return shop


def test_findings_are_counted_by_audience_and_field(changed: Shop, sandbox: Sandbox) -> None:
    audit = audit_destination(changed.runtime, "mailchimp", clock=AT_ONCE)
    assert audit.counts == {"missing": 1, "stale": 1, "extra": 1, "duplicate": 0, "opted_out_but_active": 1}
    assert audit.by_field == {"OFFER": 1, "SCORE": 1}
    assert audit.by_audience["december"]["missing"] == 1
    assert audit.by_audience["december"]["extra"] == 1
    assert audit.by_audience["favourites"]["stale"] == 1


def test_a_repair_is_done_by_the_next_export_and_subscribes_nobody(changed: Shop, sandbox: Sandbox) -> None:
    planned = plan_repair(changed.runtime, "mailchimp", clock=AT_ONCE)
    assert planned.counts == {
        "send again if still wanted": 1,
        "send again": 1,
        BY_HAND: 1,  # the vault does not know the stranger
        "opt out again": 1,
    }
    assert changed.plan().counts["change"] == 0, "looking changes nothing"
    repair(changed.runtime, "mailchimp", planned.hash, actor="Ada", reason="audit", clock=AT_ONCE)
    before = sandbox.members()
    books = changed.export().books
    assert (books.retractions, books.adds, books.changes, books.removes, books.acked) == (1, 1, 2, 0, 3)
    assert books.suppressed == 1, "a change for who has opted out"
    after = sandbox.members()
    assert after[address(4)]["status"] == "unsubscribed"
    assert {email for email, member in after.items() if member["status"] == "subscribed"} <= {
        *(email for email, member in before.items() if member["status"] == "subscribed"),
        address(1),
    }
    assert fields(sandbox)[address(2)]["OFFER"] == "BACK15"
    left = audit_destination(changed.runtime, "mailchimp", clock=AT_ONCE)
    assert {kind for kind, count in left.counts.items() if count} == {"extra"}
    with changed.runtime.ledger.read() as connection:
        (kept,) = connection.execute(select(export_repairs.c.actor, export_repairs.c.contacts)).all()
    assert tuple(kept) == ("Ada", 3)


def test_who_unsubscribed_there_meanwhile_stays_so_through_a_repair(changed: Shop, sandbox: Sandbox) -> None:
    planned = plan_repair(changed.runtime, "mailchimp", clock=AT_ONCE)
    repair(changed.runtime, "mailchimp", planned.hash, actor="Ada", reason="audit", clock=AT_ONCE)
    put(sandbox, 2, status="unsubscribed")
    changed.export()
    assert sandbox.members()[address(2)]["status"] == "unsubscribed"


def test_a_contact_of_ours_that_the_ledger_has_forgotten_is_cleared(shop: Shop, sandbox: Sandbox) -> None:
    shop.rows[3]["outcome"] = "withheld"
    shop.decide()
    shop.export()
    put(sandbox, 3, status_if_new="subscribed", merge_fields={"CAMPAIGN": "december"})
    planned = plan_repair(shop.runtime, "mailchimp", clock=AT_ONCE)
    assert planned.counts == {"clear, or send if wanted": 1}
    repair(shop.runtime, "mailchimp", planned.hash, actor="Ada", reason="audit", clock=AT_ONCE)
    assert shop.export().books.removes == 1
    assert address(3) not in fields(sandbox)
    assert sandbox.members()[address(3)]["status"] == "subscribed"


def test_another_repair_than_the_one_approved_is_refused(changed: Shop, sandbox: Sandbox) -> None:
    planned = plan_repair(changed.runtime, "mailchimp", clock=AT_ONCE)
    put(sandbox, 6, merge_fields={"OFFER": "OTHER"})
    with pytest.raises(ExportError, match=r"is not .* any more"):
        repair(changed.runtime, "mailchimp", planned.hash, actor="Ada", reason="audit", clock=AT_ONCE)
    assert not changed.plan().sends


def test_what_a_read_does_not_show_yet_is_no_finding(shop: Shop, sandbox: Sandbox) -> None:
    """The platform's first read is behind; the second, after its while, is not."""
    shop.export()
    assert audit_destination(shop.runtime, "mailchimp").clean
    shop.rows[3]["offer"] = "POINTS2"
    shop.decide()
    shop.export()
    sandbox.fault("stale", method="GET", path=MEMBERS)
    waits: list[float] = []
    assert audit_destination(shop.runtime, "mailchimp", clock=Clock(sleep=waits.append)).clean
    assert waits == [10.0]
    put(sandbox, 5, merge_fields={"OFFER": "OTHER"})
    assert audit_destination(shop.runtime, "mailchimp", clock=AT_ONCE).counts["stale"] == 1
