"""Binds the vault to new tokens: values are encrypted again, because each is bound to the tokens of its place."""

from __future__ import annotations

import os
from typing import Any

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from sqlalchemy import Connection, delete, select

from personalization.errors import LedgerError
from personalization.ledger.engine import bulk_insert, one_of
from personalization.ledger.keys import NONCE_BYTES, Keyring
from personalization.ledger.retoken import Renaming
from personalization.ledger.schema import to_micros, vault_items, vault_subjects
from personalization.ledger.vault import item_context

CHUNK = 2_000
_SUBJECT = [column.name for column in vault_subjects.columns]
_ITEM = [column.name for column in vault_items.columns]

_Row = dict[str, Any]


def rebind(connection: Connection, keys: Keyring, renaming: Renaming) -> int:
    """Put all subjects and values under new tokens, in the caller's transaction. Returns how many values there are.

    Raises
    ------
    LedgerError
        A value was altered: it does not decrypt.
    """
    subjects: list[str] = list(
        connection.execute(select(vault_subjects.c.subject).order_by(vault_subjects.c.subject)).scalars()
    )
    rows = 0
    for first in range(0, len(subjects), CHUNK):
        rows += _rebind(connection, keys, renaming, subjects[first : first + CHUNK])
    return rows


def _rebind(connection: Connection, keys: Keyring, renaming: Renaming, subjects: list[str]) -> int:
    owners = _stored(connection, "vault_subjects", _SUBJECT, subjects)
    items = _stored(connection, "vault_items", _ITEM, subjects)
    ciphers = {
        row["subject"]: AESGCM(keys.unwrap(bytes(row["wrapped_key"]), row["subject"].encode(), row["key_id"]))
        for row in owners
    }
    values = [_opened(ciphers[row["subject"]], row) for row in items]
    by_owner = [ciphers[row["subject"]] for row in items]
    for row in owners:
        row["wrapped_key"] = keys.unwrap(bytes(row["wrapped_key"]), row["subject"].encode(), row["key_id"])
    renaming.rows(owners, ["subject"])
    renaming.rows(items, ["subject", "source", "value_token"])
    for row in owners:
        row["key_id"], row["wrapped_key"] = keys.wrap(row["wrapped_key"], row["subject"].encode())
    for row, cipher, value in zip(items, by_owner, values, strict=True):
        nonce = os.urandom(NONCE_BYTES)
        row["ciphertext"] = nonce + cipher.encrypt(nonce, value, _context(row))
    connection.execute(delete(vault_items).where(one_of(connection, vault_items.c.subject, subjects)))
    connection.execute(delete(vault_subjects).where(one_of(connection, vault_subjects.c.subject, subjects)))
    bulk_insert(connection, vault_subjects, _SUBJECT, [[row[name] for name in _SUBJECT] for row in owners])
    bulk_insert(connection, vault_items, _ITEM, [[row[name] for name in _ITEM] for row in items])
    return len(items)


def _stored(connection: Connection, table: str, columns: list[str], subjects: list[str]) -> list[_Row]:
    """Rows of some subjects, with moments as they are stored."""
    of = vault_subjects if table == "vault_subjects" else vault_items
    chosen = select(*(of.c[name] for name in columns)).where(one_of(connection, of.c.subject, subjects))
    rows = [dict(row._mapping) for row in connection.execute(chosen)]
    for row in rows:
        row["recorded_at"] = to_micros(row["recorded_at"])
    return rows


def _opened(cipher: AESGCM, row: _Row) -> bytes:
    sealed = bytes(row["ciphertext"])
    try:
        return cipher.decrypt(sealed[:NONCE_BYTES], sealed[NONCE_BYTES:], _context(row))
    except InvalidTag:
        raise LedgerError(
            f"the {row['field']} of {row['subject']} in the vault was altered: it does not decrypt",
            hint="restore the ledger from a backup made before that; nothing was changed",
        ) from None


def _context(row: _Row) -> bytes:
    return item_context(row["subject"], row["field"], row["source"], row["version"], row["value_token"])
