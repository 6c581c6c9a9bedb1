"""The inbox: events numbered without gaps, each once, bodies encrypted; consumers and dead letters. Invariants 6, 9."""

from __future__ import annotations

import logging
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import text

from personalization.errors import KeyFileError, LedgerError
from personalization.ledger import Keyring, Ledger
from personalization.ledger.inbox_event import Arrival, Receipt

JUNE = datetime(2026, 6, 1, 12, tzinfo=UTC)
BODY = b'{"email": "ann@example.com"}'


def arrival(keys: Keyring, event_key: str, body: bytes = BODY, *, source: str = "shop", days: int = 0) -> Arrival:
    return Arrival.sealed(
        keys, source=source, event_key=event_key, body=body, event_at=JUNE, received_at=JUNE + timedelta(days=days)
    )


def test_events_are_numbered_without_gaps_and_read_in_order(ledger: Ledger, keys: Keyring) -> None:
    first = ledger.inbox.receive([arrival(keys, "a"), arrival(keys, "b", source="mailer")])
    second = ledger.inbox.receive([arrival(keys, "a"), arrival(keys, "c", b"other")])
    assert first == [Receipt(1, "new"), Receipt(2, "new")]
    assert second == [Receipt(1, "duplicate"), Receipt(3, "new")]
    assert ledger.inbox.last_seq() == 3
    rows = ledger.inbox.rows(0)
    assert [(row.seq, row.source, row.event_key, row.event_at, row.received_at) for row in rows] == [
        (1, "shop", "a", JUNE, JUNE),
        (2, "mailer", "b", JUNE, JUNE),
        (3, "shop", "c", JUNE, JUNE),
    ]
    assert [row.seq for row in ledger.inbox.rows(1, up_to=2)] == [2]
    assert [row.seq for row in ledger.inbox.rows(0, limit=2)] == [1, 2]
    assert [row.body(keys) for row in ledger.inbox.get([3, 1])] == [BODY, b"other"]
    assert [(source, count) for source, count, _ in ledger.inbox.counts()] == [("mailer", 1), ("shop", 2)]


def test_what_is_rolled_back_leaves_no_gap(ledger: Ledger, keys: Keyring) -> None:
    def receive_and_fail() -> None:
        with ledger.begin() as connection:
            assert ledger.inbox.receive([arrival(keys, "lost")], connection=connection) == [Receipt(1, "new")]
            raise RuntimeError

    with pytest.raises(RuntimeError):
        receive_and_fail()
    assert ledger.inbox.receive([arrival(keys, "kept")]) == [Receipt(1, "new")]


def test_one_id_twice_in_one_delivery(ledger: Ledger, keys: Keyring) -> None:
    receipts = ledger.inbox.receive([arrival(keys, "a"), arrival(keys, "a"), arrival(keys, "a", b"other")])
    assert receipts == [Receipt(1, "new"), Receipt(1, "duplicate"), Receipt(1, "conflict")]


def test_other_content_under_a_known_id_is_recorded_and_the_first_kept(
    ledger: Ledger, keys: Keyring, caplog: pytest.LogCaptureFixture
) -> None:
    ledger.inbox.receive([arrival(keys, "a"), arrival(keys, "a", source="mailer")])
    with caplog.at_level(logging.WARNING):
        assert ledger.inbox.receive([arrival(keys, "a", b"canary")]) == [Receipt(1, "conflict")]
        assert ledger.inbox.receive([arrival(keys, "a", b"canary")]) == [Receipt(1, "duplicate")]
    assert caplog.messages == ["source shop: the event of inbox row 1 came again with other content; the first is kept"]
    assert ledger.inbox.conflicts() == {"shop": 1}
    assert ledger.inbox.rows(0)[0].body(keys) == BODY


def test_a_part_that_may_differ_between_repetitions_is_no_conflict(ledger: Ledger, keys: Keyring) -> None:
    for body in (b"attempt 1", b"attempt 2"):
        same = Arrival.sealed(keys, source="shop", event_key="a", body=body, received_at=JUNE, same=b"attempt")
        ledger.inbox.receive([same])
    assert ledger.inbox.conflicts() == {}


def test_bodies_are_not_in_the_file(sqlite_ledger: Ledger, keys: Keyring) -> None:
    sqlite_ledger.inbox.receive([arrival(keys, "a", b"canary-in-the-body")])
    file = Path(str(sqlite_ledger.engine.url.database))
    content = b"".join(path.read_bytes() for path in file.parent.glob("ledger.sqlite*"))
    assert b"shop" in content
    assert b"canary-in-the-body" not in content


def test_a_body_moved_to_another_event_does_not_open(ledger: Ledger, keys: Keyring) -> None:
    ledger.inbox.receive([arrival(keys, "a"), arrival(keys, "b")])
    with ledger.begin() as connection:
        connection.execute(text("update inbox set body = (select body from inbox where seq = 1) where seq = 2"))
    one, two = ledger.inbox.rows(0)
    assert one.body(keys) == BODY
    with pytest.raises(KeyFileError, match=r"sealed with the vault key 'v1' does not open .*\n  hint: this key file"):
        two.body(keys)


def test_other_keys_open_nothing_and_tell_no_repetition(ledger: Ledger, keys: Keyring, tmp_path: Path) -> None:
    other = Keyring.create(tmp_path / "other.json")
    ledger.inbox.receive([arrival(keys, "a")])
    with pytest.raises(KeyFileError, match="does not open with that key"):
        ledger.inbox.rows(0)[0].body(other)
    assert other.digest(BODY) != keys.digest(BODY)
    assert keys.digest(BODY) == Keyring.load(keys.path).digest(BODY)


def test_an_unknown_vault_key_is_named(keys: Keyring) -> None:
    with pytest.raises(KeyFileError, match="has no vault key 'v9'"):
        keys.unseal(keys.seal(b"x", b"")[1], b"", "v9")


def test_rows_are_never_removed(ledger: Ledger, keys: Keyring) -> None:
    ledger.inbox.receive([arrival(keys, "a")])

    def remove() -> None:
        with ledger.begin() as connection:
            connection.execute(text("delete from inbox"))

    with pytest.raises(LedgerError, match="inbox is append-only"):
        remove()


def test_a_consumer_moves_on_with_what_it_applied(ledger: Ledger, keys: Keyring) -> None:
    ledger.inbox.receive([arrival(keys, key) for key in "abc"])
    assert ledger.inbox.watermark("apply") == 0

    def advance_and_fail() -> None:
        with ledger.begin() as connection:
            ledger.inbox.advance("apply", 2, connection=connection)
            assert ledger.inbox.watermark("apply", connection=connection) == 2
            raise RuntimeError

    with pytest.raises(RuntimeError):
        advance_and_fail()
    assert ledger.inbox.watermark("apply") == 0
    ledger.inbox.advance("apply", 2)
    ledger.inbox.advance("apply", 2)
    ledger.inbox.advance("other", 3)
    assert ledger.inbox.watermarks() == {"apply": 2, "other": 3}
    with pytest.raises(LedgerError, match="'apply' can't be at inbox row 4: the last one is 3"):
        ledger.inbox.advance("apply", 4)
    with pytest.raises(LedgerError, match="'apply' is at inbox row 2 already and can't go back to 1\n  hint: two"):
        ledger.inbox.advance("apply", 1)
    ledger.inbox.reset("apply")
    assert ledger.inbox.watermark("apply") == 0


def test_a_dead_letter_waits_is_tried_again_and_settled(ledger: Ledger, keys: Keyring) -> None:
    inbox = ledger.inbox
    inbox.receive([arrival(keys, key) for key in "abc"])
    inbox.dead(2, "not JSON")
    inbox.dead(3, "no order id")
    assert [(letter.seq, letter.source, letter.event_key, letter.reason) for letter in inbox.dead_letters.all()] == [
        (2, "shop", "b", "not JSON"),
        (3, "shop", "c", "no order id"),
    ]
    assert [letter.seq for letter in inbox.replay([2])] == [2]
    assert [letter.seq for letter in inbox.dead_letters.all("replay")] == [2]
    inbox.dead(2, "still not JSON")
    (letter,) = (letter for letter in inbox.dead_letters.all("dead") if letter.seq == 2)
    assert (letter.reason, letter.attempts) == ("still not JSON", 2)
    assert [letter.seq for letter in inbox.replay()] == [2, 3]
    with ledger.begin() as connection:
        inbox.dead_letters.settle([2, 3], connection=connection)
    assert inbox.dead_letters.all() == []
    assert [letter.seq for letter in inbox.dead_letters.all("settled")] == [2, 3]
    with pytest.raises(LedgerError, match="inbox row 2 is not a dead letter\n  hint: `personalization inbox dead`"):
        inbox.replay([2])
    with pytest.raises(LedgerError, match="the inbox has no row 9\n  hint: its last row is 3"):
        inbox.get([9])


def test_a_dead_letter_needs_its_event(ledger: Ledger) -> None:
    with pytest.raises(LedgerError):
        ledger.inbox.dead(1, "no such row")


def test_bodies_are_erased_and_repetitions_known_all_the_same(ledger: Ledger, keys: Keyring) -> None:
    inbox = ledger.inbox
    inbox.receive([arrival(keys, "a"), arrival(keys, "b"), arrival(keys, "a", b"conflict")])
    assert inbox.erase_bodies([1, 1]) == 1
    assert inbox.erase_bodies([1]) == 0
    assert [row.body(keys) for row in inbox.rows(0)] == [None, BODY]
    with ledger.read() as connection:
        assert connection.execute(text("select count(*) from inbox_conflicts where body is not null")).scalar() == 0
    assert inbox.receive([arrival(keys, "a")]) == [Receipt(1, "duplicate")]


def test_only_bodies_that_nobody_needs_any_more_expire(ledger: Ledger, keys: Keyring) -> None:
    inbox = ledger.inbox
    inbox.receive([arrival(keys, key, days=days) for days, key in enumerate("abcd")])
    inbox.dead(2, "not JSON")
    later = JUNE + timedelta(days=365)
    assert inbox.expire_bodies(later) == 0, "no consumer has applied anything"
    inbox.advance("apply", 4)
    inbox.advance("slow", 3)
    assert inbox.expire_bodies(JUNE + timedelta(days=2)) == 1
    assert inbox.expire_bodies(later) == 1
    assert [row.seq for row in inbox.rows(0) if row.body(keys) is None] == [1, 3]
