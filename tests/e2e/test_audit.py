"""The audit reads each destination back and finds exactly what was planted there."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import requests

from personalization.ledger import ConsentEvent
from personalization.ledger.contacts import Contacts
from personalization.runtime import Runtime
from personalization.stages.export.adapters.base import Clock
from personalization.stages.monitoring.audit import KINDS, audit_destination
from personalization.workspace import Workspace
from tests.e2e.conftest import Line
from tests.e2e.small import API_KEY, Cli

AUTH = ("any", API_KEY)


@pytest.fixture
def cli(line: Line, tmp_path: Path) -> Iterator[Cli]:
    with line.copy(tmp_path) as copy:
        yield copy


@pytest.fixture
def shop(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> Runtime:
    monkeypatch.setenv("MAILCHIMP_BASE_URL", cli.mailchimp)
    monkeypatch.setenv("MAILCHIMP_API_KEY", API_KEY)
    return Runtime(Workspace.at(cli.root))


def found(runtime: Runtime, name: str) -> dict[str, int]:
    counts = audit_destination(runtime, name, clock=Clock(sleep=lambda _: None)).counts
    return {kind: counts[kind] for kind in KINDS if counts[kind]}


@pytest.mark.parametrize("destination", ["mailchimp", "file"])
def test_what_was_exported_is_found_again(shop: Runtime, destination: str) -> None:
    audit = audit_destination(shop, destination)
    assert audit.clean
    assert audit.source == audit.found > 100


def test_a_changed_a_lost_and_a_foreign_contact(cli: Cli, shop: Runtime) -> None:
    url = f"{cli.mailchimp}/lists/demo000001/members"
    members = requests.get(url, params={"count": 1000}, auth=AUTH, timeout=10).json()["members"]
    changed, lost = [member for member in members if member["merge_fields"]["CAMPAIGN"]][:2]
    body: dict[str, Any] = {"merge_fields": {"OFFER": "SOMETHING"}}
    requests.patch(f"{url}/{changed['id']}", json=body, auth=AUTH, timeout=10).raise_for_status()
    requests.delete(f"{url}/{lost['id']}", auth=AUTH, timeout=10).raise_for_status()
    foreign = "stranger@example.com"
    path = f"{url}/{hashlib.md5(foreign.encode(), usedforsecurity=False).hexdigest()}"
    body = {"email_address": foreign, "status_if_new": "subscribed", "merge_fields": {"CAMPAIGN": "x"}}
    requests.put(path, json=body, auth=AUTH, timeout=10).raise_for_status()
    assert found(shop, "mailchimp") == {"missing": 1, "stale": 1, "extra": 1}


def test_somebody_who_opted_out_and_would_still_be_mailed(shop: Runtime) -> None:
    token = Contacts(shop.ledger).known("mailchimp")["customer_token"][0].as_py()
    shop.ledger.consent.append(
        [
            ConsentEvent(
                event_id="withdrawn-after-the-export",
                subject_token=token,
                purpose="email.marketing",
                action="withdraw",
                effective_at=datetime(2018, 1, 1, tzinfo=UTC),
                source="test",
            )
        ]
    )
    assert found(shop, "mailchimp") == {"opted_out_but_active": 1}
    assert found(shop, "file") == {"opted_out_but_active": 1}
