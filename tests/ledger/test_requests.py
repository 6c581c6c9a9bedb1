"""Privacy requests and the log of what was done about them (invariants 46 and 51)."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest
from sqlalchemy import text

from personalization.errors import DataError, LedgerError
from personalization.ledger import Ledger
from personalization.ledger.consent_chain import GENESIS
from personalization.ledger.requests import add_months, due

AT = datetime(2026, 1, 31, 12, tzinfo=UTC)


def test_a_request_is_open_until_it_is_answered(ledger: Ledger) -> None:
    requests = ledger.requests
    made = requests.open("erasure", "t1_k1_somebody", "preference page", AT)
    asked = requests.get(made)
    assert (asked.kind, asked.status, asked.is_open, asked.due_at) == ("erasure", "received", True, due("erasure", AT))
    requests.approve(made, "privacy officer", AT + timedelta(days=1))
    requests.start(made, AT + timedelta(days=2))
    requests.start(made, AT + timedelta(days=2))
    requests.answer(made, "erased", AT + timedelta(days=3), receipt="r1")
    answered = requests.get(made)
    assert (answered.status, answered.outcome, answered.is_open) == ("answered", "erased", False)
    assert answered.answered_at == AT + timedelta(days=3)
    statuses = [entry.content["status"] for entry in requests.entries(kind="status", request_id=made)]
    assert statuses == ["approved", "started", "answered"]


def test_asking_twice_is_one_request_until_it_is_answered(ledger: Ledger) -> None:
    first = ledger.requests.open("access", "t1_k1_a", "preference page", AT)
    assert ledger.requests.open("access", "t1_k1_a", "e-mail", AT + timedelta(hours=1)) == first
    assert ledger.requests.open("access", "t1_k1_b", "e-mail", AT) != first
    assert ledger.requests.open("erasure", "t1_k1_a", "e-mail", AT) != first
    ledger.requests.answer(first, "sent", AT)
    assert ledger.requests.open("access", "t1_k1_a", "e-mail", AT) != first


def test_a_request_opens_together_with_what_else_is_written_or_not_at_all(ledger: Ledger) -> None:
    def fail() -> None:
        with ledger.begin() as connection:
            ledger.requests.open("access", "t1_k1_a", "preference page", AT, connection=connection)
            raise KeyError("our own")

    with pytest.raises(KeyError, match="our own"):
        fail()
    assert ledger.requests.all() == []
    assert ledger.verify().head == GENESIS


def test_a_refusal_needs_its_basis_and_is_final(ledger: Ledger) -> None:
    made = ledger.requests.open("access", "t1_k1_a", "letter", AT)
    with pytest.raises(DataError, match="a refusal needs its reason"):
        ledger.requests.deny(made, " ", AT)
    ledger.requests.deny(made, "identity could not be verified", AT)
    assert ledger.requests.get(made).basis == "identity could not be verified"
    with pytest.raises(LedgerError, match=f"{made} is closed already: denied"):
        ledger.requests.answer(made, "sent", AT)


def test_a_deadline_can_be_put_off_by_two_months_at_most(ledger: Ledger) -> None:
    made = ledger.requests.open("access", "t1_k1_a", "letter", AT)
    with pytest.raises(DataError, match="after 2026-02-28 and up to 2026-04-30, not to 2026-05-01"):
        ledger.requests.extend(made, datetime(2026, 5, 1, tzinfo=UTC), "many records", AT)
    ledger.requests.extend(made, datetime(2026, 4, 1, tzinfo=UTC), "many records", AT)
    request = ledger.requests.get(made)
    assert (request.due_at, request.extended_because) == (datetime(2026, 4, 1, tzinfo=UTC), "many records")
    assert not request.is_overdue(datetime(2026, 3, 31, tzinfo=UTC))
    assert request.is_overdue(datetime(2026, 4, 2, tzinfo=UTC))


def test_the_state_of_the_past_can_be_asked_for(ledger: Ledger) -> None:
    made = ledger.requests.open("access", "t1_k1_a", "letter", AT)
    seq = ledger.requests.state().seq
    ledger.requests.answer(made, "sent", AT)
    ledger.requests.open("erasure", "t1_k1_a", "letter", AT)
    assert [(request.request_id, request.status) for request in ledger.requests.all(up_to_seq=seq)] == [
        (made, "received")
    ]


@pytest.mark.parametrize(
    ("kind", "received", "by"),
    [
        ("access", datetime(2026, 1, 31, tzinfo=UTC), datetime(2026, 2, 28, tzinfo=UTC)),
        ("erasure", datetime(2026, 12, 5, tzinfo=UTC), datetime(2027, 1, 5, tzinfo=UTC)),
        ("opt_out_sale", datetime(2026, 1, 30, tzinfo=UTC), datetime(2026, 2, 20, tzinfo=UTC)),
    ],
)
def test_deadlines_are_those_of_the_law(kind: str, received: datetime, by: datetime) -> None:
    assert due(kind, received) == by


def test_months_end_where_the_month_ends() -> None:
    assert add_months(datetime(2027, 12, 31, tzinfo=UTC), 2) == datetime(2028, 2, 29, tzinfo=UTC)


def test_wrong_input(ledger: Ledger) -> None:
    with pytest.raises(DataError, match=r"no privacy request of the kind 'erase'\n  hint: did you mean 'erasure'"):
        ledger.requests.open("erase", "t1_k1_a", "letter", AT)
    with pytest.raises(DataError, match="without a time zone"):
        ledger.requests.open("erasure", "t1_k1_a", "letter", datetime(2026, 1, 1))  # noqa: DTZ001
    with pytest.raises(LedgerError, match="there is no privacy request 'access-1'"):
        ledger.requests.get("access-1")


def test_the_time_zone_in_which_a_request_came_does_not_matter(ledger: Ledger) -> None:
    made = ledger.requests.open("access", "t1_k1_a", "letter", AT.astimezone(timezone(timedelta(hours=9))))
    assert ledger.requests.get(made).received_at == AT
    ledger.requests.verify()


# --- invariant 46: whatever is edited, deleted or reordered, verification names the first wrong entry


@pytest.fixture
def log(ledger: Ledger) -> Ledger:
    for number in range(1, 4):
        made = ledger.requests.open("access", f"t1_k1_{number}", "letter", AT)
        ledger.requests.answer(made, "sent", AT)
    return ledger


def tamper(ledger: Ledger, *statements: str) -> None:
    """What somebody with the database's password could do: switch the guards off and change rows."""
    with ledger.begin() as connection:
        if connection.dialect.name == "sqlite":
            for table in ("privacy_log", "privacy_requests"):
                for change in ("update", "delete"):
                    connection.execute(text(f"drop trigger if exists {table}_no_{change}"))
        else:
            connection.execute(text("set local session_replication_role = replica"))
        for statement in statements:
            connection.execute(text(statement))


def test_an_untouched_log_verifies(log: Ledger) -> None:
    assert log.requests.verify() == log.requests.state()
    assert log.requests.state().seq == 6


@pytest.mark.parametrize("table", ["privacy_log", "privacy_requests"])
def test_rows_can_neither_be_changed_nor_removed(log: Ledger, table: str) -> None:
    changes = [f"update {table} set recorded_at = recorded_at", f"delete from {table}"]
    if log.engine.dialect.name == "postgresql":
        changes.append(f"truncate {table}")
    for change in changes:
        with pytest.raises(LedgerError, match=f"refused a change: {table} is append-only"), log.begin() as connection:
            connection.execute(text(change))


@pytest.mark.parametrize("column", ["kind", "request_id", "at", "content", "recorded_at", "prev_hash", "hash"])
@pytest.mark.parametrize("seq", [1, 4, 6])
def test_an_edited_entry_is_named(log: Ledger, column: str, seq: int) -> None:
    value = "at + 1" if column in ("at", "recorded_at") else f"'x' || {column}"
    tamper(log, f"update privacy_log set {column} = {value} where seq = {seq}")
    with pytest.raises(LedgerError, match=rf"the privacy log of the ledger .* is broken at entry {seq}: "):
        log.verify()


@pytest.mark.parametrize("seq", [1, 3])
def test_a_deleted_entry_is_named(log: Ledger, seq: int) -> None:
    tamper(log, f"delete from privacy_log where seq = {seq}")
    with pytest.raises(LedgerError, match=rf"is broken at entry {seq}: it is missing"):
        log.verify()


def test_a_reordered_entry_is_named(log: Ledger) -> None:
    tamper(
        log,
        "update privacy_log set seq = 99 where seq = 2",
        "update privacy_log set seq = 2 where seq = 4",
        "update privacy_log set seq = 4 where seq = 99",
    )
    with pytest.raises(LedgerError, match="is broken at entry 2: "):
        log.verify()


@pytest.mark.parametrize("column", ["kind", "subject_token", "manner", "received_at", "due_at"])
def test_an_edited_request_is_named(log: Ledger, column: str) -> None:
    value = {"kind": "'erasure'", "received_at": "due_at", "due_at": "received_at"}.get(column, "'x'")
    made = log.requests.all()[1].request_id
    tamper(log, f"update privacy_requests set {column} = {value} where request_id = '{made}'")
    with pytest.raises(LedgerError, match=f"the privacy request {made} of the ledger .* is not as the log says"):
        log.verify()


def test_a_deleted_request_is_named(log: Ledger) -> None:
    made = log.requests.all()[1].request_id
    tamper(log, f"delete from privacy_requests where request_id = '{made}'")
    with pytest.raises(LedgerError, match=f"the privacy request {made} is gone from the ledger"):
        log.verify()
