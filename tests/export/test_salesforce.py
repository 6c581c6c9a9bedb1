"""Salesforce Marketing Cloud over real HTTP: requests for later, tokens, opt-outs under every key, setup, messages."""

from __future__ import annotations

import json
import logging
import re
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from personalization.errors import ExportError, ProgramError
from personalization.ledger.export_books import ExportBooks
from personalization.rules.native import Native
from personalization.sandbox import Sandbox, run_sandbox
from personalization.stages.export import adapters
from personalization.stages.export.adapters.base import Clock, DestinationError, Lost
from personalization.stages.export.adapters.registry import adapter_for
from personalization.stages.export.adapters.salesforce_shapes import BLOCKED_SECONDS
from personalization.stages.export.exporter import Exported, setup_destination
from personalization.stages.export.holdings import holdings
from tests.export.salesforce_side import (
    AT_ONCE,
    KEY,
    LATER,
    ROWSET,
    SETTINGS,
    call,
    extension,
    fields,
    forget,
    rows,
    set_status,
    status,
)
from tests.export.shop import Shop, address

HURRIED = Clock(sleep=lambda seconds: time.sleep(min(seconds, 0.02)))
MANY = 60


@pytest.fixture(scope="module")
def server() -> Iterator[Sandbox]:
    with run_sandbox("salesforce", batch_seconds=0.1) as running:
        yield running


@pytest.fixture
def sandbox(server: Sandbox, monkeypatch: pytest.MonkeyPatch) -> Sandbox:
    forget(server)
    monkeypatch.setenv("SALESFORCE_URL", server.url)
    monkeypatch.setenv("SALESFORCE_CLIENT_ID", "personalization")
    monkeypatch.setenv("SALESFORCE_CLIENT_SECRET", server.api_key)
    return server


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    return opened(tmp_path, 8)


def opened(folder: Path, customers: int) -> Shop:
    shop = Shop.open(folder / "shop", customers)
    shop.add_destination("salesforce", SETTINGS)
    return shop


def export(shop: Shop, **options: Any) -> Exported:
    return shop.export("salesforce", **options)


def offer(shop: Shop, *numbers: int, code: str = "POINTS2") -> None:
    for number in numbers:
        shop.rows[number]["offer"] = code
    shop.decide()


def reasons(shop: Shop, run: int) -> list[str]:
    return [reason for _, reason, _ in ExportBooks(shop.runtime.ledger).reasons(run)]


# --- partial failures ------------------------------------------------------------------------------------------------


def test_three_of_a_hundred_refused_by_a_request_for_later_leaves_exactly_97(tmp_path: Path, sandbox: Sandbox) -> None:
    """Its results are about rows, but don't say which: so the rows are read back."""
    shop = opened(tmp_path, 100)
    setup_destination(shop.runtime, "salesforce")
    shrink(sandbox, "OFFER", 8)
    shop.edit("destinations", "column: offer, max_length: 20", "column: offer")
    offer(shop, 11, 22, 33, code="MUCH_TOO_LONG")
    books = export(shop).books
    assert (books.acked, books.rejected, books.planned) == (97, 3, 100)
    (reason,) = reasons(shop, books.run)
    assert "does not fit the column OFFER" in reason
    again = export(shop).books
    assert (again.planned, again.unchanged, again.rejected) == (3, 97, 3)


def shrink(sandbox: Sandbox, column: str, length: int) -> None:
    """Somebody makes a column shorter in Contact Builder."""
    path = f"/data/v1/customobjects/{extension(sandbox)}/fields"
    found = next(one for one in call(sandbox, "GET", path).json()["fields"] if one["name"] == column)
    call(sandbox, "DELETE", f"{path}/{column}").raise_for_status()
    path = f"/data/v1/customobjectsasync/{extension(sandbox)}/fields"
    call(sandbox, "POST", path, json={"fields": [{**found, "length": length}]}).raise_for_status()


@pytest.mark.parametrize("said", ["Complete", "Completed"])
def test_only_the_documented_ends_end_a_request_for_later(tmp_path: Path, sandbox: Sandbox, said: str) -> None:
    """The example of the status call says Complete, its table Completed; another word is not the end of it."""
    shop = opened(tmp_path, MANY)
    for word in ("Queued", said):
        body = {"status": {"requestStatus": word, "hasErrors": False}, "requestId": "1"}
        sandbox.fault("status", path="/data/v1/async/.*/status", status=200, body=body)
    books = export(shop, clock=HURRIED).books
    assert (books.acked, books.rejected) == (MANY, 0)
    asked = [one for one in sandbox.request_log() if one["path"].endswith("/status")]
    assert len(asked) == 2


@pytest.mark.slow
def test_one_row_that_does_not_fit_does_not_hold_up_the_others(shop: Shop, sandbox: Sandbox) -> None:
    setup_destination(shop.runtime, "salesforce")
    shrink(sandbox, "OFFER", 8)
    shop.edit("destinations", "column: offer, max_length: 20", "column: offer")
    offer(shop, 3, code="MUCH_TOO_LONG")
    books = export(shop).books
    assert (books.acked, books.rejected) == (7, 1)
    assert "does not fit the column OFFER" in reasons(shop, books.run)[0]


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["reset", "reset_after", "truncated", "html", "twice"])
@pytest.mark.parametrize("customers", [8, MANY], ids=["at once", "later"])
def test_faults_on_the_way_lose_nothing_and_double_nothing(
    tmp_path: Path, sandbox: Sandbox, kind: str, customers: int
) -> None:
    shop = opened(tmp_path, customers)
    for path in (AT_ONCE, LATER, "/data/v1/async/.*/status", "/data/v1/customobjects"):
        sandbox.fault(kind, path=path)
    for _ in range(4):
        try:
            books = export(shop, clock=HURRIED).books
        except ExportError:
            continue
        assert books.closes
        if not books.uncertain:
            break
    assert fields(sandbox) == shop.wanted()
    assert len(rows(sandbox)) == customers
    assert all(books.closes for books in shop.books("salesforce"))


@pytest.mark.slow
def test_a_request_for_later_that_salesforce_forgot_is_looked_up(tmp_path: Path, sandbox: Sandbox) -> None:
    shop = opened(tmp_path, MANY)
    unknown = {"resultMessages": [{"resultMessage": {"resultClass": "Error", "message": "Unable to locate it"}}]}
    sandbox.fault("status", path="/data/v1/async/.*/status", times=2, status=200, body=unknown)
    books = export(shop, clock=HURRIED).books
    assert (books.acked, books.uncertain) == (MANY, 0)
    assert fields(sandbox) == shop.wanted()


# --- opt-outs --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("customers", [8, pytest.param(MANY, marks=pytest.mark.slow)], ids=["at once", "later"])
def test_who_unsubscribed_there_stays_unsubscribed(tmp_path: Path, sandbox: Sandbox, customers: int) -> None:
    shop = opened(tmp_path, customers)
    export(shop)
    set_status(sandbox, address(3), "Unsubscribed")
    offer(shop, *shop.rows)
    assert export(shop).books.acked == customers
    for outcome in ("withheld", "send"):
        shop.rows[3]["outcome"] = outcome
        shop.decide()
        export(shop)
    assert status(sandbox, address(3)) == ["Unsubscribed"]
    assert rows(sandbox)[address(3)]["offer"] == "POINTS2"


def test_a_grant_after_an_opt_out_does_not_subscribe_again(shop: Shop, sandbox: Sandbox) -> None:
    export(shop)
    shop.withdraw(3)
    export(shop)
    shop.consent([shop.customer(3)], "grant", datetime(2019, 1, 1, tzinfo=UTC))
    assert export(shop).books.adds == 1
    assert status(sandbox, address(3)) == ["Unsubscribed"]
    assert rows(sandbox)[address(3)]["optedout"] == "True"


def test_an_address_is_opted_out_under_every_key_it_has(shop: Shop, sandbox: Sandbox) -> None:
    """Subscriber keys are often those of a CRM: the address alone would be a further subscriber, and no opt-out."""
    export(shop)
    set_status(sandbox, address(3), "Active", key="0031A00001")
    set_status(sandbox, address(3), "Active", key="0031A00002")
    shop.withdraw(3, 4)
    assert export(shop).books.acked == 2
    assert status(sandbox, address(3)) == ["Unsubscribed"] * 2
    assert status(sandbox, address(4)) == ["Unsubscribed"]  # not known before: entered, opted out


@pytest.mark.slow
def test_an_opt_out_goes_through_when_a_column_would_stop_it(shop: Shop, sandbox: Sandbox) -> None:
    export(shop)
    sandbox.fault("status", path=AT_ONCE, status=400, body={"message": "no"}, times=9)
    shop.withdraw(3)
    assert export(shop).books.acked == 1
    assert status(sandbox, address(3)) == ["Unsubscribed"]


@pytest.mark.slow
def test_an_opt_out_that_is_not_confirmed_is_not_acknowledged(shop: Shop, sandbox: Sandbox) -> None:
    export(shop)
    shop.withdraw(3)
    sandbox.fault("status", path="/Service.asmx", after=1, times=100, status=503)
    with pytest.raises(ExportError):
        export(shop, clock=HURRIED)
    assert shop.books("salesforce")[0].acked == 0
    sandbox.clear_faults()
    assert export(shop, clock=HURRIED).books.acked == 1
    assert status(sandbox, address(3)) == ["Unsubscribed"]


def test_the_only_status_written_is_unsubscribed() -> None:
    sources = Path(adapters.__file__).parent.glob("salesforce*.py")
    text = "".join(path.read_text(encoding="utf-8") for path in sources)
    assert set(re.findall(r"<Status>([^<]*)</Status>", text)) == {"Unsubscribed"}
    assert '"False"' not in re.sub(r"\{\"true\".*?\}|value in .*", "", text).replace('("True", "False")', "")


# --- tokens and limits -----------------------------------------------------------------------------------------------


def token_requests(sandbox: Sandbox) -> int:
    return sum(one["path"] == "/v2/token" for one in sandbox.request_log())


def test_a_token_is_used_by_the_next_process_too(shop: Shop, sandbox: Sandbox) -> None:
    export(shop)
    offer(shop, 3)
    export(shop)
    assert token_requests(sandbox) == 1
    (file,) = (shop.root / "var" / "tokens").iterdir()
    assert file.stat().st_mode & 0o777 == 0o600


def test_a_business_unit_is_asked_for_by_its_number(shop: Shop, sandbox: Sandbox) -> None:
    """`account_id` is a number in the documents; the sandbox takes nothing else."""
    shop.edit("destinations", "subdomain: sandbox", 'subdomain: sandbox\n    account_id: "510001"')
    assert export(shop).books.acked == 8


def test_a_refused_token_is_renewed_once(shop: Shop, sandbox: Sandbox) -> None:
    export(shop)
    file = shop.root / "var" / "tokens" / "salesforce.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "token": "revoked-a-moment-ago"}))
    shop.withdraw(3)
    offer(shop, 4)
    sandbox.forget_requests()
    assert export(shop).books.acked == 2
    assert token_requests(sandbox) == 1


@pytest.mark.slow
def test_wrong_credentials(shop: Shop, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SALESFORCE_CLIENT_SECRET", "wrong-secret")
    message = expect_refused(shop, "Salesforce refused the key .*Invalid client ID", "Installed Packages")
    assert "wrong-secret" not in message


def test_a_throttled_account_is_waited_for(shop: Shop, sandbox: Sandbox) -> None:
    body = {"message": "Rate limit exceeded", "errorcode": 50100, "retryAfter": 5}
    sandbox.fault("status", path=AT_ONCE, status=429, headers={"Retry-After": "5"}, body=body)
    pauses: list[float] = []
    assert export(shop, clock=Clock(sleep=pauses.append)).books.acked == 8
    assert 5 in pauses


@pytest.mark.slow
def test_a_blocked_account_means_a_new_cut(shop: Shop, sandbox: Sandbox) -> None:
    body = {"message": "Your requests are temporarily blocked.", "errorcode": 50200}
    sandbox.fault("status", path=AT_ONCE, status=429, body=body)
    waited: list[float] = []

    def sleep(seconds: float) -> None:
        if seconds > 1 and not waited:
            shop.withdraw(3)
        waited.append(seconds)

    books = export(shop, clock=Clock(sleep=sleep)).books
    assert sum(waited) >= BLOCKED_SECONDS
    assert (books.acked, books.suppressed) == (7, 1)
    assert address(3) not in rows(sandbox)


# --- setup -----------------------------------------------------------------------------------------------------------


def expect_refused(shop: Shop, match: str, hint: str = "") -> str:
    with pytest.raises(ExportError, match=match) as refused:
        export(shop, clock=HURRIED)
    assert hint in (refused.value.hint or "")
    assert (shop.books("salesforce")[0].state, shop.books("salesforce")[0].closes) == ("failed", True)
    return str(refused.value)


def test_the_data_extension_is_made_where_a_folder_is_given(shop: Shop, sandbox: Sandbox) -> None:
    (made,) = export(shop).made
    assert made.startswith(f"data extension '{KEY}' with the columns EmailAddress, ExternalId, OptedOut, CAMPAIGN")
    assert "used for sending" in made
    found = call(sandbox, "GET", f"/data/v1/customobjects/{extension(sandbox)}/fields").json()["fields"]
    kinds = {one["name"]: (one["type"], one.get("length"), one["isPrimaryKey"]) for one in found}
    assert kinds["EmailAddress"] == ("EmailAddress", 254, True)
    assert (kinds["SCORE"], kinds["OFFER"]) == (("Decimal", 18, False), ("Text", 20, False))


def test_without_a_folder_the_columns_to_make_are_named(shop: Shop, sandbox: Sandbox) -> None:
    shop.edit("destinations", "    category_id: 7\n", "")
    hint = "OFFER: Text (20), nullable; SCORE: Decimal (18, 4), nullable"
    expect_refused(shop, f"no data extension with the external key '{KEY}'", hint)


@pytest.mark.slow
def test_missing_columns_are_added(shop: Shop, sandbox: Sandbox) -> None:
    export(shop)
    shop.edit("destinations", "- {name: OFFER, column: offer", "- {name: OFFER2, column: offer")
    assert export(shop).made == ["column OFFER2 (text)"]
    assert rows(sandbox)[address(3)]["offer2"] == "BACK15"


@pytest.mark.slow
def test_columns_that_can_not_be_added_are_named(shop: Shop, sandbox: Sandbox) -> None:
    export(shop)
    shop.edit("destinations", "- {name: OFFER, column: offer", "- {name: OFFER2, column: offer")
    sandbox.fault("status", path="/data/v1/customobjectsasync/.*", status=400, body={"message": "not so"})
    expect_refused(shop, "did not add columns .*not so", "OFFER2: Text (20), nullable")


@pytest.mark.slow
def test_a_deleted_column_is_named_and_setup_heals_it(shop: Shop, sandbox: Sandbox) -> None:
    export(shop)
    call(sandbox, "DELETE", f"/data/v1/customobjects/{extension(sandbox)}/fields/OFFER").raise_for_status()
    offer(shop, 3)
    expect_refused(shop, "the column OFFER was deleted from the data extension", "export setup salesforce")
    assert setup_destination(shop.runtime, "salesforce") == ["column OFFER (text)"]
    assert export(shop).books.changes == 8
    assert fields(sandbox) == shop.wanted()


@pytest.mark.slow
def test_a_deleted_data_extension_is_named(shop: Shop, sandbox: Sandbox) -> None:
    export(shop)
    call(sandbox, "DELETE", f"/data/v1/customobjects/{extension(sandbox)}").raise_for_status()
    offer(shop, 3)
    expect_refused(shop, f"the data extension '{KEY}' was deleted in Salesforce", "export setup salesforce")
    assert len(setup_destination(shop.runtime, "salesforce")) == 1
    assert export(shop).books.changes == 8


@pytest.mark.slow
@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"type": "Boolean"}, "has the type Boolean, not Text"),
        ({"isNullable": False}, "must be nullable"),
        ({"length": 10}, "takes 10 characters, destinations.yaml says up to 20"),
    ],
)
def test_a_column_of_another_kind(shop: Shop, sandbox: Sandbox, change: dict[str, Any], match: str) -> None:
    setup_destination(shop.runtime, "salesforce")
    path = f"/data/v1/customobjects/{extension(sandbox)}/fields"
    found = next(one for one in call(sandbox, "GET", path).json()["fields"] if one["name"] == "OFFER")
    call(sandbox, "DELETE", f"{path}/OFFER").raise_for_status()
    body = {"fields": [{**found, **change}]}
    call(sandbox, "POST", f"/data/v1/customobjectsasync/{extension(sandbox)}/fields", json=body).raise_for_status()
    expect_refused(shop, match)


def test_a_field_name_that_does_not_fit(shop: Shop) -> None:
    shop.edit("destinations", "{name: OFFER", "{name: my-offer")
    with pytest.raises(ProgramError, match=r"destinations.yaml:\d+:\d+: .*'my-offer' can't be a column"):
        shop.plan("salesforce")


# --- reading back, erasing, and what may not be said -----------------------------------------------------------------


def test_a_query_is_found_among_many_and_made_in_a_folder(shop: Shop, sandbox: Sandbox) -> None:
    """A page holds 25 queries, whatever is asked for; a query needs a folder, and is started without a body."""
    export(shop)
    text = f"SELECT [EmailAddress] FROM [{KEY}]"
    for number in range(30):
        body = {"name": f"q{number}", "key": f"q{number}", "queryText": text, "targetKey": KEY, "targetName": KEY}
        body |= {"targetUpdateTypeId": 2, "categoryId": 1}
        assert call(sandbox, "POST", "/automation/v1/queries", json=body).status_code == 201
    wanted = [Native("keen", "Keen", "salesforce", "[SCORE] > 0.03")]
    segments = adapter_for(shop.runtime.program, "salesforce", shop.runtime.workspace).segments()
    first, again = segments.bring(wanted), segments.bring(wanted)
    assert (len(first.made), again.made) == (2, [])
    queries = call(sandbox, "GET", "/automation/v1/queries", params={"$page": 2, "$pagesize": 100}).json()
    (made,) = [one for one in queries["items"] if one["key"] == "personalization_keen"]
    assert (len(queries["items"]), queries["pageSize"], made["categoryId"]) == (6, 25, 4701)
    read = call(sandbox, "GET", "/data/v1/customobjectdata/key/personalization_keen/rowset").json()
    assert {item["keys"]["emailaddress"] for item in read["items"]} == {address(n) for n in range(4, 8)}


def test_an_unconfirmed_deletion_is_none(shop: Shop, sandbox: Sandbox) -> None:
    export(shop)
    adapter = adapter_for(shop.runtime.program, "salesforce", shop.runtime.workspace)
    for body in ("OK", {"operationInitiated": False}, {"operationInitiated": True, "hasErrors": True}, {}):
        sandbox.fault("status", path="/contacts/v1/contacts/actions/delete", status=200, body=body)
        with pytest.raises(Lost, match=r"did not confirm|not in the form"):
            adapter.erase([address(1)], [])
    adapter.erase([address(1)], [])


def test_holdings_say_who_would_be_mailed(shop: Shop, sandbox: Sandbox) -> None:
    export(shop)
    set_status(sandbox, address(3), "Unsubscribed", key="0031A00001")
    set_status(sandbox, address(4), "Held")
    held = {one.address: one for one in holdings(shop.runtime.program, "salesforce", shop.runtime.workspace)}
    assert len(held) == 8
    assert {email for email, one in held.items() if not one.active} == {address(3), address(4)}
    assert held[address(7)].values == {"CAMPAIGN": "december", "PB_HERO": "FLOWERS", "OFFER": "BACK15", "SCORE": "0.07"}


@pytest.mark.slow
def test_people_are_deleted_for_good(shop: Shop, sandbox: Sandbox) -> None:
    export(shop)
    set_status(sandbox, address(3), "Active", key="0031A00001")
    adapter = adapter_for(shop.runtime.program, "salesforce", shop.runtime.workspace)
    assert adapter.erase([address(3), "never@example.com"], []) == 1
    assert adapter.erase([address(3)], []) == 0
    assert address(3) not in rows(sandbox)
    assert status(sandbox, address(3)) == []


def test_no_secret_token_or_address_in_any_log_or_ledger_text(
    shop: Shop, sandbox: Sandbox, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    export(shop)
    token = json.loads((shop.root / "var" / "tokens" / "salesforce.json").read_text())["token"]
    said = {"message": f"{address(1)} and {token} do not fit"}
    sandbox.fault("status", path=AT_ONCE, status=400, times=9, body=said)
    offer(shop, 1)
    books = export(shop, clock=HURRIED).books
    assert reasons(shop, books.run) == ["<address> and <secret> do not fit"]
    sandbox.clear_faults()
    sandbox.fault("status", path=AT_ONCE, status=503, times=9)
    offer(shop, 2)
    export(shop, clock=HURRIED)  # looked up row by row: addresses are in the queries
    assert any(one["path"] == ROWSET for one in sandbox.request_log())
    ledger = (shop.root / "var" / "ledger.sqlite").read_bytes() + (shop.root / "var" / "ledger.sqlite-wal").read_bytes()
    for secret in (*map(address, shop.rows), address(2).replace("@", "%40"), sandbox.api_key, token):
        assert secret not in caplog.text
        assert secret.encode() not in ledger


def test_a_data_extension_that_is_not_found_yet_may_be_new(shop: Shop, sandbox: Sandbox) -> None:
    assert call(sandbox, "GET", "/data/v1/customobjects", params={"$search": KEY}).json()["items"] == []
    segments = adapter_for(shop.runtime.program, "salesforce", shop.runtime.workspace).segments()
    with pytest.raises(DestinationError, match=f"no data extension '{KEY}'") as failed:
        segments.bring([Native("keen", "Keen", "salesforce", "[SCORE] > 0.03")])
    assert "half a minute" in str(failed.value.hint)
