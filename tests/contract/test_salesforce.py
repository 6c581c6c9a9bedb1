"""The adapter contract for Salesforce: in short, and (slow) all of it, at once and by requests for later."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from personalization.sandbox import Sandbox, run_sandbox
from personalization.stages.export.adapters import salesforce
from tests.contract.adapter import AdapterContract, killer
from tests.contract.wrong_input import WrongInput
from tests.export import salesforce_side
from tests.export.killable import Killable
from tests.export.shop import Shop

__all__ = ["killer"]


@pytest.fixture(scope="module")
def server() -> Iterator[Sandbox]:
    with run_sandbox("salesforce", batch_seconds=0.1) as running:
        yield running


@pytest.mark.slow
class TestSalesforce(AdapterContract):
    """Eight contacts: rows are written at once."""

    destination = "salesforce"
    settings = salesforce_side.SETTINGS

    @pytest.fixture
    def platform(self, server: Sandbox, monkeypatch: pytest.MonkeyPatch) -> Sandbox:
        salesforce_side.forget(server)
        monkeypatch.setenv("SALESFORCE_URL", server.url)
        monkeypatch.setenv("SALESFORCE_CLIENT_ID", "personalization")
        monkeypatch.setenv("SALESFORCE_CLIENT_SECRET", server.api_key)
        return server

    def emptied(self, shop: Shop, platform: Sandbox) -> Sandbox:
        salesforce_side.forget(platform)
        return platform

    def held(self, platform: Sandbox) -> dict[str, dict[str, Any]]:
        return salesforce_side.fields(platform)

    def opted_out(self, platform: Sandbox) -> set[str]:
        marked = {email for email, row in salesforce_side.rows(platform).items() if row["optedout"] == "True"}
        assert all(salesforce_side.status(platform, email) == ["Unsubscribed"] for email in marked)
        return marked

    def touched(self, platform: Sandbox) -> int:
        mine = (salesforce_side.ROWSET, "/Service.asmx", "/v2/token")
        return len([one for one in platform.request_log() if one["path"] not in mine])


@pytest.mark.slow
class TestSalesforceLater(TestSalesforce):
    """Enough contacts for a request that Salesforce works on later."""

    customers = salesforce.AT_ONCE + 10

    @pytest.mark.parametrize("crash_at", ["export.after_receipt", "export.after_results"])
    def test_killed_while_the_platform_works(
        self, shop: Shop, platform: Sandbox, killer: Killable, crash_at: str
    ) -> None:
        self.test_killed_anywhere_and_run_again(shop, platform, killer, crash_at)


class TestSalesforceInShort:
    """A few of the contract's tests, for the fast suite."""

    whole = TestSalesforce()
    settings, destination, customers = TestSalesforce.settings, TestSalesforce.destination, TestSalesforce.customers
    shop, platform = AdapterContract.shop, TestSalesforce.platform

    def test_brings_what_was_decided(self, shop: Shop, platform: Sandbox) -> None:
        self.whole.test_brings_what_was_decided_and_nothing_more(shop, platform)

    def test_withdrawn_while_there(self, shop: Shop, platform: Sandbox) -> None:
        self.whole.test_withdrawn_while_there_is_opted_out_there(shop, platform)

    def test_killed_after_sending(self, shop: Shop, platform: Sandbox, killer: Killable) -> None:
        self.whole.test_killed_anywhere_and_run_again(shop, platform, killer, "export.after_send")


class TestSalesforceWrongInput(WrongInput):
    whole, platform = TestSalesforce(), TestSalesforce.platform
    url, key = "SALESFORCE_URL", "SALESFORCE_CLIENT_SECRET"
    nowhere = ("    category_id: 7\n", "")

    def delete_field(self, platform: Sandbox) -> None:
        path = f"/data/v1/customobjects/{salesforce_side.extension(platform)}/fields/OFFER"
        salesforce_side.call(platform, "DELETE", path).raise_for_status()
