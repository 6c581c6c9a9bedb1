"""The results contract for listmonk."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from personalization.sandbox import Sandbox, run_sandbox
from tests.export.listmonk import SETTINGS, become, point_at
from tests.export.shop import Shop
from tests.results.contract import ResultsContract, killer

__all__ = ["killer"]


@pytest.fixture(scope="module")
def server() -> Iterator[Sandbox]:
    with run_sandbox("listmonk", batch_seconds=0.05) as running:
        yield running


@pytest.mark.slow
class TestListmonkResults(ResultsContract):
    """It tells of the last view and the last click of each person only, and of nobody that something was sent."""

    destination = "listmonk"
    settings = SETTINGS
    gives = frozenset({"opened", "clicked", "bounced", "complained"})
    exact = False
    late_hours = 0.1  # its times are those of its own database
    page_size = "personalization.stages.export.adapters.listmonk_results.IDS"
    fails_at = "/subscribers/.*"
    key_variable = "LISTMONK_API_TOKEN"

    @pytest.fixture
    def platform(self, server: Sandbox, shop: Shop, monkeypatch: pytest.MonkeyPatch) -> Sandbox:
        server.reset()
        point_at(server, monkeypatch)
        return server


class TestListmonkInShort:
    """The heart of the contract, for the fast suite."""

    whole = TestListmonkResults()
    destination, settings, customers = whole.destination, whole.settings, whole.customers
    shop, platform = ResultsContract.shop, TestListmonkResults.platform

    def test_results_come_back_once(self, shop: Shop, platform: Sandbox) -> None:
        self.whole.check_in_short(shop, platform)


class _BeforeVersion6(TestListmonkResults):
    gives = frozenset({"bounced", "complained"})


class TestListmonkBeforeVersion6:
    """Nothing tells when somebody viewed or clicked: that is no problem, and opt-outs come all the same."""

    whole = _BeforeVersion6()
    destination, settings, customers = whole.destination, whole.settings, whole.customers
    shop = ResultsContract.shop

    @pytest.fixture
    def platform(self, server: Sandbox, monkeypatch: pytest.MonkeyPatch) -> Sandbox:
        server.reset()
        become(server, "5.1.0")
        point_at(server, monkeypatch)
        return server

    def test_opt_outs_come_back_without_views(self, shop: Shop, platform: Sandbox) -> None:
        self.whole.check_in_short(shop, platform)
