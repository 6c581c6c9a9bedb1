"""What tests of ActiveCampaign share: the destination's settings, and how to look at the sandbox."""

from __future__ import annotations

from typing import Any

import pytest
import requests

from personalization.sandbox import Sandbox

SETTINGS = """
platform: activecampaign
base_url: ${env:ACTIVECAMPAIGN_URL}
api_token: ${env:ACTIVECAMPAIGN_TOKEN}
list_id: 1
requests_per_second: 10000
mails: false
"""
"""It holds a copy, so that no rule on how often people are mailed comes between: that is tested elsewhere."""


def point_at(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ACTIVECAMPAIGN_URL", sandbox.url)
    monkeypatch.setenv("ACTIVECAMPAIGN_TOKEN", sandbox.api_key)


def lift_limits(sandbox: Sandbox, per_second: int = 100_000, imports_per_minute: int = 100_000) -> None:
    """Tests would wait most of their time for five requests a second."""
    limits = {"per_second": per_second, "imports_per_minute": imports_per_minute}
    requests.put(f"{sandbox.url}/_sandbox/limits", json=limits, timeout=10)


def call(sandbox: Sandbox, method: str, path: str, **options: Any) -> requests.Response:
    headers = {"Api-Token": sandbox.api_key}
    return requests.request(method, sandbox.base_url + path, headers=headers, timeout=10, **options)


def contacts(sandbox: Sandbox) -> dict[str, dict[str, Any]]:
    """Everybody by address: id, status on the list, and values by personalization tag."""
    listed = call(sandbox, "GET", "/fields", params={"limit": 100}).json()["fields"]
    tags = {field["id"]: field["perstag"] for field in listed}
    found: dict[str, dict[str, Any]] = {}
    last = "0"
    while True:
        query = {"limit": 100, "id_greater": last, "include": "fieldValues"}
        page = call(sandbox, "GET", "/contacts", params=query).json()
        for row in page["contacts"]:
            last = row["id"]
            found[row["email"]] = {"id": row["id"], "status": None, "values": {}}
        by_id = {row["id"]: found[row["email"]] for row in page["contacts"]}
        for value in page["fieldValues"]:
            by_id[value["contact"]]["values"][tags[value["field"]]] = value["value"]
        if len(page["contacts"]) < 100:
            break
    for status in ("1", "2", "3"):
        offset = 0
        while True:
            query = {"limit": 100, "offset": offset, "listid": "1", "status": status}
            page = call(sandbox, "GET", "/contacts", params=query).json()
            for row in page["contacts"]:
                found[row["email"]]["status"] = status
            offset += 100
            if len(page["contacts"]) < 100:
                break
    return found


def fields(sandbox: Sandbox) -> dict[str, dict[str, Any]]:
    """Our values by address, without the token, of those who have a campaign."""
    return {
        email: {tag: value for tag, value in row["values"].items() if tag != "EXTERNALID" and value}
        for email, row in contacts(sandbox).items()
        if row["values"].get("CAMPAIGN")
    }


def as_text(wanted: dict[str, dict[str, Any]]) -> dict[str, dict[str, str]]:
    """Values as ActiveCampaign holds them."""
    return {
        email: {
            name: f"{value:.4f}".rstrip("0").rstrip(".") if isinstance(value, float) else str(value)
            for name, value in row.items()
            if value != ""
        }
        for email, row in wanted.items()
    }
