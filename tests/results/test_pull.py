"""What holds for a pull as such, tried with Mailchimp: what is unusable, what we said ourselves, other platforms."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from personalization.errors import ExportError
from personalization.sandbox import Sandbox, run_sandbox
from personalization.stages.export import results_landing
from personalization.stages.export.results import pull_results
from personalization.stages.export.results_status import results_status
from personalization.stages.export.retract import push_opt_outs
from personalization.stages.sync.results_tables import results_table
from tests.export.shop import Shop, address, folders
from tests.results import test_mailchimp as mailchimp
from tests.results.contract import ResultsContract

QUIET = {"hard": 0.0, "soft": 0.0, "opened": 0.0, "complained": 0.0}
NOW = datetime.now(UTC).replace(microsecond=0)


@pytest.fixture(scope="module")
def server() -> Iterator[Sandbox]:
    with run_sandbox("mailchimp", batch_seconds=0.1) as running:
        yield running


class TestPull:
    contract = mailchimp.TestMailchimpResults()
    destination, settings, customers = contract.destination, contract.settings, 8
    shop, platform = ResultsContract.shop, mailchimp.TestMailchimpResults.platform

    def send(self, shop: Shop, platform: Sandbox, name: str = "December") -> str:
        shop.export(self.destination)
        sent_at = (NOW - timedelta(days=1)).isoformat()
        return str(platform.send_campaign(name, sent_at=sent_at, rates=QUIET)["id"])

    def happen(self, platform: Sandbox, campaign: str, kind: str, who: str, **more: object) -> None:
        platform.let_happen(campaign, {"address": who, "kind": kind, "at": NOW.isoformat(), **more})

    def test_other_platforms_are_told_of_a_hard_bounce_and_of_a_complaint(self, shop: Shop, platform: Sandbox) -> None:
        shop.export("file")
        campaign = self.send(shop, platform)
        self.happen(platform, campaign, "bounced", address(3), hard=True)
        self.happen(platform, campaign, "complained", address(4))
        pull_results(shop.runtime)
        with (folders(shop)[-1] / "suppressions.csv").open(encoding="utf-8", newline="") as lines:
            told = {row["email"]: row["reason"] for row in csv.DictReader(lines)}
        assert told == {address(3): "bounced", address(4): "complained"}

    def test_what_we_told_the_platform_is_not_read_back_as_a_persons_word(self, shop: Shop, platform: Sandbox) -> None:
        """A bounce elsewhere must not become a withdrawal, nor an opt-out of ours a later one."""
        self.send(shop, platform)
        shop.runtime.ledger.suppressions.add([shop.email(3)], "bounced", "another platform")
        shop.withdraw(4)
        push_opt_outs(shop.runtime, [self.destination])
        head = shop.runtime.ledger.consent.head()
        (pulled,) = pull_results(shop.runtime)
        assert (pulled.opt_outs, pulled.problems) == (0, {})
        assert shop.runtime.ledger.consent.head() == head

    @pytest.mark.slow
    def test_who_left_the_list_without_a_campaign_is_opted_out(self, shop: Shop, platform: Sandbox) -> None:
        shop.export(self.destination)
        platform.call("PATCH", f"/lists/demo000001/members/{address(5)}", json={"status": "unsubscribed"})
        (pulled,) = pull_results(shop.runtime)
        assert pulled.opt_outs == 1
        (again,) = pull_results(shop.runtime)
        assert again.opt_outs == 0
        assert self.contract.withdrawn(shop) == {address(5)}

    def test_unusable_events_are_quarantined_with_the_reason_once(self, shop: Shop, platform: Sandbox) -> None:
        campaign = self.send(shop, platform)
        self.happen(platform, campaign, "opened", "no address")
        self.happen(platform, campaign, "opened", "")
        pulls = [pull_results(shop.runtime)[0] for _ in range(2)]
        assert [pulled.rejected for pulled in pulls] == [2, 0]
        self.contract.landed(shop)
        assert [results_landing.NOBODY in text for text in self.contract.quarantined(shop)] == [True, True]

    def test_nothing_of_an_erased_person_comes_back(self, shop: Shop, platform: Sandbox) -> None:
        self.send(shop, platform)
        keys, ledger = shop.runtime.keys, shop.runtime.ledger
        ledger.suppressions.add([keys.suppression_token(address(2))], "erased", "privacy")
        pull_results(shop.runtime)
        tokens = {row[1] for row in self.contract.landed(shop)}
        assert keys.token("email", address(2)) not in tokens
        assert len(tokens) == self.customers - 1

    @pytest.mark.slow
    def test_many_small_files_become_few(self, shop: Shop, platform: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(results_landing, "MANY_FILES", 2)
        monkeypatch.setattr("personalization.stages.export.adapters.mailchimp_results.PAGE", 2)
        self.send(shop, platform)
        pull_results(shop.runtime, batch_size=2)
        table = results_table(self.destination, "email_events")
        assert len(table.files(shop.runtime.workspace.landing)) == 1
        assert len(self.contract.landed(shop)) == self.customers
        assert pull_results(shop.runtime, batch_size=2)[0].events == 0

    @pytest.mark.slow
    def test_a_platform_that_is_down_keeps_no_other_waiting(
        self, shop: Shop, platform: Sandbox, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        shop.edit("destinations", "    mails: false\n    fields: &fields", "    results: {}\n    fields: &fields")
        self.send(shop, platform)
        platform.fault("status", path="/reports", status=400, body={"title": "Broken", "status": 400}, times=1)
        found = {pulled.destination: pulled for pulled in pull_results(shop.runtime)}
        assert set(found) == {"mailchimp", "chimp"}
        assert sum(bool(pulled.problems) for pulled in found.values()) == 1
        assert sum(pulled.events for pulled in found.values()) >= self.customers

    @pytest.mark.slow
    def test_a_second_pull_at_once_says_so_and_reads_nothing(self, shop: Shop, platform: Sandbox) -> None:
        self.send(shop, platform)
        with shop.runtime.ledger.leases.held(f"results:{self.destination}"):
            (pulled,) = pull_results(shop.runtime)
        assert list(pulled.problems) == ["all"]
        assert pulled.events == 0

    @pytest.mark.slow
    def test_status_names_campaigns_that_are_none_of_ours(self, shop: Shop, platform: Sandbox) -> None:
        self.send(shop, platform, "Newsletter 17")
        self.send(shop, platform, "December")
        pull_results(shop.runtime)
        (status,) = results_status(shop.runtime)
        assert status.other_campaigns == ["Newsletter 17"]
        assert status.events == {"sent": 2 * self.customers}
        assert {each.kind for each in status.progress} == {"campaigns", "members"}

    @pytest.mark.slow
    def test_wrong_names(self, shop: Shop, platform: Sandbox) -> None:
        with pytest.raises(ExportError, match="unknown destination 'chimpp'"):
            pull_results(shop.runtime, ["chimpp"])
        with pytest.raises(ExportError, match="holds files only"):
            pull_results(shop.runtime, ["file"])
        with pytest.raises(ExportError, match="are not read"):
            pull_results(shop.runtime, ["mailchimp"])


def test_landed_files_of_results_belong_to_no_source(tmp_path: Path) -> None:
    """A source and table can't have the name of a destination's results."""
    assert results_table("x", "email_events").landing_name == "email_events__results.x"
