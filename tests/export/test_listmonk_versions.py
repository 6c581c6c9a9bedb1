"""listmonk's versions differ: changes without PATCH (before 6.1), and the traps of each, over real HTTP."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from personalization.ledger.export_books import ExportBooks
from personalization.sandbox import Sandbox, run_sandbox
from personalization.stages.export.adapters.listmonk_files import rewriting_params, skipped_lines
from personalization.stages.export.adapters.listmonk_shapes import name_of, version_of
from personalization.stages.monitoring.audit import audit_destination
from tests.export.listmonk import become, fields, optin_mails, point_at, subscribers
from tests.export.shop import Shop, address, when_requested
from tests.export.test_listmonk import (
    HURRIED,
    change_offers,
    export,
    open_shop,
    sandbox,
    server,
    shop,
    state,
    subscribe,
    unsubscribe,
    wanted,
)

__all__ = ["open_shop", "sandbox", "server", "shop"]


@pytest.fixture(params=["5.1.0", *(pytest.param(version, marks=pytest.mark.slow) for version in ("2.4.0", "6.0.0"))])
def old(request: pytest.FixtureRequest, sandbox: Sandbox) -> Sandbox:
    become(sandbox, request.param)
    return sandbox


def imports(sandbox: Sandbox) -> int:
    """How many imports began since the log was emptied."""
    log = sandbox.request_log()
    return sum((entry["method"], entry["path"]) == ("POST", "/import/subscribers") for entry in log)


def test_changes_go_by_one_import_and_subscribe_nobody(shop: Shop, old: Sandbox) -> None:
    subscribe(old, 5, lists=(2,), attribs={"city": "Turin"}, preconfirm_subscriptions=True)
    export(shop)
    unsubscribe(old, 3)
    old.call("PUT", f"/subscribers/{subscribers(old)[address(4)]['id']}/blocklist")
    old.call("PUT", "/subscribers/lists", json=leave(old, 6))
    change_offers(shop)
    old.forget_requests()
    assert export(shop).acked == 8
    assert fields(old)[address(3)]["OFFER"] == "POINTS2"
    assert state(old, 3) == ("enabled", ["unsubscribed"])
    assert state(old, 4) == ("blocklisted", ["unsubscribed"])
    there = subscribers(old)[address(5)]
    assert (there["name"], there["attribs"]["city"]) == ("Ada L", "Turin")
    assert {entry["id"]: entry["subscription_status"] for entry in there["lists"]} == {1: "unconfirmed", 2: "confirmed"}
    assert not [entry for entry in old.request_log() if entry["method"] == "PATCH"]
    assert imports(old) == 2, "who left by being taken off joins again as somebody new to the list, the others change"
    assert export(shop).planned == 0


def leave(sandbox: Sandbox, number: int) -> dict[str, Any]:
    key = subscribers(sandbox)[address(number)]["id"]
    return {"ids": [key], "action": "remove", "target_list_ids": [1]}


def test_who_opts_out_between_the_look_up_and_a_rewriting_import_stays_out(shop: Shop, old: Sandbox) -> None:
    export(shop)
    change_offers(shop)
    old.fault("slow", path="/import/subscribers", method="POST", seconds=0.4)

    def opt_out() -> None:
        unsubscribe(old, 3)
        old.call("PUT", f"/subscribers/{subscribers(old)[address(4)]['id']}/blocklist")

    with when_requested(old, "/import/subscribers", opt_out):
        assert export(shop).acked == 8
    assert state(old, 3) == ("enabled", ["unsubscribed"])
    assert state(old, 4) == ("blocklisted", ["unsubscribed"])
    assert fields(old) == wanted(shop)


def test_new_ones_and_changes_and_opt_outs_in_one_run(old: Sandbox, open_shop: Callable[..., Shop]) -> None:
    shop = open_shop(60)
    subscribe(old, 1, attribs={"city": "Turin"})
    assert export(shop).acked == 60
    change_offers(shop)
    shop.rows[2]["outcome"] = "withheld"
    shop.decide()
    shop.withdraw(3)
    assert export(shop).acked == 60
    assert fields(old) == {email: row for email, row in wanted(shop).items() if email != address(3)}
    assert state(old, 3) == ("enabled", ["unsubscribed"])
    there = subscribers(old)
    assert (there[address(2)]["attribs"], there[address(3)]["attribs"]) == ({"personalization": {}},) * 2
    assert there[address(1)]["attribs"]["city"] == "Turin"
    assert audit_destination(shop.runtime, "listmonk", clock=HURRIED).clean


@pytest.mark.parametrize(
    ("status", "config"),
    [
        (404, (200, {"data": {"version": "unknown"}})),
        pytest.param(405, (403, {"message": "no"}), marks=pytest.mark.slow),
    ],
)
def test_a_server_that_tells_no_version_and_has_no_patch(
    shop: Shop, sandbox: Sandbox, status: int, config: tuple[int, Any]
) -> None:
    """Built from source, for example: what it can is seen when it is asked."""
    export(shop)
    sandbox.fault("status", path="/config", status=config[0], body=config[1], times=9)
    sandbox.fault("status", path="/subscribers/\\d+", method="PATCH", status=status, body={"message": "no"}, times=99)
    unsubscribe(sandbox, 3)
    change_offers(shop)
    assert export(shop).acked == 8
    assert fields(sandbox) == wanted(shop)
    assert state(sandbox, 3) == ("enabled", ["unsubscribed"])


def test_an_import_that_rewrites_nothing_is_told_and_not_repeated(shop: Shop, old: Sandbox) -> None:
    export(shop)
    change_offers(shop)
    shop.withdraw(3)
    finished = {"name": "", "status": "finished", "total": 8, "imported": 8}
    old.fault("status", path="/import/subscribers", method="POST", status=200, body={"data": finished}, times=9)
    books = export(shop)
    assert (books.acked, books.rejected) == (1, 7), "an opt-out does not fail because of a value"
    reasons = ExportBooks(shop.runtime.ledger).reasons(books.run)
    assert ("listmonk's import changed nothing, and nothing else would", 7) in [row[1:] for row in reasons]
    assert state(old, 3) == ("enabled", ["unsubscribed"])
    old.clear_faults()
    assert export(shop).acked == 7
    assert {row["OFFER"] for email, row in fields(old).items() if email != address(3)} == {"POINTS2"}


def test_who_has_not_confirmed_is_not_asked_again_with_every_change(shop: Shop, sandbox: Sandbox) -> None:
    """A PATCH makes listmonk mail whoever has not confirmed some double opt-in list, ours or another."""
    subscribe(sandbox, 3, lists=(2,))
    asked = optin_mails(sandbox)
    assert asked == [(address(3), 2)]
    export(shop)
    change_offers(shop)
    assert export(shop).acked == 8
    assert fields(sandbox) == wanted(shop)
    assert optin_mails(sandbox) == asked
    lists = {entry["id"]: entry["subscription_status"] for entry in subscribers(sandbox)[address(3)]["lists"]}
    assert lists == {1: "unconfirmed", 2: "unconfirmed"}


def test_added_without_the_list_is_not_acknowledged(shop: Shop, sandbox: Sandbox) -> None:
    """listmonk 4 and 5 leave out lists that the API user may not manage, and say nothing."""
    become(sandbox, "5.1.0", manages_lists=False)
    books = export(shop)
    assert (books.acked, books.rejected) == (0, 8)
    ((_, reason, _),) = ExportBooks(shop.runtime.ledger).reasons(books.run)
    assert "the API user's role may not manage it (lists:manage_all, or a list role)" in reason


def test_what_a_rewriting_import_says() -> None:
    old, new = (json.loads(rewriting_params(7, version)) for version in ((5, 1), (6, 0)))
    assert (old["overwrite"], old["lists"]) == (True, [])
    assert (new["overwrite"], new["overwrite_userinfo"], new["lists"]) == (False, True, [7])
    assert json.loads(rewriting_params(7, None)) == new
    for params in (old, new):
        assert (params["subscription_status"], params["overwrite_subscription_status"]) == ("unsubscribed", False)


def test_versions_names_and_logs_as_servers_write_them() -> None:
    assert [version_of(text) for text in ("v6.2.0", "5.1.0-rc1", "nightly-1a2b", None)] == [(6, 2), (5, 1), None, None]
    assert [name_of(a) for a in ("ada.m.lovelace@x.com", ".@x.com", "ü@x.com")] == ["Ada M Lovelace", ".", "Ü"]
    log = (
        "2026/01/02 importer.go:1: skipping line 1: Invalid e-mail.: [a..b@x.com A ]\n"
        "2026/01/02 importer.go:1: skipping line 2: a..b@x.com: Invalid e-mail.\n"
        '2026/01/02 importer.go:1: skipping line 3: invalid e-mail "a..b@x.com"\n'
    )
    reason = "Invalid e-mail."
    assert skipped_lines(log) == {1: reason, 2: reason, 3: 'invalid e-mail "a..b@x.com"'}


@pytest.fixture
def slow_server() -> Iterator[Sandbox]:
    with run_sandbox("listmonk", batch_seconds=1.0) as running:
        yield running


@pytest.mark.slow
def test_changes_wait_for_somebody_elses_import(
    shop: Shop, slow_server: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    point_at(slow_server, monkeypatch)
    become(slow_server, "5.1.0")
    export(shop)
    change_offers(shop)
    params = '{"mode":"subscribe","delim":",","lists":[2]}'
    files = {"params": (None, params), "file": ("theirs.csv", b"email,name\nx@example.org,X\n", "text/csv")}
    assert slow_server.call("POST", "/import/subscribers", files=files).ok
    assert export(shop).acked == 8
    assert fields(slow_server) == wanted(shop)
    assert "x@example.org" in subscribers(slow_server)
