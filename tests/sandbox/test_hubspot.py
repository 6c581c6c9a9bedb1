"""The HubSpot stand-in behaves as HubSpot's documents say."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import requests

from personalization.sandbox import Sandbox, run_sandbox

CONTACTS = "/crm/v3/objects/contacts"
CONSENT = "/communication-preferences/v4"
ADA, BEN = "ada@example.com", "ben@example.com"


@pytest.fixture(scope="module")
def server() -> Iterator[Sandbox]:
    with run_sandbox("hubspot", batch_seconds=0.0) as running:
        yield running


@pytest.fixture
def sandbox(server: Sandbox) -> Sandbox:
    server.reset()
    call(server, "POST", "/crm/v3/properties/contacts/groups", {"name": "ours", "label": "Ours"})
    for name, kind, field, unique in (
        ("our_id", "string", "text", True),
        ("score", "number", "number", False),
        ("day", "date", "date", False),
    ):
        body = {"name": name, "label": name, "groupName": "ours", "type": kind, "fieldType": field}
        assert (
            call(server, "POST", "/crm/v3/properties/contacts", {**body, "hasUniqueValue": unique}).status_code == 201
        )
    return server


def call(sandbox: Sandbox, method: str, path: str, body: Any = None, **query: str) -> requests.Response:
    headers = {"Authorization": f"Bearer {sandbox.api_key}"}
    return requests.request(method, sandbox.base_url + path, json=body, params=query, headers=headers, timeout=10)


def upsert(sandbox: Sandbox, *inputs: dict[str, Any]) -> requests.Response:
    return call(sandbox, "POST", f"{CONTACTS}/batch/upsert", {"inputs": list(inputs)})


def one(trace: str, our_id: str, **properties: str) -> dict[str, Any]:
    return {"objectWriteTraceId": trace, "idProperty": "our_id", "id": our_id, "properties": properties}


def statuses(sandbox: Sandbox, email: str) -> dict[int, str]:
    results = call(sandbox, "GET", f"{CONSENT}/statuses/{email}", channel="EMAIL").json()["results"]
    return {result["subscriptionId"]: result["status"] for result in results}


def set_status(sandbox: Sandbox, email: str, state: str, subscription: int = 1001) -> dict[str, Any]:
    body = {"channel": "EMAIL", "statusState": state, "subscriptionId": subscription}
    answer = call(sandbox, "POST", f"{CONSENT}/statuses/{email}", body)
    assert answer.status_code == 200
    return dict(answer.json())


def test_a_wrong_token_is_not_let_in(sandbox: Sandbox) -> None:
    answer = requests.get(f"{sandbox.base_url}{CONTACTS}", headers={"Authorization": "Bearer wrong"}, timeout=10)
    assert (answer.status_code, answer.json()["category"]) == (401, "INVALID_AUTHENTICATION")


def test_inputs_with_trace_ids_fail_alone(sandbox: Sandbox) -> None:
    answer = upsert(sandbox, one("a", "1", email=ADA), one("b", "2", email="no address"), one("c", "3", nothing="x"))
    assert (answer.status_code, answer.json()["numErrors"]) == (207, 2)
    assert [result["objectWriteTraceId"] for result in answer.json()["results"]] == ["a"]
    errors = {error["context"]["objectWriteTraceId"][0]: error["message"] for error in answer.json()["errors"]}
    assert "INVALID_EMAIL" in errors["b"]
    assert "PROPERTY_DOESNT_EXIST" in errors["c"]
    assert upsert(sandbox, one("a", "1", email=ADA)).json()["results"][0]["new"] is False


@pytest.mark.parametrize("key", ["email", "our_id"])
def test_a_batch_by_email_or_without_trace_ids_is_all_or_nothing(sandbox: Sandbox, key: str) -> None:
    good = {"idProperty": key, "id": ADA, "properties": {"email": ADA}}
    bad = {"idProperty": key, "id": BEN, "properties": {"email": BEN, "score": "many"}}
    if key == "email":
        good["objectWriteTraceId"], bad["objectWriteTraceId"] = "a", "b"
    assert upsert(sandbox, good, bad).status_code == 400
    assert call(sandbox, "GET", CONTACTS).json()["results"] == []


@pytest.mark.parametrize(
    ("inputs", "words"),
    [
        ([one("a", "1", email=ADA), one("b", "1", email=BEN)], "Duplicate IDs"),
        ([one(str(n), str(n), email=f"u{n}@example.com") for n in range(101)], "maximum number"),
        ([{**one("a", "1", email=ADA), "properties": {"score": 0.5}}], "text"),
        ([{**one("a", "1", email=ADA), "idProperty": "score"}], "non-unique"),
    ],
)
def test_batches_that_are_refused(sandbox: Sandbox, inputs: list[dict[str, Any]], words: str) -> None:
    answer = upsert(sandbox, *inputs)
    assert words in answer.text
    assert answer.status_code in (207, 400)
    assert not answer.json().get("results")


@pytest.mark.parametrize(
    "values", [{"score": "many"}, {"day": "03/04/2017"}, {"hs_email_optout": "false"}, {"firstname": "x" * 65_537}]
)
def test_values_that_do_not_fit(sandbox: Sandbox, values: dict[str, str]) -> None:
    assert upsert(sandbox, one("a", "1", email=ADA, **values)).json()["numErrors"] == 1


def test_addresses_and_unique_values_are_there_once(sandbox: Sandbox) -> None:
    upsert(sandbox, one("a", "1", email=ADA), one("b", "2", email=BEN))
    taken = upsert(sandbox, one("c", "3", email=ADA.upper())).json()["errors"][0]
    assert (taken["category"], taken["message"]) == ("CONFLICT", "Contact already exists. Existing ID: 101")
    same = call(sandbox, "PATCH", f"{CONTACTS}/101", {"properties": {"our_id": "2"}})
    assert "already has that value" in same.json()["message"]


def test_an_empty_text_clears(sandbox: Sandbox) -> None:
    upsert(sandbox, one("a", "1", email=ADA, score="0.5"))
    cleared = upsert(sandbox, one("a", "1", score="")).json()["results"][0]
    assert cleared["properties"]["score"] == "", "upserts show texts only (SimplePublicUpsertObject)"
    answer = call(sandbox, "GET", f"{CONTACTS}/101", properties="score")
    assert answer.json()["properties"]["score"] is None


def test_reading_a_batch_names_who_is_not_there(sandbox: Sandbox) -> None:
    upsert(sandbox, one("a", "1", email=ADA))
    body = {"properties": ["email"], "propertiesWithHistory": [], "idProperty": "our_id"}
    body["inputs"] = [{"id": "1"}, {"id": "9"}]
    answer = call(sandbox, "POST", f"{CONTACTS}/batch/read", body)
    assert answer.status_code == 207
    assert [result["properties"]["email"] for result in answer.json()["results"]] == [ADA]
    (error,) = answer.json()["errors"]
    assert error["context"] == {"ids": ["9"]}
    assert {"category", "context", "errors", "links", "message", "status"} == set(error), "StandardError requires them"


def test_pages(sandbox: Sandbox) -> None:
    upsert(sandbox, *(one(str(n), str(n), email=f"u{n}@example.com") for n in range(25)))
    first = call(sandbox, "GET", CONTACTS, limit="20").json()
    rest = call(sandbox, "GET", CONTACTS, limit="20", after=first["paging"]["next"]["after"]).json()
    assert (len(first["results"]), len(rest["results"]), "paging" in rest) == (20, 5, False)


def test_opt_outs_belong_to_addresses(sandbox: Sandbox) -> None:
    """So a contact that gets another address is subscribed again."""
    upsert(sandbox, one("a", "1", email=ADA))
    set_status(sandbox, ADA, "UNSUBSCRIBED")
    shown = call(sandbox, "GET", f"{CONTACTS}/101", properties="hs_email_optout_1001").json()["properties"]
    assert shown["hs_email_optout_1001"] == "true"
    upsert(sandbox, one("a", "1", email=BEN))
    assert (statuses(sandbox, ADA)[1001], statuses(sandbox, BEN)[1001]) == ("UNSUBSCRIBED", "NOT_SPECIFIED")
    shown = call(sandbox, "GET", f"{CONTACTS}/101", properties="hs_email_optout_1001").json()["properties"]
    assert shown["hs_email_optout_1001"] is None


def test_the_api_can_subscribe_again(sandbox: Sandbox) -> None:
    set_status(sandbox, ADA, "UNSUBSCRIBED")
    assert set_status(sandbox, ADA, "UNSUBSCRIBED")["results"][0]["setStatusSuccessReason"] == "NO_STATUS_CHANGE"
    assert set_status(sandbox, ADA, "SUBSCRIBED")["results"][0]["setStatusSuccessReason"] == "RESUBSCRIBE_OCCURRED"


def test_errors_of_opt_outs_come_inside_of_a_200(sandbox: Sandbox) -> None:
    good = {"subscriberIdString": ADA, "channel": "EMAIL", "statusState": "UNSUBSCRIBED", "subscriptionId": 1001}
    answer = call(sandbox, "POST", f"{CONSENT}/statuses/batch/write", {"inputs": [good, {**good, "subscriptionId": 7}]})
    assert answer.status_code == 200
    assert (len(answer.json()["results"]), answer.json()["numErrors"]) == (1, 1)


def test_a_status_shows_no_null(sandbox: Sandbox) -> None:
    """Nothing of `PublicStatus` may be null; what is not known is left out."""
    body = {"channel": "EMAIL", "statusState": "UNSUBSCRIBED", "subscriptionId": 1001, "legalBasis": "NON_GDPR"}
    (written,) = call(sandbox, "POST", f"{CONSENT}/statuses/{ADA}", body).json()["results"]
    shown = call(sandbox, "GET", f"{CONSENT}/statuses/{ADA}", channel="EMAIL").json()["results"]
    assert written["legalBasis"] == "NON_GDPR"
    assert all(value is not None for status in (written, *shown) for value in status.values())


def test_opting_out_of_everything(sandbox: Sandbox) -> None:
    path = f"{CONSENT}/statuses/{ADA}/unsubscribe-all"
    assert call(sandbox, "GET", path, channel="EMAIL").json()["results"] == []
    assert call(sandbox, "POST", path).status_code == 400
    call(sandbox, "POST", path, channel="EMAIL")
    assert call(sandbox, "GET", path, channel="EMAIL").json()["results"][0]["status"] == "UNSUBSCRIBED"
    assert set(statuses(sandbox, ADA).values()) == {"UNSUBSCRIBED"}


def test_active_lists_take_no_members(sandbox: Sandbox) -> None:
    upsert(sandbox, one("a", "1", email=ADA))
    made = {
        kind: call(sandbox, "POST", "/crm/v3/lists", {"name": kind, "objectTypeId": "0-1", "processingType": kind})
        for kind in ("MANUAL", "DYNAMIC")
    }
    ids = {kind: answer.json()["list"]["listId"] for kind, answer in made.items()}
    added = call(sandbox, "PUT", f"/crm/v3/lists/{ids['MANUAL']}/memberships/add", ["101", "999"]).json()
    assert added == {"recordsIdsAdded": ["101"], "recordIdsRemoved": [], "recordIdsMissing": ["999"]}
    assert call(sandbox, "PUT", f"/crm/v3/lists/{ids['DYNAMIC']}/memberships/add", ["101"]).status_code == 400


def test_who_was_deleted_for_good_does_not_come_back(sandbox: Sandbox) -> None:
    upsert(sandbox, one("a", "1", email=ADA))
    assert call(sandbox, "POST", f"{CONTACTS}/gdpr-delete", {"objectId": ADA, "idProperty": "email"}).status_code == 204
    assert upsert(sandbox, one("a", "1", email=ADA)).json()["numErrors"] == 1


def test_the_rate(sandbox: Sandbox) -> None:
    codes = [call(sandbox, "GET", CONTACTS).status_code for _ in range(195)]
    assert codes[-1] == 429
    assert call(sandbox, "GET", CONTACTS).json()["policyName"] == "TEN_SECONDLY_ROLLING"
