"""Mailchimp over real HTTP: partial failures, limits, broken answers, setup, and what messages may not say."""

from __future__ import annotations

import hashlib
import logging
import time
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

import pytest

from personalization.errors import ExportError, ProgramError
from personalization.ledger.export_books import ExportBooks
from personalization.sandbox import Sandbox
from personalization.stages.export.adapters.base import Clock
from personalization.stages.export.exporter import setup_destination
from tests.export.shop import Shop, address, fields, when_requested

HURRIED = Clock(sleep=lambda seconds: time.sleep(min(seconds, 0.02)))
LIST = "/lists/demo000001"


def member(number: int) -> str:
    return f"{LIST}/members/{hashlib.md5(address(number).encode(), usedforsecurity=False).hexdigest()}"


# --- opt-outs at the platform ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("customers", [8, 60], ids=["single requests", "a batch"])
def test_who_unsubscribed_at_the_platform_stays_unsubscribed(tmp_path: Path, sandbox: Sandbox, customers: int) -> None:
    shop = Shop.open(tmp_path / "shop", customers)
    shop.export()
    sandbox.call("PATCH", member(3), json={"status": "unsubscribed"})
    for row in shop.rows.values():
        row["offer"] = "POINTS2"
    shop.decide()
    assert shop.export().books.acked == customers
    there = sandbox.members()[address(3)]
    assert there["status"] == "unsubscribed"
    assert there["merge_fields"]["OFFER"] == "POINTS2"


def test_no_request_ever_writes_a_status_but_unsubscribed(shop: Shop, sandbox: Sandbox) -> None:
    """Who was never on the list gets `status_if_new`; nobody gets `status: subscribed`, on any path."""
    shop.edit("destinations", "list_id: demo000001", "list_id: demo000001\n    new_contacts: pending")
    shop.export()
    assert {m["status"] for m in sandbox.members().values()} == {"pending"}
    sandbox.call("PATCH", member(1), json={"status": "subscribed"})
    shop.rows[1]["offer"] = shop.rows[2]["offer"] = "POINTS2"
    shop.decide()
    shop.export()
    assert sandbox.members()[address(1)]["status"] == "subscribed"
    assert sandbox.members()[address(2)]["status"] == "pending"


def test_an_opt_out_goes_through_when_a_field_would_stop_it(shop: Shop, sandbox: Sandbox) -> None:
    shop.export()
    sandbox.fault("status", path=member(3), method="PATCH", status=400, body={"title": "Invalid Resource"})
    shop.withdraw(3)
    assert shop.export().books.acked == 1
    assert sandbox.members()[address(3)]["status"] == "unsubscribed"


def test_a_grant_after_an_opt_out_does_not_subscribe_again(shop: Shop, sandbox: Sandbox) -> None:
    shop.export()
    shop.withdraw(3)
    shop.export()
    shop.consent([shop.customer(3)], "grant", datetime(2019, 1, 1, tzinfo=UTC))
    assert shop.export().books.adds == 1
    there = sandbox.members()[address(3)]
    assert (there["status"], there["merge_fields"]["CAMPAIGN"]) == ("unsubscribed", "december")


# --- partial failures ------------------------------------------------------------------------------------------------


def test_three_of_a_hundred_rejected_leaves_exactly_97_acknowledged(tmp_path: Path, sandbox: Sandbox) -> None:
    shop = Shop.open(tmp_path / "shop", 100)
    for number in (11, 22, 33):
        body = {"title": "Invalid Resource", "status": 400, "detail": f"{address(number)} looks fake or invalid"}
        sandbox.fault("status", inside=True, path=member(number), status=400, body=body)
    books = shop.export().books
    assert (books.acked, books.rejected, books.planned) == (97, 3, 100)
    again = shop.export().books
    assert (again.planned, again.acked, again.unchanged) == (3, 3, 97)
    assert fields(sandbox) == shop.wanted()


def test_rejected_rows_say_why_in_the_platforms_words_without_the_address(shop: Shop, sandbox: Sandbox) -> None:
    shop.export()
    sandbox.call("POST", f"{member(3)}/actions/delete-permanent")
    shop.rows[3]["offer"] = "POINTS2"
    shop.decide()
    books = shop.export().books
    assert books.rejected == 1
    ((state, reason, rows),) = ExportBooks(shop.runtime.ledger).reasons(books.run)
    assert (state, rows) == ("rejected", 1)
    assert reason.startswith("Forgotten Email Not Subscribed: <address> was permanently deleted")
    (row,) = ExportBooks(shop.runtime.ledger).ended_otherwise(books.run)
    assert row["customer_token"] == shop.customer(3)
    assert "@" not in str(row)


def test_a_value_the_platform_does_not_keep_is_not_acknowledged(shop: Shop, sandbox: Sandbox) -> None:
    """Mailchimp ignores values of unknown fields without a word. Here the field goes between setup and upsert."""
    shop.export()
    shop.rows[3]["offer"] = "POINTS2"
    shop.decide()
    number = field_number(sandbox, "OFFER")
    sandbox.fault("hang_after", path=f"{LIST}/merge-fields", method="GET", seconds=0.6)
    with when_requested(
        sandbox, f"{LIST}/merge-fields", lambda: sandbox.call("DELETE", f"{LIST}/merge-fields/{number}")
    ):
        books = shop.export().books
    assert (books.acked, books.rejected) == (0, 1)
    ((_, reason, _),) = ExportBooks(shop.runtime.ledger).reasons(books.run)
    assert reason == "Mailchimp did not keep OFFER"


def field_number(sandbox: Sandbox, tag: str) -> int:
    listed = sandbox.call("GET", f"{LIST}/merge-fields", params={"count": 100}).json()["merge_fields"]
    return next(field["merge_id"] for field in listed if field["tag"] == tag)


# --- limits and broken answers ---------------------------------------------------------------------------------------


def test_retry_after_is_honoured(shop: Shop, sandbox: Sandbox) -> None:
    pauses: list[float] = []
    sandbox.fault("status", path=LIST, method="GET", status=429, headers={"Retry-After": "7"})
    assert shop.export(clock=Clock(sleep=pauses.append)).books.acked == 8
    assert pauses[0] == 7


def test_a_long_wait_means_a_new_cut(shop: Shop, sandbox: Sandbox) -> None:
    """Asked to wait longer than a cut may last, the exporter cuts again: the second cut stops customer 3."""
    sandbox.fault("status", path=member(3), method="PUT", status=429, headers={"Retry-After": "300"})
    waited: list[float] = []

    def sleep(seconds: float) -> None:
        if seconds > 1 and not waited:
            shop.withdraw(3)
        waited.append(seconds)

    books = shop.export(clock=Clock(sleep=sleep)).books
    assert sum(waited) >= 300
    assert (books.acked, books.suppressed) == (7, 1)
    assert address(3) not in sandbox.members()


def test_too_many_connections_are_waited_for(tmp_path: Path, sandbox: Sandbox) -> None:
    sandbox.fault("status", path=f"{LIST}/members/.*", times=20, status=429, body={"title": "Too Many Requests"})
    shop = Shop.open(tmp_path / "shop", 40)
    assert shop.export(clock=HURRIED).books.acked == 40


@pytest.mark.parametrize("kind", ["reset", "reset_after", "truncated", "html", "twice"])
@pytest.mark.parametrize("customers", [8, 60], ids=["single requests", "a batch"])
def test_faults_on_the_way_lose_nothing_and_double_nothing(
    tmp_path: Path, sandbox: Sandbox, kind: str, customers: int
) -> None:
    shop = Shop.open(tmp_path / "shop", customers)
    for path in (f"{LIST}/members/.*", "/batches", "/batches/.+", f"{LIST}/merge-fields"):
        sandbox.fault(kind, path=path)
    for _ in range(3):
        try:
            books = shop.export(clock=HURRIED).books
        except ExportError:
            continue
        assert books.closes
        if not books.uncertain:
            break
    assert fields(sandbox) == shop.wanted()
    assert len(sandbox.members()) == customers
    assert all(books.closes for books in shop.books())


def test_a_server_error_that_stays_holds_everything_and_the_next_run_heals_it(shop: Shop, sandbox: Sandbox) -> None:
    sandbox.fault("status", path=f"{LIST}/members/.*", times=1000, status=503)
    with suppress(ExportError):
        shop.export(clock=HURRIED)
    books = shop.books()[0]
    assert (books.acked, books.uncertain + books.held) == (0, 8)
    assert shop.runtime.ledger.traffic.circuit("mailchimp").is_open
    sandbox.clear_faults()
    shop.runtime.ledger.traffic.answered("mailchimp")  # as it is after the wait
    assert shop.export(clock=HURRIED).books.acked == 8
    assert fields(sandbox) == shop.wanted()


def test_a_lost_batch_is_looked_up_member_by_member(tmp_path: Path, sandbox: Sandbox) -> None:
    """The answer to POST /batches is lost, so nobody knows the batch; what it did shows in the members."""
    shop = Shop.open(tmp_path / "shop", 60)
    sandbox.fault("reset_after", path="/batches", method="POST")
    books = shop.export(clock=HURRIED).books
    assert (books.acked, books.uncertain) == (60, 0)
    assert [r["method"] for r in sandbox.request_log() if r["path"] == "/batches"].count("POST") == 1


def test_the_key_goes_to_the_api_only(tmp_path: Path, sandbox: Sandbox) -> None:
    """The sandbox's storage refuses requests with credentials, as a store of signed URLs does."""
    assert Shop.open(tmp_path / "shop", 60).export().books.acked == 60


# --- setup -----------------------------------------------------------------------------------------------------------


def test_missing_fields_are_made(shop: Shop, sandbox: Sandbox) -> None:
    made = shop.export().made
    assert made == [f"merge field {tag} ({kind})" for tag, kind in EXPECTED_FIELDS.items()]
    assert shop.export().made == []


EXPECTED_FIELDS = {"CAMPAIGN": "text", "PB_HERO": "text", "OFFER": "text", "SCORE": "number", "EXTERNALID": "text"}


def expect_refused(shop: Shop, match: str, hint: str = "") -> str:
    with pytest.raises(ExportError, match=match) as refused:
        shop.export(clock=HURRIED)
    assert hint in (refused.value.hint or "")
    books = shop.books()[0]
    assert (books.state, books.held, books.closes) == ("failed", books.planned - books.acked, True)
    return str(refused.value)


def test_a_refused_key(shop: Shop, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MAILCHIMP_API_KEY", "wrong-key-us1")
    message = expect_refused(shop, r"Mailchimp refused the key \(status 401: API Key Invalid\)", "check the key")
    assert "wrong-key" not in message


def test_a_key_without_data_centre(shop: Shop, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    shop.edit("destinations", "    base_url: ${env:MAILCHIMP_BASE_URL}\n", "")
    monkeypatch.setenv("MAILCHIMP_API_KEY", "nodatacentre")
    expect_refused(shop, "does not end with a data centre", "copy the whole key")


def test_an_unset_variable(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MAILCHIMP_API_KEY", raising=False)
    with pytest.raises(
        ProgramError, match=r"destinations.yaml:5:\d+: environment variable MAILCHIMP_API_KEY is not set"
    ):
        shop.export()


def test_a_missing_list(shop: Shop, sandbox: Sandbox) -> None:
    shop.edit("destinations", "demo000001", "nosuchlist")
    expect_refused(shop, "Mailchimp has no list 'nosuchlist'", "audience ID")


def test_a_deleted_field_is_named_and_setup_heals_it(shop: Shop, sandbox: Sandbox) -> None:
    shop.export()
    sandbox.call("DELETE", f"{LIST}/merge-fields/{field_number(sandbox, 'OFFER')}")
    shop.rows[3]["offer"] = "POINTS2"
    shop.decide()
    expect_refused(shop, "merge field OFFER was deleted at Mailchimp", "take it out of destinations.yaml")
    assert setup_destination(shop.runtime, "mailchimp") == ["merge field OFFER (text)"]
    assert shop.export().books.changes == 8  # all, because the field's values went with it
    assert fields(sandbox) == shop.wanted()


def test_a_field_of_another_type(shop: Shop, sandbox: Sandbox) -> None:
    sandbox.call("POST", f"{LIST}/merge-fields", json={"name": "Score", "tag": "SCORE", "type": "text"})
    expect_refused(shop, "merge field SCORE at Mailchimp has the type text, destinations.yaml says number")


def test_a_field_name_that_does_not_fit(shop: Shop) -> None:
    shop.edit("destinations", "name: CAMPAIGN", "name: campaign-name")
    with pytest.raises(
        ProgramError, match=r"destinations.yaml:9:\d+: destinations.mailchimp: 'campaign-name' can't be"
    ):
        shop.plan()


def test_html_instead_of_an_api(shop: Shop, sandbox: Sandbox) -> None:
    sandbox.fault("html", path=LIST, times=100)
    expect_refused(shop, "answered GET /lists/demo000001 with HTML", "run again when it is up")
    sandbox.clear_faults()
    sandbox.fault("html", path=LIST, times=100, status=404)
    expect_refused(shop, r"answered GET /lists/demo000001 with HTML \(status 404\)", "check `base_url`")


def test_nobody_there(shop: Shop, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MAILCHIMP_BASE_URL", "http://127.0.0.1:9/3.0")
    expect_refused(shop, "Mailchimp can't be reached for GET /lists/demo000001: .*refused", "is `base_url` right")


def test_a_certificate_that_is_not_accepted(shop: Shop, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MAILCHIMP_BASE_URL", sandbox.base_url.replace("http:", "https:"))
    expect_refused(shop, "certificate was not accepted", "check `base_url`")


# --- what may not be said --------------------------------------------------------------------------------------------


def test_no_key_address_or_hash_in_any_log_or_ledger_text(
    shop: Shop, sandbox: Sandbox, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    sandbox.fault("status", path=member(1), status=400, body={"title": "Bad", "detail": address(1)})
    sandbox.fault("status", path=member(2), times=100, status=500)
    shop.export(clock=HURRIED)
    ledger = (shop.root / "var" / "ledger.sqlite").read_bytes() + (shop.root / "var" / "ledger.sqlite-wal").read_bytes()
    for number in shop.rows:
        digest = member(number).rpartition("/")[2]
        for secret in (address(number), digest, sandbox.api_key):
            assert secret not in caplog.text
            assert secret.encode() not in ledger


def test_two_platforms_get_different_ids_for_one_customer(shop: Shop, sandbox: Sandbox) -> None:
    shop.export()
    there = sandbox.members()[address(3)]["merge_fields"]["EXTERNALID"]
    assert there == shop.runtime.keys.token("export:mailchimp", shop.customer(3))
    assert there != shop.runtime.keys.token("export:file", shop.customer(3))
    assert shop.customer(3) not in str(sandbox.members())
