"""The adapter contract for ActiveCampaign, with few contacts and with many."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from personalization.sandbox import Sandbox, run_sandbox
from tests.contract.adapter import CRASH_POINTS, AdapterContract, killer
from tests.contract.wrong_input import WrongInput
from tests.export.activecampaign import SETTINGS, as_text, call, contacts, fields, lift_limits, point_at
from tests.export.killable import Killable
from tests.export.shop import Shop

__all__ = ["killer"]


@pytest.fixture(scope="module")
def server() -> Iterator[Sandbox]:
    with run_sandbox("activecampaign", batch_seconds=0.05) as running:
        lift_limits(running)
        yield running


class TestActiveCampaign(AdapterContract):
    destination = "activecampaign"
    settings = SETTINGS

    @pytest.fixture
    def platform(self, server: Sandbox, monkeypatch: pytest.MonkeyPatch) -> Sandbox:
        server.reset()
        point_at(server, monkeypatch)
        return server

    def held(self, platform: Sandbox) -> dict[str, dict[str, Any]]:
        return fields(platform)

    def wanted(self, shop: Shop) -> dict[str, dict[str, Any]]:
        return as_text(shop.wanted())

    def opted_out(self, platform: Sandbox) -> set[str]:
        return {email for email, row in contacts(platform).items() if row["status"] == "2"}

    def touched(self, platform: Sandbox) -> int:
        return len([entry for entry in platform.request_log() if entry["path"] != "/contacts"])

    @pytest.mark.parametrize("crash_at", ["export.before_send", "export.after_send", "export.after_receipt"])
    def test_killed_anywhere_and_run_again(
        self, shop: Shop, platform: Sandbox, killer: Killable, crash_at: str
    ) -> None:
        """The other points are the exporter's, and tried with many contacts below."""
        super().test_killed_anywhere_and_run_again(shop, platform, killer, crash_at)


@pytest.mark.slow
class TestActiveCampaignWithMany(TestActiveCampaign):
    """The same with enough contacts for changes to be imported too."""

    customers = 40

    @pytest.mark.parametrize("crash_at", [*CRASH_POINTS, "export.after_receipt", "export.after_results"])
    def test_killed_anywhere_and_run_again(
        self, shop: Shop, platform: Sandbox, killer: Killable, crash_at: str
    ) -> None:
        super().test_killed_anywhere_and_run_again(shop, platform, killer, crash_at)


class TestActiveCampaignWrongInput(WrongInput):
    whole, platform = TestActiveCampaign(), TestActiveCampaign.platform
    url, key = "ACTIVECAMPAIGN_URL", "ACTIVECAMPAIGN_TOKEN"
    nowhere = ("list_id: 1\n", "list_id: 77\n")

    def delete_field(self, platform: Sandbox) -> None:
        listed = call(platform, "GET", "/fields", params={"limit": 100}).json()["fields"]
        number = next(field["id"] for field in listed if field["perstag"] == "OFFER")
        call(platform, "DELETE", f"/fields/{number}").raise_for_status()
