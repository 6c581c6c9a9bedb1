"""The Salesforce stand-in behaves as Salesforce's documents say."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest
import requests

from personalization.sandbox import Sandbox, run_sandbox
from tests.export.salesforce_side import call, forget, set_status, soap, status

KEY = "audience"
ROWS = f"/data/v1/async/dataextensions/key:{KEY}/rows"
ROWSET = f"/hub/v1/dataevents/key:{KEY}/rowset"
READ = f"/data/v1/customobjectdata/key/{KEY}/rowset"
ADA, BEN = "ada@example.com", "ben@example.com"


@pytest.fixture(scope="module")
def server() -> Iterator[Sandbox]:
    with run_sandbox("salesforce", batch_seconds=0.1) as running:
        yield running


@pytest.fixture
def sandbox(server: Sandbox) -> Sandbox:
    forget(server)
    fields = [column("Email", "EmailAddress", 0, key=True), column("Score", "Decimal", 1), column("Name", "Text", 2)]
    body = {"name": KEY, "key": KEY, "categoryId": 1, "fields": fields}
    assert call(server, "POST", "/data/v1/customobjects", json=body).status_code == 201
    return server


def column(name: str, kind: str, ordinal: int, *, key: bool = False) -> dict[str, Any]:
    flags = dict.fromkeys(("isTemplateField", "isHidden", "isReadOnly", "mustOverride"), False)
    return {
        "name": name,
        "type": kind,
        "length": 18,
        "ordinal": ordinal,
        "isNullable": not key,
        "isPrimaryKey": key,
    } | flags


def held(sandbox: Sandbox) -> dict[str, dict[str, str]]:
    items = call(sandbox, "GET", READ, params={"$pageSize": 100}).json()["items"]
    return {item["keys"]["email"]: item["values"] for item in items}


def row(email: str, **values: Any) -> dict[str, Any]:
    return {"keys": {"Email": email}, "values": values}


def test_tokens(sandbox: Sandbox) -> None:
    body = {"grant_type": "client_credentials", "client_id": "x", "client_secret": "wrong"}
    answer = requests.post(f"{sandbox.url}/v2/token", json=body, timeout=10)
    assert (answer.status_code, answer.json()["error"]) == (401, "invalid_client")
    good = {**body, "client_secret": sandbox.api_key}
    shown = requests.post(f"{sandbox.url}/v2/token", json={**good, "account_id": 7}, timeout=10).json()
    assert {"access_token", "expires_in", "scope", "token_type", "rest_instance_url", "soap_instance_url"} == set(shown)
    answer = requests.post(f"{sandbox.url}/v2/token", json={**good, "account_id": "7"}, timeout=10)
    assert (answer.status_code, answer.json()["error"]) == (400, "invalid_request")
    refused = requests.get(f"{sandbox.url}{READ}", headers={"Authorization": "Bearer old"}, timeout=10)
    assert (refused.status_code, refused.json()["message"]) == (401, "Not Authorized")


def test_a_rowset_is_all_or_nothing(sandbox: Sandbox) -> None:
    answer = call(sandbox, "POST", ROWSET, json=[row(ADA, Score="0.5"), row(BEN, Score="many")])
    assert answer.status_code == 400
    assert "Score" in answer.json()["additionalErrors"][0]["message"]
    assert held(sandbox) == {}
    assert call(sandbox, "POST", ROWSET, json=[row(ADA, Score="0.5")]).json() == [row(ADA, Score="0.5")]
    assert held(sandbox) == {ADA: {"score": "0.5", "name": ""}}


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ([row(f"u{n}@example.com") for n in range(51)], "at most 50"),
        ([row(ADA, Nothing="x")], "do not exist"),
        ([row(ADA, Name="x" * 19)], "19 characters"),
        ([row("no address")], "no address"),
        ([{"keys": {}, "values": {"Name": "x"}}], "Primary key"),
    ],
)
def test_rows_that_do_not_fit(sandbox: Sandbox, rows: list[dict[str, Any]], words: str) -> None:
    answer = call(sandbox, "POST", ROWSET, json=rows)
    assert answer.status_code == 400
    assert words in answer.text or "does not fit" in answer.text


def test_a_request_for_later(sandbox: Sandbox) -> None:
    items = [{"Email": ADA, "Score": "0.5"}, {"Email": BEN, "Score": "many"}]
    answer = call(sandbox, "PUT", ROWS, json={"items": items})
    assert answer.status_code == 202
    number = answer.json()["requestId"]
    assert call(sandbox, "GET", f"/data/v1/async/{number}/status").json()["status"]["requestStatus"] == "Pending"
    time.sleep(0.15)
    state = call(sandbox, "GET", f"/data/v1/async/{number}/status").json()["status"]
    assert (state["requestStatus"], state["hasErrors"]) == ("Complete", True)
    (result,) = call(sandbox, "GET", f"/data/v1/async/{number}/results").json()["items"]
    assert result["status"] == "Error"
    assert BEN not in str(result)
    assert list(held(sandbox)) == [ADA]


def test_what_is_not_there_is_told_in_a_200(sandbox: Sandbox) -> None:
    answer = call(sandbox, "PUT", ROWS.replace(KEY, "nothing"), json={"items": [{"Email": ADA}]})
    assert (answer.status_code, answer.json()["resultMessages"][0]["resultCode"]) == (200, "CustomObjectNotFound")
    answer = call(sandbox, "GET", "/data/v1/async/nothing/status")
    message = answer.json()["resultMessages"][0]["resultMessage"]
    assert (answer.status_code, message["resultCode"]) == (200, "AsyncRequestStatusNotFound")


def test_searching_needs_a_word(sandbox: Sandbox) -> None:
    assert call(sandbox, "GET", "/data/v1/customobjects").status_code == 400
    assert call(sandbox, "GET", "/data/v1/customobjects", params={"$search": "aud"}).json()["count"] == 1


def test_rows_by_a_filter(sandbox: Sandbox) -> None:
    call(sandbox, "POST", ROWSET, json=[row(ADA), row(BEN)])
    items = call(sandbox, "GET", READ, params={"$filter": f"Email eq '{BEN}'"}).json()["items"]
    assert [item["keys"]["email"] for item in items] == [BEN]


def test_the_api_can_subscribe_again_and_rows_can_not(sandbox: Sandbox) -> None:
    set_status(sandbox, ADA, "Unsubscribed")
    call(sandbox, "POST", ROWSET, json=[row(ADA, Name="Ada")])
    assert status(sandbox, ADA) == ["Unsubscribed"]
    set_status(sandbox, ADA, "Active")
    assert status(sandbox, ADA) == ["Active"]


def test_a_bad_token_is_a_soap_fault(sandbox: Sandbox) -> None:
    envelope = '<s:Envelope xmlns:s="http://schemas.xmlsoap.org/soap/envelope/"><s:Body/></s:Envelope>'
    answer = requests.post(f"{sandbox.url}/Service.asmx", data=envelope, timeout=10)
    assert (answer.status_code, "Token Expired" in answer.text) == (500, True)
    assert "Unknown request" in soap(sandbox, "<Nothing/>")


PARTNER = 'xmlns="http://exacttarget.com/wsdl/partnerAPI"'
SAVE_OPTION = "<PropertyName>*</PropertyName><SaveAction>UpdateAdd</SaveAction>"
SAVE = f"<SaveOptions><SaveOption>{SAVE_OPTION}</SaveOption></SaveOptions>"
WHO = f"<EmailAddress>{ADA}</EmailAddress><SubscriberKey>{ADA}</SubscriberKey><Status>Unsubscribed</Status>"


def create(who: str = WHO, options: str = f"<Options>{SAVE}</Options>") -> str:
    return f'<CreateRequest {PARTNER}>{options}<Objects xsi:type="Subscriber">{who}</Objects></CreateRequest>'


@pytest.mark.parametrize(
    ("request_", "words"),
    [
        (create(options=""), "CreateRequest lacks Options"),
        (create(WHO.replace("EmailAddress", "Email")), "Subscriber has no element Email"),
        (create(f"<SubscriberKey>k</SubscriberKey><EmailAddress>{ADA}</EmailAddress>"), "Subscriber are not in order"),
        (create().replace("<PropertyName>*</PropertyName>", ""), "SaveOption lacks PropertyName"),
        (f'<DeleteRequest {PARTNER}><Objects xsi:type="DataExtensionObject"/></DeleteRequest>', "lacks Options"),
        (
            f"<RetrieveRequestMsg {PARTNER}><RetrieveRequest><ContinueRequest>1</ContinueRequest></RetrieveRequest>"
            "</RetrieveRequestMsg>",
            "RetrieveRequest lacks ObjectType",
        ),
    ],
)
def test_soap_must_be_as_the_wsdl_says(sandbox: Sandbox, request_: str, words: str) -> None:
    answer = soap(sandbox, request_)
    assert "<soap:Fault>" in answer
    assert words in answer
    assert status(sandbox, ADA) == []


def test_what_soap_answers(sandbox: Sandbox) -> None:
    created = soap(sandbox, create())
    assert "<OrdinalID>0</OrdinalID><NewID>0</NewID><Object xsi:type=" in created, "the WSDL demands a NewID"
    failed = soap(sandbox, create(WHO.replace(ADA, "no address")))
    assert "<ErrorCode>12002</ErrorCode><NewID>" in failed
    assert "<OverallStatus>Error</OverallStatus>" in failed
    query = f"<ObjectType>Subscriber</ObjectType><Properties>Status</Properties>{WHERE}"
    shown = soap(
        sandbox, f"<RetrieveRequestMsg {PARTNER}><RetrieveRequest>{query}</RetrieveRequest></RetrieveRequestMsg>"
    )
    assert "<Status>Unsubscribed</Status>" in shown
    assert "<EmailAddress>" not in shown, "only what was asked for"


WHERE = (
    '<Filter xsi:type="SimpleFilterPart"><Property>EmailAddress</Property><SimpleOperator>equals</SimpleOperator>'
    f"<Value>{ADA}</Value></Filter>"
)


def test_deletions_of_contacts(sandbox: Sandbox) -> None:
    set_status(sandbox, ADA, "Active")
    path = "/contacts/v1/contacts/actions/delete?type=keys"
    assert call(sandbox, "POST", path, json={"values": [ADA]}).status_code == 400
    body = {"values": [ADA], "DeleteOperationType": "ContactAndAttributes"}
    answer = call(sandbox, "POST", path, json=body).json()
    assert (answer["operationInitiated"], answer["hasErrors"], answer["resultMessages"]) == (True, False, [])
    assert status(sandbox, ADA) == []
