"""The ActiveCampaign sandbox does what the published documents say, traps included."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from personalization.sandbox import Sandbox, run_sandbox
from tests.export.activecampaign import call, contacts, lift_limits


@pytest.fixture(scope="module")
def server() -> Iterator[Sandbox]:
    with run_sandbox("activecampaign", batch_seconds=0.05) as running:
        yield running


@pytest.fixture
def platform(server: Sandbox) -> Sandbox:
    server.reset()
    lift_limits(server)
    return server


def field(platform: Sandbox, title: str = "Offer", kind: str = "text") -> int:
    answer = call(platform, "POST", "/fields", json={"field": {"title": title, "type": kind}})
    return int(answer.json()["fields"][0]["id"])


def run_import(platform: Sandbox, *entries: dict[str, Any]) -> dict[str, Any]:
    answer = call(platform, "POST", "/import/bulk_import", json={"contacts": list(entries)})
    assert answer.status_code == 200, answer.text
    assert (answer.json()["Success"], answer.json()["queued_contacts"]) == (1, len(entries))
    query = {"batchId": answer.json()["batchId"]}
    while (info := call(platform, "GET", "/import/info", params=query).json())["status"] != "completed":
        time.sleep(0.01)
    return dict(info)


def test_the_token_goes_in_its_header(platform: Sandbox) -> None:
    assert call(platform, "GET", "/lists/1").json()["list"]["name"] == "demo000001"
    for headers in ({}, {"Api-Token": "wrong"}, {"Authorization": f"Bearer {platform.api_key}"}):
        answer = requests.get(platform.base_url + "/lists/1", headers=headers, timeout=10)
        assert (answer.status_code, "message" in answer.json()) == (403, True)


def test_five_requests_a_second(platform: Sandbox) -> None:
    time.sleep(1)
    lift_limits(platform, per_second=5)
    answers = [call(platform, "GET", "/lists/1") for _ in range(6)]
    assert [answer.status_code for answer in answers] == [200] * 5 + [429]
    assert answers[-1].headers["RateLimit-Limit"] == "5"
    assert int(answers[-1].headers["Retry-After"]) >= 1


def test_a_hundred_imports_a_minute(platform: Sandbox) -> None:
    lift_limits(platform, imports_per_minute=1)
    run_import(platform, {"email": "a@example.com"})
    answer = call(platform, "POST", "/import/bulk_import", json={"contacts": [{"email": "b@example.com"}]})
    assert (answer.status_code, answer.json()["message"]) == (400, "Rate limit exceeded.")
    assert isinstance(answer.json()["failureReasons"][0], str)


def test_an_import_is_taken_whole_or_not_at_all(platform: Sandbox) -> None:
    wrong = [{"email": "a@example.com"}, {"email": "no address"}]
    answer = call(platform, "POST", "/import/bulk_import", json={"contacts": wrong})
    reasons = answer.json()["failureReasons"]
    assert (answer.status_code, answer.json()["success"], [reason["contact"] for reason in reasons]) == (400, 0, [1])
    time.sleep(0.1)
    assert contacts(platform) == {}


@pytest.mark.parametrize(
    "entries",
    [
        [],
        [{"email": f"u{n}@example.com"} for n in range(251)],
        [{"email": "a@example.com", "fields": [{"id": 1, "value": "x" * 400_000}]}],
        [{"email": "a@example.com", "fields": [{"id": "1", "value": "x"}]}],
        [{"email": "a@example.com", "fields": [{"id": 1, "value": 1}]}],
    ],
    ids=["nothing", "251", "400 KB", "id is text", "value is a number"],
)
def test_imports_that_are_refused(platform: Sandbox, entries: list[Any]) -> None:
    assert call(platform, "POST", "/import/bulk_import", json={"contacts": entries}).status_code == 400


def test_what_an_import_tells_afterwards(platform: Sandbox) -> None:
    number = field(platform)
    first = {"email": "a@example.com", "fields": [{"id": number, "value": "X"}], "subscribe": [{"listid": "1"}]}
    info = run_import(platform, first, {"email": "b@nodomain"})
    there = contacts(platform)
    assert info["success"] == [there["a@example.com"]["id"]]
    assert info["failure"] == ["b@nodomain"]
    assert there["a@example.com"] == {"id": info["success"][0], "status": "1", "values": {"OFFER": "X"}}
    assert call(platform, "GET", "/import/info").status_code == 400
    assert call(platform, "GET", "/import/bulk_import").json()["outstanding"] == []


def test_an_import_subscribes_nobody_again_but_contact_lists_do(platform: Sandbox) -> None:
    entry = {"email": "a@example.com", "subscribe": [{"listid": "1"}]}
    run_import(platform, entry)
    key = int(contacts(platform)["a@example.com"]["id"])
    body = {"contactList": {"contact": key, "list": 1, "status": 2}}
    assert call(platform, "POST", "/contactLists", json=body).json()["contactList"]["status"] == 2
    run_import(platform, entry)
    assert contacts(platform)["a@example.com"]["status"] == "2"
    body["contactList"]["status"] = 1
    call(platform, "POST", "/contactLists", json=body)
    assert contacts(platform)["a@example.com"]["status"] == "1"


def test_sync_writes_by_address_and_puts_nobody_on_a_list(platform: Sandbox) -> None:
    number = str(field(platform))
    body = {"contact": {"email": "A@example.com", "fieldValues": [{"field": number, "value": "X"}]}}
    first = call(platform, "POST", "/contact/sync", json=body)
    again = call(platform, "POST", "/contact/sync", json=body)
    assert (first.status_code, again.status_code) == (201, 201), "the only status of the published document"
    assert first.json()["contact"]["id"] == again.json()["contact"]["id"]
    assert again.json()["fieldValues"][0]["value"] == "X"
    assert contacts(platform)["a@example.com"]["status"] is None
    wrong = call(platform, "POST", "/contact/sync", json={"contact": {"email": "no"}})
    assert (wrong.status_code, wrong.json()["errors"][0]["code"]) == (422, "email_invalid")


def test_fields_have_types_and_names_of_their_own(platform: Sandbox) -> None:
    date, number = field(platform, "When", "date"), field(platform, "Score", "number")
    values = [{"field": str(date), "value": "soon"}, {"field": str(number), "value": "0.5"}]
    shown = call(
        platform, "POST", "/contact/sync", json={"contact": {"email": "a@x.com", "fieldValues": values}}
    ).json()
    assert [value["value"] for value in shown["fieldValues"]] == ["0.5"]
    for wrong in (
        {"title": "Score", "type": "text"},
        {"title": "S", "perstag": "SCORE", "type": "text"},
        {"type": "x"},
    ):
        assert call(platform, "POST", "/fields", json={"field": wrong}).status_code == 422
    call(platform, "DELETE", f"/fields/{number}")
    assert contacts(platform)["a@x.com"]["values"] == {}


def test_a_field_is_put_on_a_list_by_numbers(platform: Sandbox) -> None:
    number = field(platform)
    wrong = {"fieldRel": {"field": str(number), "relid": "1"}}
    assert call(platform, "POST", "/fieldRels", json=wrong).status_code == 422
    answer = call(platform, "POST", "/fieldRels", json={"fieldRel": {"field": number, "relid": 1}})
    made = answer.json()["fieldRel"]
    assert (answer.status_code, made["field"], made["relid"], made["links"]) == (201, number, 1, [])
    (listed,) = call(platform, "GET", "/fields").json()["fieldRels"]
    assert (listed["field"], listed["relid"], listed["id"]) == (str(number), "1", made["id"])


def test_what_is_not_there(platform: Sandbox) -> None:
    for method, path in (
        ("GET", "/lists/9"),
        ("GET", "/contacts/9"),
        ("PUT", "/contacts/9"),
        ("DELETE", "/contacts/9"),
    ):
        assert call(platform, method, path, json={}).status_code == 404
    assert call(platform, "GET", "/nowhere").status_code == 404
    assert call(platform, "DELETE", "/fields").status_code == 405


def test_pages(platform: Sandbox) -> None:
    run_import(platform, *({"email": f"u{n}@example.com"} for n in range(150)))
    for limit, given in (("", 20), ("100", 100), ("500", 100)):
        query = {"limit": limit} if limit else {}
        assert len(call(platform, "GET", "/contacts", params=query).json()["contacts"]) == given


def test_the_state_survives_in_a_file(tmp_path: Path) -> None:
    for number in (1, 2):
        with run_sandbox("activecampaign", state=tmp_path / "state.sqlite", batch_seconds=0.05) as running:
            lift_limits(running)
            run_import(running, {"email": f"u{number}@example.com"})
            assert len(contacts(running)) == number
