"""The results contract for ActiveCampaign."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from personalization.sandbox import Sandbox, run_sandbox
from tests.export.activecampaign import SETTINGS, lift_limits, point_at
from tests.export.shop import Shop
from tests.results.contract import ResultsContract, killer

__all__ = ["killer"]


@pytest.fixture(scope="module")
def server() -> Iterator[Sandbox]:
    with run_sandbox("activecampaign", batch_seconds=0.05) as running:
        lift_limits(running)
        yield running


@pytest.mark.slow
class TestActiveCampaignResults(ResultsContract):
    destination = "activecampaign"
    settings = SETTINGS
    gives = frozenset({"opened", "clicked", "bounced", "unsubscribed"})
    complaints = False
    page_size = "personalization.stages.export.adapters.activecampaign_results.PAGE"
    fails_at = "/admin/api.php"
    key_variable = "ACTIVECAMPAIGN_TOKEN"

    @pytest.fixture
    def platform(self, server: Sandbox, shop: Shop, monkeypatch: pytest.MonkeyPatch) -> Sandbox:
        server.reset()
        point_at(server, monkeypatch)
        return server


class TestActiveCampaignInShort:
    """The heart of the contract, for the fast suite."""

    whole = TestActiveCampaignResults()
    destination, settings, customers = whole.destination, whole.settings, whole.customers
    shop, platform = ResultsContract.shop, TestActiveCampaignResults.platform

    def test_results_come_back_once(self, shop: Shop, platform: Sandbox) -> None:
        self.whole.check_in_short(shop, platform)
