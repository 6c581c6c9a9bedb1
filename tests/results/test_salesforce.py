"""The results contract for Salesforce Marketing Cloud."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from personalization.sandbox import Sandbox, run_sandbox
from tests.export import salesforce_side
from tests.export.shop import Shop
from tests.results.contract import ResultsContract, killer

__all__ = ["killer"]


@pytest.fixture(scope="module")
def server() -> Iterator[Sandbox]:
    with run_sandbox("salesforce", batch_seconds=0.1) as running:
        yield running


@pytest.mark.slow
class TestSalesforceResults(ResultsContract):
    destination = "salesforce"
    settings = salesforce_side.SETTINGS
    gives = frozenset({"sent", "opened", "clicked", "bounced", "unsubscribed"})
    page_size = "personalization.stages.export.adapters.salesforce_soap.MOST_READ"
    fails_at = "/Service.asmx"
    key_variable = "SALESFORCE_CLIENT_SECRET"

    @pytest.fixture
    def platform(self, server: Sandbox, shop: Shop, monkeypatch: pytest.MonkeyPatch) -> Sandbox:
        salesforce_side.forget(server)
        monkeypatch.setenv("SALESFORCE_URL", server.url)
        monkeypatch.setenv("SALESFORCE_CLIENT_ID", "personalization")
        monkeypatch.setenv("SALESFORCE_CLIENT_SECRET", server.api_key)
        return server


class TestSalesforceInShort:
    """The heart of the contract, for the fast suite."""

    whole = TestSalesforceResults()
    destination, settings, customers = whole.destination, whole.settings, whole.customers
    shop, platform = ResultsContract.shop, TestSalesforceResults.platform

    def test_results_come_back_once(self, shop: Shop, platform: Sandbox) -> None:
        self.whole.check_in_short(shop, platform)
