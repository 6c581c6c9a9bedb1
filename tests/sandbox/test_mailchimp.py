"""The Mailchimp sandbox is as strict as Mailchimp's documents say, and as faulty as a test asks for."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import requests

from personalization.errors import PersonalizationError
from personalization.sandbox import Sandbox, run_sandbox

LIST = "/lists/demo000001"


@pytest.fixture(scope="module")
def server() -> Iterator[Sandbox]:
    with run_sandbox("mailchimp", batch_seconds=0.1) as running:
        yield running


@pytest.fixture
def sandbox(server: Sandbox) -> Sandbox:
    server.reset()
    for tag, kind in (("OFFER", "text"), ("SCORE", "number"), ("BORN", "date")):
        server.call("POST", f"{LIST}/merge-fields", json={"name": tag, "tag": tag, "type": kind})
    return server


def path(address: str) -> str:
    return f"{LIST}/members/{hashlib.md5(address.lower().encode(), usedforsecurity=False).hexdigest()}"


def put(sandbox: Sandbox, address: str = "a@example.com", **body: Any) -> requests.Response:
    complete = {"email_address": address, "status_if_new": "subscribed", **body}
    return sandbox.call("PUT", path(address), json=complete)


def problem(answer: requests.Response) -> tuple[int, str]:
    assert answer.headers["content-type"].startswith("application/problem+json")
    content = answer.json()
    assert content["status"] == answer.status_code
    assert set(content) >= {"type", "title", "status", "detail", "instance"}
    return content["status"], content["title"]


# --- parts of answers ------------------------------------------------------------------------------------------------


def test_only_the_fields_that_are_asked_for_are_shown(sandbox: Sandbox) -> None:
    """https://mailchimp.com/developer/marketing/docs/methods-parameters/#partial-response"""
    put(sandbox, merge_fields={"OFFER": "X"})
    query = {"fields": "members.email_address,members.merge_fields.OFFER"}
    shown = sandbox.call("GET", f"{LIST}/members", params=query).json()
    assert shown == {"members": [{"email_address": "a@example.com", "merge_fields": {"OFFER": "X"}}]}
    whole = sandbox.call("GET", path("a@example.com")).json()
    without = sandbox.call("GET", path("a@example.com"), params={"exclude_fields": "tags,merge_fields.OFFER"}).json()
    assert whole.keys() - without.keys() == {"tags"}
    assert whole["merge_fields"].keys() - without["merge_fields"].keys() == {"OFFER"}
    assert sandbox.call("GET", "/batches", params={"fields": "total_items"}).json() == {"total_items": 0}


def test_the_activity_feed_of_a_member(sandbox: Sandbox) -> None:
    put(sandbox)
    put(sandbox, "b@example.com")
    campaign = sandbox.send_campaign("December", rates={"opened": 0.0, "clicked": 0.0, "hard": 0.0})["id"]
    left = {"address": "a@example.com", "kind": "unsubscribed", "at": "2099-01-01T00:00:00+00:00"}
    sandbox.let_happen(campaign, left)
    feed = sandbox.call("GET", f"{path('a@example.com')}/activity-feed", params={"count": 1}).json()
    (newest,) = feed["activity"]
    assert (newest["activity_type"], newest["campaign_id"], newest["campaign_title"]) == ("unsub", campaign, "December")
    assert (feed["list_id"], feed["email_id"]) == ("demo000001", path("a@example.com").rpartition("/")[2])
    assert feed["total_items"] >= 3
    assert sandbox.call("GET", f"{path('c@example.com')}/activity-feed").status_code == 404


# --- access ----------------------------------------------------------------------------------------------------------


def test_only_the_key_is_let_in(sandbox: Sandbox) -> None:
    url = f"{sandbox.base_url}/ping"
    assert requests.get(url, auth=("anything", sandbox.api_key), timeout=5).json() == {
        "health_status": "Everything's Chimpy!"
    }
    bearer = {"Authorization": f"Bearer {sandbox.api_key}"}
    assert requests.get(url, headers=bearer, timeout=5).ok
    assert problem(requests.get(url, timeout=5)) == (401, "API Key Invalid")
    assert problem(requests.get(url, auth=("x", "wrong"), timeout=5)) == (401, "API Key Invalid")


def test_what_does_not_exist_and_what_is_not_allowed(sandbox: Sandbox) -> None:
    assert problem(sandbox.call("GET", "/lists/other")) == (404, "Resource Not Found")
    assert problem(sandbox.call("GET", path("nobody@example.com"))) == (404, "Resource Not Found")
    assert problem(sandbox.call("GET", "/nothing")) == (404, "Resource Not Found")
    assert problem(sandbox.call("DELETE", "/ping")) == (405, "Method Not Allowed")
    assert problem(sandbox.call("PUT", path("a@example.com"), data=b"{")) == (400, "JSON Parse Error")


def test_the_eleventh_simultaneous_connection_is_refused(sandbox: Sandbox) -> None:
    sandbox.fault("slow", path="/ping", times=11, seconds=0.5)
    with ThreadPoolExecutor(11) as pool:
        codes = list(pool.map(lambda _: sandbox.call("GET", "/ping").status_code, range(11)))
    assert sorted(codes) == [200] * 10 + [429]


# --- members ---------------------------------------------------------------------------------------------------------


def test_put_creates_with_status_if_new_and_later_leaves_the_status_alone(sandbox: Sandbox) -> None:
    assert put(sandbox).json()["status"] == "subscribed"
    sandbox.call("PATCH", path("a@example.com"), json={"status": "unsubscribed"})
    answer = put(sandbox, merge_fields={"OFFER": "X"}).json()
    assert (answer["status"], answer["merge_fields"]["OFFER"]) == ("unsubscribed", "X")


def test_put_needs_an_address_and_a_status_for_a_new_member(sandbox: Sandbox) -> None:
    assert problem(sandbox.call("PUT", path("a@example.com"), json={})) == (400, "Invalid Resource")
    body = {"email_address": "a@example.com"}
    assert problem(sandbox.call("PUT", path("a@example.com"), json=body)) == (400, "Invalid Resource")
    assert problem(put(sandbox, "not-an-address")) == (400, "Invalid Resource")
    assert problem(put(sandbox, status_if_new="maybe")) == (400, "Invalid Resource")


@pytest.mark.parametrize("out", ["unsubscribed", "cleaned"])
def test_nobody_who_left_can_be_subscribed(sandbox: Sandbox, out: str) -> None:
    put(sandbox, status_if_new=out)
    for method in ("PUT", "PATCH"):
        body = {"email_address": "a@example.com", "status_if_new": "subscribed", "status": "subscribed"}
        answer = sandbox.call(method, path("a@example.com"), json=body)
        assert problem(answer) == (400, "Member In Compliance State")
    entry = {"email_address": "a@example.com", "status": "subscribed"}
    bulk = sandbox.call("POST", LIST, json={"members": [entry], "update_existing": True}).json()
    assert (bulk["error_count"], bulk["total_updated"]) == (1, 0)
    assert sandbox.members()["a@example.com"]["status"] == out
    assert sandbox.call("PATCH", path("a@example.com"), json={"status": "pending"}).json()["status"] == "pending"


def test_the_permanently_deleted_are_forgotten_for_good(sandbox: Sandbox) -> None:
    put(sandbox)
    assert sandbox.call("POST", f"{path('a@example.com')}/actions/delete-permanent").status_code == 204
    assert problem(put(sandbox)) == (400, "Forgotten Email Not Subscribed")


def test_an_archived_member_is_gone_and_can_come_back(sandbox: Sandbox) -> None:
    put(sandbox)
    assert sandbox.call("DELETE", path("a@example.com")).status_code == 204
    assert sandbox.call("GET", path("a@example.com")).status_code == 404
    assert put(sandbox).ok


def test_addresses_are_the_same_in_any_case(sandbox: Sandbox) -> None:
    put(sandbox, "Ada@Example.com")
    assert sandbox.call("GET", path("ada@example.com")).json()["email_address"] == "Ada@Example.com"
    assert sandbox.call("GET", f"{LIST}/members/ada@example.com").ok
    taken = {"email_address": "ADA@example.com", "status": "subscribed"}
    assert problem(sandbox.call("POST", f"{LIST}/members", json=taken)) == (400, "Member Exists")


def test_members_come_in_pages_of_at_most_a_thousand(sandbox: Sandbox) -> None:
    entries = [{"email_address": f"u{number}@example.com", "status": "subscribed"} for number in range(25)]
    sandbox.call("POST", LIST, json={"members": entries})
    page = sandbox.call("GET", f"{LIST}/members").json()
    assert (len(page["members"]), page["total_items"]) == (10, 25)
    page = sandbox.call("GET", f"{LIST}/members", params={"count": 10, "offset": 20}).json()
    assert len(page["members"]) == 5
    assert problem(sandbox.call("GET", f"{LIST}/members", params={"count": 1001})) == (400, "Invalid Resource")


def test_bulk_answers_200_with_errors_and_takes_500(sandbox: Sandbox) -> None:
    put(sandbox)
    entries = [
        {"email_address": "a@example.com", "status": "subscribed"},
        {"email_address": "b@example.com", "status": "subscribed"},
        {"email_address": "broken", "status": "subscribed"},
    ]
    answer = sandbox.call("POST", LIST, json={"members": entries})
    content = answer.json()
    assert (answer.status_code, content["total_created"], content["error_count"]) == (200, 1, 2)
    assert {error["error_code"] for error in content["errors"]} == {"ERROR_CONTACT_EXISTS", "ERROR_GENERIC"}
    too_many = [{"email_address": f"u{number}@example.com", "status": "subscribed"} for number in range(501)]
    assert problem(sandbox.call("POST", LIST, json={"members": too_many})) == (400, "Invalid Resource")


def test_tags_are_set_and_taken_away(sandbox: Sandbox) -> None:
    put(sandbox)
    tags = f"{path('a@example.com')}/tags"
    body = {"tags": [{"name": "x", "status": "active"}, {"name": "y", "status": "active"}]}
    assert sandbox.call("POST", tags, json=body).status_code == 204
    sandbox.call("POST", tags, json={"tags": [{"name": "x", "status": "inactive"}]})
    assert [tag["name"] for tag in sandbox.call("GET", tags).json()["tags"]] == ["y"]
    assert problem(sandbox.call("POST", tags, json={"tags": [{"name": "x"}]})) == (400, "Invalid Resource")


# --- merge fields ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("tag", "value", "kept"),
    [
        ("OFFER", "x" * 255, True),
        ("OFFER", "ä" * 128, False),
        ("OFFER", None, False),
        ("OFFER", "", True),
        ("SCORE", 0.5, True),
        ("SCORE", "0.5", True),
        ("SCORE", "half", False),
        ("SCORE", "", True),
        ("BORN", "1990-12-31", True),
        ("BORN", "31.12.1990", False),
    ],
)
def test_values_fit_their_field(sandbox: Sandbox, tag: str, value: object, kept: bool) -> None:
    answer = put(sandbox, merge_fields={tag: value})
    if kept:
        assert answer.ok
    else:
        assert problem(answer) == (400, "Invalid Resource")
        assert answer.json()["errors"][0]["field"].endswith(tag)


def test_unknown_fields_are_ignored_without_a_word(sandbox: Sandbox) -> None:
    assert set(put(sandbox, merge_fields={"NOSUCH": "x"}).json()["merge_fields"]) == {"OFFER", "SCORE", "BORN"}


def test_required_fields_are_required_of_new_members(sandbox: Sandbox) -> None:
    field = {"name": "Must", "tag": "MUST", "type": "text", "required": True}
    sandbox.call("POST", f"{LIST}/merge-fields", json=field)
    assert problem(put(sandbox)) == (400, "Invalid Resource")
    body = {"email_address": "a@example.com", "status_if_new": "subscribed"}
    skipping = sandbox.call("PUT", path("a@example.com"), json=body, params={"skip_merge_validation": "true"})
    assert skipping.ok


@pytest.mark.parametrize("tag", ["TOOLONGATAG", "lower", "SP ACE", "OFFER"])
def test_field_names_are_short_upper_case_and_unique(sandbox: Sandbox, tag: str) -> None:
    answer = sandbox.call("POST", f"{LIST}/merge-fields", json={"name": "x", "tag": tag, "type": "text"})
    assert problem(answer) == (400, "Invalid Resource")


def test_a_deleted_field_takes_its_values_with_it(sandbox: Sandbox) -> None:
    put(sandbox, merge_fields={"OFFER": "X"})
    fields = sandbox.call("GET", f"{LIST}/merge-fields").json()["merge_fields"]
    number = next(field["merge_id"] for field in fields if field["tag"] == "OFFER")
    assert sandbox.call("DELETE", f"{LIST}/merge-fields/{number}").status_code == 204
    sandbox.call("POST", f"{LIST}/merge-fields", json={"name": "Offer", "tag": "OFFER", "type": "text"})
    assert sandbox.members()["a@example.com"]["merge_fields"]["OFFER"] == ""


# --- batches ---------------------------------------------------------------------------------------------------------


def finished(sandbox: Sandbox, batch: dict[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """The batch once it is finished, and the states it was seen in."""
    states = [batch["status"]]
    while batch["status"] != "finished":
        time.sleep(0.005)
        batch = sandbox.call("GET", f"/batches/{batch['id']}").json()
        states.append(batch["status"])
    return batch, list(dict.fromkeys(states))


def results(content: bytes) -> dict[str, tuple[int, Any]]:
    found = {}
    with tarfile.open(fileobj=io.BytesIO(content), mode="r:gz") as archive:
        for entry in archive:
            file = archive.extractfile(entry) if entry.isfile() else None
            for result in json.load(file) if file else []:
                found[result["operation_id"]] = (result["status_code"], json.loads(result["response"] or "null"))
    return found


def test_a_batch_runs_step_by_step_and_answers_each_operation(sandbox: Sandbox) -> None:
    operations = [
        {
            "method": "PUT",
            "path": path(f"u{number}@example.com"),
            "body": json.dumps(
                {
                    "email_address": f"u{number}@example.com",
                    "status_if_new": "subscribed",
                    "merge_fields": {"SCORE": value},
                }
            ),
            "operation_id": f"row-{number}",
        }
        for number, value in enumerate([1, "two", 3])
    ]
    batch, states = finished(sandbox, sandbox.call("POST", "/batches", json={"operations": operations}).json())
    assert states[0] == "pending"
    assert states[-1] == "finished"
    assert set(states) <= {"pending", "preprocessing", "started", "finalizing", "finished"}
    assert (batch["total_operations"], batch["finished_operations"], batch["errored_operations"]) == (3, 3, 1)
    found = results(requests.get(batch["response_body_url"], timeout=5).content)
    assert {name: status for name, (status, _) in found.items()} == {"row-0": 200, "row-1": 400, "row-2": 200}
    assert found["row-0"][1]["email_address"] == "u0@example.com"
    assert found["row-1"][1]["title"] == "Invalid Resource"


def test_results_are_behind_a_signed_url_that_takes_no_credentials(sandbox: Sandbox) -> None:
    operations = [{"method": "GET", "path": "/ping"}]
    batch, _ = finished(sandbox, sandbox.call("POST", "/batches", json={"operations": operations}).json())
    url = batch["response_body_url"]
    assert requests.get(url, timeout=5).ok
    assert requests.get(url, auth=("x", sandbox.api_key), timeout=5).status_code == 400
    assert requests.get(url.replace("/_results/", "/_results/x"), timeout=5).status_code == 403


def test_a_batch_takes_a_thousand_operations(sandbox: Sandbox) -> None:
    operations = [{"method": "GET", "path": "/ping"}] * 1001
    assert problem(sandbox.call("POST", "/batches", json={"operations": operations})) == (400, "Invalid Resource")
    assert problem(sandbox.call("POST", "/batches", json={"operations": [{"path": "/ping"}]})) == (
        400,
        "Invalid Resource",
    )
    assert problem(sandbox.call("POST", "/batches", json={})) == (400, "Invalid Resource")


def test_a_deleted_batch_stops(sandbox: Sandbox) -> None:
    operations = [
        {
            "method": "PUT",
            "path": path("a@example.com"),
            "body": '{"email_address": "a@example.com", "status_if_new": "pending"}',
        }
    ]
    batch = sandbox.call("POST", "/batches", json={"operations": operations}).json()
    assert sandbox.call("DELETE", f"/batches/{batch['id']}").status_code == 204
    time.sleep(0.3)
    assert sandbox.members() == {}
    assert sandbox.call("GET", f"/batches/{batch['id']}").status_code == 404


# --- faults, log, state ----------------------------------------------------------------------------------------------


def test_faults_happen_as_often_as_scripted(sandbox: Sandbox) -> None:
    sandbox.fault("status", path="/ping", times=2, after=1, status=429, headers={"Retry-After": "3"})
    answers = [sandbox.call("GET", "/ping") for _ in range(4)]
    assert [answer.status_code for answer in answers] == [200, 429, 429, 200]
    assert answers[1].headers["Retry-After"] == "3"


@pytest.mark.parametrize(("kind", "applied"), [("reset", False), ("reset_after", True), ("truncated", True)])
def test_connections_break_before_or_after_applying(sandbox: Sandbox, kind: str, applied: bool) -> None:
    sandbox.fault(kind, method="PUT")
    with pytest.raises(requests.RequestException):
        put(sandbox)
    assert ("a@example.com" in sandbox.members()) is applied


def test_html_and_waiting(sandbox: Sandbox) -> None:
    sandbox.fault("html", path="/ping", status=503)
    answer = sandbox.call("GET", "/ping")
    assert (answer.status_code, answer.text[:15]) == (503, "<!DOCTYPE html>")
    sandbox.fault("hang_after", path="/ping", seconds=0.3)
    begun = time.monotonic()
    assert sandbox.call("GET", "/ping").ok
    assert time.monotonic() - begun >= 0.3


def test_an_unknown_fault_is_refused(sandbox: Sandbox) -> None:
    with pytest.raises(ValueError, match="unknown fault 'flood'"):
        sandbox.fault("flood")


def test_every_request_is_counted_with_its_answer(sandbox: Sandbox) -> None:
    sandbox.forget_requests()
    sandbox.call("GET", "/ping")
    sandbox.call("GET", "/lists/other")
    log = sandbox.request_log()
    assert [(entry["method"], entry["path"], entry["status"]) for entry in log] == [
        ("GET", "/ping", 200),
        ("GET", "/lists/other", 404),
    ]
    assert log[0]["at"] <= log[1]["at"]


def test_state_survives_in_a_file(tmp_path: Path) -> None:
    state = tmp_path / "state.sqlite"
    with run_sandbox("mailchimp", state=state) as first:
        first.call("POST", f"{LIST}/merge-fields", json={"name": "Offer", "tag": "OFFER", "type": "text"})
        put(first, merge_fields={"OFFER": "X"})
    with run_sandbox("mailchimp", state=state) as second:
        assert second.members()["a@example.com"]["merge_fields"] == {"OFFER": "X"}


def test_a_server_that_can_t_start_says_why(sandbox: Sandbox) -> None:
    port = int(sandbox.url.rpartition(":")[2])
    with pytest.raises(PersonalizationError, match=f"port {port} can't be used"), run_sandbox("mailchimp", port=port):
        pass
    with pytest.raises(PersonalizationError, match="there is no sandbox for 'mailgun'"), run_sandbox("mailgun"):
        pass
