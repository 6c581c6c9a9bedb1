"""The token key is replaced: every join holds, every opt-out still matches, nothing of the old key is left (43)."""

from __future__ import annotations

import base64
import json
from datetime import UTC, datetime
from pathlib import Path

import pytest
from sqlalchemy import LargeBinary, Text, insert, select

from personalization.errors import KeyFileError, LedgerError
from personalization.ledger import ConsentEvent, Keyring, Ledger, VaultItem, key_file
from personalization.ledger.consent_event import canonical_json
from personalization.ledger.inbox_event import Arrival
from personalization.ledger.key_document import add_token_key
from personalization.ledger.keys import verify_signature
from personalization.ledger.retoken import NOT_OURS, TOKENS
from personalization.ledger.schema import Instant, metadata
from personalization.ledger.token_key import OlderLedger, TokenKeyReplaced
from personalization.ledger.token_rotation import (
    Draws,
    TokenRotation,
    former_head,
    rotate_ledger,
    row_hash,
    signed_changes,
)

AT = datetime(2026, 11, 25, tzinfo=UTC)
PURPOSE = "email.marketing"
PEOPLE = 30


def said(keys: Keyring, number: int, action: str = "grant", what: str = "said") -> ConsentEvent:
    return ConsentEvent(
        event_id=f"{what}-{number}",
        subject_token=keys.token("email", f"u{number}@example.com"),
        purpose=PURPOSE,
        action=action,
        effective_at=AT,
        source="crm",
        evidence={"ip_token": keys.token("ip", "192.0.2.1")},
    )


def values(keys: Keyring) -> list[VaultItem]:
    return [
        VaultItem(
            keys.token("customer", str(n)), "email", keys.token("email", f"u{n}@example.com"), f"u{n}@example.com"
        )
        for n in range(PEOPLE)
    ]


@pytest.fixture
def filled(ledger: Ledger, keys: Keyring) -> Ledger:
    ledger.vault(keys).put(values(keys))
    ledger.consent.append(said(keys, n) for n in range(PEOPLE))
    ledger.consent.append([said(keys, 3, "withdraw", "out"), said(keys, 4, "withdraw", "said")])
    ledger.suppressions.add(
        [keys.token("email", "u5@example.com"), keys.suppression_token("erased@example.com")],
        "unsubscribed",
        "test",
        AT,
    )
    body = Arrival.sealed(keys, source="shop", event_key=keys.token("x", "y"), body=b"{}", received_at=AT)
    ledger.inbox.receive([body])
    return ledger


def next_key(keys: Keyring) -> tuple[Keyring, Keyring]:
    """The keys with the old token key in use, and with the next one."""
    key_file.change(keys.path, add_token_key)
    old, new = Keyring.load(keys.path), Keyring.load(keys.path)
    old.use_token_key(keys.token_key_id)
    new.use_token_key(str(new.next_token_key_id))
    return old, new


def rotated(ledger: Ledger, keys: Keyring, **options: object) -> tuple[Keyring, TokenRotation]:
    old, new = next_key(keys)
    result = rotate_ledger(ledger, old, new, AT, **options)  # type: ignore[arg-type]
    return new, result


def reopened(ledger: Ledger) -> Ledger:
    return Ledger(ledger.engine)


def every_text(ledger: Ledger) -> list[tuple[str, str, str]]:
    found = []
    with ledger.read() as connection:
        for table in metadata.sorted_tables:
            for column in table.columns:
                if isinstance(column.type, Text):
                    found += [
                        (table.name, column.name, value)
                        for value in connection.execute(select(column)).scalars()
                        if value is not None
                    ]
    return found


def test_a_token_is_made_over_the_one_before_it(keys: Keyring) -> None:
    before = keys.token("email", "u1@example.com")
    _, new = next_key(keys)
    after = new.token("email", "u1@example.com")
    assert after.startswith("t1_k2_")
    assert new.current_token(before) == after == new.current_token(after)
    assert new.suppression_token("u1@example.com") == keys.suppression_token("u1@example.com")
    key_file.change(keys.path, lambda document: document.update(token_key="k2") or document.pop("token_key_next"))
    _, third = next_key(Keyring.load(keys.path))
    assert third.token("email", "u1@example.com") == third.current_token(before) == third.current_token(after)
    assert third.current_tokens(["", "t1_k9_" + "a" * 32, "t1_k1_short"]) == ["", "t1_k9_" + "a" * 32, "t1_k1_short"]


def test_joins_consent_and_suppressions_are_what_they_were(filled: Ledger, keys: Keyring) -> None:
    states = filled.consent.snapshot(PURPOSE).to_pydict()
    head, suppressed = filled.consent.head(), filled.suppressions.snapshot().to_pydict()
    new, result = rotated(filled, keys)
    after = reopened(filled)
    found = after.consent.snapshot(PURPOSE).to_pydict()
    assert dict(zip(found["subject_token"], found["state"], strict=True)) == dict(
        zip(new.current_tokens(states["subject_token"]), states["state"], strict=True)
    )
    assert after.suppressions.snapshot().to_pydict() == {
        **suppressed,
        "identifier_token": new.current_tokens(suppressed["identifier_token"]),
    }
    assert new.suppression_token("erased@example.com") in suppressed["identifier_token"]
    addresses = after.vault(new).reveal([item.value_token for item in values(new)])
    assert addresses == {item.value_token: item.value for item in values(new)}
    assert after.vault(new).put(values(new)) == 0, "known values are still known"
    assert after.consent.append(said(new, n) for n in range(PEOPLE)) == 0, "known events are still known"
    assert [row.body(new) for row in after.inbox.rows(0)] == [b"{}"]
    assert (result.consent_head_before, result.consent_head) == (head, after.verify().head)
    assert result.rows["vault_items"] == PEOPLE


def test_no_token_of_the_old_key_is_left_in_any_text_of_any_table(filled: Ledger, keys: Keyring) -> None:
    planted = keys.token("email", "planted@example.com")
    fixed = {
        ("acknowledged", "state"): "present",
        ("export_runs", "state"): "closed",
        ("identity_corrections", "kind"): "split",
        ("inbox_conflicts", "seq"): 1,
        ("inbox_dead_letters", "seq"): 1,
        ("inbox_dead_letters", "state"): "dead",
        ("outbox", "operation"): "add",
        ("opt_out_pushes", "outbox_id"): 99,
        ("outbox", "run"): 99,
        ("outbox", "state"): "acked",
        ("sends", "state"): "kept",
    }
    of_its_own = (
        "consent_events",
        "privacy_log",
        "privacy_requests",
        "run_book",
        "vault_subjects",
        "vault_items",
        "inbox",
    )
    keys_and_kept = (
        "key_fingerprints",
        "token_key_changes",
        "former_heads",
        "kept_draws",
        "kept_external_ids",
        "kept_people",
    )
    with filled.begin() as connection:
        for table in metadata.sorted_tables:
            if table.name in (*of_its_own, *keys_and_kept):
                continue
            row: dict[str, object] = {}
            for column in table.columns:
                if isinstance(column.type, Text):
                    row[column.name] = f"a {planted} in it"
                elif isinstance(column.type, Instant):
                    row[column.name] = AT
                else:
                    row[column.name] = b"" if isinstance(column.type, LargeBinary) else 99
            row |= {name: value for (of, name), value in fixed.items() if of == table.name}
            connection.execute(insert(table).values(**row))
        connection.execute(
            insert(metadata.tables["export_retries"]).values(destination=planted, up_to_run=-1, recorded_at=AT)
        )
        model = {"model": planted, "version": "1", "trained_as_of": "", "sha256": "", "path": "", "metrics": ""}
        connection.execute(insert(metadata.tables["models"]).values(id=0, recorded_at=AT, **model))
    filled.requests.log("step", {"about": planted}, at=AT)
    new, _ = rotated(filled, keys)
    texts = every_text(reopened(filled))
    left = {(table, column) for table, column, value in texts if "t1_k1_" in value}
    assert left == {("inbox", "event_key")} <= set(NOT_OURS)
    assert sum(new.current_token(planted) in value for _, _, value in texts) > 40


def test_an_opened_ledger_neither_writes_nor_reads_across_the_change(filled: Ledger, keys: Keyring) -> None:
    other = reopened(filled)
    other.consent.snapshot(PURPOSE)
    new, _ = rotated(filled, keys)
    with pytest.raises(TokenKeyReplaced, match=r"the ledger is under 'k2', this process under 'k1'\n  hint: no"):
        other.consent.append([said(keys, 99)])
    with pytest.raises(TokenKeyReplaced):
        other.consent.snapshot(PURPOSE)
    with pytest.raises(TokenKeyReplaced):
        other.vault(keys)
    assert other.replaced
    fresh = reopened(filled)
    with pytest.raises(TokenKeyReplaced):  # keys read before, a ledger opened after: they are made to agree
        other.check_keys(Keyring.load(keys.path))
    again = Keyring.load(keys.path)
    fresh.check_keys(again)
    assert again.token_key_id == "k2" == new.token_key_id, "the ledger says which key is in use, not yet the file"
    assert fresh.consent.append([said(again, 99)]) == 1


def test_a_broken_chain_is_not_hidden_by_new_hashes(filled: Ledger, keys: Keyring) -> None:
    with filled.begin() as connection:
        sqlite = connection.dialect.name == "sqlite"
        off = "drop trigger consent_events_no_update" if sqlite else "alter table consent_events disable trigger user"
        connection.exec_driver_sql(off)
        connection.exec_driver_sql("update consent_events set action = 'grant' where seq = 31")
        if not sqlite:
            connection.exec_driver_sql("alter table consent_events enable trigger user")
    with pytest.raises(LedgerError, match="is broken at event 31"):
        rotated(filled, keys)
    assert reopened(filled).consent.head() == filled.consent.head()


def test_append_only_tables_are_guarded_again(filled: Ledger, keys: Keyring) -> None:
    rotated(filled, keys)
    for table in ("consent_events", "suppressions", "privacy_log"):
        with pytest.raises(LedgerError, match="refused a change"), reopened(filled).begin() as connection:
            connection.exec_driver_sql(f"update {table} set recorded_at = 1")


def test_audited_heads_and_run_books_are_followed(filled: Ledger, keys: Keyring) -> None:
    head, log_numbers = filled.consent.head(), {"consent": 31, "suppressions": 2, "privacy_log": 0}
    run = filled.requests.log("audit", {"month": "2026-10", "numbers": log_numbers, "sha256": ""}, at=AT)
    assert run == 1
    new, result = rotated(filled, keys)
    after = reopened(filled)
    with after.read() as connection:
        assert former_head(connection, "consent", 31, log_seq=0) not in (None, head)
        assert former_head(connection, "consent", 31, log_seq=1) is None, "an audit after the change saw the new hash"
    entry = after.requests.entries(kind="rotation")[-1].content
    assert (entry["consent_head_before"], entry["consent_head"]) == (head, result.consent_head)
    assert [each["to"] for each in signed_changes(after, new)] == ["k2"]
    with pytest.raises(LedgerError, match="a new token key, is not signed by the keys"):
        signed_changes(after, Keyring.create(new.path.with_name("others.json")))
    signature = base64.b64decode(entry.pop("signature"))
    assert verify_signature(str(new.public_key), signature, canonical_json(entry).encode())


def test_two_rotations_in_a_row(filled: Ledger, keys: Keyring) -> None:
    first, _ = rotated(filled, keys)
    key_file.change(keys.path, lambda document: document.update(token_key="k2") or document.pop("token_key_next"))
    middle = reopened(filled)
    middle.check_keys(first)
    second, result = rotated(middle, first)
    after = reopened(filled)
    after.verify()
    assert (result.old_key, result.new_key) == ("k2", "k3")
    assert after.vault(second).reveal([second.token("email", "u1@example.com")]) == {
        second.token("email", "u1@example.com"): "u1@example.com"
    }
    assert not any(TOKENS.match(value) and "_k3_" not in value for t, _, value in every_text(after) if t != "inbox")


def test_draws_stay_in_their_group_and_tell_nothing_else(filled: Ledger, keys: Keyring) -> None:
    from personalization.stages.decisions.assignment import draw

    limit = 2**62
    before = {keys.token("customer", str(n)): draw("holdout", keys.token("customer", str(n))) for n in range(PEOPLE)}
    new, result = rotated(filled, keys, draws=Draws({"holdout": [limit]}, frozenset(before), draw))
    kept = reopened(filled).kept.draws().to_pylist()
    found = {row["customer_token"]: row["draw"] for row in kept}
    assert {new.current_token(token): number < limit for token, number in before.items()} == {
        token: number < limit for token, number in found.items()
    }
    assert not set(before.values()) & set(found.values())
    assert result.kept["draws"] == PEOPLE


def test_other_key_files_and_older_ledgers_are_refused(filled: Ledger, keys: Keyring, tmp_path: Path) -> None:
    backup = keys.path.read_text()
    rotated(filled, keys)
    after = keys.path.read_text()
    keys.path.write_text(backup)
    with pytest.raises(KeyFileError, match=r"does not hold the token key 'k2' that the ledger .* was written with"):
        reopened(filled).check_keys(Keyring.load(keys.path))
    document = json.loads(after)
    del document["token_keys"]["k1"]
    keys.path.write_text(json.dumps(document))
    with pytest.raises(KeyFileError):
        Keyring.load(keys.path)
    keys.path.write_text(after)
    key_file.change(keys.path, lambda document: document.update(token_key="k2") or document.pop("token_key_next"))
    older = Ledger.open(f"sqlite:///{tmp_path / 'backup.sqlite'}")
    original = tmp_path / "k1.json"
    original.write_text(backup)
    original.chmod(0o600)
    older.check_keys(Keyring.load(original))
    with pytest.raises(OlderLedger, match=r"is a copy from before that rotation\n  hint: .*keys rotate token"):
        reopened(older).check_keys(Keyring.load(keys.path))


def test_a_new_ledger_begins_under_the_key_of_its_key_file(filled: Ledger, keys: Keyring, tmp_path: Path) -> None:
    rotated(filled, keys)
    key_file.change(keys.path, lambda document: document.update(token_key="k2") or document.pop("token_key_next"))
    fresh = Ledger.open(f"sqlite:///{tmp_path / 'fresh.sqlite'}")
    loaded = Keyring.load(keys.path)
    fresh.check_keys(loaded)
    assert (loaded.token_key_id, fresh.token_key) == ("k2", "k2")
    reopened(fresh).check_keys(loaded)


def test_the_row_hash_is_the_planners(filled: Ledger, keys: Keyring) -> None:
    import duckdb

    row = {"customer_token": "c", "address_token": None, "payload": '{"a":"ä"}'}
    query = "select sha256(concat_ws(chr(31), 'v1', 'c', null, '{\"a\":\"ä\"}'))"
    assert duckdb.sql(query).fetchall()[0][0] == row_hash("v1", row)
    assert row_hash("v1", row) != row_hash("v1", replace_token(row))


def replace_token(row: dict[str, str | None]) -> dict[str, str | None]:
    return {**row, "customer_token": "d"}
