"""Topics and frequency: the latest choice counts, over all identifiers of a person, whatever order they came in."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import permutations

import pyarrow as pa
import pytest

from personalization.errors import DataError, LedgerError
from personalization.ledger import Ledger
from personalization.ledger.preferences import FREQUENCY, TOPIC, Choices, PreferenceEvent, customer_choices

JUNE = datetime(2026, 6, 1, 12, tzinfo=UTC)


def chose(event_id: str, value: str, day: int = 0, *, topic: str = "", subject: str = "ann") -> PreferenceEvent:
    return PreferenceEvent(
        event_id=event_id,
        subject_token=subject,
        kind=TOPIC if topic else FREQUENCY,
        name=topic,
        value=value,
        effective_at=JUNE + timedelta(days=day),
        source="preference page",
        method="preference page",
        locale="de",
    )


def test_the_latest_choice_counts_in_every_order(ledger: Ledger) -> None:
    for number, order in enumerate(permutations([("weekly", 0), ("monthly", 2), ("all", 1)])):
        person = f"p{number}"
        for value, day in order:
            ledger.preferences.append([chose(f"{person}-{day}", value, day, subject=person)])
        assert ledger.preferences.frequency([person]) == {person: "monthly"}
    before = ledger.preferences.frequency(["p0", "nobody"], effective_before=JUNE + timedelta(days=2))
    assert before == {"p0": "all"}


def test_a_choice_again_adds_nothing_and_what_is_there_stays(ledger: Ledger) -> None:
    assert ledger.preferences.append([chose("e1", "weekly")]) == 1
    assert ledger.preferences.append([chose("e1", "monthly", 5), chose("e2", "true", topic="recipes")]) == 1
    assert ledger.preferences.person(["ann"]) == Choices("weekly", {"recipes": True}, "de")
    assert ledger.preferences.person(["nobody"]) == Choices()
    with pytest.raises(LedgerError, match="preference_events is append-only"), ledger.begin() as connection:
        connection.exec_driver_sql("update preference_events set value = 'all'")


def test_a_person_is_all_identifiers(ledger: Ledger) -> None:
    ledger.preferences.append(
        [
            chose("e1", "true", topic="recipes", subject="c1"),
            chose("e2", "false", 1, topic="recipes", subject="mail"),
            chose("e3", "true", topic="wine", subject="c1"),
            chose("e4", "true", topic="wine", subject="c2"),
        ]
    )
    identity = pa.table({"identifier_token": ["c1", "mail", "c2"], "customer_token": ["c1", "c1", "c2"]})
    found = customer_choices(ledger.preferences.snapshot(TOPIC), identity).to_pylist()
    assert [(row["customer_token"], row["name"], row["value"]) for row in found] == [
        ("c1", "recipes", "false"),
        ("c1", "wine", "true"),
        ("c2", "wine", "true"),
    ]
    assert ledger.preferences.person(["c1", "mail"]).topics == {"recipes": False, "wine": True}
    assert customer_choices(ledger.preferences.snapshot(FREQUENCY), identity).num_rows == 0


@pytest.mark.parametrize(
    "wrong", [{"kind": "topic", "value": "maybe"}, {"kind": "topic", "name": "", "value": "true"}, {"kind": "colour"}]
)
def test_what_is_no_choice_is_refused(wrong: dict[str, str]) -> None:
    values = {"kind": "topic", "name": "recipes", "value": "true"} | wrong
    with pytest.raises(DataError, match="neither a topic's true or false nor a frequency"):
        PreferenceEvent(event_id="e", subject_token="ann", effective_at=JUNE, source="test", method="test", **values)
