"""What every adapter must hold when its process is killed: at any place, with any operation, again and again."""

from __future__ import annotations

import itertools
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from personalization.stages.export.retract import push_opt_outs
from tests.export.killable import Killable, killable
from tests.export.shop import DAY, Shop, address

CRASH_POINTS = (
    "export.after_lease",
    "export.after_plan",
    "export.after_cut",
    "export.before_send",
    "export.after_send",
    "export.after_ack",
    "export.before_close",
    "export.after_close",
)


@pytest.fixture(scope="session")
def killer() -> Iterator[Killable]:
    with killable() as process:
        yield process


def open_shop(contract: Any, root: Path) -> Shop:
    """A shop in a new folder, with the platform of a contract as its destination."""
    shop = Shop.open(root, contract.customers)
    if contract.settings:
        shop.add_destination(contract.destination, contract.settings)
    return shop


class Kills:
    """Part of `AdapterContract`. The first methods are what each platform's tests say of it."""

    destination: str
    settings: str | None
    customers: int

    def held(self, platform: Any) -> dict[str, dict[str, Any]]:
        """Field values by address, of every contact that holds any of ours."""
        raise NotImplementedError

    def opted_out(self, platform: Any) -> set[str]:
        """Addresses that the platform was told to mail no more."""
        raise NotImplementedError

    def touched(self, platform: Any) -> int:
        """A number that grows with anything that reaches the platform."""
        raise NotImplementedError

    def wanted(self, shop: Shop) -> dict[str, dict[str, Any]]:
        raise NotImplementedError

    def assert_settled(self, shop: Shop, platform: Any) -> None:
        raise NotImplementedError

    def emptied(self, shop: Shop, platform: Any) -> Any:
        """The other side of a shop, empty again."""
        platform.reset()
        return platform

    @pytest.mark.parametrize("crash_at", CRASH_POINTS)
    def test_killed_anywhere_and_run_again(self, shop: Shop, platform: Any, killer: Killable, crash_at: str) -> None:
        assert killer.export(shop.root, self.destination, DAY, crash_at) == -signal.SIGKILL
        shop.export(self.destination)
        self.assert_settled(shop, platform)
        run = next(books for books in shop.books(self.destination) if books.planned)
        assert (run.planned, run.acked) == (
            self.customers,
        ) * 2  # the interrupted run was continued, each contact counted once

    @pytest.mark.slow
    def test_killed_again_and_again_while_it_takes_over(self, shop: Shop, platform: Any, killer: Killable) -> None:
        for crash_at in ("export.after_send", "export.after_take_over", "export.after_plan", "export.before_close"):
            assert killer.export(shop.root, self.destination, DAY, crash_at) == -signal.SIGKILL
        shop.export(self.destination)
        self.assert_settled(shop, platform)

    def test_killed_and_run_again_after_the_decisions_changed(
        self, shop: Shop, platform: Any, killer: Killable
    ) -> None:
        for crash_at in ("export.before_send", "export.after_send"):
            assert killer.export(shop.root, self.destination, DAY, crash_at) == -signal.SIGKILL
            shop.rows[1]["offer"] = crash_at[-4:].upper()
            shop.rows[2]["outcome"] = "withheld"
            shop.decide()
        shop.export(self.destination)
        self.assert_settled(shop, platform)

    def test_killed_after_sending_and_withdrawn_before_the_next_run(
        self, shop: Shop, platform: Any, killer: Killable
    ) -> None:
        assert killer.export(shop.root, self.destination, DAY, "export.after_send") == -signal.SIGKILL
        shop.withdraw(3)
        shop.export(self.destination)
        assert self.opted_out(platform) == {address(3)}
        assert address(3) not in self.held(platform)

    def test_killed_and_run_again_for_the_next_day(self, shop: Shop, platform: Any, killer: Killable) -> None:
        assert killer.export(shop.root, self.destination, DAY, "export.after_send") == -signal.SIGKILL
        shop.decide("2017-12-04")
        shop.export(self.destination, "2017-12-04")
        assert self.held(platform) == self.wanted(shop)
        assert all(books.closes for books in shop.books(self.destination))

    @pytest.mark.slow
    def test_killed_at_every_place_while_contacts_come_change_go_and_opt_out(
        self, platform: Any, killer: Killable, tmp_path: Path
    ) -> None:
        """One round for each place that an export passes, the second and third time too, until one is not killed."""
        places = 0
        for place in itertools.count(1):
            shop = open_shop(self, tmp_path / str(place))
            side = self.emptied(shop, platform)
            shop.export(self.destination)
            out = self.change_everything(shop)
            code = killer.export(shop.root, self.destination, DAY, f"*#{place}")
            assert code in (0, -signal.SIGKILL)
            shop.export(self.destination)
            assert self.held(side) == {who: row for who, row in self.wanted(shop).items() if who not in out}, place
            assert self.opted_out(side) == out, place
            assert all(books.closes and books.state == "closed" for books in shop.books(self.destination)), place
            before = self.touched(side)
            assert shop.export(self.destination).books.acked == 0, place
            assert self.touched(side) == before, place
            if code == 0:
                break
            places = place
        assert places >= len(CRASH_POINTS)

    @pytest.mark.slow
    def test_killed_later_and_later_in_every_take_over(self, shop: Shop, platform: Any, killer: Killable) -> None:
        """Each run takes over what the one before it left, and is killed a few places later."""
        shop.export(self.destination)
        out = self.change_everything(shop)
        for place in (2, 4, 5, 6, 7, 9, 11, 13):
            assert killer.export(shop.root, self.destination, DAY, f"*#{place}") in (0, -signal.SIGKILL)
        shop.export(self.destination)
        assert self.held(platform) == {who: row for who, row in self.wanted(shop).items() if who not in out}
        assert self.opted_out(platform) == out
        assert all(books.closes for books in shop.books(self.destination))

    @pytest.mark.slow
    def test_killed_at_every_place_while_it_tells_of_opt_outs(
        self, platform: Any, killer: Killable, tmp_path: Path
    ) -> None:
        """The next time tells of them, and closes what is open."""
        for place in itertools.count(1):
            shop = open_shop(self, tmp_path / str(place))
            side = self.emptied(shop, platform)
            shop.export(self.destination)
            shop.withdraw(3)
            shop.runtime.ledger.suppressions.add([shop.email(5)], "complained", "test")
            code = killer.push(shop.root, self.destination, f"*#{place}")
            assert code in (0, -signal.SIGKILL)
            (told,) = push_opt_outs(shop.runtime, [self.destination])
            assert told.state in ("told", "nothing new"), (place, told)
            assert self.opted_out(side) == {address(3), address(5)}, place
            assert all(books.closes and books.state == "closed" for books in shop.books(self.destination)), place
            before = self.touched(side)
            assert push_opt_outs(shop.runtime, [self.destination])[0].state == "nothing new"
            assert self.touched(side) == before
            if code == 0:
                break
        assert place > 4

    @pytest.mark.slow
    def test_a_push_killed_twice_is_told_by_the_third(self, shop: Shop, platform: Any, killer: Killable) -> None:
        shop.export(self.destination)
        shop.withdraw(3)
        for _ in range(2):
            assert killer.push(shop.root, self.destination, "export.after_send") == -signal.SIGKILL
        (told,) = push_opt_outs(shop.runtime, [self.destination])
        assert told.state == "told"
        assert self.opted_out(platform) == {address(3)}
        assert all(books.closes and books.state == "closed" for books in shop.books(self.destination))

    @pytest.mark.slow
    @pytest.mark.parametrize("crash_at", ["export.after_plan", "export.before_send", "export.after_send"])
    def test_opt_outs_of_a_killed_export_do_not_wait_for_the_next_one(
        self, shop: Shop, platform: Any, killer: Killable, crash_at: str
    ) -> None:
        shop.export(self.destination)
        out = self.change_everything(shop)
        assert killer.export(shop.root, self.destination, DAY, crash_at) == -signal.SIGKILL
        (told,) = push_opt_outs(shop.runtime, [self.destination])
        assert told.state == "told", told
        assert self.opted_out(platform) == out
        shop.export(self.destination)
        assert self.held(platform) == {who: row for who, row in self.wanted(shop).items() if who not in out}
        assert all(books.closes for books in shop.books(self.destination))

    def change_everything(self, shop: Shop) -> set[str]:
        """Every operation at once. Returns the addresses that have opted out."""
        for number, row in shop.rows.items():
            row["offer"] = "POINTS2" if number % 2 else "NEW10"
        shop.rows[2]["outcome"] = "withheld"
        shop.add([self.customers])
        shop.decide()
        shop.withdraw(3)
        shop.runtime.ledger.suppressions.add([shop.email(5)], "complained", "test")
        return {address(3), address(5)}
