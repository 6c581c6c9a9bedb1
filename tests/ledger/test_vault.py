"""The vault: what goes in comes out by its token only, changes replace, and erased means gone."""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest
from sqlalchemy import delete, func, insert, select, update

from personalization.errors import KeyFileError, LedgerError
from personalization.ledger import Keyring, Ledger, VaultItem
from personalization.ledger.schema import vault_items, vault_subjects

ANN = VaultItem("s-ann", "email", "t-ann", "Ann.Lee@example.com", source="crm.customers")
ANN_NAME = VaultItem("s-ann", "first_name", "t-anna", "Anna", source="crm.customers")
BOB_NAME = VaultItem("s-bob", "first_name", "t-anna", "Anna", source="crm.customers")


def rows(ledger: Ledger) -> list[tuple[str, str, str, int]]:
    columns = vault_items.c
    with ledger.read() as connection:
        query = select(columns.subject, columns.field, columns.value_token, columns.version).order_by(*columns)
        return [tuple(row) for row in connection.execute(query)]


def test_values_come_back_by_their_tokens(ledger: Ledger, keys: Keyring) -> None:
    vault = ledger.vault(keys)
    assert vault.put([ANN, ANN_NAME]) == 2
    assert vault.reveal(["t-ann", "t-anna", "t-unknown", "t-ann"]) == {
        "t-ann": "Ann.Lee@example.com",
        "t-anna": "Anna",
    }
    assert vault.reveal([]) == {}


def test_any_text_comes_back_as_it_was(ledger: Ledger, keys: Keyring) -> None:
    values = ["", " ", "Ünï çødé 用户", "a\x00b", "'; drop table vault_items; --", "x" * 10_000]
    vault = ledger.vault(keys)
    vault.put(VaultItem("s", f"field-{number}", f"t-{number}", value) for number, value in enumerate(values))
    assert list(vault.reveal([f"t-{number}" for number in range(len(values))]).values()) == values


def test_the_same_again_writes_nothing(ledger: Ledger, keys: Keyring) -> None:
    vault = ledger.vault(keys)
    vault.put([ANN, ANN_NAME])
    with ledger.read() as connection:
        before = connection.execute(select(vault_items)).all()
    assert vault.put([ANN_NAME, ANN, ANN]) == 0
    assert vault.put([]) == 0
    with ledger.read() as connection:
        assert connection.execute(select(vault_items)).all() == before


def test_a_changed_value_replaces_the_old_one_of_the_same_source_only(ledger: Ledger, keys: Keyring) -> None:
    vault = ledger.vault(keys)
    elsewhere = VaultItem("s-ann", "email", "t-work", "ann@work.example", source="shop.customers")
    moved = VaultItem("s-ann", "email", "t-new", "ann@new.example", source="crm.customers")
    vault.put([ANN, elsewhere])
    assert vault.put([moved]) == 1
    assert vault.reveal(["t-ann", "t-new", "t-work"]) == {"t-new": "ann@new.example", "t-work": "ann@work.example"}
    assert rows(ledger) == [("s-ann", "email", "t-new", 2), ("s-ann", "email", "t-work", 1)]


def test_the_later_of_two_values_in_one_delivery_counts(ledger: Ledger, keys: Keyring) -> None:
    vault = ledger.vault(keys)
    moved = VaultItem("s-ann", "email", "t-new", "ann@new.example", source="crm.customers")
    assert vault.put([ANN, moved]) == 1
    assert vault.put([ANN, moved]) == 0
    assert list(vault.reveal(["t-ann", "t-new"])) == ["t-new"]


def test_erasing_a_person_leaves_others_with_the_same_value(ledger: Ledger, keys: Keyring) -> None:
    vault = ledger.vault(keys)
    vault.put([ANN, ANN_NAME, BOB_NAME])
    erasure = vault.erase(["s-ann", "s-unknown"])
    assert (erasure.subjects, erasure.items, erasure.old_bytes_gone) == (1, 2, True)
    assert vault.reveal(["t-ann", "t-anna"]) == {"t-anna": "Anna"}
    assert rows(ledger) == [("s-bob", "first_name", "t-anna", 1)]


def test_an_erased_person_who_comes_back_gets_a_new_data_key(ledger: Ledger, keys: Keyring) -> None:
    vault = ledger.vault(keys)

    def wrapped_key() -> bytes:
        with ledger.read() as connection:
            return connection.execute(select(vault_subjects.c.wrapped_key)).scalar_one()

    vault.put([ANN])
    first = wrapped_key()
    vault.erase(["s-ann"])
    vault.put([ANN])
    assert wrapped_key() != first
    assert vault.reveal(["t-ann"]) == {"t-ann": "Ann.Lee@example.com"}


def test_after_erasure_no_byte_of_key_or_value_is_left_in_the_files(sqlite_ledger: Ledger, keys: Keyring) -> None:
    vault = sqlite_ledger.vault(keys)
    vault.put(VaultItem(f"s-{number}", "email", f"t-{number}", f"person{number}@example.com") for number in range(300))
    with sqlite_ledger.read() as connection:
        secrets = [
            *connection.execute(
                select(vault_subjects.c.wrapped_key).where(vault_subjects.c.subject == "s-7")
            ).scalars(),
            *connection.execute(select(vault_items.c.ciphertext).where(vault_items.c.subject == "s-7")).scalars(),
        ]
    vault.compact()
    assert [secret in _bytes_of(sqlite_ledger) for secret in secrets] == [True, True]
    assert vault.erase(["s-7"]).old_bytes_gone
    assert [secret in _bytes_of(sqlite_ledger) for secret in secrets] == [False, False]
    assert b"person8@example.com" not in _bytes_of(sqlite_ledger)


def test_a_reader_in_the_way_of_compaction_is_reported(sqlite_ledger: Ledger, keys: Keyring) -> None:
    vault = sqlite_ledger.vault(keys)
    vault.put([ANN])
    with sqlite_ledger.read():
        assert not vault.erase(["s-ann"]).old_bytes_gone
    assert vault.compact()


def _bytes_of(ledger: Ledger) -> bytes:
    path = Path(str(ledger.engine.url.database))
    return b"".join(file.read_bytes() for file in path.parent.glob(f"{path.name}*"))


def _relabel(ledger: Ledger) -> None:
    with ledger.begin() as connection:
        connection.execute(update(vault_items).where(vault_items.c.field == "email").values(field="phone"))


def _move(ledger: Ledger) -> None:
    with ledger.begin() as connection:
        ciphertext = select(vault_items.c.ciphertext).where(vault_items.c.field == "first_name").scalar_subquery()
        connection.execute(update(vault_items).where(vault_items.c.field == "email").values(ciphertext=ciphertext))


def _roll_back(ledger: Ledger) -> None:
    with ledger.begin() as connection:
        connection.execute(update(vault_items).values(version=vault_items.c.version + 1))


@pytest.mark.parametrize("tamper", [_relabel, _move, _roll_back])
def test_a_value_moved_to_another_place_does_not_decrypt(
    ledger: Ledger, keys: Keyring, tamper: Callable[[Ledger], None]
) -> None:
    vault = ledger.vault(keys)
    vault.put([ANN, ANN_NAME])
    tamper(ledger)
    with pytest.raises(LedgerError, match=r"of s-ann in the vault was altered: it does not decrypt\n  hint: restore"):
        vault.reveal(["t-ann"])


def test_a_data_key_of_another_subject_does_not_unwrap(ledger: Ledger, keys: Keyring) -> None:
    vault = ledger.vault(keys)
    vault.put([ANN, BOB_NAME])
    with ledger.begin() as connection:
        stolen = select(vault_subjects.c.wrapped_key).where(vault_subjects.c.subject == "s-ann").scalar_subquery()
        connection.execute(update(vault_subjects).where(vault_subjects.c.subject == "s-bob").values(wrapped_key=stolen))
    with pytest.raises(KeyFileError, match="is not the one that the vault was written with"):
        vault.reveal(["t-anna"])


def test_values_need_a_subject(ledger: Ledger) -> None:
    with pytest.raises(LedgerError, match=r"(?i)foreign key"), ledger.begin() as connection:
        connection.execute(
            insert(vault_items).values(
                subject="nobody",
                field="email",
                source="",
                version=1,
                value_token="t",
                ciphertext=b"",
                recorded_at=datetime(2026, 1, 1, tzinfo=UTC),
            )
        )


def test_a_vault_is_not_opened_with_other_keys(ledger: Ledger, keys: Keyring, tmp_path: Path) -> None:
    ledger.vault(keys).put([ANN])
    other = Keyring.create(tmp_path / "other.json")
    with pytest.raises(KeyFileError, match=r"other\.json does not hold the .* key '.1' that the ledger .* was written"):
        ledger.vault(other)
    assert ledger.vault(keys).reveal(["t-ann"]) == {"t-ann": "Ann.Lee@example.com"}


def with_new_key(keys: Keyring, kind: str, key_id: str) -> Keyring:
    """The same keys and one more, which is used from now on."""
    document = json.loads(keys.path.read_text())
    document[f"{kind}_keys"][key_id] = base64.b64encode(os.urandom(32)).decode()
    document[f"{kind}_key"] = key_id
    path = keys.path.with_name(f"{kind}-{key_id}.json")
    path.write_text(json.dumps(document))
    path.chmod(0o600)
    return Keyring.load(path)


def test_a_new_master_key_wraps_new_data_keys_and_the_old_one_still_unwraps(ledger: Ledger, keys: Keyring) -> None:
    ledger.vault(keys).put([ANN])
    vault = ledger.vault(with_new_key(keys, "vault", "v2"))
    vault.put([ANN_NAME, BOB_NAME])
    with ledger.read() as connection:
        wrapped_by = {row.subject: row.key_id for row in connection.execute(select(vault_subjects))}
    assert wrapped_by == {"s-ann": "v1", "s-bob": "v2"}
    assert vault.reveal(["t-ann", "t-anna"]) == {"t-ann": "Ann.Lee@example.com", "t-anna": "Anna"}
    with pytest.raises(KeyFileError, match=r"does not hold the vault key 'v2' that the ledger .* was written with"):
        ledger.vault(keys)


def test_a_new_token_key_is_refused_because_opt_outs_would_match_nobody(ledger: Ledger, keys: Keyring) -> None:
    ledger.vault(keys)
    with pytest.raises(KeyFileError, match=r"makes tokens with the key 'k2', which nothing in the ledger .* was made"):
        ledger.vault(with_new_key(keys, "token", "k2"))


def test_a_value_is_never_shown(ledger: Ledger, keys: Keyring, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG")
    assert repr(ANN) == "VaultItem(s-ann, email, t-ann, source='crm.customers')"
    ledger.vault(keys).put([ANN])
    with ledger.begin() as connection:
        connection.execute(delete(vault_items))
    assert "Lee" not in caplog.text


@pytest.mark.parametrize("count", [12_345])
def test_many_values_in_one_delivery(ledger: Ledger, keys: Keyring, count: int) -> None:
    vault = ledger.vault(keys)
    items = [VaultItem(f"s-{n // 2}", f"field{n % 2}", f"t-{n}", f"value {n}") for n in range(count)]
    assert vault.put(items) == count
    assert vault.put(reversed(items)) == 0
    assert vault.reveal([item.value_token for item in items]) == {item.value_token: item.value for item in items}
    with ledger.read() as connection:
        assert connection.execute(select(func.count()).select_from(vault_subjects)).scalar_one() == (count + 1) // 2
