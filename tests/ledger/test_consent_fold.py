"""The fold of consent events, over all events that Hypothesis can think of."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import NamedTuple

import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from personalization.ledger.consent_fold import SNAPSHOT, customer_consent, fold, merge

START = datetime(2026, 1, 1, tzinfo=UTC)


class Said(NamedTuple):
    """One event: who, granted or withdrawn, and when; few moments, so that many events share one."""

    subject: str
    state: str
    moment: int


said = st.builds(Said, st.sampled_from("abcd"), st.sampled_from(["granted", "withdrawn"]), st.integers(0, 3))
histories = st.lists(said, max_size=12)
people = st.fixed_dictionaries({subject: st.sampled_from(["p1", "p2"]) for subject in "abcd"})
quick = settings(max_examples=60, deadline=None)


def table(events: list[Said]) -> pa.Table:
    """Events as the fold takes them. The id tells events apart, so that equal ones are told apart by the same rule."""
    return pa.table(
        {
            "subject_token": [event.subject for event in events],
            "state": [event.state for event in events],
            "effective_at": [START + timedelta(days=event.moment) for event in events],
            "event_id": [f"{event.state}-{event.moment}" for event in events],
        },
        schema=SNAPSHOT,
    )


def rows(found: pa.Table) -> list[dict[str, object]]:
    return found.sort_by(found.column_names[0]).to_pylist()


def expected(events: list[Said]) -> dict[str, str]:
    """The rule in its plainest words: who has a grant later than every withdrawal is in."""
    answer = {}
    for subject in {event.subject for event in events}:
        of = {
            state: max((e.moment for e in events if (e.subject, e.state) == (subject, state)), default=-1)
            for state in ("granted", "withdrawn")
        }
        answer[subject] = "granted" if of["granted"] > of["withdrawn"] else "withdrawn"
    return answer


@quick
@given(histories)
def test_it_is_the_rule(events: list[Said]) -> None:
    assert {row["subject_token"]: row["state"] for row in fold(table(events)).to_pylist()} == expected(events)


@quick
@given(st.data(), histories)
def test_neither_order_nor_repetition_nor_parts_matter(data: st.DataObject, events: list[Said]) -> None:
    whole = rows(fold(table(events)))
    shuffled = data.draw(st.permutations(events + events[:3]))
    cut = data.draw(st.integers(0, len(shuffled)))
    assert rows(fold(table(shuffled))) == whole
    assert rows(merge(fold(table(shuffled[:cut])), table(shuffled[cut:]))) == whole


@quick
@given(histories, said)
def test_out_never_becomes_in_without_a_newer_grant(events: list[Said], later: Said) -> None:
    before, after = (
        expected(events),
        {r["subject_token"]: r["state"] for r in fold(table([*events, later])).to_pylist()},
    )
    withdrawn_at = max((e.moment for e in events if e[:2] == (later.subject, "withdrawn")), default=-1)
    for subject, state in after.items():
        if before.get(subject) == "withdrawn" and state == "granted":
            assert subject == later.subject
            assert later.state == "granted"
            assert later.moment > withdrawn_at


@quick
@given(histories, people)
def test_a_person_is_the_fold_of_all_identifiers(events: list[Said], person_of: dict[str, str]) -> None:
    identity = pa.table({"identifier_token": list(person_of), "customer_token": list(person_of.values())})
    found = customer_consent(fold(table(events)), identity)
    as_one = [event._replace(subject=person_of[event.subject]) for event in events]
    assert {row["customer_token"]: row["state"] for row in found.to_pylist()} == expected(as_one)
    assert found["customer_token"].to_pylist() == sorted(found["customer_token"].to_pylist())


def test_the_opt_out_of_an_identifier_nobody_is_known_by_waits() -> None:
    snapshot = table([Said("a", "granted", 0), Said("stranger", "withdrawn", 1)])
    identity = pa.table({"identifier_token": ["a"], "customer_token": ["a"]})
    assert rows(customer_consent(snapshot, identity))[0]["state"] == "granted"
    later = pa.table({"identifier_token": ["a", "stranger"], "customer_token": ["a", "a"]})
    assert rows(customer_consent(snapshot, later))[0]["state"] == "withdrawn"


def test_a_customer_token_stands_for_itself_also_when_the_identity_does_not_say_so() -> None:
    identity = pa.table({"identifier_token": ["mail"], "customer_token": ["ann"]})
    snapshot = table([Said("mail", "granted", 0), Said("ann", "withdrawn", 1)])
    assert rows(customer_consent(snapshot, identity))[0]["state"] == "withdrawn"


def test_nothing_folds_to_nothing() -> None:
    empty = SNAPSHOT.empty_table()
    assert fold(empty) == empty
    assert merge(empty, empty) == empty
    nobody = pa.table({"identifier_token": pa.array([], pa.string()), "customer_token": pa.array([], pa.string())})
    assert customer_consent(empty, nobody).num_rows == 0
