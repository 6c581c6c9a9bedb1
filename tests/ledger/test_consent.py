"""Consent events: added once, never changed, and what they say about a person at any moment."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pyarrow as pa
import pytest
from sqlalchemy import select

from personalization.errors import DataError
from personalization.ledger import ConsentEvent, ConsentState, Ledger, notice_sha256
from personalization.ledger.schema import consent_events

MARKETING = "email.marketing"
JUNE = datetime(2026, 6, 1, 12, tzinfo=UTC)


def event(event_id: str, action: str = "grant", *, days: int = 0, **changes: Any) -> ConsentEvent:
    """An event about `ann`, some days after the first of June."""
    values: dict[str, Any] = {
        "event_id": event_id,
        "subject_token": "ann",
        "purpose": MARKETING,
        "action": action,
        "effective_at": JUNE + timedelta(days=days),
        "source": "made.consents",
    }
    return ConsentEvent(**(values | changes))


def states(snapshot: pa.Table) -> dict[str, str]:
    return dict(zip(snapshot["subject_token"].to_pylist(), snapshot["state"].to_pylist(), strict=True))


def test_an_event_is_recorded_whole(ledger: Ledger) -> None:
    said = event(
        "e1",
        jurisdiction="DE",
        method="sign-up form",
        notice_version="1",
        notice_sha256=notice_sha256("We may write."),
        locale="de-DE",
        evidence={"page": "/join", "double_opt_in": True},
        actor="support",
    )
    assert ledger.consent.append([said]) == 1
    with ledger.read() as connection:
        row = connection.execute(select(consent_events)).one()._asdict()
    assert row["seq"] == 1
    assert row["effective_at"] == JUNE
    assert row["evidence"] == '{"double_opt_in":true,"page":"/join"}'
    assert abs(datetime.now(UTC) - row["recorded_at"]) < timedelta(minutes=1)
    for name in ("event_id", "subject_token", "purpose", "action", "method", "notice_sha256", "locale", "actor"):
        assert row[name] == getattr(said, name)


def test_the_same_event_again_adds_nothing(ledger: Ledger) -> None:
    events = [event("e1"), event("e2", "withdraw", days=1)]
    assert ledger.consent.append(events) == 2
    head = ledger.consent.head()
    assert ledger.consent.append(events) == 0
    assert ledger.consent.append([*reversed(events), events[0]]) == 0
    elsewhere = timezone(timedelta(hours=5))
    assert ledger.consent.append([replace(events[0], effective_at=JUNE.astimezone(elsewhere))]) == 0
    assert (ledger.consent.head(), ledger.consent.conflicts()) == (head, 0)


def test_a_repeated_id_with_other_content_does_not_replace_the_first(
    ledger: Ledger, caplog: pytest.LogCaptureFixture
) -> None:
    ledger.consent.append([event("e1", "withdraw", days=1)])
    assert ledger.consent.append([event("e1", "grant", days=9)]) == 0
    assert ledger.consent.append([event("e1", "grant", days=9)]) == 0
    assert states(ledger.consent.snapshot(MARKETING)) == {"ann": "withdrawn"}
    assert ledger.consent.conflicts() == 1
    assert caplog.messages == ["1 consent events came again under a known id with other content"]


def test_an_opt_out_under_a_repeated_id_counts_all_the_same(ledger: Ledger) -> None:
    opt_out = event("e1", "withdraw", days=1)
    ledger.consent.append([event("e1")])
    assert ledger.consent.append([opt_out]) == 1
    assert ledger.consent.append([opt_out, event("e1")]) == 0
    state = ledger.consent.state(["ann"], MARKETING)["ann"]
    assert (state.state, state.effective_at) == ("withdrawn", JUNE + timedelta(days=1))
    assert str(state.event_id).startswith("e1#")
    assert ledger.consent.conflicts() == 1
    ledger.consent.verify()


def test_two_contents_under_one_id_in_one_delivery(ledger: Ledger) -> None:
    assert ledger.consent.append([event("e1"), event("e1", "withdraw"), event("e1", "withdraw")]) == 2
    assert states(ledger.consent.snapshot(MARKETING)) == {"ann": "withdrawn"}


def test_who_said_nothing_is_denied(ledger: Ledger) -> None:
    ledger.consent.append([event("e1"), event("e2", subject_token="bob", purpose="analytics")])
    assert ledger.consent.state(["ann", "bob", "eve"], MARKETING) == {
        "ann": ConsentState("granted", JUNE, "e1"),
        "bob": ConsentState("none"),
        "eve": ConsentState("none"),
    }
    assert not ConsentState("none").granted
    assert ledger.consent.snapshot("no.such.purpose").num_rows == 0


@pytest.mark.parametrize(
    ("events", "state"),
    [
        ([("grant", 0), ("withdraw", 1)], "withdrawn"),
        ([("grant", 0), ("object", 1)], "withdrawn"),
        ([("grant", 0), ("expire", 1)], "withdrawn"),
        ([("withdraw", 0), ("grant", 1)], "granted"),
        ([("withdraw", 1), ("grant", 1)], "withdrawn"),
        ([("grant", 1), ("withdraw", 1)], "withdrawn"),
        ([("grant", 2), ("withdraw", 1)], "granted"),
        ([("withdraw", 0)], "withdrawn"),
    ],
)
def test_the_latest_counts_and_an_opt_out_beats_an_opt_in_of_the_same_moment(
    ledger: Ledger, events: list[tuple[str, int]], state: str
) -> None:
    ledger.consent.append(event(f"e{n}", action, days=days) for n, (action, days) in enumerate(events))
    assert states(ledger.consent.snapshot(MARKETING)) == {"ann": state}
    assert ledger.consent.state(["ann"], MARKETING)["ann"].state == state


def test_a_microsecond_decides(ledger: Ledger) -> None:
    later = JUNE + timedelta(microseconds=1)
    ledger.consent.append([event("e1", "withdraw"), event("e2", effective_at=later)])
    assert states(ledger.consent.snapshot(MARKETING)) == {"ann": "granted"}
    assert states(ledger.consent.snapshot(MARKETING, effective_before=later)) == {"ann": "withdrawn"}
    assert states(ledger.consent.snapshot(MARKETING, effective_before=JUNE)) == {}
    assert ledger.consent.state(["ann"], MARKETING, effective_before=JUNE) == {"ann": ConsentState("none")}


def test_the_snapshot_of_an_earlier_chain_is_reproducible(ledger: Ledger) -> None:
    ledger.consent.append([event("e1")])
    before = ledger.consent.snapshot(MARKETING)
    ledger.consent.append([event("e2", "withdraw", days=1)])
    assert ledger.consent.snapshot(MARKETING, up_to_seq=1) == before
    assert states(ledger.consent.snapshot(MARKETING)) == {"ann": "withdrawn"}


def test_a_snapshot_sees_what_was_added_since_the_last_one(ledger: Ledger) -> None:
    for number in range(20):
        ledger.consent.append([event(f"e{number}", "withdraw" if number % 2 else "grant", days=number)])
        ledger.consent.append([event(f"b{number}", subject_token=f"bob{number}")])
        snapshot = ledger.consent.snapshot(MARKETING)
        assert states(snapshot)["ann"] == ("withdrawn" if number % 2 else "granted")
        assert snapshot.num_rows == number + 2
        assert ledger.consent.snapshot(MARKETING) == snapshot


def test_a_snapshot_through_an_open_read_does_not_move(url: str) -> None:
    with Ledger.open(url) as ledger, Ledger.open(url) as other:
        ledger.consent.append([event("e1")])
        with ledger.read() as connection:
            assert other.consent.append([event("e2", "withdraw", days=1)]) == 1
            assert states(ledger.consent.snapshot(MARKETING, connection=connection)) == {"ann": "granted"}
            assert states(ledger.consent.snapshot(MARKETING)) == {"ann": "withdrawn"}
            assert states(ledger.consent.snapshot(MARKETING, connection=connection)) == {"ann": "granted"}
        assert states(ledger.consent.snapshot(MARKETING)) == {"ann": "withdrawn"}


def test_what_is_rolled_back_is_not_remembered(ledger: Ledger) -> None:
    ledger.consent.append([event("e1")])

    def add_and_fail() -> None:
        with ledger.begin() as connection:
            ledger.consent.append([event("lost", days=5, subject_token="eve")], connection=connection)
            assert ledger.consent.snapshot(MARKETING, connection=connection).num_rows == 2
            raise RuntimeError

    with pytest.raises(RuntimeError):
        add_and_fail()
    ledger.consent.append([event("out", "withdraw", days=9)])  # takes the number of the lost event
    assert states(ledger.consent.snapshot(MARKETING)) == {"ann": "withdrawn"}


def test_an_event_must_say_who_what_and_when() -> None:
    with pytest.raises(DataError, match=r"'e1' has the unknown action 'withdrawn'\n  hint: did you mean 'withdraw'\?"):
        event("e1", "withdrawn")
    with pytest.raises(DataError, match="'e1' has no subject_token"):
        event("e1", subject_token="")
    with pytest.raises(DataError, match="'e1' is effective at 2026-06-01T12:00:00 without a time zone"):
        event("e1", effective_at=JUNE.replace(tzinfo=None))


def test_a_notice_is_known_by_its_words() -> None:
    assert notice_sha256("We may\n  write to you. ") == notice_sha256("We may write to you.")
    assert notice_sha256("We may write to yo\u0308u.") == notice_sha256("We may write to y\u00f6u.")
    assert notice_sha256("We may write to you!") != notice_sha256("We may write to you.")
