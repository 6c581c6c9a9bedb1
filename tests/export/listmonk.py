"""What tests of listmonk share: the destination's settings, and how to look at the sandbox."""

from __future__ import annotations

from typing import Any

import pytest
import requests

from personalization.sandbox import Sandbox

SETTINGS = """
platform: listmonk
base_url: ${env:LISTMONK_BASE_URL}
api_user: ${env:LISTMONK_API_USER}
api_token: ${env:LISTMONK_API_TOKEN}
list: demo000001
mails: false
"""
"""It holds a copy, so that no rule on how often people are mailed comes between: that is tested elsewhere."""


def point_at(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LISTMONK_BASE_URL", sandbox.url)
    monkeypatch.setenv("LISTMONK_API_USER", "sandbox")
    monkeypatch.setenv("LISTMONK_API_TOKEN", sandbox.api_key)


def subscribers(sandbox: Sandbox) -> dict[str, dict[str, Any]]:
    """Everybody in the sandbox by address."""
    answer = sandbox.call("GET", "/subscribers", params={"per_page": "all"})
    return {row["email"]: row for row in answer.json()["data"]["results"]}


def fields(sandbox: Sandbox) -> dict[str, dict[str, Any]]:
    """Our values by address, without the token, of those on the list who have a campaign."""
    return {
        email: {name: value for name, value in held.items() if name != "external_id"}
        for email, row in subscribers(sandbox).items()
        if (held := row["attribs"].get("personalization", {})).get("CAMPAIGN") and row["lists"]
    }


def become(sandbox: Sandbox, version: str, **settings: bool) -> None:
    """Let the sandbox be another version until it is reset."""
    asked = {"version": version, **settings}
    requests.put(f"{sandbox.url}/_sandbox/version", json=asked, timeout=10).raise_for_status()


def optin_mails(sandbox: Sandbox) -> list[tuple[str, int]]:
    """Who was asked to confirm which list, mail by mail."""
    sent = requests.get(f"{sandbox.url}/_sandbox/optins", timeout=10).json()["optins"]
    return [(mail["email"], mail["list_id"]) for mail in sent]
