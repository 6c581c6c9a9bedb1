"""Who was erased stays erased, in a restored ledger too, on both databases (invariant 44)."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest
from sqlalchemy import text

from personalization.errors import LedgerError
from personalization.ledger import Keyring, Ledger, VaultItem
from personalization.ledger.preferences import PreferenceEvent
from personalization.ledger.tombstones import Tombstone, bury, keep, read, replay
from personalization.privacy.erase_ledger import erase_rows, left_in_ledger
from personalization.privacy.relations import ledger_rows, ledger_tables
from personalization.privacy.work import Work

AT = datetime(2026, 11, 25, tzinfo=UTC)
ANNA, BEN = "t1_k1_" + "a" * 32, "t1_k1_" + "b" * 32
MAIL = "t1_k1_" + "c" * 32
REQUEST = {
    "kind": "erasure",
    "subject_token": ANNA,
    "manner": "letter",
    "received_at": AT.isoformat(),
    "due_at": AT.replace(month=12).isoformat(),
}
STONE = Tombstone("erasure-1", AT.isoformat(), ("s1_anna",), (ANNA, MAIL), (MAIL,), REQUEST)


@pytest.fixture
def before(ledger: Ledger, keys: Keyring) -> Ledger:
    """A ledger from before the erasure."""
    ledger.vault(keys).put(
        [
            VaultItem(ANNA, "email", MAIL, "anna@example.org", "crm"),
            VaultItem(BEN, "email", MAIL, "anna@example.org", "old"),
            VaultItem(BEN, "first_name", "t1_k1_name", "Ben", "crm"),
        ]
    )
    ledger.preferences.append(
        PreferenceEvent(
            event_id=f"e-{token}",
            subject_token=token,
            kind="topic",
            name="birds",
            value="true",
            effective_at=AT,
            source="page",
            method="page",
        )
        for token in (ANNA, BEN)
    )
    return ledger


def work() -> Work:
    return Work((ANNA, MAIL), (MAIL,), ("anna@example.org",), (("email", "anna@example.org"),), {}, ("s1_anna",))


def test_a_ledger_that_does_not_know_of_an_erasure_forgets_again(before: Ledger, keys: Keyring, tmp_path: Path) -> None:
    path = tmp_path / "tombstones.jsonl"
    keep(path, STONE)
    assert replay(before, path) == ["erasure-1"]
    assert [item.value for item in before.vault(keys).of_subjects([ANNA, BEN])] == ["Ben"]
    assert set(before.suppressions.snapshot()["identifier_token"].to_pylist()) == {"s1_anna", ANNA, MAIL}
    assert before.requests.get("erasure-1").is_open, "what other restored files hold has to go too"
    before.verify()
    assert replay(before, path) == [], "once"


def test_a_ledger_that_knows_is_left_as_it_is(before: Ledger, tmp_path: Path) -> None:
    path = tmp_path / "tombstones.jsonl"
    keep(path, STONE)
    with before.begin() as connection:
        bury(connection, before, STONE, AT)
    assert replay(before, path) == []
    assert replay(before, tmp_path / "none.jsonl") == []


def test_tombstones_are_kept_once_and_by_their_owner_only(tmp_path: Path) -> None:
    path = tmp_path / "tombstones.jsonl"
    keep(path, STONE)
    keep(path, STONE)
    assert read(path) == [STONE]
    assert oct(path.stat().st_mode & 0o777) == "0o600"
    with path.open("a") as file:
        file.write('{"request_id": "half of a li')
    assert read(path) == [STONE], "what a crash left was never promised"


def test_tombstones_that_can_not_be_understood_stop_everything(ledger: Ledger, tmp_path: Path) -> None:
    path = tmp_path / "tombstones.jsonl"
    path.write_text("nonsense\n")
    with pytest.raises(LedgerError, match=r"line 1 of the tombstones .* can't be understood\n  hint: restore it"):
        replay(ledger, path)


def test_choices_go_with_an_erased_person_and_with_nobody_else(before: Ledger) -> None:
    for token in (ANNA, BEN):
        with pytest.raises(LedgerError, match="preference_events is append-only"), before.begin() as connection:
            connection.execute(text("delete from preference_events where subject_token = :token"), {"token": token})
    with before.begin() as connection:
        bury(connection, before, STONE, AT)
    assert {hit.inside for hit in left_in_ledger(before, work())} >= {"1 rows of preference_events"}
    assert erase_rows(before, work()) == {"preference_events": 1}
    with before.read() as connection:
        kept = connection.execute(text("select subject_token from preference_events")).scalars().all()
    assert kept == [BEN]
    with pytest.raises(LedgerError, match="preference_events is append-only"), before.begin() as connection:
        connection.execute(text("update preference_events set value = 'false'"))


def test_rows_of_a_person_are_found_in_every_table(before: Ledger) -> None:
    with before.read() as connection:
        found = {name: list(ledger_rows(connection, table, [ANNA, MAIL])) for name, table in ledger_tables().items()}
    assert {name: len(rows) for name, rows in found.items() if rows} == {
        "preference_events": 1,
        "vault_items": 2,
        "vault_subjects": 1,
    }
