"""The results contract for Mailchimp, and what is particular about its reports."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from personalization.sandbox import Sandbox, run_sandbox
from tests.export.killable import Killable
from tests.export.shop import Shop
from tests.results.contract import ResultsContract, killer

__all__ = ["killer"]


@pytest.fixture(scope="module")
def server() -> Iterator[Sandbox]:
    with run_sandbox("mailchimp", batch_seconds=0.1) as running:
        yield running


@pytest.mark.slow
class TestMailchimpResults(ResultsContract):
    destination = "chimp"
    settings = """
platform: mailchimp
base_url: ${env:MAILCHIMP_BASE_URL}
api_key: ${env:MAILCHIMP_API_KEY}
list_id: demo000001
mails: false
"""
    page_size = "personalization.stages.export.adapters.mailchimp_results.PAGE"
    fails_at = "/reports/.*"
    key_variable = "MAILCHIMP_API_KEY"

    @pytest.fixture
    def platform(self, server: Sandbox, shop: Shop, monkeypatch: pytest.MonkeyPatch) -> Sandbox:
        server.reset()
        monkeypatch.setenv("MAILCHIMP_BASE_URL", server.base_url)
        monkeypatch.setenv("MAILCHIMP_API_KEY", server.api_key)
        return server

    def test_a_campaign_of_which_nothing_changed_costs_one_request(self, shop: Shop, platform: Sandbox) -> None:
        self.send(shop, platform)
        self.pull(shop)
        platform.forget_requests()
        self.pull(shop)
        paths = [request["path"] for request in platform.request_log()]
        assert sorted(paths) == ["/lists/demo000001/members", "/lists/demo000001/members", "/reports"]


class TestMailchimpInShort:
    """The heart of the contract, for the fast suite."""

    whole = TestMailchimpResults()
    destination, settings, customers = whole.destination, whole.settings, whole.customers
    shop, platform = ResultsContract.shop, TestMailchimpResults.platform

    def test_results_come_back_once(self, shop: Shop, platform: Sandbox) -> None:
        self.whole.check_in_short(shop, platform)

    def test_killed_between_files_and_ledger(self, shop: Shop, platform: Sandbox, killer: Killable) -> None:
        self.whole.test_killed_in_the_middle_and_run_again(shop, platform, killer, "results.after_files")
