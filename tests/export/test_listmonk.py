"""listmonk over real HTTP: who stays out, what stays other people's, imports, row by row, and what messages say."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from personalization.errors import ExportError, ProgramError
from personalization.ledger import VaultItem
from personalization.ledger.export_books import Books, ExportBooks
from personalization.sandbox import Sandbox, run_sandbox
from personalization.stages.export.adapters.base import Clock
from personalization.stages.export.exporter import setup_destination
from personalization.stages.monitoring.audit import audit_destination
from tests.export.listmonk import SETTINGS, fields, point_at, subscribers
from tests.export.shop import Shop, address, when_requested

HURRIED = Clock(sleep=lambda seconds: time.sleep(min(seconds, 0.02)))


@pytest.fixture(scope="module")
def server() -> Iterator[Sandbox]:
    with run_sandbox("listmonk", batch_seconds=0.05) as running:
        yield running


@pytest.fixture
def sandbox(server: Sandbox, monkeypatch: pytest.MonkeyPatch) -> Sandbox:
    server.reset()
    point_at(server, monkeypatch)
    return server


@pytest.fixture
def open_shop(tmp_path: Path) -> Callable[..., Shop]:
    def make(customers: int, settings: str = "") -> Shop:
        shop = Shop.open(tmp_path / "shop", customers)
        shop.add_destination("listmonk", SETTINGS + settings)
        return shop

    return make


@pytest.fixture
def shop(open_shop: Callable[..., Shop]) -> Shop:
    return open_shop(8)


def export(shop: Shop, **options: Any) -> Books:
    return shop.export("listmonk", clock=HURRIED, **options).books


def wanted(shop: Shop) -> dict[str, dict[str, Any]]:
    return {email: {k: v for k, v in row.items() if v != ""} for email, row in shop.wanted().items()}


def subscribe(sandbox: Sandbox, number: int, lists: tuple[int, ...] = (1,), **settings: Any) -> int:
    """Somebody whom listmonk knew before us."""
    body = {"email": address(number), "name": "Ada L", "status": "enabled", "lists": list(lists), **settings}
    answer = sandbox.call("POST", "/subscribers", json=body)
    assert answer.ok, answer.text
    return int(answer.json()["data"]["id"])


def change_offers(shop: Shop, offer: str = "POINTS2") -> None:
    for row in shop.rows.values():
        row["offer"] = offer
    shop.decide()


def unsubscribe(sandbox: Sandbox, number: int) -> None:
    key = subscribers(sandbox)[address(number)]["id"]
    body = {"ids": [key], "action": "unsubscribe", "target_list_ids": [1]}
    assert sandbox.call("PUT", "/subscribers/lists", json=body).ok


def state(sandbox: Sandbox, number: int) -> tuple[str, list[str]]:
    row = subscribers(sandbox)[address(number)]
    return row["status"], [entry["subscription_status"] for entry in row["lists"]]


# --- opt-outs at the platform ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("customers", [8, 60], ids=["one by one", "import"])
def test_who_unsubscribed_or_was_blocklisted_there_stays_so(
    sandbox: Sandbox, open_shop: Callable[..., Shop], customers: int
) -> None:
    shop = open_shop(customers)
    export(shop)
    unsubscribe(sandbox, 3)
    sandbox.call("PUT", f"/subscribers/{subscribers(sandbox)[address(4)]['id']}/blocklist")
    change_offers(shop)
    assert export(shop).acked == customers
    assert state(sandbox, 3) == ("enabled", ["unsubscribed"])
    assert state(sandbox, 4) == ("blocklisted", ["unsubscribed"])
    assert fields(sandbox)[address(3)]["OFFER"] == "POINTS2"


@pytest.mark.parametrize("customers", [8, 60], ids=["one by one", "import"])
@pytest.mark.parametrize("new", [pytest.param("unconfirmed", marks=pytest.mark.slow), "confirmed"])
def test_whom_listmonk_knew_before_joins_the_list_unless_out(
    sandbox: Sandbox, open_shop: Callable[..., Shop], customers: int, new: str
) -> None:
    subscribe(sandbox, 1, lists=())
    subscribe(sandbox, 2, lists=(1,))
    unsubscribe(sandbox, 2)
    subscribe(sandbox, 3, lists=(), status="blocklisted")
    shop = open_shop(customers, f"new_contacts: {new}")
    assert export(shop).acked == customers
    assert state(sandbox, 0) == ("enabled", [new])
    assert state(sandbox, 1) == ("enabled", [new])
    assert state(sandbox, 2) == ("enabled", ["unsubscribed"])
    assert state(sandbox, 3) == ("blocklisted", [])
    assert subscribers(sandbox)[address(1)]["name"] == "Ada L"


def test_who_opts_out_between_the_look_up_and_the_import_stays_out(
    sandbox: Sandbox, open_shop: Callable[..., Shop]
) -> None:
    """New to us when looked up; signed up and out again, or blocklisted, before the import begins."""
    shop = open_shop(60)
    sandbox.fault("slow", path="/import/subscribers", method="POST", seconds=0.5)

    def opt_out() -> None:
        subscribe(sandbox, 3)
        unsubscribe(sandbox, 3)
        subscribe(sandbox, 4, lists=(), status="blocklisted")

    with when_requested(sandbox, "/import/subscribers", opt_out):
        assert export(shop).acked == 60
    assert state(sandbox, 3) == ("enabled", ["unsubscribed"])
    assert state(sandbox, 4) == ("blocklisted", ["unsubscribed"])
    assert set(fields(sandbox)) == {address(number) for number in range(60)}


def test_who_signs_up_between_the_look_up_and_a_single_call_keeps_everything(shop: Shop, sandbox: Sandbox) -> None:
    def sign_up() -> None:
        subscribe(sandbox, 3, attribs={"city": "Turin"})
        unsubscribe(sandbox, 3)

    sandbox.fault("hang_after", path="/subscribers", method="GET", seconds=0.4)
    with when_requested(sandbox, "/subscribers", sign_up):
        assert export(shop).acked == 8
    assert state(sandbox, 3) == ("enabled", ["unsubscribed"])
    there = subscribers(sandbox)[address(3)]["attribs"]
    assert there["city"] == "Turin"
    assert there["personalization"]["OFFER"] == "BACK15"


def test_a_grant_after_an_opt_out_does_not_subscribe_again(shop: Shop, sandbox: Sandbox) -> None:
    export(shop)
    shop.withdraw(3)
    export(shop)
    assert state(sandbox, 3) == ("enabled", ["unsubscribed"])
    shop.consent([shop.customer(3)], "grant", datetime(2019, 1, 1, tzinfo=UTC))
    assert export(shop).adds == 1
    assert state(sandbox, 3) == ("enabled", ["unsubscribed"])


def test_opt_outs_go_ahead_in_one_call(shop: Shop, sandbox: Sandbox) -> None:
    export(shop)
    change_offers(shop)
    shop.withdraw(2, 3)
    sandbox.forget_requests()
    export(shop)
    writes = [(r["method"], r["path"]) for r in sandbox.request_log() if r["method"] in ("PUT", "PATCH")]
    assert writes[0] == ("PUT", "/subscribers/lists")
    assert writes.count(("PUT", "/subscribers/lists")) == 1
    assert {state(sandbox, number)[1][0] for number in (2, 3)} == {"unsubscribed"}


def test_opt_outs_can_blocklist(sandbox: Sandbox, open_shop: Callable[..., Shop]) -> None:
    shop = open_shop(8, "opt_out: blocklist")
    export(shop)
    shop.withdraw(3)
    assert export(shop).acked == 1
    assert state(sandbox, 3) == ("blocklisted", ["unsubscribed"])


def test_an_opt_out_goes_through_when_a_value_would_stop_it(shop: Shop, sandbox: Sandbox) -> None:
    export(shop)
    sandbox.fault("status", path="/subscribers/\\d+", method="PATCH", status=400, body={"message": "no"})
    shop.withdraw(3)
    assert export(shop).acked == 1
    assert state(sandbox, 3) == ("enabled", ["unsubscribed"])


def test_an_opt_out_that_changes_nothing_is_not_acknowledged(shop: Shop, sandbox: Sandbox) -> None:
    export(shop)
    sandbox.fault("status", path="/subscribers/lists", method="PUT", status=200, body={"data": True})
    shop.withdraw(3)
    books = export(shop)
    assert (books.acked, books.rejected) == (0, 1)
    assert export(shop).acked == 1
    assert state(sandbox, 3) == ("enabled", ["unsubscribed"])


# --- what belongs to others ------------------------------------------------------------------------------------------


def test_attributes_and_lists_of_others_survive_every_operation(shop: Shop, sandbox: Sandbox) -> None:
    subscribe(
        sandbox, 3, lists=(2,), attribs={"city": "Bengaluru", "CAMPAIGN": "theirs"}, preconfirm_subscriptions=True
    )
    export(shop)
    change_offers(shop)
    export(shop)
    shop.rows[3]["outcome"] = "withheld"
    shop.decide()
    export(shop)
    shop.withdraw(3)
    export(shop)
    there = subscribers(sandbox)[address(3)]
    assert there["attribs"] == {"city": "Bengaluru", "CAMPAIGN": "theirs", "personalization": {}}
    assert {entry["id"]: entry["subscription_status"] for entry in there["lists"]} == {
        1: "unsubscribed",
        2: "confirmed",
    }


def test_an_attribute_of_our_name_that_is_not_ours_is_left_alone(shop: Shop, sandbox: Sandbox) -> None:
    subscribe(sandbox, 3, attribs={"personalization": "please"})
    books = export(shop)
    assert (books.acked, books.rejected) == (7, 1)
    ((_, reason, _),) = ExportBooks(shop.runtime.ledger).reasons(books.run)
    assert "choose another name with `attribute`" in reason
    assert subscribers(sandbox)[address(3)]["attribs"] == {"personalization": "please"}


def test_keep_and_clear(shop: Shop, sandbox: Sandbox) -> None:
    export(shop)
    shop.rows[3]["offer"] = shop.rows[3]["purchase_score"] = None
    shop.decide()
    assert export(shop).acked == 1
    there = fields(sandbox)[address(3)]
    assert there["OFFER"] == "BACK15"
    assert "SCORE" not in there


# --- partial failures ------------------------------------------------------------------------------------------------


def test_three_of_a_hundred_left_out_by_an_import_leave_97_acknowledged(
    sandbox: Sandbox, open_shop: Callable[..., Shop]
) -> None:
    shop = open_shop(100)
    runtime = shop.runtime
    for number in (11, 22, 33):  # addresses that listmonk takes for none
        odd = f"u{number}..x@example.com"
        token = runtime.keys.token("email", odd)
        runtime.ledger.vault(runtime.keys).put([VaultItem(shop.customer(number), "email", token, odd)])
        shop.rows[number]["email_token"] = token
    shop.decide()
    books = export(shop)
    assert (books.acked, books.rejected) == (97, 3)
    ((_, reason, rows),) = ExportBooks(runtime.ledger).reasons(books.run)
    assert (reason, rows) == ("Invalid e-mail.", 3)
    assert export(shop).planned == 3


def test_three_of_a_hundred_refused_one_by_one_leave_97_acknowledged(
    sandbox: Sandbox, open_shop: Callable[..., Shop]
) -> None:
    shop = open_shop(100)
    export(shop)
    change_offers(shop)
    body = {"message": "Invalid length for `name`"}
    sandbox.fault("status", path="/subscribers/\\d+", method="PATCH", status=400, body=body, times=3, after=20)
    books = export(shop)
    assert (books.acked, books.rejected) == (97, 3)
    assert export(shop).acked == 3
    assert fields(sandbox) == wanted(shop)


def test_a_value_that_would_fail_a_whole_import_is_told_before(
    sandbox: Sandbox, open_shop: Callable[..., Shop]
) -> None:
    shop = open_shop(60)
    shop.rows[3]["offer"] = "A\x00B"
    shop.decide()
    books = export(shop)
    assert (books.acked, books.invalid) == (59, 1)


@pytest.mark.parametrize(
    "how",
    [pytest.param("stopped", marks=pytest.mark.slow), "failed", pytest.param("forgotten", marks=pytest.mark.slow)],
)
def test_an_import_that_came_to_nothing_is_made_up_for_one_by_one(
    sandbox: Sandbox, open_shop: Callable[..., Shop], how: str
) -> None:
    shop = open_shop(60)
    if how == "failed":
        stats = {"data": {"name": "", "status": "failed", "total": 60, "imported": 0}}
        sandbox.fault("status", path="/import/subscribers", method="POST", body=stats)
        assert export(shop).acked == 60
    else:
        sandbox.fault("slow", path="/import/subscribers", method="GET", seconds=0.2, after=1)
        stops = 1 if how == "stopped" else 2
        with (
            when_requested(sandbox, "/import/subscribers/nowhere", lambda: None) if False else _stopping(sandbox, stops)
        ):
            assert export(shop).acked == 60
    assert fields(sandbox) == wanted(shop)


def _stopping(sandbox: Sandbox, times: int) -> Any:
    """Somebody stops the import as soon as it runs; a second time clears what is known of it."""

    def stop() -> None:
        for _ in range(200):
            status = sandbox.call("GET", "/import/subscribers").json()["data"]["status"]
            if status == "importing":
                break
            time.sleep(0.005)
        for _ in range(times):
            sandbox.call("DELETE", "/import/subscribers")

    return when_requested(sandbox, "/import/subscribers", stop)


@pytest.mark.slow
def test_while_somebody_elses_import_runs_new_contacts_go_one_by_one_and_joining_ones_wait(
    sandbox: Sandbox, open_shop: Callable[..., Shop]
) -> None:
    shop = open_shop(60)
    params = '{"mode":"subscribe","delim":",","lists":[2]}'
    files = {"params": (None, params), "file": ("theirs.csv", b"email,name\nx@example.org,X\n", "text/csv")}
    with run_sandbox("listmonk", batch_seconds=1.5) as slow, pytest.MonkeyPatch.context() as patch:
        point_at(slow, patch)
        subscribe(slow, 1, lists=())
        assert slow.call("POST", "/import/subscribers", files=files).ok
        assert export(shop).acked == 60
        posts = [r["path"] for r in slow.request_log() if r["method"] == "POST"]
        assert posts.count("/subscribers") >= 59
        assert fields(slow) == wanted(shop)
        assert "x@example.org" in subscribers(slow)


@pytest.mark.slow
def test_a_double_opt_in_list_gets_its_confirmation_mails(sandbox: Sandbox, open_shop: Callable[..., Shop]) -> None:
    """listmonk asks people to confirm when they are added one by one, and not when they are imported."""
    shop = open_shop(60)
    shop.edit("destinations", "list: demo000001", "list: Opt-in list")
    assert export(shop).acked == 60
    assert not [r for r in sandbox.request_log() if r["path"].startswith("/import")]
    assert state(sandbox, 3) == ("enabled", ["unconfirmed"])


# --- limits and broken answers ---------------------------------------------------------------------------------------


def test_answers_that_never_come_are_looked_up(shop: Shop, sandbox: Sandbox) -> None:
    for kind in ("reset", "reset_after", "truncated", "html"):
        sandbox.fault(kind, path="/subscribers", method="POST")
    assert export(shop).acked == 8
    assert fields(sandbox) == wanted(shop)
    assert len(subscribers(sandbox)) == 8


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["reset", "reset_after", "truncated", "html", "twice"])
@pytest.mark.parametrize(
    "customers",
    [pytest.param(8, marks=pytest.mark.slow), pytest.param(60, marks=pytest.mark.slow)],
    ids=["one by one", "import"],
)
def test_faults_on_the_way_lose_nothing_and_double_nothing(
    sandbox: Sandbox, open_shop: Callable[..., Shop], kind: str, customers: int
) -> None:
    shop = open_shop(customers)
    for path in ("/subscribers", "/subscribers/.+", "/lists", "/import/subscribers", "/import/subscribers/logs"):
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
    assert len(subscribers(sandbox)) == customers
    assert all(books.closes for books in shop.books("listmonk"))


def test_a_server_error_that_stays_is_told_and_the_next_run_heals_it(shop: Shop, sandbox: Sandbox) -> None:
    sandbox.fault("status", path="/subscribers", method="POST", times=1000, status=503)
    with suppress(ExportError):
        export(shop)
    books = shop.books("listmonk")[0]
    assert (books.acked, books.uncertain + books.held) == (0, 8)
    sandbox.clear_faults()
    shop.runtime.ledger.traffic.answered("listmonk")  # as it is after the wait
    assert export(shop).acked == 8
    assert fields(sandbox) == wanted(shop)


def test_a_subscriber_deleted_meanwhile_is_added_again(shop: Shop, sandbox: Sandbox) -> None:
    export(shop)
    change_offers(shop)
    gone = subscribers(sandbox)[address(3)]["id"]
    sandbox.fault("hang_after", path="/subscribers", method="GET", seconds=0.4)
    with when_requested(sandbox, "/subscribers", lambda: sandbox.call("DELETE", f"/subscribers/{gone}")):
        assert export(shop).acked == 8
    assert fields(sandbox) == wanted(shop)


# --- setup and audit -------------------------------------------------------------------------------------------------


def expect_refused(shop: Shop, match: str, hint: str = "") -> str:
    with pytest.raises(ExportError, match=match) as refused:
        export(shop)
    assert hint in (refused.value.hint or "")
    books = shop.books("listmonk")[0]
    assert (books.state, books.held, books.closes) == ("failed", books.planned - books.acked, True)
    return str(refused.value)


def test_a_list_is_made_by_name_and_told_when_it_was_deleted(shop: Shop, sandbox: Sandbox) -> None:
    shop.edit("destinations", "list: demo000001", "list: Personal news")
    exported = shop.export("listmonk")
    assert exported.made == ["list 'Personal news' for CAMPAIGN, PB_HERO, OFFER, SCORE"]
    listed = sandbox.call("GET", "/lists").json()["data"]["results"]
    made = next(entry for entry in listed if entry["name"] == "Personal news")
    assert (made["type"], made["optin"]) == ("private", "single")
    sandbox.call("DELETE", f"/lists/{made['id']}")
    change_offers(shop)
    expect_refused(shop, "the list 'Personal news' was deleted at listmonk", "personalization export setup listmonk")
    assert setup_destination(shop.runtime, "listmonk") == exported.made
    assert export(shop).changes == 8
    assert fields(sandbox) == wanted(shop)


def test_a_missing_list_number(shop: Shop, sandbox: Sandbox) -> None:
    shop.edit("destinations", "list: demo000001", "list: 77")
    expect_refused(shop, "listmonk has no list 77", "or its name")


def test_two_lists_of_one_name(shop: Shop, sandbox: Sandbox) -> None:
    sandbox.call("POST", "/lists", json={"name": "demo000001", "type": "private", "optin": "single"})
    expect_refused(shop, "listmonk has 2 lists called 'demo000001'", "number of one of them")


def test_a_refused_token(shop: Shop, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LISTMONK_API_TOKEN", "wrong-token")
    message = expect_refused(shop, r"listmonk refused the key \(status 403: invalid API credentials\)", "Admin, Users")
    assert "wrong-token" not in message


def test_a_missing_permission_is_named(shop: Shop, sandbox: Sandbox) -> None:
    body = {"message": "Permission denied: subscribers:sql_query"}
    sandbox.fault("status", path="/subscribers", method="GET", status=403, body=body, times=100)
    expect_refused(shop, "Permission denied: subscribers:sql_query", "subscribers:sql_query")


def test_a_token_revoked_in_the_middle(shop: Shop, sandbox: Sandbox) -> None:
    body = {"message": "invalid API credentials"}
    sandbox.fault("status", path="/subscribers", method="POST", status=403, body=body, after=4, times=100)
    with pytest.raises(ExportError, match="refused the key"):
        export(shop)
    books = shop.books("listmonk")[0]
    assert (books.acked, books.held, books.closes) == (4, 4, True)


def test_html_instead_of_an_api(shop: Shop, sandbox: Sandbox) -> None:
    sandbox.fault("html", path="/lists", times=100, status=404)
    expect_refused(shop, r"listmonk answered GET /lists with HTML \(status 404\)", "check `base_url`")


def test_mistakes_in_the_file_are_named_with_their_place(shop: Shop) -> None:
    shop.edit("destinations", "name: CAMPAIGN", "name: campaign-name")
    with pytest.raises(ProgramError, match=r"destinations.yaml:9:\d+: .*listmonk.*listmonk's templates|2 problems"):
        shop.plan("listmonk")
    shop.edit("destinations", "    list: demo000001\n", "")
    with pytest.raises(ProgramError, match="list"):
        shop.plan("listmonk")


def test_the_audit_reads_the_list_back(shop: Shop, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("personalization.stages.export.adapters.listmonk_server.WINDOW", 3)  # several pages
    export(shop)
    assert audit_destination(shop.runtime, "listmonk").clean
    rows = subscribers(sandbox)
    sandbox.call("DELETE", f"/subscribers/{rows[address(1)]['id']}")
    sandbox.call(
        "PATCH", f"/subscribers/{rows[address(2)]['id']}", json={"attribs": {"personalization": {"OFFER": "X"}}}
    )
    subscribe(sandbox, 50, attribs={"personalization": {"OFFER": "X"}})
    shop.withdraw(4)
    found = audit_destination(shop.runtime, "listmonk", clock=Clock(sleep=lambda _: None)).counts
    assert found == {"missing": 1, "stale": 1, "extra": 1, "duplicate": 0, "opted_out_but_active": 1}


# --- what may not be said --------------------------------------------------------------------------------------------


def test_no_token_or_address_in_any_log_or_ledger_text(
    shop: Shop, sandbox: Sandbox, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    body = {"message": f"bad: {address(1)}"}
    sandbox.fault("status", path="/subscribers", method="POST", status=400, body=body)
    sandbox.fault("reset", path="/subscribers", method="GET", times=3)
    export(shop)
    ledger = b"".join((shop.root / "var" / f"ledger.sqlite{end}").read_bytes() for end in ("", "-wal"))
    for number in shop.rows:
        for secret in (address(number), address(number).replace("@", "%40"), sandbox.api_key):
            assert secret not in caplog.text
            assert secret.encode() not in ledger
