"""What every adapter must hold. A new platform subclasses `AdapterContract` and says how to look at the other side."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from personalization.errors import ExportError, LedgerError
from personalization.stages.export.adapters.base import Clock
from personalization.stages.export.adapters.registry import adapter_for
from personalization.stages.export.exporter import setup_destination
from tests.contract.kills import CRASH_POINTS, Kills, killer, open_shop
from tests.export.shop import Shop, address
from tests.export.test_generation import back_up, restore

__all__ = ["CRASH_POINTS", "AdapterContract", "killer"]


class AdapterContract(Kills):
    """Tests that run for every platform, through the exporter, against the real thing or its sandbox."""

    destination: str
    settings: str | None = None
    """The destination's entry in destinations.yaml, without `fields`, when the shop does not have it yet."""
    customers = 8

    @pytest.fixture
    def shop(self, tmp_path: Path) -> Shop:
        return open_shop(self, tmp_path / "shop")

    @pytest.fixture
    def platform(self, shop: Shop) -> Iterator[Any]:
        """The other side, empty, reachable as the shop's program says."""
        raise NotImplementedError

    def wanted(self, shop: Shop) -> dict[str, dict[str, Any]]:
        return shop.wanted()

    def assert_settled(self, shop: Shop, platform: Any) -> None:
        """The platform equals what was decided, the books close, and nothing is left to do."""
        assert self.held(platform) == self.wanted(shop)
        books = shop.books(self.destination)[0]
        assert books.closes
        assert books.state == "closed"
        assert books.present == len(self.wanted(shop))
        before = self.touched(platform)
        again = shop.export(self.destination)
        assert again.books.planned == 0
        assert self.touched(platform) == before

    def test_brings_what_was_decided_and_nothing_more(self, shop: Shop, platform: Any) -> None:
        books = shop.export(self.destination).books
        assert (books.planned, books.acked, books.adds) == (self.customers,) * 3
        self.assert_settled(shop, platform)

    def test_a_plan_reaches_nobody_and_has_the_hash_of_the_export(self, shop: Shop, platform: Any) -> None:
        before = self.touched(platform)
        plan = shop.plan(self.destination)
        assert self.touched(platform) == before
        exported = shop.export(self.destination, plan_hash=plan.hash)
        assert exported.plan.hash == exported.books.plan_hash == plan.hash

    def test_a_plan_that_is_not_current_any_more_is_not_executed(self, shop: Shop, platform: Any) -> None:
        plan = shop.plan(self.destination)
        shop.rows[3]["offer"] = "POINTS2"
        shop.decide()
        before = self.touched(platform)
        with pytest.raises(ExportError, match=r"is not .* any more"):
            shop.export(self.destination, plan_hash=plan.hash)
        assert self.touched(platform) == before

    def test_each_mapped_column_makes_exactly_one_change(self, shop: Shop, platform: Any) -> None:
        shop.export(self.destination)
        new = {"campaign": "favourites", "hero": "WEEKLY", "offer": "POINTS2", "purchase_score": 0.75}
        for number, (column, value) in enumerate(new.items()):
            shop.rows[number][column] = value
            shop.decide()
            books = shop.export(self.destination).books
            assert (books.planned, books.changes, books.acked, books.unchanged) == (1, 1, 1, self.customers - 1), column
        self.assert_settled(shop, platform)

    def test_who_is_not_wanted_any_more_is_cleared_but_neither_deleted_nor_opted_out(
        self, shop: Shop, platform: Any
    ) -> None:
        shop.export(self.destination)
        shop.rows[3]["outcome"] = "withheld"
        shop.decide()
        books = shop.export(self.destination).books
        assert (books.planned, books.removes, books.acked) == (1, 1, 1)
        assert self.opted_out(platform) == set()
        self.assert_settled(shop, platform)

    def test_a_contact_comes_back_after_it_was_removed(self, shop: Shop, platform: Any) -> None:
        shop.export(self.destination)
        shop.rows[3]["outcome"] = "withheld"
        shop.decide()
        shop.export(self.destination)
        shop.rows[3]["outcome"] = "send"
        shop.decide()
        assert shop.export(self.destination).books.adds == 1
        self.assert_settled(shop, platform)

    def test_withdrawn_after_the_decision_is_not_brought(self, shop: Shop, platform: Any) -> None:
        shop.withdraw(3)
        books = shop.export(self.destination).books
        assert (books.planned, books.acked, books.suppressed) == (self.customers, self.customers - 1, 1)
        assert address(3) not in self.held(platform)

    def test_withdrawn_while_there_is_opted_out_there(self, shop: Shop, platform: Any) -> None:
        shop.export(self.destination)
        shop.withdraw(3)
        books = shop.export(self.destination).books
        assert (books.retractions, books.acked) == (1, 1)
        assert self.opted_out(platform) == {address(3)}
        assert address(3) not in self.held(platform)
        before = self.touched(platform)
        assert shop.export(self.destination).books.acked == 0
        assert self.touched(platform) == before

    def test_suppressed_while_there_is_opted_out_there(self, shop: Shop, platform: Any) -> None:
        shop.export(self.destination)
        shop.runtime.ledger.suppressions.add([shop.email(3)], "complained", "test")
        shop.export(self.destination)
        assert self.opted_out(platform) == {address(3)}

    def test_opted_out_after_removal_is_still_opted_out_there(self, shop: Shop, platform: Any) -> None:
        shop.export(self.destination)
        shop.rows[3]["outcome"] = "withheld"
        shop.decide()
        shop.export(self.destination)
        shop.withdraw(3)
        assert shop.export(self.destination).books.retractions == 1
        assert self.opted_out(platform) == {address(3)}

    def test_a_changed_address_moves_the_values(self, shop: Shop, platform: Any) -> None:
        from personalization.ledger import VaultItem

        shop.export(self.destination)
        runtime, moved = shop.runtime, "moved@example.com"
        token = runtime.keys.token("email", moved)
        runtime.ledger.vault(runtime.keys).put([VaultItem(shop.customer(3), "email", token, moved)])
        shop.rows[3]["email_token"] = token
        shop.decide()
        old = address(3)
        assert runtime.ledger.vault(runtime.keys).reveal([shop.email(3)]) == {shop.email(3): old}, "until it is cleared"
        books = shop.export(self.destination).books
        assert (books.planned, books.removes, books.acked) == (2, 1, 2)
        assert moved in self.held(platform)
        assert old not in self.held(platform)
        assert self.opted_out(platform) == set()
        assert runtime.ledger.vault(runtime.keys).reveal([shop.email(3)]) == {}, "nobody needs it any more"
        assert shop.export(self.destination).books.planned == 0

    def test_what_is_held_about_a_person_is_shown_and_nothing_of_others(self, shop: Shop, platform: Any) -> None:
        """For the copy that a person may ask for (invariant 49)."""
        shop.export(self.destination)
        runtime = shop.runtime
        adapter = adapter_for(runtime.program, self.destination, runtime.workspace)
        external = runtime.keys.tokens(f"export:{self.destination}", [shop.customer(2)])
        text = json.dumps(adapter.shown([address(2), "never.seen@example.com"], external))
        assert address(2) in text
        assert external[0] in text
        assert "december" in text
        assert not [number for number in range(self.customers) if number != 2 and f'"{address(number)}"' in text]

    def test_an_erased_person_is_gone_and_stays_gone(self, shop: Shop, platform: Any) -> None:
        shop.export(self.destination)
        shop.withdraw(2)
        shop.export(self.destination)
        runtime = shop.runtime
        adapter = adapter_for(runtime.program, self.destination, runtime.workspace)
        people = (1, 2)
        addresses = [address(number) for number in people]
        external = runtime.keys.tokens(f"export:{self.destination}", [shop.customer(number) for number in people])
        assert adapter.erase([*addresses, "never.seen@example.com"], external) == 2
        assert {holding.address for holding in adapter.holdings()} == {
            address(number) for number in range(self.customers) if number not in people
        }
        assert adapter.erase(addresses, external) == 0, "an interrupted erasure can be repeated"
        assert adapter.shown([address(1)], external) == []

    def test_the_guard_stops_before_the_first_request(self, shop: Shop, platform: Any) -> None:
        """Invariant 25: nobody is wanted any more."""
        shop.export(self.destination)
        before = self.touched(platform)
        for row in shop.rows.values():
            row["outcome"] = "withheld"
        shop.decide()
        with pytest.raises(ExportError, match="stopped before its first request"):
            shop.export(self.destination)
        assert self.touched(platform) == before
        books = shop.export(self.destination, override_guard="Ada: it has ended").books
        assert (books.removes, books.override) == (self.customers, "Ada: it has ended")

    def test_of_two_exporters_one_works(self, shop: Shop, platform: Any) -> None:
        """Invariant 30."""
        before = self.touched(platform)
        with (
            shop.runtime.ledger.leases.held(f"export:{self.destination}"),
            pytest.raises(ExportError, match="is being worked on by process"),
        ):
            shop.export(self.destination)
        assert self.touched(platform) == before
        shop.export(self.destination)
        self.assert_settled(shop, platform)

    def test_a_restored_older_ledger_exports_nothing(self, shop: Shop, platform: Any) -> None:
        """Invariant 29."""
        shop.export(self.destination)
        copy = back_up(shop)
        shop.withdraw(3)
        shop.export(self.destination)
        before = self.touched(platform)
        restore(shop, copy)
        with pytest.raises(LedgerError, match="an older copy or another one"):
            shop.export(self.destination)
        assert self.touched(platform) == before

    @pytest.mark.slow
    @pytest.mark.parametrize("kind", ["status", "html", "truncated", "reset", "reset_after", "slow"])
    def test_three_runs_after_the_faults_stopped_everything_is_there(
        self, shop: Shop, platform: Any, kind: str
    ) -> None:
        """Invariants 17 and 18: the books of every run close, and nothing is lost."""
        for after in (1, 4, 8):
            platform.fault(kind, after=after, times=9, seconds=0.01, status=503 if kind == "status" else 200)
        with suppress(ExportError):
            shop.export(self.destination, clock=HURRIED)
        shop.rows[2]["offer"] = "POINTS2"
        shop.decide()
        with suppress(ExportError):
            shop.export(self.destination, clock=HURRIED)
        platform.clear_faults()
        for _ in range(3):
            shop.runtime.ledger.traffic.answered(self.destination)  # as it is after the circuit breaker's wait
            with suppress(ExportError):
                shop.export(self.destination, clock=HURRIED)
        assert all(books.closes for books in shop.books(self.destination))
        self.assert_settled(shop, platform)

    @pytest.mark.slow
    def test_a_duplicated_delivery_changes_nothing(self, shop: Shop, platform: Any) -> None:
        """Invariant 19: every request that writes is applied twice."""
        setup_destination(shop.runtime, self.destination)
        platform.fault("twice", method="POST|PUT|PATCH", times=500)
        shop.export(self.destination, clock=HURRIED)
        platform.clear_faults()
        self.assert_settled(shop, platform)
        shop.rows[2]["offer"] = "POINTS2"
        shop.decide()
        shop.withdraw(3)
        platform.fault("twice", method="POST|PUT|PATCH", times=500)
        shop.export(self.destination, clock=HURRIED)
        platform.clear_faults()
        assert self.opted_out(platform) == {address(3)}
        assert set(self.held(platform)) == set(self.wanted(shop)) - {address(3)}


HURRIED = Clock(sleep=lambda seconds: time.sleep(min(seconds, 0.02)))
