"""ActiveCampaign over real HTTP: who stays out, imports that are refused, lost or partly done, limits, and messages."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import requests

from personalization.errors import ExportError, ProgramError
from personalization.ledger import VaultItem
from personalization.ledger.export_books import Books, ExportBooks
from personalization.program.models import ActiveCampaignDestination, DestinationField
from personalization.sandbox import Sandbox, run_sandbox
from personalization.stages.export.adapters.activecampaign_shapes import IMPORT_BYTES, chunks, suspects
from personalization.stages.export.adapters.base import Clock
from personalization.stages.export.adapters.http import Answer
from personalization.stages.export.adapters.registry import adapter_for
from personalization.stages.export.exporter import setup_destination
from personalization.stages.monitoring.audit import audit_destination
from tests.export.activecampaign import SETTINGS, as_text, call, contacts, fields, lift_limits, point_at
from tests.export.shop import Shop, address, when_requested

HURRIED = Clock(sleep=lambda seconds: time.sleep(min(seconds, 0.02)))


@pytest.fixture(scope="module")
def server() -> Iterator[Sandbox]:
    with run_sandbox("activecampaign", batch_seconds=0.05) as running:
        yield running


@pytest.fixture
def sandbox(server: Sandbox, monkeypatch: pytest.MonkeyPatch) -> Sandbox:
    server.reset()
    lift_limits(server)
    point_at(server, monkeypatch)
    return server


@pytest.fixture
def open_shop(tmp_path: Path) -> Callable[[int], Shop]:
    def make(customers: int) -> Shop:
        shop = Shop.open(tmp_path / "shop", customers)
        shop.add_destination("activecampaign", SETTINGS)
        return shop

    return make


@pytest.fixture
def shop(open_shop: Callable[[int], Shop]) -> Shop:
    return open_shop(8)


def export(shop: Shop, **options: Any) -> Books:
    return shop.export("activecampaign", **{"clock": HURRIED, **options}).books


def wanted(shop: Shop) -> dict[str, dict[str, str]]:
    return as_text(shop.wanted())


def change_offers(shop: Shop, offer: str = "POINTS2") -> None:
    for row in shop.rows.values():
        row["offer"] = offer
    shop.decide()


def another_address(shop: Shop, number: int, odd: str) -> None:
    runtime = shop.runtime
    token = runtime.keys.token("email", odd)
    runtime.ledger.vault(runtime.keys).put([VaultItem(shop.customer(number), "email", token, odd)])
    shop.rows[number]["email_token"] = token


def sign_up(sandbox: Sandbox, number: int) -> str:
    """Somebody whom ActiveCampaign knew before us, active on the list."""
    answer = call(sandbox, "POST", "/contact/sync", json={"contact": {"email": address(number)}})
    key = str(answer.json()["contact"]["id"])
    set_status(sandbox, key, 1)
    return key


def set_status(sandbox: Sandbox, key: str, status: int) -> None:
    body = {"contactList": {"contact": int(key), "list": 1, "status": status}}
    assert call(sandbox, "POST", "/contactLists", json=body).ok


def imports(sandbox: Sandbox) -> int:
    return [entry["path"] for entry in sandbox.request_log() if entry["method"] == "POST"].count("/import/bulk_import")


# --- opt-outs at the platform ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("customers", [8, 40], ids=["sync", "import"])
def test_who_unsubscribed_there_stays_unsubscribed(
    sandbox: Sandbox, open_shop: Callable[[int], Shop], customers: int
) -> None:
    shop = open_shop(customers)
    set_status(sandbox, sign_up(sandbox, 4), 2)  # before we ever wrote to them
    assert export(shop).acked == customers
    set_status(sandbox, contacts(sandbox)[address(3)]["id"], 2)
    change_offers(shop)
    assert export(shop).acked == customers
    there = contacts(sandbox)
    assert {there[address(number)]["status"] for number in (3, 4)} == {"2"}
    assert there[address(3)]["values"]["OFFER"] == "POINTS2"
    assert there[address(5)]["status"] == "1"


def test_who_unsubscribes_while_an_import_waits_stays_unsubscribed(
    sandbox: Sandbox, open_shop: Callable[[int], Shop]
) -> None:
    shop = open_shop(40)
    key = sign_up(sandbox, 3)
    with when_requested(sandbox, "/import/bulk_import", lambda: set_status(sandbox, key, 2)):
        assert export(shop).acked == 40
    assert contacts(sandbox)[address(3)]["status"] == "2"
    assert contacts(sandbox)[address(5)]["status"] == "1"


def test_back_after_a_removal_or_a_grant_does_not_subscribe_again(shop: Shop, sandbox: Sandbox) -> None:
    export(shop)
    shop.withdraw(3)
    shop.rows[4]["outcome"] = "withheld"
    shop.decide()
    export(shop)
    set_status(sandbox, contacts(sandbox)[address(4)]["id"], 2)
    shop.consent([shop.customer(3)], "grant", datetime(2019, 1, 1, tzinfo=UTC))
    shop.rows[4]["outcome"] = "send"
    shop.decide()
    assert export(shop).adds == 2  # with `subscribe`, which the platform does not heed
    there = contacts(sandbox)
    assert {there[address(number)]["status"] for number in (3, 4)} == {"2"}
    assert fields(sandbox) == wanted(shop)


def test_opt_outs_come_first_and_do_not_fail_because_of_a_value(shop: Shop, sandbox: Sandbox) -> None:
    export(shop)
    change_offers(shop)
    shop.withdraw(3)
    sandbox.fault("status", path="/contacts/\\d+", method="PUT", status=422, body={"errors": [{"title": "no"}]})
    sandbox.forget_requests()
    assert export(shop).acked == 8
    writes = [entry["path"] for entry in sandbox.request_log() if entry["method"] in ("POST", "PUT")]
    assert writes[0] == "/contactLists"
    assert contacts(sandbox)[address(3)]["status"] == "2"


def test_an_opt_out_that_changes_nothing_is_not_acknowledged(shop: Shop, sandbox: Sandbox) -> None:
    export(shop)
    shop.withdraw(3)
    body = {"contactList": {"status": "1"}}
    sandbox.fault("status", path="/contactLists", method="POST", status=200, body=body)
    books = export(shop)
    assert (books.acked, books.rejected) == (0, 1)
    assert export(shop).acked == 1
    assert contacts(sandbox)[address(3)]["status"] == "2"


def test_nobody_is_made_by_a_removal_or_an_opt_out(shop: Shop, sandbox: Sandbox) -> None:
    export(shop)
    for number in (3, 4):
        call(sandbox, "DELETE", f"/contacts/{contacts(sandbox)[address(number)]['id']}")
    shop.rows[3]["outcome"] = "withheld"
    shop.decide()
    shop.withdraw(4)
    assert export(shop).acked == 2
    assert not {address(3), address(4)} & contacts(sandbox).keys()


@pytest.mark.parametrize("form", ["fields", "field"])
def test_a_field_that_was_made_is_found_in_either_form_of_the_answer(shop: Shop, sandbox: Sandbox, form: str) -> None:
    """The published document shows `fields`, as in a list; clients of third parties read `field`."""
    call(sandbox, "POST", "/fields", json={"field": {"title": "Stand-in", "type": "text"}})
    made = {"id": "1", "perstag": "CAMPAIGN"}
    body = {"fields": [{"id": "9", "perstag": "NOT_OURS"}, made]} if form == "fields" else {"field": made}
    sandbox.fault("status", path="/fields", method="POST", status=201, body=body)
    assert export(shop).acked == 8
    assert {row["values"]["STAND-IN"] for row in contacts(sandbox).values()} == {"december"}


def test_a_field_that_was_made_and_is_not_shown_is_named(shop: Shop, sandbox: Sandbox) -> None:
    sandbox.fault("status", path="/fields", method="POST", status=201, body={"fields": []})
    with pytest.raises(ExportError, match=r"took the custom field \w+, but does not show it"):
        export(shop)
    assert export(shop).acked == 8


# --- what belongs to others, and clearing ----------------------------------------------------------------------------


def test_fields_of_others_survive(shop: Shop, sandbox: Sandbox) -> None:
    made = call(sandbox, "POST", "/fields", json={"field": {"title": "City", "type": "text"}})
    field = made.json()["fields"][0]["id"]
    values = [{"field": field, "value": "Turin"}]
    call(sandbox, "POST", "/contact/sync", json={"contact": {"email": address(3), "fieldValues": values}})
    export(shop)
    shop.rows[3]["outcome"] = "withheld"
    shop.decide()
    export(shop)
    there = contacts(sandbox)[address(3)]
    assert {name: value for name, value in there["values"].items() if value} == {"CITY": "Turin"}
    assert there["status"] == "1"


@pytest.mark.parametrize("customers", [8, 40], ids=["few", "many"])
def test_keep_and_clear(sandbox: Sandbox, open_shop: Callable[[int], Shop], customers: int) -> None:
    shop = open_shop(customers)
    export(shop)
    change_offers(shop)
    shop.rows[3]["offer"] = shop.rows[3]["purchase_score"] = None
    shop.decide()
    assert export(shop).acked == customers
    there = fields(sandbox)[address(3)]
    assert there["OFFER"] == "BACK15"
    assert "SCORE" not in there


# --- imports ---------------------------------------------------------------------------------------------------------


def test_three_of_a_hundred_that_an_import_left_out_leave_97_acknowledged(
    sandbox: Sandbox, open_shop: Callable[[int], Shop]
) -> None:
    shop = open_shop(100)
    for number in (11, 22, 33):
        another_address(shop, number, f"u{number}@nodomain")  # fails when the import is worked on
    shop.decide()
    books = export(shop)
    assert (books.acked, books.rejected) == (97, 3)
    ((_, reason, rows),) = ExportBooks(shop.runtime.ledger).reasons(books.run)
    assert (reason, rows) == ("ActiveCampaign's import could not write the contact; it gives no reason", 3)
    assert export(shop).planned == 3


def test_three_of_a_hundred_that_make_the_whole_import_fail_hold_up_nobody(
    sandbox: Sandbox, open_shop: Callable[[int], Shop]
) -> None:
    shop = open_shop(100)
    for number in (0, 22, 99):
        another_address(shop, number, f"u{number}(x)@example.com")
    shop.decide()
    books = export(shop)
    assert (books.acked, books.rejected) == (97, 3)
    ((_, reason, rows),) = ExportBooks(shop.runtime.ledger).reasons(books.run)
    assert rows == 3
    assert "Field 'email' incorrect format" in reason


def test_an_import_limit_between_the_parts_of_a_refused_import_loses_and_doubles_nobody(
    sandbox: Sandbox, open_shop: Callable[[int], Shop]
) -> None:
    shop = open_shop(40)
    another_address(shop, 20, "u20(x)@example.com")
    shop.decide()
    limited = {"success": 0, "message": "Rate limit exceeded.", "failureReasons": ["Up to 100 imports"]}
    sandbox.fault("status", path="/import/bulk_import", method="POST", status=400, body=limited, after=2)
    books = export(shop)
    assert (books.acked, books.rejected) == (39, 1)
    assert len(contacts(sandbox)) == 39


def test_a_lost_job_is_found_out_and_sent_again(sandbox: Sandbox, open_shop: Callable[[int], Shop]) -> None:
    shop = open_shop(40)
    sandbox.fault("status", inside=True, method="IMPORT")
    assert export(shop).acked == 40
    assert fields(sandbox) == wanted(shop)
    assert imports(sandbox) == 2


def test_a_lost_answer_waits_for_the_queue_and_doubles_nobody(
    sandbox: Sandbox, open_shop: Callable[[int], Shop]
) -> None:
    shop = open_shop(40)
    sandbox.fault("reset_after", path="/import/bulk_import", method="POST")
    books = export(shop)
    assert (books.acked, books.uncertain) == (40, 0)
    assert len(contacts(sandbox)) == 40
    assert fields(sandbox) == wanted(shop)


def test_many_contacts_of_which_nobody_knows_are_read_in_portions(
    sandbox: Sandbox, open_shop: Callable[[int], Shop], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Read, not sent again: whoever arrived and opts out meanwhile must be known to be there."""
    monkeypatch.setattr("personalization.stages.export.adapters.activecampaign.READ_ROWS", 15)
    shop = open_shop(40)
    sandbox.fault("reset_after", path="/import/bulk_import", method="POST")
    with when_requested(sandbox, "/import/bulk_import", lambda: shop.withdraw(3)):
        export(shop)
    assert imports(sandbox) == 1
    assert contacts(sandbox)[address(3)]["status"] == "2"


@pytest.mark.parametrize(("setting", "starting"), [("", 40), ("\n    automations: false", 0)])
def test_imports_start_automations_unless_told_otherwise(
    sandbox: Sandbox, open_shop: Callable[[int], Shop], setting: str, starting: int
) -> None:
    shop = open_shop(40)
    shop.edit("destinations", "list_id: 1", f"list_id: 1{setting}")
    assert export(shop).acked == 40
    assert imports(sandbox) == 1
    answer = requests.get(f"{sandbox.url}/_sandbox/automations", timeout=10)
    assert answer.json() == {"contacts": starting}


def test_imports_are_split_by_count_and_size() -> None:
    small = [{"email": f"u{n}@example.com", "fields": []} for n in range(600)]
    assert [part.stop - part.start for part in chunks(small)] == [250, 250, 100]
    large = [{"email": "u@example.com", "fields": [{"id": 1, "value": "x" * 100_000}]} for _ in range(7)]
    assert [part.stop - part.start for part in chunks(large)] == [3, 3, 1]
    assert IMPORT_BYTES < 400_000
    assert list(chunks([])) == []


def test_both_ways_to_count_are_under_suspicion() -> None:
    reasons = [{"contact": 0, "failureReason": "x"}, {"contact": 3, "failureReason": "x"}]
    assert suspects(Answer(400, {"failureReasons": reasons}), 4) == [0, 2, 3]
    assert suspects(Answer(400, {"failureReasons": ["too large"]}), 4) == []


# --- limits and broken answers ---------------------------------------------------------------------------------------


def test_five_requests_a_second_are_kept(sandbox: Sandbox, open_shop: Callable[[int], Shop]) -> None:
    shop = open_shop(8)
    shop.edit("destinations", "requests_per_second: 10000", "requests_per_second: 5")
    lift_limits(sandbox, per_second=5)
    begun = time.monotonic()
    assert export(shop, clock=Clock()).acked == 8
    log = sandbox.request_log()
    assert [entry["status"] for entry in log].count(429) <= 1  # this machine may be slow for a moment
    assert time.monotonic() - begun >= (len(log) - 5) / 5


def test_a_429_and_an_import_limit_are_waited_for(sandbox: Sandbox, open_shop: Callable[[int], Shop]) -> None:
    shop = open_shop(40)
    pauses: list[float] = []

    def sleep(seconds: float) -> None:
        pauses.append(seconds)
        time.sleep(min(seconds, 0.02))

    sandbox.fault("status", path="/lists/1", status=429, headers={"Retry-After": "7"}, body={"message": "Too Many"})
    limited = {"success": 0, "message": "Rate limit exceeded.", "failureReasons": ["Up to 100 imports"]}
    sandbox.fault("status", path="/import/bulk_import", method="POST", status=400, body=limited)
    assert export(shop, clock=Clock(sleep=sleep)).acked == 40
    assert 7 in pauses
    assert sum(pauses) >= 67


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["reset", "reset_after", "truncated", "html", "twice"])
@pytest.mark.parametrize("customers", [8, 40], ids=["few", "many"])
def test_faults_on_the_way_lose_nothing_and_double_nothing(
    sandbox: Sandbox, open_shop: Callable[[int], Shop], kind: str, customers: int
) -> None:
    shop = open_shop(customers)
    for path in ("/contacts.*", "/contact/sync", "/lists/1", "/fields", "/import/bulk_import", "/import/info"):
        sandbox.fault(kind, path=path)
    for _ in range(3):
        try:
            books = export(shop)
        except ExportError:
            continue
        assert books.closes
        if not books.uncertain:
            break
    sandbox.clear_faults()  # those that met no request
    assert fields(sandbox) == wanted(shop)
    assert len(contacts(sandbox)) == customers
    assert all(books.closes for books in shop.books("activecampaign"))


# --- setup and audit -------------------------------------------------------------------------------------------------


def expect_refused(shop: Shop, match: str, hint: str = "") -> str:
    with pytest.raises(ExportError, match=match) as refused:
        export(shop)
    assert hint in (refused.value.hint or "")
    books = shop.books("activecampaign")[0]
    assert (books.state, books.held, books.closes) == ("failed", books.planned - books.acked, True)
    return str(refused.value)


def test_missing_fields_are_made_and_put_on_the_list(shop: Shop, sandbox: Sandbox) -> None:
    kinds = {"CAMPAIGN": "text", "PB_HERO": "text", "OFFER": "text", "SCORE": "number", "EXTERNALID": "text"}
    made = shop.export("activecampaign", clock=HURRIED).made
    assert made == [f"custom field {name} ({kind})" for name, kind in kinds.items()]
    listed = call(sandbox, "GET", "/fields", params={"limit": 100}).json()
    assert [relation["relid"] for relation in listed["fieldRels"]] == ["1"] * 5
    change_offers(shop)
    assert shop.export("activecampaign", clock=HURRIED).made == []


def test_a_deleted_field_is_named_and_setup_heals_it(shop: Shop, sandbox: Sandbox) -> None:
    export(shop)
    listed = call(sandbox, "GET", "/fields", params={"limit": 100}).json()["fields"]
    call(sandbox, "DELETE", f"/fields/{next(f['id'] for f in listed if f['perstag'] == 'OFFER')}")
    shop.rows[3]["offer"] = "POINTS2"
    shop.decide()
    expect_refused(shop, "custom field OFFER was deleted at ActiveCampaign", "take it out of destinations.yaml")
    assert setup_destination(shop.runtime, "activecampaign") == ["custom field OFFER (text)"]
    assert export(shop).changes == 8
    assert fields(sandbox) == wanted(shop)


def test_a_field_of_another_type(shop: Shop, sandbox: Sandbox) -> None:
    call(sandbox, "POST", "/fields", json={"field": {"title": "Score", "perstag": "SCORE", "type": "date"}})
    expect_refused(shop, "custom field SCORE at ActiveCampaign has the type date, destinations.yaml says number")


def test_a_missing_list(shop: Shop, sandbox: Sandbox) -> None:
    shop.edit("destinations", "list_id: 1\n", "list_id: 77\n")
    expect_refused(shop, "ActiveCampaign has no list 77", "number in the list's address")


def test_a_refused_token(shop: Shop, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ACTIVECAMPAIGN_TOKEN", "wrong-token")
    message = expect_refused(shop, r"ActiveCampaign refused the key \(status 403", "Settings, Developer")
    assert "wrong-token" not in message


def test_a_token_revoked_in_the_middle(shop: Shop, sandbox: Sandbox) -> None:
    export(shop)
    change_offers(shop)
    sandbox.fault("status", path="/contact/sync", status=403, body={"message": "Forbidden"}, after=4, times=100)
    with pytest.raises(ExportError, match="refused the key"):
        export(shop)
    books = shop.books("activecampaign")[0]
    assert (books.acked, books.held, books.closes) == (4, 4, True)


def test_html_instead_of_an_api(shop: Shop, sandbox: Sandbox) -> None:
    sandbox.fault("html", path="/lists/1", times=100, status=404)
    expect_refused(shop, r"ActiveCampaign answered GET /lists/1 with HTML \(status 404\)", "check `base_url`")


def test_a_value_that_is_not_kept_is_not_acknowledged(shop: Shop, sandbox: Sandbox) -> None:
    export(shop)
    change_offers(shop)
    kept = {"contact": {"id": "1"}, "fieldValues": []}
    sandbox.fault("status", path="/contact/sync", status=200, body=kept)
    books = export(shop)
    assert (books.acked, books.rejected) == (7, 1)
    ((_, reason, _),) = ExportBooks(shop.runtime.ledger).reasons(books.run)
    assert reason.startswith("ActiveCampaign did not keep CAMPAIGN")


def test_a_field_name_that_does_not_fit(shop: Shop) -> None:
    shop.edit("destinations", "name: CAMPAIGN", "name: 9campaign")
    with pytest.raises(ProgramError, match="can't be a personalization tag"):
        shop.plan("activecampaign")


def test_the_audit_reads_the_list_back(shop: Shop, sandbox: Sandbox) -> None:
    export(shop)
    assert audit_destination(shop.runtime, "activecampaign").clean
    there = contacts(sandbox)
    call(sandbox, "DELETE", f"/contacts/{there[address(1)]['id']}")
    runtime = shop.runtime
    adapter = adapter_for(runtime.program, "activecampaign", runtime.workspace)
    assert len(list(adapter.holdings())) == 7
    listed = call(sandbox, "GET", "/fields", params={"limit": 100}).json()["fields"]
    offer = next(field["id"] for field in listed if field["perstag"] == "OFFER")
    values = [{"field": offer, "value": "X"}]
    call(sandbox, "PUT", f"/contacts/{there[address(2)]['id']}", json={"contact": {"fieldValues": values}})
    key = sign_up(sandbox, 50)
    call(sandbox, "PUT", f"/contacts/{key}", json={"contact": {"fieldValues": values}})
    shop.withdraw(4)
    found = audit_destination(runtime, "activecampaign", clock=Clock(sleep=lambda _: None)).counts
    assert found == {"missing": 1, "stale": 1, "extra": 1, "duplicate": 0, "opted_out_but_active": 1}


# --- what may not be said --------------------------------------------------------------------------------------------


def test_no_token_or_address_in_any_log_or_ledger_text(
    shop: Shop, sandbox: Sandbox, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    export(shop)
    change_offers(shop)
    shop.withdraw(2)
    sandbox.fault("reset", path="/contacts", method="GET", times=2)
    body = {"errors": [{"title": f"bad: {address(1)}", "detail": ""}]}
    sandbox.fault("status", path="/contact/sync", status=422, body=body, times=8)
    export(shop)
    ledger = b"".join((shop.root / "var" / f"ledger.sqlite{end}").read_bytes() for end in ("", "-wal"))
    for number in shop.rows:
        for secret in (address(number), address(number).replace("@", "%40"), sandbox.api_key):
            assert secret not in caplog.text
            assert secret.encode() not in ledger


def test_a_destination_needs_a_list() -> None:
    with pytest.raises(ValueError, match="list_id"):
        ActiveCampaignDestination(
            platform="activecampaign",
            base_url="https://x.api-us1.com",
            api_token="t",
            list_id=0,
            fields=[DestinationField(name="A", column="a")],
        )
