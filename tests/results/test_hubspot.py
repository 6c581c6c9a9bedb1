"""The results contract for HubSpot, and what is particular about its email events."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest

from personalization.sandbox import Sandbox, run_sandbox
from tests.export import hubspot_side
from tests.export.shop import Shop, address
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


def events(*shown: dict[str, object]) -> dict[str, object]:
    common = {"recipient": address(3), "portalId": 1, "appId": 113, "emailCampaignId": 70_000_001}
    moments = {"created": int(datetime.now(UTC).timestamp() * 1000)}
    return {"events": [{**common, **moments, **one} for one in shown], "hasMore": False}


class TestHubspotEvents:
    """What an event means, one at a time."""

    whole = TestHubspotResults()
    destination, settings, customers = whole.destination, whole.settings, 8
    shop, platform = ResultsContract.shop, TestHubspotResults.platform

    @pytest.mark.slow
    @pytest.mark.parametrize(
        ("shown", "landed", "out", "reason"),
        [
            ({"type": "BOUNCE", "category": "UNKNOWN_USER", "status": "5.1.1"}, ["bounced"], False, "bounced"),
            ({"type": "BOUNCE", "category": "SPAM", "status": "5.7.1"}, ["bounced"], False, None),
            ({"type": "OPEN", "filteredEvent": True}, ["machine_opened"], False, None),
            ({"type": "CLICK", "filteredEvent": True, "url": "https://x.example"}, [], False, None),
            ({"type": "DELIVERED"}, [], False, None),
            ({"type": "STATUSCHANGE", "portalSubscriptionStatus": "SUBSCRIBED"}, [], False, None),
            (
                {"type": "STATUSCHANGE", "source": "SOURCE_RECIPIENT", "portalSubscriptionStatus": "UNSUBSCRIBED"},
                ["unsubscribed"],
                True,
                None,
            ),
            (
                {"type": "STATUSCHANGE", "subscriptions": [{"id": 9999, "status": "UNSUBSCRIBED"}]},
                [],
                False,
                None,
            ),
        ],
    )
    def test_events(
        self,
        shop: Shop,
        platform: Sandbox,
        shown: dict[str, object],
        landed: list[str],
        out: bool,
        reason: str | None,
    ) -> None:
        body = events({"id": "one", **shown})
        platform.fault("status", path="/email/public/v1/events", status=200, body=body)
        assert self.whole.pull(shop).problems == {}
        assert [row[2] for row in self.whole.landed(shop)] == landed
        assert (address(3) in self.whole.withdrawn(shop)) is out
        assert self.whole.suppressed(shop).get(address(3)) == reason

    @pytest.mark.slow
    def test_a_token_that_is_not_taken_any_more_begins_the_span_again(
        self, shop: Shop, platform: Sandbox, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(TestHubspotResults.page_size, 5)
        shop.export(self.destination)
        platform.send_campaign(
            "December", sent_at=(datetime.now(UTC).replace(microsecond=0) - timedelta(days=1)).isoformat()
        )
        refusal = {"status": "error", "message": "Invalid offset", "category": "VALIDATION_ERROR"}
        platform.fault("status", path="/email/public/v1/events", after=2, status=400, body=refusal)
        assert self.whole.pull(shop).problems == {}
        assert self.whole.landed(shop) == self.whole.reported(shop, platform)
