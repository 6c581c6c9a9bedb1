"""The results contract for HubSpot, and what is particular about its email events."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from personalization.sandbox import Sandbox, run_sandbox
from tests.export import hubspot_side
from tests.export.shop import Shop
from tests.results.contract import ResultsContract, killer

__all__ = ["killer"]


@pytest.fixture(scope="module")
def server() -> Iterator[Sandbox]:
    with run_sandbox("hubspot", batch_seconds=0.0) as running:
        yield running


@pytest.mark.slow
class TestHubspotResults(ResultsContract):
    destination = "hubspot"
    settings = hubspot_side.SETTINGS
    page_size = "personalization.stages.export.adapters.hubspot_results.PAGE"
    fails_at = "/email/public/v1/.*"
    key_variable = "HUBSPOT_TOKEN"

    @pytest.fixture
    def platform(self, server: Sandbox, shop: Shop, monkeypatch: pytest.MonkeyPatch) -> Sandbox:
        server.reset()
        monkeypatch.setenv("HUBSPOT_BASE_URL", server.base_url)
        monkeypatch.setenv("HUBSPOT_TOKEN", server.api_key)
        return server


class TestHubspotInShort:
    """The heart of the contract, for the fast suite."""

    whole = TestHubspotResults()
    destination, settings, customers = whole.destination, whole.settings, whole.customers
    shop, platform = ResultsContract.shop, TestHubspotResults.platform

    def test_results_come_back_once(self, shop: Shop, platform: Sandbox) -> None:
        self.whole.check_in_short(shop, platform)
