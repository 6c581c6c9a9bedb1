"""The do-not-mail list: it only grows, and a snapshot sees all of it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from personalization.ledger import Ledger

JUNE = datetime(2026, 6, 1, tzinfo=UTC)


def listed(ledger: Ledger) -> list[tuple[str, str]]:
    return [(row["identifier_token"], row["reason"]) for row in ledger.suppressions.snapshot().to_pylist()]


def test_identifiers_are_listed_once_with_their_first_reason(ledger: Ledger) -> None:
    add = ledger.suppressions.add
    assert listed(ledger) == []
    assert add(["b", "a", "a"], "unsubscribed", "mailchimp") == 2
    assert listed(ledger) == [("a", "unsubscribed"), ("b", "unsubscribed")]
    assert add(["a", "c"], "bounced", "mailchimp") == 2
    assert listed(ledger) == [("a", "unsubscribed"), ("b", "unsubscribed"), ("c", "bounced")]


def test_the_same_again_adds_nothing(ledger: Ledger) -> None:
    ledger.suppressions.add(["a"], "unsubscribed", "mailchimp", JUNE)
    assert ledger.suppressions.add(["a"], "unsubscribed", "elsewhere") == 0
    assert ledger.suppressions.add([], "unsubscribed", "elsewhere") == 0


def test_a_question_about_the_past(ledger: Ledger) -> None:
    ledger.suppressions.add(["later"], "unsubscribed", "mailchimp", JUNE + timedelta(days=1))
    ledger.suppressions.add(["earlier"], "complained", "mailchimp", JUNE - timedelta(days=1))
    ledger.suppressions.add(["now"], "complained", "mailchimp")
    assert ledger.suppressions.snapshot(before=JUNE)["identifier_token"].to_pylist() == ["earlier"]
    assert len(listed(ledger)) == 3


def test_a_moment_without_a_time_zone_is_refused(ledger: Ledger) -> None:
    with pytest.raises(ValueError, match="has no time zone"):
        ledger.suppressions.add(["a"], "unsubscribed", "mailchimp", JUNE.replace(tzinfo=None))


def test_a_snapshot_is_remembered_until_something_is_added_by_anyone(url: str) -> None:
    with Ledger.open(url) as ledger, Ledger.open(url) as other:
        ledger.suppressions.add(["a"], "unsubscribed", "x")
        first = ledger.suppressions.snapshot()
        assert ledger.suppressions.snapshot() is first
        with ledger.read() as connection:
            other.suppressions.add(["b"], "unsubscribed", "x")
            assert ledger.suppressions.snapshot(connection=connection) is first
            assert [token for token, _ in listed(ledger)] == ["a", "b"]
            assert ledger.suppressions.snapshot(connection=connection) == first
        assert [token for token, _ in listed(ledger)] == ["a", "b"]


def test_what_is_rolled_back_is_not_remembered(ledger: Ledger) -> None:
    def add_and_fail() -> None:
        with ledger.begin() as connection:
            ledger.suppressions.add(["lost"], "unsubscribed", "x", connection=connection)
            assert ledger.suppressions.snapshot(connection=connection).num_rows == 1
            raise RuntimeError

    with pytest.raises(RuntimeError):
        add_and_fail()
    ledger.suppressions.add(["a"], "unsubscribed", "x")  # takes the number of the lost row
    assert listed(ledger) == [("a", "unsubscribed")]
