"""HubSpot's side in tests: its destination, and what an account holds, seen through its API."""

from __future__ import annotations

from typing import Any

import requests

from personalization.sandbox import Sandbox

SUBSCRIPTION = 1001
SETTINGS = """
platform: hubspot
base_url: ${env:HUBSPOT_BASE_URL}
access_token: ${env:HUBSPOT_TOKEN}
subscription_ids: [1001]
mails: false
fields:
  - {name: campaign, column: campaign, max_length: 60}
  - {name: pb_hero, column: hero, max_length: 20}
  - {name: offer, column: offer, max_length: 20}
  - {name: score, column: purchase_score, type: number, "null": clear}
"""
FIELDS = {"campaign": "CAMPAIGN", "pb_hero": "PB_HERO", "offer": "OFFER", "score": "SCORE"}
CONTACTS = "/crm/objects/2026-03/contacts"


def call(sandbox: Sandbox, method: str, path: str, **settings: Any) -> requests.Response:
    headers = {"Authorization": f"Bearer {sandbox.api_key}"}
    return requests.request(method, sandbox.base_url + path, headers=headers, timeout=10, **settings)


def contacts(sandbox: Sandbox) -> dict[str, dict[str, str]]:
    """All contacts' properties by address, with `id`, read page by page."""
    names = [*FIELDS, "personalization_id", "personalization_moved_from", "hs_email_optout_1001", "email"]
    found: dict[str, dict[str, str]] = {}
    query = {"limit": "100", "properties": ",".join(names)}
    while True:
        page = call(sandbox, "GET", CONTACTS, params=query).json()
        for one in page["results"]:
            held = {name: value or "" for name, value in one["properties"].items()}
            found[held["email"]] = {**held, "id": one["id"]}
        if "paging" not in page:
            return found
        query["after"] = page["paging"]["next"]["after"]


def fields(sandbox: Sandbox) -> dict[str, dict[str, Any]]:
    """Our fields by address, named as in other shops' destinations, of contacts with a campaign."""
    held = {
        email: {ours: one.get(name, "") for name, ours in FIELDS.items()} for email, one in contacts(sandbox).items()
    }
    numbers = {email: {**one, "SCORE": float(one["SCORE"]) if one["SCORE"] else ""} for email, one in held.items()}
    return {email: one for email, one in numbers.items() if one["CAMPAIGN"]}


def status(sandbox: Sandbox, address: str) -> str:
    path = f"/communication-preferences/2026-03/statuses/{address}"
    results = call(sandbox, "GET", path, params={"channel": "EMAIL"}).json()["results"]
    return next(one["status"] for one in results if one["subscriptionId"] == SUBSCRIPTION)


def set_status(sandbox: Sandbox, address: str, state: str, subscription: int = SUBSCRIPTION) -> None:
    """What a person does on the preferences page."""
    body = {"channel": "EMAIL", "statusState": state, "subscriptionId": subscription}
    call(sandbox, "POST", f"/communication-preferences/2026-03/statuses/{address}", json=body).raise_for_status()
