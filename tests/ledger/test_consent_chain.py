"""The chain of consent events: it refuses changes, and shows those made behind its back."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from sqlalchemy import text

from personalization.as_of import AsOf
from personalization.errors import LedgerError
from personalization.ledger import ConsentEvent, Ledger
from personalization.ledger.consent_chain import GENESIS

TABLES = ("consent_events", "consent_conflicts", "suppressions", "key_fingerprints")


@pytest.fixture
def chain(ledger: Ledger) -> Ledger:
    """A ledger with nine events, and a run book entry made after them."""
    ledger.consent.append(
        ConsentEvent(
            event_id=f"e{number}",
            subject_token=f"s{number}",
            purpose="email.marketing",
            action="grant",
            effective_at=datetime(2026, 1, number, tzinfo=UTC),
            source="test",
            evidence={"number": number},
        )
        for number in range(1, 10)
    )
    ledger.runs.start(AsOf.parse("2026-02-01"), program_sha256="p", code_version="1")
    return ledger


def tamper(ledger: Ledger, *statements: str) -> None:
    """What somebody with the database's password could do: switch the guards off and change rows."""
    with ledger.begin() as connection:
        if connection.dialect.name == "sqlite":
            for change in ("update", "delete"):
                connection.execute(text(f"drop trigger if exists consent_events_no_{change}"))
        else:
            connection.execute(text("set local session_replication_role = replica"))
        for statement in statements:
            connection.execute(text(statement))


def test_an_untouched_chain_verifies(chain: Ledger) -> None:
    state = chain.verify()
    assert (state.seq, state.head) == (9, chain.consent.head())
    assert state.head != GENESIS


def test_an_empty_ledger_verifies(ledger: Ledger) -> None:
    assert (ledger.verify().seq, ledger.consent.head()) == (0, GENESIS)


@pytest.mark.parametrize("table", TABLES)
def test_rows_can_neither_be_changed_nor_removed(chain: Ledger, table: str) -> None:
    chain.suppressions.add(["s1"], "unsubscribed", "test")
    chain.consent.append([_other_content()])
    with chain.begin() as connection:
        connection.execute(text("insert into key_fingerprints values ('token', 'k1', 'f', 0)"))
    changes = [f"update {table} set recorded_at = recorded_at", f"delete from {table}"]
    if chain.engine.dialect.name == "postgresql":
        changes.append(f"truncate {table}")
    for change in changes:
        with pytest.raises(LedgerError, match=f"refused a change: {table} is append-only"), chain.begin() as connection:
            connection.execute(text(change))


def _other_content() -> ConsentEvent:
    return ConsentEvent(
        event_id="e1",
        subject_token="someone-else",
        purpose="email.marketing",
        action="grant",
        effective_at=datetime(2026, 1, 1, tzinfo=UTC),
        source="test",
    )


@pytest.mark.parametrize(
    ("statement", "seq", "problem"),
    [
        ("update consent_events set action = 'withdraw' where seq = 5", 5, "its content does not match its hash"),
        ("update consent_events set evidence = '{}' where seq = 5", 5, "its content does not match its hash"),
        ("update consent_events set effective_at = effective_at + 1 where seq = 9", 9, "its content does not match"),
        ("update consent_events set recorded_at = recorded_at + 1 where seq = 2", 2, "its hash does not match"),
        ("update consent_events set content_sha256 = 'x' where seq = 3", 3, "its content does not match its hash"),
        ("update consent_events set hash = 'x' where seq = 4", 4, "its hash does not match"),
        ("update consent_events set prev_hash = 'x' where seq = 4", 4, "it does not follow the event before it"),
        ("delete from consent_events where seq = 5", 5, "it is missing"),
        ("delete from consent_events where seq <= 3", 1, "it is missing"),
        ("delete from consent_events where seq > 6", 7, "a run book saw 9 events, the end of the chain was cut off"),
        ("delete from consent_events", 1, "a run book saw 9 events, the end of the chain was cut off"),
    ],
)
def test_a_change_behind_its_back_is_found_at_its_first_event(
    chain: Ledger, statement: str, seq: int, problem: str
) -> None:
    tamper(chain, statement)
    with pytest.raises(LedgerError, match=f"consent chain of the ledger .* is broken at event {seq}: {problem}"):
        chain.verify()


def test_two_events_that_changed_places_are_found(chain: Ledger) -> None:
    tamper(
        chain,
        "update consent_events set seq = 100 where seq = 4",
        "update consent_events set seq = 4 where seq = 5",
        "update consent_events set seq = 5 where seq = 100",
    )
    with pytest.raises(LedgerError, match="is broken at event 4: it does not follow the event before it"):
        chain.verify()


def test_a_chain_that_was_made_anew_is_found_by_what_a_run_book_saw(chain: Ledger) -> None:
    tamper(chain, "delete from consent_events")
    chain.consent.append([_other_content()])
    chain.consent.append(
        ConsentEvent(
            event_id=f"new{number}",
            subject_token="s",
            purpose="email.marketing",
            action="grant",
            effective_at=datetime(2026, 1, 1, tzinfo=UTC),
            source="test",
        )
        for number in range(20)
    )
    with pytest.raises(LedgerError, match="is broken at event 9: a run book saw another hash there"):
        chain.verify()
