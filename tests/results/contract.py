"""What every reader of results must hold. A platform subclasses `ResultsContract` and says what it can give."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from personalization.ledger.schema import now
from personalization.sandbox import Sandbox
from personalization.stages.export.adapters.base import Clock
from personalization.stages.export.results import Pulled, pull_results
from personalization.stages.validation.split import split_entity
from tests.contract.wrong_input import TABLE, WAITING, script, secrets_in
from tests.export.killable import Killable, killable
from tests.export.shop import PURPOSE, Shop, address

__all__ = ["killer"]

RATES = {
    "hard": 0.1,
    "soft": 0.1,
    "opened": 0.7,
    "machine": 0.3,
    "clicked": 0.6,
    "unsubscribed": 0.3,
    "complained": 0.1,
}
SEED = 4


@pytest.fixture(scope="session")
def killer() -> Iterator[Killable]:
    with killable() as process:
        yield process


def moment(text: str) -> datetime:
    return datetime.fromisoformat(text).astimezone(UTC)


class ResultsContract:
    """Tests that run for every platform against its sandbox."""

    destination: str
    settings: str
    """The destination's entry in destinations.yaml, without `fields`."""
    gives = frozenset({"sent", "opened", "machine_opened", "clicked", "bounced", "unsubscribed", "complained"})
    """What the platform's API tells of each mail."""
    customers = 40
    complaints = True
    """Whether the platform tells a complaint from an unsubscribe."""
    exact = True
    """Whether the platform tells the moments of events."""
    late_hours = 30.0
    """How much later than it happened the platform may tell of something: less than the overlap of reads."""
    page_size: str
    """Module and name of the reader's page size, so that tests can make it small."""

    @pytest.fixture
    def shop(self, tmp_path: Path) -> Shop:
        shop = Shop.open(tmp_path / "shop", self.customers)
        shop.add_destination(self.destination, f"{self.settings.strip()}\nresults: {{}}\n")
        return shop

    @pytest.fixture
    def platform(self, shop: Shop) -> Iterator[Any]:
        """The other side, empty, reachable as the shop's program says."""
        raise NotImplementedError

    def send(self, shop: Shop, platform: Sandbox, name: str = "December", days_ago: float = 2) -> str:
        """The shop's contacts are brought to the platform, which mails them all."""
        shop.export(self.destination)
        sent_at = (datetime.now(UTC) - timedelta(days=days_ago)).replace(microsecond=0)
        sent = platform.send_campaign(name, sent_at=sent_at.isoformat(), seed=SEED, rates=RATES)
        assert sent["events"]["sent"] == self.customers
        return str(sent["id"])

    def pull(self, shop: Shop, clock: Clock | None = None, **settings: Any) -> Pulled:
        (pulled,) = pull_results(shop.runtime, [self.destination], clock=clock, **settings)
        return pulled

    def reported(self, shop: Shop, platform: Sandbox) -> set[tuple[str, ...]]:
        """What the platform's API tells, as rows of email_events."""
        return {row for event in platform.mail_events() if (row := self.row(shop, event))[2] in self.gives}

    def row(self, shop: Shop, event: dict[str, Any]) -> tuple[str, ...]:
        kind = "machine_opened" if event["machine"] and "machine_opened" in self.gives else event["kind"]
        token = shop.runtime.keys.token("email", event["address"])
        row = (f"{self.destination}:{event['campaign']}", token, kind)
        return (*row, moment(event["at"]).isoformat()) if self.exact else row

    def landed(self, shop: Shop) -> set[tuple[str, ...]]:
        """Rows of `landed.email_events`, through the rules for landed rows."""
        runtime = shop.runtime
        with runtime.warehouse.connect() as session:
            session.execute("create schema if not exists landed; create schema if not exists quarantine")
            split_entity("email_events", runtime.program, runtime.workspace.landing, session)
            rows = session.rows("select campaign_id, customer_key, event, occurred_at from landed.email_events")
        found = [(*row[:3], moment(row[3]).isoformat()) if self.exact else row[:3] for row in rows]
        assert len(found) == len(set(found)) or not self.exact
        return set(found)

    def quarantined(self, shop: Shop) -> list[str]:
        with shop.runtime.warehouse.connect() as session:
            return [str(reasons) for (reasons,) in session.rows("select reasons from quarantine.email_events")]

    def withdrawn(self, shop: Shop) -> set[str]:
        """Addresses of those who withdrew, by the consent ledger."""
        keys, consent = shop.runtime.keys, shop.runtime.ledger.consent
        return {
            address(n)
            for n in range(self.customers)
            if consent.person([keys.token("email", address(n))], [PURPOSE])[PURPOSE].state == "withdrawn"
        }

    def suppressed(self, shop: Shop) -> dict[str, str]:
        """Reason by address."""
        keys = shop.runtime.keys
        snapshot = shop.runtime.ledger.suppressions.snapshot().to_pylist()
        reasons = {row["identifier_token"]: row["reason"] for row in snapshot}
        found = {address(n): reasons.get(keys.token("email", address(n))) for n in range(self.customers)}
        return {mail: reason for mail, reason in found.items() if reason}

    def expected_out(self, platform: Sandbox) -> tuple[set[str], dict[str, str]]:
        """Who unsubscribed; and who bounced hard or complained, with the reason."""
        events = platform.mail_events()
        out = {event["address"] for event in events if event["kind"] == "unsubscribed"}
        reasons = {event["address"]: "bounced" for event in events if event["kind"] == "bounced" and event["hard"]}
        complained = {event["address"] for event in events if event["kind"] == "complained"}
        if self.complaints:
            return out, reasons | dict.fromkeys(complained, "complained")
        return out | complained, reasons

    def test_whatever_comes_instead_of_an_answer_is_no_result(self, shop: Shop, platform: Sandbox) -> None:
        """It is told for each kind of result, without key or address; the next read has everything."""
        self.send(shop, platform)
        for wrong in TABLE.values():
            script(platform, wrong)
            pulled = self.pull(shop, clock=WAITING)
            platform.clear_faults()
            assert pulled.problems, wrong
            assert (pulled.events, pulled.opt_outs) == (0, 0)
            assert secrets_in(str(pulled.problems), platform.api_key) == []
        assert self.pull(shop).problems == {}
        assert self.landed(shop) == self.reported(shop, platform)

    def check_in_short(self, shop: Shop, platform: Sandbox) -> None:
        """The heart of the contract in one go, for the fast suite."""
        self.send(shop, platform)
        pulled = self.pull(shop)
        assert pulled.problems == {}
        assert self.landed(shop) == self.reported(shop, platform) != set()
        out, reasons = self.expected_out(platform)
        assert self.withdrawn(shop) >= out != set()
        assert {mail: self.suppressed(shop).get(mail) for mail in reasons} == reasons
        files = self.files(shop)
        again = self.pull(shop)
        assert (again.events, again.opt_outs, again.problems) == (0, 0, {})
        assert self.files(shop) == files

    # What every platform must hold.

    def test_everything_that_is_told_lands_once(self, shop: Shop, platform: Sandbox) -> None:
        self.send(shop, platform)
        pulled = self.pull(shop)
        assert pulled.problems == {}
        assert self.landed(shop) == self.reported(shop, platform) != set()
        assert self.quarantined(shop) == []
        assert (pulled.rejected, pulled.events) == (0, len(self.landed(shop)) if self.exact else pulled.events)

    def test_read_again_nothing_is_new(self, shop: Shop, platform: Sandbox) -> None:
        self.send(shop, platform)
        first = self.pull(shop)
        files = self.files(shop)
        head = shop.runtime.ledger.consent.head()
        again = self.pull(shop)
        assert (again.events, again.opt_outs, again.problems) == (0, 0, {})
        assert first.opt_outs > 0
        assert self.files(shop) == files
        assert shop.runtime.ledger.consent.head() == head

    def test_opt_outs_bounces_and_complaints_reach_the_ledger(self, shop: Shop, platform: Sandbox) -> None:
        self.send(shop, platform)
        self.pull(shop)
        out, reasons = self.expected_out(platform)
        assert out
        assert set(reasons.values()) == ({"bounced", "complained"} if self.complaints else {"bounced"})
        assert self.withdrawn(shop) >= out
        assert {mail: self.suppressed(shop).get(mail) for mail in reasons} == reasons
        soft = {e["address"] for e in platform.mail_events() if e["kind"] == "bounced" and not e["hard"]}
        assert soft
        assert not soft & (set(self.suppressed(shop)) | self.withdrawn(shop))

    def test_what_happens_later_is_read_later(self, shop: Shop, platform: Sandbox) -> None:
        campaign = self.send(shop, platform)
        self.pull(shop)
        at = datetime.now(UTC).replace(microsecond=0) - timedelta(hours=self.late_hours)
        quiet = [n for n in range(self.customers) if address(n) not in self.gone(platform)][:3]
        platform.let_happen(
            campaign,
            {"address": address(quiet[0]), "kind": "opened", "at": at.isoformat()},
            {"address": address(quiet[1]), "kind": "clicked", "at": at.isoformat(), "url": "https://shop.example/late"},
            {"address": address(quiet[2]), "kind": "unsubscribed", "at": at.isoformat(), "reason": "late"},
        )
        assert self.pull(shop).problems == {}
        assert self.landed(shop) == self.reported(shop, platform)
        assert address(quiet[2]) in self.withdrawn(shop)

    @pytest.mark.parametrize("crash_at", ["results.after_files", "results.after_cursor"])
    def test_killed_in_the_middle_and_run_again(
        self, shop: Shop, platform: Sandbox, killer: Killable, crash_at: str
    ) -> None:
        self.send(shop, platform)
        assert killer.pull(shop.root, self.destination, crash_at) == -signal.SIGKILL
        assert killer.pull(shop.root, self.destination) == 0
        assert self.landed(shop) == self.reported(shop, platform)
        out, reasons = self.expected_out(platform)
        assert self.withdrawn(shop) >= out
        assert {mail: self.suppressed(shop).get(mail) for mail in reasons} == reasons

    def test_small_pages_and_batches_make_no_difference(
        self, shop: Shop, platform: Sandbox, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(self.page_size, 7)
        self.send(shop, platform)
        assert self.pull(shop, batch_size=5).problems == {}
        assert self.landed(shop) == self.reported(shop, platform)

    def test_a_failure_in_the_middle_keeps_what_was_read(self, shop: Shop, platform: Sandbox) -> None:
        self.send(shop, platform)
        platform.fault("status", status=500, path=self.fails_at, after=1, times=100)
        broken = self.pull(shop, Clock(sleep=lambda seconds: None))
        assert broken.problems
        assert "example.com" not in str(broken.problems)
        platform.clear_faults()
        assert self.pull(shop).problems == {}
        assert self.landed(shop) == self.reported(shop, platform)

    def test_nothing_read_back_opts_anybody_in(self, shop: Shop, platform: Sandbox) -> None:
        """Invariant 34: withdrawn here, and still active and opening there."""
        shop.export(self.destination)
        shop.withdraw(*range(5))
        sent_at = datetime.now(UTC) - timedelta(days=1)
        platform.send_campaign("December", sent_at=sent_at.isoformat(), seed=SEED, rates=RATES)
        self.pull(shop)
        consent, keys = shop.runtime.ledger.consent, shop.runtime.keys
        for number in range(5):
            tokens = [shop.customer(number), keys.token("email", address(number))]
            assert consent.person(tokens, [PURPOSE])[PURPOSE].state == "withdrawn"
        actions = {event.event.action for event in consent.history([shop.email(n) for n in range(self.customers)])}
        assert actions <= {"withdraw"}

    def test_campaigns_are_named(self, shop: Shop, platform: Sandbox) -> None:
        campaign = self.send(shop, platform, "December")
        self.pull(shop)
        runtime = shop.runtime
        with runtime.warehouse.connect() as session:
            session.execute("create schema if not exists quarantine")
            split_entity("campaign_history", runtime.program, runtime.workspace.landing, session)
            rows = session.rows("select campaign_id, title from landed.campaign_history")
        assert rows == [(f"{self.destination}:{campaign}", "December")]

    def test_a_wrong_key_is_named_and_nothing_is_lost(
        self, shop: Shop, platform: Sandbox, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        self.send(shop, platform)
        with monkeypatch.context() as wrong:
            wrong.setenv(self.key_variable, "wrong-secret-us1")
            refused = self.pull(shop, Clock(sleep=lambda seconds: None))
        assert refused.problems
        assert "wrong-secret" not in str(refused.problems)
        assert self.pull(shop).problems == {}
        assert self.landed(shop) == self.reported(shop, platform)

    def test_addresses_are_nowhere_in_the_landing_zone(self, shop: Shop, platform: Sandbox) -> None:
        """Invariant 41."""
        self.send(shop, platform)
        self.pull(shop)
        for path in shop.runtime.workspace.landing.rglob("*.parquet"):
            assert b"@example.com" not in path.read_bytes()

    fails_at: str
    """A path of the API, as a regular expression, of which the second request fails."""
    key_variable: str

    def files(self, shop: Shop) -> list[str]:
        return sorted(str(path) for path in shop.runtime.workspace.landing.rglob("*.parquet"))

    def gone(self, platform: Sandbox) -> set[str]:
        events = platform.mail_events()
        return {e["address"] for e in events if e["kind"] in ("bounced", "unsubscribed", "complained")}


def later(**delta: float) -> Clock:
    """A clock that is ahead."""
    return Clock(now=lambda: now() + timedelta(**delta))
