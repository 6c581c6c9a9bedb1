"""The adapter contract for Mailchimp, with single requests and with batches."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from personalization.sandbox import Sandbox, run_sandbox
from personalization.stages.export.adapters.mailchimp import DIRECT_ROWS
from tests.contract.adapter import AdapterContract, killer
from tests.contract.wrong_input import WrongInput
from tests.export.killable import Killable
from tests.export.shop import Shop, fields

__all__ = ["killer"]


@pytest.fixture(scope="module")
def server() -> Iterator[Sandbox]:
    with run_sandbox("mailchimp", batch_seconds=0.1) as running:
        yield running


class TestMailchimp(AdapterContract):
    destination = "mailchimp"

    @pytest.fixture
    def platform(self, server: Sandbox, monkeypatch: pytest.MonkeyPatch) -> Sandbox:
        server.reset()
        monkeypatch.setenv("MAILCHIMP_BASE_URL", server.base_url)
        monkeypatch.setenv("MAILCHIMP_API_KEY", server.api_key)
        return server

    def held(self, platform: Sandbox) -> dict[str, dict[str, Any]]:
        return fields(platform)

    def opted_out(self, platform: Sandbox) -> set[str]:
        return {
            email for email, member in platform.members().items() if member["status"] in ("unsubscribed", "cleaned")
        }

    def touched(self, platform: Sandbox) -> int:
        return len(platform.request_log())


class TestMailchimpInBatches(TestMailchimp):
    """The same with enough contacts for a batch."""

    customers = DIRECT_ROWS + 10

    @pytest.mark.parametrize("crash_at", ["export.after_receipt", "export.after_results"])
    def test_killed_while_the_platform_works(
        self, shop: Shop, platform: Sandbox, killer: Killable, crash_at: str
    ) -> None:
        self.test_killed_anywhere_and_run_again(shop, platform, killer, crash_at)


class TestMailchimpWrongInput(WrongInput):
    whole, platform = TestMailchimp(), TestMailchimp.platform
    url, key = "MAILCHIMP_BASE_URL", "MAILCHIMP_API_KEY"
    nowhere = ("demo000001", "nosuchlist")

    def delete_field(self, platform: Sandbox) -> None:
        path = f"/lists/{platform.list_id}/merge-fields"
        fields = platform.call("GET", path, params={"count": 100}).json()["merge_fields"]
        number = next(field["merge_id"] for field in fields if field["tag"] == "OFFER")
        platform.call("DELETE", f"{path}/{number}").raise_for_status()

    def test_in_short(self, shop: Shop, platform: Sandbox, caplog: pytest.LogCaptureFixture) -> None:
        """For the fast suite."""
        self.test_contacts_that_do_not_fit_hold_up_nobody(shop, platform, caplog)
