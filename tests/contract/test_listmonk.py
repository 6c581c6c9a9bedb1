"""The adapter contract for listmonk, one by one and by import."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from personalization.sandbox import Sandbox, run_sandbox
from personalization.stages.export.adapters.listmonk import SINGLE_ROWS
from tests.contract.adapter import CRASH_POINTS, AdapterContract, killer
from tests.contract.wrong_input import WrongInput
from tests.export.killable import Killable
from tests.export.listmonk import SETTINGS, become, fields, point_at, subscribers
from tests.export.shop import Shop

__all__ = ["killer"]


@pytest.fixture(scope="module")
def server() -> Iterator[Sandbox]:
    with run_sandbox("listmonk", batch_seconds=0.05) as running:
        yield running


class TestListmonk(AdapterContract):
    destination = "listmonk"
    settings = SETTINGS

    @pytest.fixture
    def platform(self, server: Sandbox, monkeypatch: pytest.MonkeyPatch) -> Sandbox:
        server.reset()
        point_at(server, monkeypatch)
        return server

    def held(self, platform: Sandbox) -> dict[str, dict[str, Any]]:
        return fields(platform)

    def wanted(self, shop: Shop) -> dict[str, dict[str, Any]]:
        return {email: {k: v for k, v in row.items() if v != ""} for email, row in shop.wanted().items()}

    def opted_out(self, platform: Sandbox) -> set[str]:
        return {
            email
            for email, row in subscribers(platform).items()
            if row["status"] == "blocklisted" or any(e["subscription_status"] == "unsubscribed" for e in row["lists"])
        }

    def touched(self, platform: Sandbox) -> int:
        return len(platform.request_log())

    @pytest.mark.parametrize("crash_at", ["export.before_send", "export.after_send"])
    def test_killed_anywhere_and_run_again(
        self, shop: Shop, platform: Sandbox, killer: Killable, crash_at: str
    ) -> None:
        """The other points are the exporter's, and tried by import below."""
        super().test_killed_anywhere_and_run_again(shop, platform, killer, crash_at)


@pytest.mark.slow
class TestListmonkByImport(TestListmonk):
    """The same with enough new contacts for an import."""

    customers = SINGLE_ROWS + 10

    @pytest.mark.parametrize("crash_at", [*CRASH_POINTS, "export.after_receipt", "export.after_results"])
    def test_killed_anywhere_and_run_again(
        self, shop: Shop, platform: Sandbox, killer: Killable, crash_at: str
    ) -> None:
        super().test_killed_anywhere_and_run_again(shop, platform, killer, crash_at)


@pytest.mark.slow
class TestListmonkBeforePatch(TestListmonk):
    """The same with a server that takes changes by import only."""

    @pytest.fixture
    def platform(self, server: Sandbox, monkeypatch: pytest.MonkeyPatch) -> Sandbox:
        server.reset()
        become(server, "5.1.0")
        point_at(server, monkeypatch)
        return server


class TestListmonkWrongInput(WrongInput):
    whole, platform = TestListmonk(), TestListmonk.platform
    url, key = "LISTMONK_BASE_URL", "LISTMONK_API_TOKEN"
    nowhere = ("list: demo000001", "list: 77")

    def delete_field(self, platform: Sandbox) -> None:
        """Attributes are made by writing them; the list can be deleted."""
        lists = platform.call("GET", "/lists").json()["data"]["results"]
        number = next(one["id"] for one in lists if one["name"] == "demo000001")
        platform.call("DELETE", f"/lists/{number}").raise_for_status()
