"""Double opt-in: a grant that waits counts only once it is confirmed in time (invariant 45)."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from itertools import count, permutations
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import event as database_event

from personalization.errors import DataError
from personalization.ledger import ConsentEvent, Ledger
from personalization.ledger.consent_fold import read_granted, read_out
from personalization.ledger.schema import to_micros

MARKETING = "email.marketing"
JUNE = datetime(2026, 6, 1, 12, tzinfo=UTC)
_numbers = count()


def said(action: str, day: float, link: str | None = None, *, subject: str = "ann", within: float = 7) -> ConsentEvent:
    """An event some days after the first of June; a grant with a link waits for its confirmation."""
    evidence: dict[str, Any] = {}
    if link:
        evidence["double_opt_in_id"] = link
        if action == "grant":
            evidence["confirm_by"] = (JUNE + timedelta(days=day + within)).isoformat()
    return ConsentEvent(
        event_id=f"e{next(_numbers)}",
        subject_token=subject,
        purpose=MARKETING,
        action=action,
        effective_at=JUNE + timedelta(days=day),
        source="test",
        evidence=evidence or None,
    )


def state(ledger: Ledger, subject: str = "ann") -> str:
    """As the cut sees it, and the same when asked for one identifier."""
    snapshot = {row["subject_token"]: row["state"] for row in ledger.consent.snapshot(MARKETING).to_pylist()}
    found = ledger.consent.state([subject], MARKETING)[subject].state
    assert found == snapshot.get(subject, "none")
    assert found == ledger.consent.person([subject], [MARKETING])[MARKETING].state
    return found


@pytest.mark.parametrize(
    ("events", "expected"),
    [
        ([said("grant", 0, "L")], "none"),
        ([said("grant", 0, "L"), said("confirm", 1, "L")], "granted"),
        ([said("grant", 0, "L"), said("confirm", 7, "L")], "granted"),
        ([said("grant", 0, "L"), said("confirm", 7.001, "L")], "none"),
        ([said("grant", 1, "L"), said("confirm", 0, "L")], "none"),
        ([said("grant", 0, "L"), said("confirm", 1, "M")], "none"),
        ([said("confirm", 1, "L")], "none"),
        ([said("grant", 0, "L"), said("confirm", 1, "L"), said("withdraw", 2), said("confirm", 3, "L")], "withdrawn"),
        ([said("grant", 0, "L"), said("withdraw", 1), said("confirm", 2, "L")], "withdrawn"),
        ([said("withdraw", 0), said("grant", 1, "L")], "withdrawn"),
        ([said("withdraw", 0), said("grant", 1, "L"), said("confirm", 2, "L")], "granted"),
        ([said("grant", 0), said("grant", 1, "L")], "granted"),
        ([said("grant", 0, "L"), said("confirm", 0, "L"), said("withdraw", 0)], "withdrawn"),
    ],
    ids=lambda value: (
        value if isinstance(value, str) else " ".join(f"{event.action}@{event.effective_at:%d}" for event in value)
    ),
)
def test_when_a_grant_counts(ledger: Ledger, events: list[ConsentEvent], expected: str) -> None:
    for event in events:
        ledger.consent.append([event])
        state(ledger)  # so that what follows is merged into what is remembered
    assert state(ledger) == expected


def test_a_past_day_sees_the_confirmation_only_afterwards(ledger: Ledger) -> None:
    ledger.consent.append([said("grant", 0, "L"), said("confirm", 3, "L")])
    before = ledger.consent.snapshot(MARKETING, effective_before=JUNE + timedelta(days=3))
    assert before.num_rows == 0
    after = ledger.consent.snapshot(MARKETING, effective_before=JUNE + timedelta(days=3, seconds=1)).to_pylist()
    assert [(row["state"], row["effective_at"]) for row in after] == [("granted", JUNE)]


@pytest.mark.parametrize(
    ("action", "evidence", "message"),
    [
        ("confirm", None, "confirms nothing"),
        ("grant", {"double_opt_in_id": "L"}, "without a moment by when"),
        ("grant", {"double_opt_in_id": "L", "confirm_by": "soon"}, "without a moment by when"),
        ("grant", {"double_opt_in_id": "L", "confirm_by": "2026-06-08T12:00:00"}, "without a moment by when"),
        ("grant", {"double_opt_in_id": "L", "confirm_by": "2026-06-08T12:00:00+02:00"}, "hint: give .* in UTC"),
        ("grant", {"double_opt_in_id": 7}, "double_opt_in_id = 7, which is no text"),
        ("withdraw", {"gpc": "1"}, "gpc = '1', which is no true or false"),
    ],
)
def test_evidence_that_proves_nothing_is_refused(action: str, evidence: dict[str, Any] | None, message: str) -> None:
    with pytest.raises(DataError, match=message):
        ConsentEvent(
            event_id="e",
            subject_token="ann",
            purpose=MARKETING,
            action=action,
            effective_at=JUNE,
            source="test",
            evidence=evidence,
        )


class Said(NamedTuple):
    """What Hypothesis thinks of: few moments and few links, so that many events meet."""

    action: str
    moment: int
    link: str | None


actions = st.one_of(
    st.builds(Said, st.sampled_from(["grant", "withdraw", "object", "expire"]), st.integers(0, 4), st.none()),
    st.builds(Said, st.sampled_from(["grant", "confirm"]), st.integers(0, 4), st.sampled_from(["L", "M"])),
)


def oracle(events: Sequence[Said]) -> str:
    """The rule in its plainest words; a grant can be confirmed for two days."""
    opted_in = [
        grant.moment
        for grant in events
        if grant.action == "grant"
        and (
            grant.link is None
            or any(
                other.action == "confirm"
                and other.link == grant.link
                and grant.moment <= other.moment <= grant.moment + 2
                for other in events
            )
        )
    ]
    opted_out = [event.moment for event in events if event.action in ("withdraw", "object", "expire")]
    if not opted_in and not opted_out:
        return "none"
    return "granted" if max(opted_in, default=-1) > max(opted_out, default=-1) else "withdrawn"


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(actions, min_size=1, max_size=4))
def test_the_fold_is_the_oracle_in_every_order_at_every_step(ledger: Ledger, events: list[Said]) -> None:
    """Invariant 45: every permutation is lived through by a person of its own, event by event, all at once."""
    orders = list(permutations(events))
    people = [f"p{next(_numbers)}" for _ in orders]
    for step in range(len(events)):
        ledger.consent.append(
            said(*order[step], subject=person, within=2) for order, person in zip(orders, people, strict=True)
        )
        states = {row["subject_token"]: row for row in ledger.consent.snapshot(MARKETING).to_pylist()}
        agreed = set(ledger.consent.ever_granted(MARKETING, pa.chunked_array([people])).to_pylist())
        with ledger.read() as connection:
            assert set(read_granted(connection, MARKETING, subjects=people).to_pylist()) == agreed & set(people)
        opted_out = set(ledger.consent.ever_out(MARKETING).to_pylist())
        for order, person in zip(orders, people, strict=True):
            found = states[person]["state"] if person in states else "none"
            assert found == oracle(order[: step + 1]), order[: step + 1]
            if found == "granted":
                assert person in agreed
            elif found == "withdrawn":
                assert person in opted_out
            assert found == "granted" or person not in agreed - opted_out
    _everybody_in_has_proof(ledger)


def _everybody_in_has_proof(ledger: Ledger) -> None:
    """Invariant 45: behind each granted row stands a grant of that moment and, if it had to be, its confirmation."""
    snapshot = ledger.consent.snapshot(MARKETING).to_pylist()
    recorded: dict[str, list[ConsentEvent]] = {}
    for each in ledger.consent.history(row["subject_token"] for row in snapshot):
        recorded.setdefault(each.event.subject_token, []).append(each.event)
    for row in snapshot:
        if row["state"] == "granted":
            events = recorded[row["subject_token"]]
            proof = next(event for event in events if event.event_id == row["event_id"])
            assert (proof.action, proof.effective_at) == ("grant", row["effective_at"])
            link = (proof.evidence or {}).get("double_opt_in_id")
            assert link is None or any(
                event.action == "confirm" and (event.evidence or {})["double_opt_in_id"] == link for event in events
            )


def test_history_gives_events_back_as_they_were(ledger: Ledger) -> None:
    events = [said("grant", 0, "L"), said("confirm", 1, "L"), said("withdraw", 2, subject="bob")]
    ledger.consent.append(events)
    found = ledger.consent.history(["ann", "bob", "nobody"])
    assert [each.event for each in found] == events
    assert [each.seq for each in found] == [1, 2, 3]
    assert all(to_micros(each.recorded_at) for each in found)


def test_who_ever_opted_out_is_looked_up_in_an_index_of_these_few(tmp_path: Path) -> None:
    """Every plan and every cut asks it; the record may have millions of events."""
    with Ledger.open(f"sqlite:///{tmp_path / 'ledger.sqlite'}") as ledger, ledger.read() as connection:
        asked: list[str] = []
        database_event.listen(connection, "before_cursor_execute", lambda *given: asked.append(given[2]))
        assert read_out(connection, MARKETING).to_pylist() == []
        steps = connection.exec_driver_sql(f"explain query plan {asked[0]}", (MARKETING, 0)).all()
    assert any("ix_consent_events_out" in step.detail for step in steps), steps
