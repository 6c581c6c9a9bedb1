"""HubSpot over real HTTP: partial failures, opt-outs by every route, moved addresses, setup, limits, and messages."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from personalization.errors import ExportError, ProgramError
from personalization.ledger import VaultItem
from personalization.ledger.export_books import ExportBooks
from personalization.sandbox import Sandbox, run_sandbox
from personalization.stages.export.adapters.base import Clock
from personalization.stages.export.adapters.registry import adapter_for
from personalization.stages.export.exporter import Exported, setup_destination
from personalization.stages.export.holdings import holdings
from tests.export.hubspot_side import CONTACTS, SETTINGS, call, contacts, fields, set_status, status
from tests.export.shop import Shop, address, when_requested

HURRIED = Clock(sleep=lambda seconds: time.sleep(min(seconds, 0.02)))
PROPERTIES = "/crm/properties/2026-03/contacts"
CONSENT = "/communication-preferences/2026-03"


@pytest.fixture(scope="module")
def server() -> Iterator[Sandbox]:
    with run_sandbox("hubspot", batch_seconds=0.0) as running:
        yield running


@pytest.fixture
def sandbox(server: Sandbox, monkeypatch: pytest.MonkeyPatch) -> Sandbox:
    server.reset()
    monkeypatch.setenv("HUBSPOT_BASE_URL", server.base_url)
    monkeypatch.setenv("HUBSPOT_TOKEN", server.api_key)
    return server


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    return opened(tmp_path, 8)


def opened(folder: Path, customers: int) -> Shop:
    shop = Shop.open(folder / "shop", customers)
    shop.add_destination("hubspot", SETTINGS)
    return shop


def export(shop: Shop, **options: Any) -> Exported:
    return shop.export("hubspot", **options)


def offer(shop: Shop, *numbers: int, code: str = "POINTS2") -> None:
    for number in numbers:
        shop.rows[number]["offer"] = code
    shop.decide()


def move(shop: Shop, number: int, new: str, *, keep_old: bool = True) -> None:
    """The customer has another address from now on."""
    runtime = shop.runtime
    token = runtime.keys.token("email", new)
    items = [VaultItem(shop.customer(number), "email", token, new)]
    if keep_old:  # the vault may still know the former address, when another customer has it too
        items.append(VaultItem(runtime.keys.token("customer", "other"), "email", shop.email(number), address(number)))
    runtime.ledger.vault(runtime.keys).put(items)
    shop.rows[number]["email_token"] = token
    shop.decide()


# --- partial failures ------------------------------------------------------------------------------------------------


def test_three_of_a_hundred_rejected_leaves_exactly_97_acknowledged(tmp_path: Path, sandbox: Sandbox) -> None:
    shop = opened(tmp_path, 100)
    for number in (11, 22, 33):
        body = {"objectId": address(number), "idProperty": "email"}
        assert call(sandbox, "POST", f"{CONTACTS}/gdpr-delete", json=body).status_code == 204
    books = export(shop).books
    assert (books.acked, books.rejected, books.planned) == (97, 3, 100)
    assert [r["status"] for r in sandbox.request_log() if r["path"] == f"{CONTACTS}/batch/upsert"] == [207]
    again = export(shop).books
    assert (again.planned, again.unchanged, again.rejected) == (3, 97, 3)
    reasons = ExportBooks(shop.runtime.ledger).reasons(again.run)
    assert all("was deleted for good" in reason and "@" not in reason for _, reason, _ in reasons)


@pytest.mark.slow
def test_a_batch_refused_as_a_whole_is_sent_in_halves(shop: Shop, sandbox: Sandbox) -> None:
    body = {"status": "error", "category": "VALIDATION_ERROR", "message": "something is wrong", "correlationId": "1"}
    sandbox.fault("status", path=f"{CONTACTS}/batch/upsert", status=400, body=body)
    assert export(shop).books.acked == 8
    assert fields(sandbox) == shop.wanted()


@pytest.mark.slow
def test_a_row_the_answer_does_not_mention_is_looked_up(shop: Shop, sandbox: Sandbox) -> None:
    """As for contacts that somebody merged a moment before."""
    body = {"status": "COMPLETE", "results": []}
    sandbox.fault("status", path=f"{CONTACTS}/batch/upsert", status=200, body=body)
    assert export(shop).books.acked == 8
    assert fields(sandbox) == shop.wanted()


@pytest.mark.parametrize("kind", ["reset", "reset_after", "truncated", "html", "twice"])
@pytest.mark.slow
def test_faults_on_the_way_lose_nothing_and_double_nothing(shop: Shop, sandbox: Sandbox, kind: str) -> None:
    for what in ("read", "upsert", "update"):
        sandbox.fault(kind, path=f"{CONTACTS}/batch/{what}")
    sandbox.fault(kind, path=PROPERTIES)
    for _ in range(3):
        try:
            books = export(shop, clock=HURRIED).books
        except ExportError:
            continue
        assert books.closes
        if not books.uncertain:
            break
    assert fields(sandbox) == shop.wanted()
    assert len(contacts(sandbox)) == 8
    assert all(books.closes for books in shop.books("hubspot"))


@pytest.mark.slow
def test_a_server_error_that_stays_leaves_everything_uncertain_and_the_next_run_heals_it(
    shop: Shop, sandbox: Sandbox
) -> None:
    sandbox.fault("status", path=f"{CONTACTS}/batch/upsert", times=1000, status=502)
    books = export(shop, clock=HURRIED).books
    assert (books.acked, books.uncertain) == (0, 8)
    sandbox.clear_faults()
    assert export(shop, clock=HURRIED).books.acked == 8


# --- opt-outs at the platform, by every route ------------------------------------------------------------------------


def test_who_unsubscribed_there_stays_unsubscribed_when_changed_removed_and_brought_back(
    shop: Shop, sandbox: Sandbox
) -> None:
    export(shop)
    set_status(sandbox, address(3), "UNSUBSCRIBED")
    offer(shop, *shop.rows)
    assert export(shop).books.acked == 8
    for outcome in ("withheld", "send"):
        shop.rows[3]["outcome"] = outcome
        shop.decide()
        assert export(shop).books.acked == 1
    assert status(sandbox, address(3)) == "UNSUBSCRIBED"
    assert contacts(sandbox)[address(3)]["offer"] == "POINTS2"


@pytest.mark.slow
def test_an_address_that_unsubscribed_before_it_was_ever_a_contact(shop: Shop, sandbox: Sandbox) -> None:
    set_status(sandbox, address(3), "UNSUBSCRIBED")
    export(shop)
    assert status(sandbox, address(3)) == "UNSUBSCRIBED"


@pytest.mark.slow
def test_a_grant_after_an_opt_out_does_not_subscribe_again(shop: Shop, sandbox: Sandbox) -> None:
    from datetime import UTC, datetime

    export(shop)
    shop.withdraw(3)
    export(shop)
    shop.consent([shop.customer(3)], "grant", datetime(2019, 1, 1, tzinfo=UTC))
    assert export(shop).books.adds == 1
    assert status(sandbox, address(3)) == "UNSUBSCRIBED"


@pytest.mark.slow
def test_every_status_written_is_unsubscribed(shop: Shop, sandbox: Sandbox) -> None:
    """By setup, add, change, remove, retract and a moved address together."""
    export(shop)
    set_status(sandbox, address(5), "SUBSCRIBED")
    offer(shop, 1)
    shop.rows[2]["outcome"] = "withheld"
    move(shop, 5, "moved@example.com")
    shop.withdraw(3)
    sandbox.forget_requests()
    export(shop)
    assert status(sandbox, address(5)) == "SUBSCRIBED"
    assert status(sandbox, "moved@example.com") == "NOT_SPECIFIED"
    written = [r for r in sandbox.request_log() if r["path"].startswith(CONSENT) and r["method"] == "POST"]
    assert [r["path"] for r in written] == [f"{CONSENT}/statuses/batch/write"]  # the retraction's


# --- an address has changed ------------------------------------------------------------------------------------------


def test_a_changed_address_moves_the_contact_and_makes_no_second_one(shop: Shop, sandbox: Sandbox) -> None:
    export(shop)
    before = contacts(sandbox)[address(3)]["id"]
    move(shop, 3, "Moved@example.com")
    books = export(shop).books
    assert (books.planned, books.acked, books.adds, books.removes) == (2, 2, 1, 1)
    there = contacts(sandbox)
    assert len(there) == 8
    assert there["moved@example.com"]["id"] == before
    assert there["moved@example.com"]["personalization_moved_from"] == ""
    assert export(shop).books.planned == 0


def test_an_opt_out_moves_along_with_the_address(shop: Shop, sandbox: Sandbox) -> None:
    """At HubSpot it belongs to the address: moved alone, the contact would be subscribed again."""
    export(shop)
    set_status(sandbox, address(3), "UNSUBSCRIBED", 1002)
    path = f"{CONSENT}/statuses/{address(4)}/unsubscribe-all"
    call(sandbox, "POST", path, params={"channel": "EMAIL"}).raise_for_status()
    move(shop, 3, "moved3@example.com")
    move(shop, 4, "moved4@example.com")
    assert export(shop).books.rejected == 0
    assert opted_out(sandbox, "moved3@example.com") == {1002}
    assert opted_out(sandbox, "moved4@example.com") == {1001, 1002, "all"}


@pytest.mark.slow
def test_who_opts_out_while_the_contact_moves_is_opted_out_at_the_new_address(shop: Shop, sandbox: Sandbox) -> None:
    export(shop)
    move(shop, 3, "moved@example.com", keep_old=False)
    sandbox.fault("hang_after", path=f"{CONTACTS}/batch/update", seconds=0.5)
    with when_requested(
        sandbox, f"{CONTACTS}/batch/update", lambda: set_status(sandbox, address(3), "UNSUBSCRIBED", 1001)
    ):
        export(shop)
    assert status(sandbox, "moved@example.com") == "UNSUBSCRIBED"


def test_who_opts_out_while_the_contact_moves_and_the_run_breaks_off(shop: Shop, sandbox: Sandbox) -> None:
    export(shop)
    move(shop, 3, "moved@example.com", keep_old=False)
    sandbox.fault("status", path=rf"{CONSENT}/statuses/{address(3)}.*", after=2, times=1000, status=503)
    export(shop, clock=HURRIED)
    there = contacts(sandbox)["moved@example.com"]
    assert there["personalization_moved_from"] == address(3)  # moved, but not done
    set_status_past_faults(sandbox, address(3))
    books = export(shop, clock=HURRIED).books
    assert (books.rejected, books.uncertain) == (0, 0)
    assert contacts(sandbox)["moved@example.com"]["personalization_moved_from"] == ""
    assert status(sandbox, "moved@example.com") == "UNSUBSCRIBED"


def set_status_past_faults(sandbox: Sandbox, email: str) -> None:
    sandbox.clear_faults()
    set_status(sandbox, email, "UNSUBSCRIBED")


@pytest.mark.slow
def test_no_contact_moves_when_its_opt_out_can_not(shop: Shop, sandbox: Sandbox) -> None:
    export(shop)
    set_status(sandbox, address(3), "UNSUBSCRIBED")
    move(shop, 3, "moved@example.com", keep_old=False)
    errors = {"status": "COMPLETE", "results": [], "errors": [{"message": "try moved@example.com later"}]}
    sandbox.fault("status", method="POST", path=rf"{CONSENT}/statuses/.*", times=2, status=200, body=errors)
    books = export(shop).books
    assert books.rejected == 1
    assert "moved@example.com" not in contacts(sandbox)
    reasons = ExportBooks(shop.runtime.ledger).reasons(books.run)
    (reason,) = [reason for state, reason, _ in reasons if state == "rejected"]
    assert "the opt-out of the former one did not come along" in reason
    assert "@" not in reason


@pytest.mark.slow
def test_the_new_address_has_a_contact_already(shop: Shop, sandbox: Sandbox) -> None:
    export(shop)
    set_status(sandbox, "moved@example.com", "UNSUBSCRIBED")
    call(sandbox, "POST", CONTACTS, json={"properties": {"email": "moved@example.com", "firstname": "Ada"}})
    move(shop, 3, "moved@example.com", keep_old=False)
    assert export(shop).books.acked == 2  # and what is under the former address is cleared
    there = contacts(sandbox)
    assert len(there) == 9
    assert (there["moved@example.com"]["campaign"], there[address(3)]["campaign"]) == ("december", "")
    assert there[address(3)]["personalization_id"] == ""
    assert status(sandbox, "moved@example.com") == "UNSUBSCRIBED"


@pytest.mark.slow
def test_contacts_that_were_there_before_are_taken_over(shop: Shop, sandbox: Sandbox) -> None:
    for number in range(4):
        call(sandbox, "POST", CONTACTS, json={"properties": {"email": address(number), "firstname": "Ada"}})
    assert export(shop).books.acked == 8
    assert len(contacts(sandbox)) == 8
    assert fields(sandbox) == shop.wanted()


@pytest.mark.slow
@pytest.mark.parametrize("owner", ["", "another customer"])
def test_an_additional_address_of_a_contact(tmp_path: Path, sandbox: Sandbox, owner: str) -> None:
    """Batches don't find contacts by their additional addresses; creating one tells which contact has it."""
    shop = opened(tmp_path, 1)
    setup_destination(shop.runtime, "hubspot")
    body = {"properties": {"email": "primary@example.com", "personalization_id": owner}}
    number = call(sandbox, "POST", CONTACTS, json=body).json()["id"]
    taken = {"category": "CONFLICT", "message": f"Contact already exists. Existing ID: {number}"}
    sandbox.fault("status", path=f"{CONTACTS}/batch/upsert", status=409, body=taken)
    books = export(shop).books
    assert (books.acked, books.rejected) == ((0, 1) if owner else (1, 0))
    assert list(contacts(sandbox)) == ["primary@example.com"]
    assert contacts(sandbox)["primary@example.com"]["campaign"] == ("" if owner else "december")


@pytest.mark.slow
def test_a_contact_deleted_there_comes_back_with_its_next_change(shop: Shop, sandbox: Sandbox) -> None:
    export(shop)
    call(sandbox, "DELETE", f"{CONTACTS}/{contacts(sandbox)[address(3)]['id']}").raise_for_status()
    offer(shop, 3)
    assert export(shop).books.acked == 1
    assert fields(sandbox) == shop.wanted()


# --- retractions -----------------------------------------------------------------------------------------------------


def test_opt_outs_go_one_by_one_where_batches_are_not_allowed(shop: Shop, sandbox: Sandbox) -> None:
    """Batches of opt-outs need Marketing Hub Enterprise."""
    export(shop)
    sandbox.fault("status", path=f"{CONSENT}/statuses/batch/write", times=100, status=403, body=missing("batch.write"))
    shop.withdraw(3, 4)
    assert export(shop).books.acked == 2
    assert {status(sandbox, address(n)) for n in (3, 4)} == {"UNSUBSCRIBED"}


def test_an_opt_out_is_confirmed_by_its_own_result_only(shop: Shop, sandbox: Sandbox) -> None:
    """Errors come inside of a 200 here."""
    export(shop)
    body = {"status": "COMPLETE", "results": [], "numErrors": 1, "errors": [{"message": f"not now, {address(3)}"}]}
    sandbox.fault("status", method="POST", path=f"{CONSENT}/statuses/.*", times=2, status=200, body=body)
    shop.withdraw(3)
    books = export(shop).books
    assert (books.acked, books.rejected) == (0, 1)
    ((_, reason, _),) = ExportBooks(shop.runtime.ledger).reasons(books.run)
    assert reason == "HubSpot did not confirm the opt-out: not now, <address>"
    assert export(shop).books.acked == 1
    assert status(sandbox, address(3)) == "UNSUBSCRIBED"


@pytest.mark.slow
def test_an_opt_out_goes_through_when_a_field_would_stop_it(shop: Shop, sandbox: Sandbox) -> None:
    export(shop)
    sandbox.fault("status", path=f"{CONTACTS}/batch/update", times=10, status=400, body={"message": "no"})
    shop.withdraw(3)
    assert export(shop).books.acked == 1
    assert status(sandbox, address(3)) == "UNSUBSCRIBED"


@pytest.mark.slow
def test_the_legal_basis_goes_along_where_it_is_set(shop: Shop, sandbox: Sandbox) -> None:
    shop.edit("destinations", "subscription_ids: [1001]", "subscription_ids: [1001, 1002]\n    legal_basis: NON_GDPR")
    export(shop)
    shop.withdraw(3)
    export(shop)
    results = call(sandbox, "GET", f"{CONSENT}/statuses/{address(3)}", params={"channel": "EMAIL"}).json()["results"]
    assert [(one["status"], one["legalBasis"]) for one in results] == [("UNSUBSCRIBED", "NON_GDPR")] * 2


# --- lists -----------------------------------------------------------------------------------------------------------


def test_static_lists_hold_the_audience_of_each_campaign(shop: Shop, sandbox: Sandbox) -> None:
    with_lists(shop)
    assert export(shop).made[-2:] == [
        "list 'December buyers' (contacts whose campaign is december)",
        "list 'Fans' (contacts whose campaign is favourites)",
    ]
    assert (len(members(sandbox, "December buyers")), len(members(sandbox, "Fans"))) == (8, 0)
    shop.rows[1]["campaign"] = "favourites"
    shop.rows[2]["outcome"] = "withheld"
    shop.decide()
    export(shop)
    ids = {email: one["id"] for email, one in contacts(sandbox).items()}
    assert members(sandbox, "Fans") == {ids[address(1)]}
    assert members(sandbox, "December buyers") == {ids[address(n)] for n in (0, 3, 4, 5, 6, 7)}
    shop.withdraw(3)
    export(shop)
    assert ids[address(3)] not in members(sandbox, "December buyers")


@pytest.mark.slow
def test_a_list_deleted_there_is_named_and_setup_heals_it(shop: Shop, sandbox: Sandbox) -> None:
    with_lists(shop)
    export(shop)
    call(sandbox, "DELETE", f"/crm/lists/2026-03/{list_id(sandbox, 'Fans')}").raise_for_status()
    offer(shop, 3)
    expect_refused(shop, "the list 'Fans' was deleted at HubSpot", "export setup hubspot")
    assert len(setup_destination(shop.runtime, "hubspot")) == 1
    assert export(shop).books.changes == 8


@pytest.mark.slow
def test_an_active_list_can_not_be_used(shop: Shop, sandbox: Sandbox) -> None:
    body = {"name": "Fans", "objectTypeId": "0-1", "processingType": "DYNAMIC"}
    call(sandbox, "POST", "/crm/lists/2026-03", json=body).raise_for_status()
    with_lists(shop)
    expect_refused(shop, "the list 'Fans' at HubSpot is an active one", "name of a static list")


def with_lists(shop: Shop) -> None:
    lists = "lists: {december: December buyers, favourites: Fans}"
    shop.edit("destinations", "subscription_ids: [1001]", f"subscription_ids: [1001]\n    {lists}")


def list_id(sandbox: Sandbox, name: str) -> str:
    return str(call(sandbox, "GET", f"/crm/lists/2026-03/object-type-id/0-1/name/{name}").json()["list"]["listId"])


def members(sandbox: Sandbox, name: str) -> set[str]:
    path = f"/crm/lists/2026-03/{list_id(sandbox, name)}/memberships"
    return {one["recordId"] for one in call(sandbox, "GET", path).json()["results"]}


# --- limits and setup ------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_too_many_requests_are_waited_for(shop: Shop, sandbox: Sandbox) -> None:
    body = {"status": "error", "message": "You have reached your secondly limit.", "policyName": "TEN_SECONDLY_ROLLING"}
    sandbox.fault("status", path=f"{CONTACTS}/batch/.*", times=3, status=429, body=body)
    assert export(shop, clock=HURRIED).books.acked == 8


@pytest.mark.slow
def test_a_long_wait_means_a_new_cut(shop: Shop, sandbox: Sandbox) -> None:
    sandbox.fault("status", path=f"{CONTACTS}/batch/upsert", status=429, headers={"Retry-After": "300"}, body={})
    waited: list[float] = []

    def sleep(seconds: float) -> None:
        if seconds > 1 and not waited:
            shop.withdraw(3)
        waited.append(seconds)

    books = export(shop, clock=Clock(sleep=sleep)).books
    assert sum(waited) >= 300
    assert (books.acked, books.suppressed) == (7, 1)
    assert address(3) not in contacts(sandbox)


@pytest.mark.slow
def test_requests_keep_below_the_rate(tmp_path: Path, sandbox: Sandbox) -> None:
    shop = opened(tmp_path, 250)
    shop.edit("destinations", "subscription_ids: [1001]", "subscription_ids: [1001]\n    requests_per_10_seconds: 4")
    moment = [0.0]

    def sleep(seconds: float) -> None:
        moment[0] += seconds

    assert export(shop, clock=Clock(monotonic=lambda: moment[0], sleep=sleep)).books.acked == 250
    requests = len(sandbox.request_log())
    assert moment[0] >= 10 * ((requests - 1) // 4)


REFUSED = [
    ({"policyName": "DAILY", "message": "limit"}, 429, "daily limit of requests is used up", "midnight"),
    ({"category": "INVALID_AUTHENTICATION", "message": "expired"}, 401, "refused the key .*expired", "check the token"),
    ({"message": "moving"}, 477, "HubSpot is moving the account", "later"),
]


@pytest.mark.parametrize(("body", "code", "match", "hint"), REFUSED)
def test_refusals_are_named(shop: Shop, sandbox: Sandbox, body: Any, code: int, match: str, hint: str) -> None:
    sandbox.fault("status", path=f"{CONTACTS}/batch/.*", times=100, status=code, body=body)
    expect_refused(shop, match, hint)


@pytest.mark.slow
def test_missing_scopes_are_named(shop: Shop, sandbox: Sandbox) -> None:
    sandbox.fault("status", path=PROPERTIES, times=9, status=403, body=missing("crm.schemas.contacts.write"))
    expect_refused(shop, "missing scopes crm.schemas.contacts.write", "private app")


def missing(scope: str) -> dict[str, Any]:
    contexts = [{"message": "…", "context": {"requiredGranularScopes": [scope]}}]
    return {"status": "error", "category": "MISSING_SCOPES", "message": "not granted", "errors": contexts}


def expect_refused(shop: Shop, match: str, hint: str = "") -> str:
    with pytest.raises(ExportError, match=match) as refused:
        export(shop, clock=HURRIED)
    assert hint in (refused.value.hint or "")
    books = shop.books("hubspot")[0]
    assert (books.state, books.closes) == ("failed", True)
    return str(refused.value)


@pytest.mark.slow
def test_a_wrong_token(shop: Shop, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HUBSPOT_TOKEN", "pat-na1-wrong")
    assert "pat-na1" not in expect_refused(shop, "HubSpot refused the key", "check the token")


@pytest.mark.slow
def test_an_unknown_subscription(shop: Shop, sandbox: Sandbox) -> None:
    shop.edit("destinations", "[1001]", "[1001, 7]")
    expect_refused(shop, "no active subscription type 7", "1001 (Marketing information), 1002 (Newsletter)")


def test_what_is_made(shop: Shop, sandbox: Sandbox) -> None:
    names = ["campaign (string)", "pb_hero (string)", "offer (string)", "score (number)"]
    names += ["personalization_id (string)", "personalization_moved_from (string)"]
    assert export(shop).made == [f"property {name}" for name in names]
    assert call(sandbox, "GET", f"{PROPERTIES}/personalization_id").json()["hasUniqueValue"]
    assert call(sandbox, "GET", f"{PROPERTIES}/offer").json()["groupName"] == "personalization"


@pytest.mark.slow
def test_a_deleted_property_is_named_and_setup_heals_it(shop: Shop, sandbox: Sandbox) -> None:
    export(shop)
    call(sandbox, "DELETE", f"{PROPERTIES}/offer").raise_for_status()
    offer(shop, 3)
    expect_refused(shop, "the property offer was deleted at HubSpot", "export setup hubspot")
    assert setup_destination(shop.runtime, "hubspot") == ["property offer (string)"]
    assert export(shop).books.changes == 8


@pytest.mark.parametrize(
    ("name", "more", "match"),
    [
        ("score", {"type": "string", "fieldType": "text"}, "score at HubSpot has the type string"),
        ("personalization_id", {"type": "string", "fieldType": "text"}, "does not demand unique values"),
    ],
)
@pytest.mark.slow
def test_a_property_of_another_kind(shop: Shop, sandbox: Sandbox, name: str, more: dict[str, str], match: str) -> None:
    body = {"name": name, "label": name, "groupName": "contactinformation", **more}
    call(sandbox, "POST", PROPERTIES, json=body).raise_for_status()
    expect_refused(shop, match)


@pytest.mark.slow
def test_the_legacy_version(shop: Shop, sandbox: Sandbox) -> None:
    shop.edit("destinations", "subscription_ids: [1001]", "subscription_ids: [1001]\n    api_version: v3")
    export(shop)
    shop.withdraw(3)
    assert export(shop).books.acked == 1
    paths = {r["path"] for r in sandbox.request_log()}
    assert {"/crm/v3/objects/contacts/batch/upsert", "/communication-preferences/v4/statuses/batch/write"} <= paths


@pytest.mark.parametrize(
    ("name", "words"),
    [("Offer", "can't be a HubSpot property"), ("hs_email_optout", "is never written"), ("email", "is never written")],
)
def test_a_field_name_that_does_not_fit(shop: Shop, name: str, words: str) -> None:
    shop.edit("destinations", "{name: offer", f"{{name: {name}")
    with pytest.raises(ProgramError, match=rf"destinations.yaml:\d+:\d+: destinations.hubspot: '{name}' .*{words}"):
        shop.plan("hubspot")


def test_a_list_for_a_campaign_there_is_not(shop: Shop) -> None:
    shop.edit("destinations", "subscription_ids: [1001]", "subscription_ids: [1001]\n    lists: {decembre: Buyers}")
    with pytest.raises(ProgramError, match=r"destinations.yaml:\d+:\d+: .*no campaign 'decembre' .*december"):
        shop.plan("hubspot")


# --- reading back, erasing, and what may not be said -----------------------------------------------------------------


@pytest.mark.slow
def test_holdings_say_who_would_be_mailed(tmp_path: Path, sandbox: Sandbox) -> None:
    shop = opened(tmp_path, 120)
    export(shop)
    set_status(sandbox, address(3), "UNSUBSCRIBED")
    held = {one.address: one for one in holdings(shop.runtime.program, "hubspot", shop.runtime.workspace)}
    assert len(held) == 120
    assert [email for email, one in held.items() if not one.active] == [address(3)]
    assert held[address(7)].values == {"campaign": "december", "pb_hero": "FLOWERS", "offer": "BACK15", "score": "0.07"}


def test_people_are_deleted_for_good(shop: Shop, sandbox: Sandbox) -> None:
    adapter = adapter_for(shop.runtime.program, "hubspot", shop.runtime.workspace)
    assert adapter.erase([address(3)], ["nobody"]) == 0
    export(shop)
    external = contacts(sandbox)[address(4)]["personalization_id"]
    assert adapter.erase([address(3), "never@example.com"], [external]) == 2
    assert adapter.erase([address(3)], [external]) == 0
    assert not {address(3), address(4)} & set(contacts(sandbox))


def test_no_token_or_address_in_any_log_or_ledger_text(
    shop: Shop, sandbox: Sandbox, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    body = {"objectId": address(1), "idProperty": "email"}
    call(sandbox, "POST", f"{CONTACTS}/gdpr-delete", json=body)
    export(shop)
    sandbox.fault("status", path=f"{CONSENT}/statuses/.*", times=100, status=500)
    shop.withdraw(2)
    message = expect_refused(shop, "HubSpot failed at GET .*statuses/<address>")
    assert address(2) not in message
    ledger = (shop.root / "var" / "ledger.sqlite").read_bytes() + (shop.root / "var" / "ledger.sqlite-wal").read_bytes()
    for secret in (*map(address, shop.rows), sandbox.api_key):
        assert secret not in caplog.text
        assert secret.encode() not in ledger


def opted_out(sandbox: Sandbox, email: str) -> set[int | str]:
    path, query = f"{CONSENT}/statuses/{email}", {"channel": "EMAIL"}
    results = call(sandbox, "GET", path, params=query).json()["results"]
    found: set[int | str] = {one["subscriptionId"] for one in results if one["status"] == "UNSUBSCRIBED"}
    everything = call(sandbox, "GET", f"{path}/unsubscribe-all", params=query).json()["results"]
    return found | ({"all"} if everything else set())
