"""Salesforce's side in tests: its destination, and what the data extension and All Subscribers hold."""

from __future__ import annotations

import re
from typing import Any

import requests

from personalization.sandbox import Sandbox

KEY = "shop_audience"
SETTINGS = f"""
platform: salesforce
base_url: ${{env:SALESFORCE_URL}}
subdomain: sandbox
client_id: ${{env:SALESFORCE_CLIENT_ID}}
client_secret: ${{env:SALESFORCE_CLIENT_SECRET}}
data_extension: {KEY}
category_id: 7
settle_seconds: 1
mails: false
"""
ROWSET = f"/data/v1/customobjectdata/key/{KEY}/rowset"
AT_ONCE = f"/hub/v1/dataevents/key:{KEY}/rowset"
LATER = f"/data/v1/async/dataextensions/key:{KEY}/rows"
_TOKENS: dict[str, str] = {}


def forget(sandbox: Sandbox) -> None:
    """An empty tenant."""
    sandbox.reset()
    _TOKENS.pop(sandbox.url, None)


def token(sandbox: Sandbox) -> str:
    if sandbox.url not in _TOKENS:
        body = {"grant_type": "client_credentials", "client_id": "test", "client_secret": sandbox.api_key}
        _TOKENS[sandbox.url] = requests.post(f"{sandbox.url}/v2/token", json=body, timeout=10).json()["access_token"]
    return _TOKENS[sandbox.url]


def call(sandbox: Sandbox, method: str, path: str, **settings: Any) -> requests.Response:
    headers = {"Authorization": f"Bearer {token(sandbox)}"}
    return requests.request(method, sandbox.url + path, headers=headers, timeout=10, **settings)


def soap(sandbox: Sandbox, request: str) -> str:
    envelope = (
        '<s:Envelope xmlns:s="http://schemas.xmlsoap.org/soap/envelope/" '
        'xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance"><s:Header>'
        f'<fueloauth xmlns="http://exacttarget.com">{token(sandbox)}</fueloauth></s:Header>'
        f"<s:Body>{request}</s:Body></s:Envelope>"
    )
    return requests.post(f"{sandbox.url}/Service.asmx", data=envelope.encode(), timeout=10).text


def rows(sandbox: Sandbox) -> dict[str, dict[str, str]]:
    """All rows of the data extension by address, by lower-case column."""
    found: dict[str, dict[str, str]] = {}
    page = 1
    while True:
        query: dict[str, str | int] = {"$page": page, "$pageSize": 2500}
        answer = call(sandbox, "GET", ROWSET, params=query)
        if answer.status_code == 404:
            return {}
        for item in answer.json()["items"]:
            row = {**item["keys"], **item["values"]}
            found[row["emailaddress"]] = row
        if page * 2500 >= answer.json()["count"]:
            return found
        page += 1


def fields(sandbox: Sandbox) -> dict[str, dict[str, Any]]:
    """Our fields by address, of rows with a campaign."""
    names = ("CAMPAIGN", "PB_HERO", "OFFER", "SCORE")
    held = {email: {name: row.get(name.lower(), "") for name in names} for email, row in rows(sandbox).items()}
    return {
        email: {**row, "SCORE": float(row["SCORE"]) if row["SCORE"] else ""}
        for email, row in held.items()
        if row["CAMPAIGN"]
    }


def status(sandbox: Sandbox, address: str) -> list[str]:
    """The status of every entry of All Subscribers with an address."""
    answer = soap(
        sandbox,
        '<RetrieveRequestMsg xmlns="http://exacttarget.com/wsdl/partnerAPI"><RetrieveRequest>'
        '<ObjectType>Subscriber</ObjectType><Properties>Status</Properties><Filter xsi:type="SimpleFilterPart">'
        f"<Property>EmailAddress</Property><SimpleOperator>equals</SimpleOperator><Value>{address}</Value></Filter>"
        "</RetrieveRequest></RetrieveRequestMsg>",
    )
    return re.findall("<Status>([^<]*)</Status>", answer)


def set_status(sandbox: Sandbox, address: str, state: str, key: str | None = None) -> None:
    """What a person, or a send, does."""
    soap(
        sandbox,
        '<CreateRequest xmlns="http://exacttarget.com/wsdl/partnerAPI"><Options><SaveOptions><SaveOption>'
        "<PropertyName>*</PropertyName><SaveAction>UpdateAdd</SaveAction></SaveOption></SaveOptions></Options>"
        f'<Objects xsi:type="Subscriber"><EmailAddress>{address}</EmailAddress>'
        f"<SubscriberKey>{key or address}</SubscriberKey><Status>{state}</Status></Objects></CreateRequest>",
    )


def extension(sandbox: Sandbox) -> str:
    """The id of the data extension."""
    items = call(sandbox, "GET", "/data/v1/customobjects", params={"$search": KEY}).json()["items"]
    return str(items[0]["id"])
