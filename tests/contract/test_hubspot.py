"""The adapter contract for HubSpot: in short, and (slow) all of it, with one batch and with several."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from personalization.sandbox import Sandbox, run_sandbox
from tests.contract.adapter import AdapterContract, killer
from tests.contract.wrong_input import WrongInput
from tests.export import hubspot_side
from tests.export.killable import Killable
from tests.export.shop import Shop

__all__ = ["killer"]


@pytest.fixture(scope="module")
def server() -> Iterator[Sandbox]:
    with run_sandbox("hubspot", batch_seconds=0.0) as running:
        yield running


@pytest.mark.slow
class TestHubspot(AdapterContract):
    """Eight contacts, one batch."""

    destination = "hubspot"
    settings = hubspot_side.SETTINGS

    @pytest.fixture
    def platform(self, server: Sandbox, monkeypatch: pytest.MonkeyPatch) -> Sandbox:
        server.reset()
        monkeypatch.setenv("HUBSPOT_BASE_URL", server.base_url)
        monkeypatch.setenv("HUBSPOT_TOKEN", server.api_key)
        return server

    def held(self, platform: Sandbox) -> dict[str, dict[str, Any]]:
        return hubspot_side.fields(platform)

    def opted_out(self, platform: Sandbox) -> set[str]:
        return {email for email, one in hubspot_side.contacts(platform).items() if one["hs_email_optout_1001"]}

    def touched(self, platform: Sandbox) -> int:
        return len([one for one in platform.request_log() if one["path"] != hubspot_side.CONTACTS])


@pytest.mark.slow
class TestHubspotInManyBatches(TestHubspot):
    """More contacts than a batch takes."""

    customers = 220


class TestHubspotInShort:
    """A few of the contract's tests, for the fast suite."""

    whole = TestHubspot()
    settings, destination, customers = TestHubspot.settings, TestHubspot.destination, TestHubspot.customers
    shop, platform = AdapterContract.shop, TestHubspot.platform

    def test_brings_what_was_decided(self, shop: Shop, platform: Sandbox) -> None:
        self.whole.test_brings_what_was_decided_and_nothing_more(shop, platform)

    def test_withdrawn_while_there(self, shop: Shop, platform: Sandbox) -> None:
        self.whole.test_withdrawn_while_there_is_opted_out_there(shop, platform)

    def test_killed_after_sending(self, shop: Shop, platform: Sandbox, killer: Killable) -> None:
        self.whole.test_killed_anywhere_and_run_again(shop, platform, killer, "export.after_send")


class TestHubspotWrongInput(WrongInput):
    whole, platform = TestHubspot(), TestHubspot.platform
    url, key = "HUBSPOT_BASE_URL", "HUBSPOT_TOKEN"
    nowhere = ("[1001]", "[4711]")

    def delete_field(self, platform: Sandbox) -> None:
        hubspot_side.call(platform, "DELETE", "/crm/properties/2026-03/contacts/offer").raise_for_status()
