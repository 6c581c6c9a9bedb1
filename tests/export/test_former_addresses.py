"""A replaced address stays readable exactly as long as a destination has values under it."""

from __future__ import annotations

import pytest

from personalization.ledger import VaultItem
from tests.export.shop import Shop, address


def move(shop: Shop, number: int, to: str) -> str:
    """A source gives a person another address. Returns its token."""
    runtime = shop.runtime
    token = runtime.keys.token("email", to)
    runtime.ledger.vault(runtime.keys).put([VaultItem(shop.customer(number), "email", token, to)])
    shop.rows[number]["email_token"] = token
    shop.decide()
    return token


def readable(shop: Shop, *tokens: str) -> set[str]:
    return set(shop.runtime.ledger.vault(shop.runtime.keys).reveal(tokens).values())


def test_what_no_destination_has_is_replaced_at_once(shop: Shop) -> None:
    move(shop, 3, "moved@example.com")
    assert readable(shop, shop.email(3)) == set()


def test_only_what_is_there_is_kept_through_several_changes(shop: Shop) -> None:
    shop.export("file")
    between = move(shop, 3, "between@example.com")
    last = move(shop, 3, "last@example.com")
    assert readable(shop, shop.email(3), between, last) == {address(3), "last@example.com"}
    books = shop.export("file").books
    assert (books.removes, books.adds, books.acked) == (1, 1, 2)
    assert readable(shop, shop.email(3), between, last) == {"last@example.com"}


def test_back_to_the_former_address(shop: Shop) -> None:
    shop.export("file")
    moved = move(shop, 3, "moved@example.com")
    shop.export("file")
    move(shop, 3, address(3))
    assert readable(shop, shop.email(3), moved) == {address(3), "moved@example.com"}
    assert shop.export("file").books.acked == 2
    assert readable(shop, shop.email(3), moved) == {address(3)}


def test_an_erasure_ends_it_at_once(shop: Shop) -> None:
    shop.export("file")
    moved = move(shop, 3, "moved@example.com")
    vault = shop.runtime.ledger.vault(shop.runtime.keys)
    assert {item.value for item in vault.of_subjects([shop.customer(3)])} == {address(3), "moved@example.com"}
    vault.erase([shop.customer(3)])
    assert readable(shop, shop.email(3), moved) == set()


@pytest.mark.parametrize("opted_out_at", ["before", "after"])
def test_who_opts_out_around_the_change_is_opted_out_under_both_as_long_as_both_are_there(
    shop: Shop, opted_out_at: str
) -> None:
    shop.export("file")
    if opted_out_at == "before":
        shop.withdraw(3)
    move(shop, 3, "moved@example.com")
    if opted_out_at == "after":
        shop.withdraw(3)
    books = shop.export("file").books
    assert (books.retractions, books.acked, books.suppressed) == (1, 1, 1)
    assert readable(shop, shop.email(3)) == set()
