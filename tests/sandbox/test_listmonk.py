"""The listmonk sandbox does what listmonk's source and documents say, traps included."""

from __future__ import annotations

import io
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from personalization.sandbox import Sandbox, run_sandbox

PARAMS = '{"mode":"subscribe","delim":",","lists":[1],"subscription_status":"confirmed"%s}'  # what comes last counts


@pytest.fixture(scope="module")
def server() -> Iterator[Sandbox]:
    with run_sandbox("listmonk", api_key="ada:secret-token", batch_seconds=0.05) as running:
        yield running


@pytest.fixture
def listmonk(server: Sandbox) -> Sandbox:
    server.reset()
    return server


def call(listmonk: Sandbox, method: str, path: str, **options: Any) -> requests.Response:
    headers = {"Authorization": "token ada:secret-token"}
    return requests.request(method, listmonk.base_url + path, headers=headers, timeout=10, **options)


def add(listmonk: Sandbox, email: str = "ada@example.com", **settings: Any) -> dict[str, Any]:
    body = {"email": email, "name": "Ada", "status": "enabled", "lists": [1], **settings}
    return dict(call(listmonk, "POST", "/subscribers", json=body).json()["data"])


def read(listmonk: Sandbox, key: int) -> dict[str, Any]:
    return dict(call(listmonk, "GET", f"/subscribers/{key}").json()["data"])


def status_of(listmonk: Sandbox, key: int) -> tuple[str, dict[int, str]]:
    row = read(listmonk, key)
    return row["status"], {entry["id"]: entry["subscription_status"] for entry in row["lists"]}


def run_import(listmonk: Sandbox, text: str, more: str = "", name: str = "a.csv") -> dict[str, Any]:
    files = {"params": (None, PARAMS % more), "file": (name, text.encode(), "text/csv")}
    answer = call(listmonk, "POST", "/import/subscribers", files=files)
    assert answer.status_code == 200, answer.text
    while (stats := call(listmonk, "GET", "/import/subscribers").json()["data"])["status"] == "importing":
        time.sleep(0.01)
    return dict(stats)


def test_both_ways_to_authenticate_and_none(listmonk: Sandbox) -> None:
    assert call(listmonk, "GET", "/health").json() == {"data": True}
    assert requests.get(listmonk.base_url + "/health", auth=("ada", "secret-token"), timeout=10).ok
    refused = requests.get(listmonk.base_url + "/health", auth=("ada", "wrong"), timeout=10)
    assert (refused.status_code, refused.json()) == (403, {"message": "invalid API credentials"})
    assert requests.get(listmonk.base_url + "/health", timeout=10).status_code == 403


def test_creating_twice_is_refused_and_addresses_are_checked(listmonk: Sandbox) -> None:
    made = add(listmonk, "Ada@Example.com", name="", attribs={"city": "Turin"})
    assert (made["email"], made["name"], made["attribs"]) == ("ada@example.com", "Ada", {"city": "Turin"})
    again = call(listmonk, "POST", "/subscribers", json={"email": "ada@example.com", "status": "enabled"})
    assert (again.status_code, again.json()["message"]) == (409, "E-mail already exists.")
    assert call(listmonk, "POST", "/subscribers", json={"email": "a..b@example.com"}).status_code == 400


@pytest.mark.parametrize(
    ("email", "taken"),
    [
        *(
            (e, True)
            for e in ("o'neil@x.com", "a+b@x.com", "jürgen@exämple.de", "x=y/z!#$&*?^`{|}~@x.com", "a@[127.0.0.1]")
        ),
        *((e, True) for e in ("a@localhost", "=cmd@x.com", "a@-x_.com", "emoji😀@x.com")),
        *((e, False) for e in ('"quoted local"@x.com', "dot.@x.com", "a@@x.com", "a.x.com", "a b@x.com", "a;b@x.com")),
        *((e, False) for e in ("a<x>@x.com", "a@x.com.", "a\\b@x.com", "a,b@x.com", "Ada <a@x.com>", "")),
    ],
)
def test_addresses_that_a_real_server_takes(listmonk: Sandbox, email: str, taken: bool) -> None:
    """As seen at listmonk 1.1.0, whose rule (Go's net/mail, and nothing but the address) later versions have too."""
    assert call(listmonk, "POST", "/subscribers", json={"email": email, "name": "A"}).ok is taken


def test_patch_merges_attributes_and_put_clears_lists(listmonk: Sandbox) -> None:
    key = add(listmonk, attribs={"city": "Turin", "ours": {"a": 1, "b": 2}})["id"]
    call(listmonk, "PATCH", f"/subscribers/{key}", json={"attribs": {"ours": {"a": 3}}})
    assert read(listmonk, key)["attribs"] == {"city": "Turin", "ours": {"a": 3}}
    assert status_of(listmonk, key) == ("enabled", {1: "unconfirmed"})
    call(listmonk, "PUT", f"/subscribers/{key}", json={"email": "ada@example.com"})
    assert status_of(listmonk, key) == ("enabled", {})


def test_a_status_given_to_patch_is_written_and_an_empty_one_is_not(listmonk: Sandbox) -> None:
    key = add(listmonk)["id"]
    call(listmonk, "PUT", f"/subscribers/{key}/blocklist")
    assert status_of(listmonk, key) == ("blocklisted", {1: "unsubscribed"})
    call(listmonk, "PATCH", f"/subscribers/{key}", json={"status": "", "attribs": {"a": 1}})
    assert status_of(listmonk, key)[0] == "blocklisted"
    call(listmonk, "PATCH", f"/subscribers/{key}", json={"status": "enabled"})
    assert status_of(listmonk, key) == ("enabled", {1: "unsubscribed"})


def test_adding_to_a_list_with_a_status_resubscribes(listmonk: Sandbox) -> None:
    key = add(listmonk)["id"]
    body: dict[str, Any] = {"ids": [key], "target_list_ids": [1], "action": "unsubscribe"}
    call(listmonk, "PUT", "/subscribers/lists", json=body)
    call(listmonk, "PUT", "/subscribers/lists", json={**body, "action": "add"})
    assert status_of(listmonk, key)[1] == {1: "unsubscribed"}
    call(listmonk, "PUT", "/subscribers/lists", json={**body, "action": "add", "status": "confirmed"})
    assert status_of(listmonk, key)[1] == {1: "confirmed"}


def test_what_an_import_does_to_who_is_there(listmonk: Sandbox) -> None:
    key = add(listmonk, attribs={"city": "Turin"})["id"]
    call(listmonk, "PUT", "/subscribers/lists", json={"ids": [key], "target_list_ids": [1], "action": "unsubscribe"})
    text = 'email,name,attributes\nada@example.com,New,"{""a"": 1}"\nbob@example.com,,\n'
    assert run_import(listmonk, text)["imported"] == 2
    assert (read(listmonk, key)["attribs"], status_of(listmonk, key)[1]) == ({"city": "Turin"}, {1: "unsubscribed"})
    run_import(listmonk, text, ', "overwrite_userinfo": true')
    assert (read(listmonk, key)["attribs"], read(listmonk, key)["name"]) == ({"a": 1}, "New")
    assert status_of(listmonk, key)[1] == {1: "unsubscribed"}
    run_import(listmonk, text, ', "overwrite": true')
    assert status_of(listmonk, key)[1] == {1: "confirmed"}, "the documented flag resubscribes"


def test_an_import_brings_the_blocklisted_onto_the_list_as_unsubscribed(listmonk: Sandbox) -> None:
    key = add(listmonk, status="blocklisted", lists=[])["id"]
    run_import(listmonk, "email,name\nada@example.com,Ada\n", ', "overwrite_subscription_status": true')
    assert status_of(listmonk, key) == ("blocklisted", {1: "unsubscribed"})


def test_rows_that_do_not_fit_are_only_in_the_log(listmonk: Sandbox) -> None:
    stats = run_import(
        listmonk, "email,name,attributes\nbad..address@x.com,A,\nb@x.com,B,{broken\nc@x.com,C,\nd@x.com\n"
    )
    assert (stats["imported"], stats["status"]) == (2, "finished")
    log = call(listmonk, "GET", "/import/subscribers/logs").json()["data"]
    assert "skipping line 1: Invalid e-mail.: [bad..address@x.com A ]" in log
    assert "skipping invalid attributes JSON on line 2 for 'b@x.com'" in log
    assert "skipping line 4. record on line 5: wrong number of fields" in log


def test_one_import_at_a_time(listmonk: Sandbox) -> None:
    files = {"params": (None, PARAMS % ""), "file": ("a.csv", b"email\na@x.com\n", "text/csv")}
    assert call(listmonk, "POST", "/import/subscribers", files=files).json()["data"]["status"] == "importing"
    again = call(listmonk, "POST", "/import/subscribers", files=files)
    assert (again.status_code, "already running" in again.json()["message"]) == (400, True)
    assert call(listmonk, "DELETE", "/import/subscribers").json()["data"]["status"] == "stopping"
    time.sleep(0.2)
    assert call(listmonk, "GET", "/import/subscribers").json()["data"]["status"] == "finished"
    assert call(listmonk, "GET", "/subscribers").json()["data"]["total"] == 0
    assert call(listmonk, "DELETE", "/import/subscribers").json()["data"]["status"] == "none"


@pytest.mark.parametrize(
    ("files", "status"),
    [
        ({"params": (None, "{"), "file": ("a.csv", b"", "text/csv")}, 400),
        ({"params": (None, '{"mode":"x","lists":[1]}'), "file": ("a.csv", b"", "text/csv")}, 400),
        ({"params": (None, '{"mode":"subscribe","lists":[1],"delim":""}'), "file": ("a.csv", b"", "text/csv")}, 400),
        ({"params": (None, '{"mode":"subscribe","lists":[9],"delim":","}'), "file": ("a.csv", b"", "text/csv")}, 403),
        ({"params": (None, PARAMS % "")}, 400),
    ],
)
def test_imports_that_are_refused(listmonk: Sandbox, files: Any, status: int) -> None:
    assert call(listmonk, "POST", "/import/subscribers", files=files).status_code == status


@pytest.mark.parametrize(
    ("expression", "found"),
    [
        ("subscribers.email IN ('a@x.com','o''neil@x.com')", 2),
        ("subscribers.id > 1 AND subscribers.id <= 3", 2),
        ("subscribers.attribs->>'city' = 'Turin'", 1),
        ("(subscribers.attribs->'ours'->>'score')::FLOAT > 0.7", 1),
        ("subscribers.attribs->'ours'->>'campaign' = 'december' AND subscribers.status = 'enabled'", 1),
    ],
)
def test_sql_expressions(listmonk: Sandbox, expression: str, found: int) -> None:
    add(listmonk, "a@x.com", attribs={"city": "Turin", "ours": {"score": 0.5, "campaign": "december"}})
    add(listmonk, "o'neil@x.com", attribs={"ours": {"score": 0.9}})
    add(listmonk, "c@x.com")
    data = call(listmonk, "GET", "/subscribers", params={"query": expression, "per_page": "all"}).json()["data"]
    assert (data["total"], len(data["results"])) == (found, found)


def test_expressions_can_only_read_and_must_be_sql(listmonk: Sandbox) -> None:
    add(listmonk)
    for expression in ("1=1; delete from subscribers", "nonsense =", "subscribers.nothing = 1"):
        assert call(listmonk, "GET", "/subscribers", params={"query": expression}).status_code == 400
    assert call(listmonk, "GET", "/subscribers").json()["data"]["total"] == 1


def test_pages_end_at_fifty_unless_all(listmonk: Sandbox) -> None:
    run_import(listmonk, "email\n" + "".join(f"u{n}@x.com\n" for n in range(120)))
    sizes = {
        per_page: len(call(listmonk, "GET", "/subscribers", params={"per_page": per_page}).json()["data"]["results"])
        for per_page in ("", "10", "100", "all")
    }
    assert sizes == {"": 20, "10": 10, "100": 50, "all": 120}


def test_lists_and_methods_that_are_not_there(listmonk: Sandbox) -> None:
    assert call(listmonk, "GET", "/lists/77").status_code == 400
    assert call(listmonk, "GET", "/nowhere").status_code == 404
    unknown = call(listmonk, "POST", "/subscribers/1")
    assert (unknown.status_code, unknown.json()) == (404, {"message": "404 unknown endpoint"}), "not 405, from 4 on"
    assert call(listmonk, "POST", "/subscribers", data="x").status_code == 415


def test_a_row_that_the_database_refuses(listmonk: Sandbox) -> None:
    """The transaction is lost; and when it was the first of it, listmonk calls that finished, as 1.1.0 did."""
    nul = '"{""a"":""\\u0000""}"'
    assert run_import(listmonk, f"email,attributes\na@x.com,{nul}\nb@x.com,\n") == {
        "name": "a.csv",
        "total": 2,
        "imported": 0,
        "status": "finished",
    }
    assert "error executing insert" in call(listmonk, "GET", "/import/subscribers/logs").json()["data"]
    stats = run_import(listmonk, f"email,attributes\nb@x.com,\na@x.com,{nul}\n")
    assert (stats["imported"], stats["status"]) == (0, "failed")
    assert run_import(listmonk, 'email,name\nb@x.com,B\nq"x@x.com,"C\n')["status"] == "failed"
    assert call(listmonk, "GET", "/subscribers").json()["data"]["total"] == 0


def test_a_zip_holds_a_csv(listmonk: Sandbox) -> None:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("people.csv", "email\nada@example.com\n")
    for content, status in ((packed.getvalue(), 200), (b"email\n", 500)):
        files = {"params": (None, PARAMS % ""), "file": ("a.zip", content, "application/zip")}
        assert call(listmonk, "POST", "/import/subscribers", files=files).status_code == status
        time.sleep(0.2)
    assert call(listmonk, "GET", "/subscribers").json()["data"]["total"] == 1


def test_what_is_refused_as_a_real_server_refuses_it(listmonk: Sandbox) -> None:
    key = add(listmonk)["id"]
    assert call(listmonk, "GET", "/subscribers/x").status_code == 400
    assert call(listmonk, "GET", "/subscribers/77/export").status_code == 500
    assert call(listmonk, "DELETE", "/subscribers", params={"id": "x"}).status_code == 400
    body = {"ids": [key], "target_list_ids": [99], "action": "add"}
    assert call(listmonk, "PUT", "/subscribers/lists", json=body).status_code == 500
    assert call(listmonk, "POST", "/subscribers", data="{").status_code == 415
    exported = call(listmonk, "GET", f"/subscribers/{key}/export").json()
    assert sorted(exported) == ["campaign_views", "link_clicks", "profile", "subscriptions"]
    assert exported["subscriptions"][0]["name"] == "Private list"


def become(listmonk: Sandbox, version: str, **settings: bool) -> None:
    asked = {"version": version, **settings}
    assert requests.put(f"{listmonk.url}/_sandbox/version", json=asked, timeout=10).ok


@pytest.mark.parametrize(
    ("version", "patch", "activity"),
    [("3.0.0", 405, 404), ("4.1.0", 404, 404), ("5.1.0", 404, 404), ("6.0.0", 404, 200), ("6.1.0", 200, 200)],
)
def test_what_older_versions_do_not_have(listmonk: Sandbox, version: str, patch: int, activity: int) -> None:
    become(listmonk, version)
    assert call(listmonk, "GET", "/config").json()["data"]["version"] == f"v{version}"
    key = add(listmonk)["id"]
    assert call(listmonk, "PATCH", f"/subscribers/{key}", json={"attribs": {}}).status_code == patch
    assert call(listmonk, "GET", f"/subscribers/{key}/activity").status_code == activity


def test_imports_before_version_6(listmonk: Sandbox) -> None:
    """They know one flag, which resubscribes, unless no list is named: then no subscription is touched."""
    become(listmonk, "5.1.0")
    key = add(listmonk, attribs={"city": "Turin"})["id"]
    call(listmonk, "PUT", "/subscribers/lists", json={"ids": [key], "target_list_ids": [1], "action": "unsubscribe"})
    text = 'email,name,attributes\nada@example.com,New,"{""a"": 1}"\nbad..address@x.com,A,\n'
    run_import(listmonk, text, ', "overwrite_userinfo": true, "overwrite_subscription_status": true')
    assert (read(listmonk, key)["attribs"], status_of(listmonk, key)[1]) == ({"city": "Turin"}, {1: "unsubscribed"})
    run_import(listmonk, text, ', "overwrite": true, "lists": []')
    assert (read(listmonk, key)["attribs"], read(listmonk, key)["name"]) == ({"a": 1}, "New")
    assert status_of(listmonk, key)[1] == {1: "unsubscribed"}
    log = call(listmonk, "GET", "/import/subscribers/logs").json()["data"]
    assert "skipping line 2: bad..address@x.com: Invalid e-mail.\n" in log
    run_import(listmonk, text, ', "overwrite": true')
    assert status_of(listmonk, key)[1] == {1: "confirmed"}, "the flag resubscribes"


def test_before_version_3_a_finished_import_has_to_be_cleared_and_everybody_has_a_name(listmonk: Sandbox) -> None:
    become(listmonk, "2.4.0")
    assert run_import(listmonk, "email,name\na@x.com,A\nb@x.com,\n")["imported"] == 1
    files = {"params": (None, PARAMS % ""), "file": ("a.csv", b"email,name\nc@x.com,C\n", "text/csv")}
    assert call(listmonk, "POST", "/import/subscribers", files=files).status_code == 500
    assert call(listmonk, "DELETE", "/import/subscribers").json()["data"]["status"] == "none"
    assert call(listmonk, "POST", "/import/subscribers", files=files).ok
    assert call(listmonk, "POST", "/subscribers", json={"email": "d@x.com", "name": ""}).status_code == 400


def optins(listmonk: Sandbox) -> int:
    return len(requests.get(f"{listmonk.url}/_sandbox/optins", timeout=10).json()["optins"])


def test_any_patch_asks_who_has_not_confirmed_again(listmonk: Sandbox) -> None:
    key = add(listmonk, lists=[1, 2])["id"]
    assert optins(listmonk) == 1
    call(listmonk, "PATCH", f"/subscribers/{key}", json={"status": "", "attribs": {"a": 1}})
    assert optins(listmonk) == 2
    call(listmonk, "PATCH", f"/subscribers/{key}", json={"preconfirm_subscriptions": True})
    assert (optins(listmonk), status_of(listmonk, key)[1]) == (2, {1: "unconfirmed", 2: "unconfirmed"})
    add(listmonk, "bob@example.com", lists=[2], preconfirm_subscriptions=True)
    assert optins(listmonk) == 2


def test_put_confirms_only_who_did_not_leave(listmonk: Sandbox) -> None:
    key, body = add(listmonk, lists=[1, 2])["id"], {"email": "ada@example.com", "lists": [1, 2]}
    call(listmonk, "PUT", "/subscribers/lists", json={"ids": [key], "target_list_ids": [1], "action": "unsubscribe"})
    call(listmonk, "PUT", f"/subscribers/{key}", json={**body, "preconfirm_subscriptions": True})
    assert status_of(listmonk, key)[1] == {1: "unsubscribed", 2: "confirmed"}
    call(listmonk, "PUT", f"/subscribers/{key}", json=body)
    assert status_of(listmonk, key)[1] == {1: "unsubscribed", 2: "confirmed"}


@pytest.mark.parametrize(("version", "status"), [("5.1.0", 200), ("6.2.0", 403)])
def test_lists_that_the_api_user_may_not_manage(listmonk: Sandbox, version: str, status: int) -> None:
    become(listmonk, version, manages_lists=False)
    answer = call(listmonk, "POST", "/subscribers", json={"email": "ada@example.com", "lists": [1]})
    assert answer.status_code == status
    if answer.ok:
        assert answer.json()["data"]["lists"] == []


def test_the_state_survives_in_a_file(tmp_path: Path) -> None:
    for number in (1, 2):
        with run_sandbox("listmonk", api_key="ada:secret-token", state=tmp_path / "state.sqlite") as running:
            add(running, f"u{number}@example.com")
            assert call(running, "GET", "/subscribers").json()["data"]["total"] == number
