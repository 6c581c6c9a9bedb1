"""The vault: the only place where names, addresses and numbers of people are kept, encrypted per person.

Each subject has a random data key, wrapped by the master key of the key file; destroying it makes all of the
subject's values unreadable. Rows are bound to their place: moved or relabelled they don't decrypt.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, TypeVar

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from sqlalchemy import Connection, Row, bindparam, delete, select
from sqlalchemy.exc import OperationalError

from personalization.errors import LedgerError
from personalization.ledger.engine import bulk_insert, fetch_columns, location, one_of, outside_transactions
from personalization.ledger.keys import KEY_BYTES, NONCE_BYTES, Keyring
from personalization.ledger.replaced_addresses import FIELD, place_of_former, still_held
from personalization.ledger.schema import now, to_micros, vault_items, vault_subjects
from personalization.ledger.token_key import require_current

if TYPE_CHECKING:
    from personalization.ledger.ledger import Ledger

CHUNK = 5_000

_PLACE = ("subject", "field", "source")
_ITEM = (*_PLACE, "version", "value_token", "ciphertext", "recorded_at")
_SUBJECT = ("subject", "key_id", "wrapped_key", "recorded_at")
_SEALED = select(
    *(vault_items.c[name] for name in _ITEM[:-1]), *(vault_subjects.c[name] for name in _SUBJECT[1:-1])
).join_from(vault_items, vault_subjects)
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class VaultItem:
    """One value of one person.

    Attributes
    ----------
    subject : str
        Token of the person's record: its `customer` token, or its `email` token when there is no customer id.
    field : str
        `email`, `phone`, `first_name`, `last_name`, `street`.
    value_token : str
        Token of the normalised value, in the namespace of the field: how the value is asked for again.
    value : str
        The value as the source wrote it. Never in the repr.
    source : str
        Whose value it is, e.g. `crm.customers`: a new value replaces the same source's old one, no other's.
    """

    subject: str
    field: str
    value_token: str
    value: str
    source: str = ""

    def __repr__(self) -> str:
        return f"VaultItem({self.subject}, {self.field}, {self.value_token}, source={self.source!r})"

    @property
    def place(self) -> tuple[str, str, str]:
        return self.subject, self.field, self.source


@dataclass(frozen=True)
class Erasure:
    """What `Vault.erase` did.

    `old_bytes_gone` is False when another connection kept the write-ahead log from being emptied: the values are
    unreadable all the same, and the next erasure or `Vault.compact` empties it.
    """

    subjects: int
    items: int
    old_bytes_gone: bool


class Vault:
    """Encrypted values by token. See `Ledger.vault`."""

    def __init__(self, ledger: Ledger, keys: Keyring) -> None:
        self._ledger = ledger
        self._keys = keys

    def put(self, items: Iterable[VaultItem]) -> int:
        """Keep values; a value that is there already (same subject, field, source and token) writes nothing.

        A changed value takes the place of the old one, which is overwritten. When the same place occurs twice, the
        later item counts. Everything is written in one transaction, in chunks.

        Returns
        -------
        int
            How many values were new or changed.
        """
        latest = {item.place: item for item in items}
        if not latest:
            return 0
        ordered = sorted(latest.values(), key=lambda item: item.subject)  # a subject's items share a chunk, mostly
        require_current(self._ledger.token_key, _tokens_of(latest.values()))
        with self._ledger.begin() as connection:
            return sum(self._put_chunk(connection, chunk) for chunk in _chunks(ordered))

    def reveal(self, value_tokens: Sequence[str]) -> dict[str, str]:
        """The values behind tokens. A token that the vault does not know, or no longer, is absent from the answer."""
        revealed: dict[str, str] = {}
        order = vault_items.c.value_token, vault_items.c.subject, vault_items.c.source
        with self._ledger.read() as connection:
            for chunk in _chunks(sorted(set(value_tokens))):
                query = _SEALED.where(one_of(connection, vault_items.c.value_token, chunk)).order_by(*order)
                rows = zip(*fetch_columns(connection, query), strict=True)
                for subject, field, source, version, token, sealed, key_id, wrapped in rows:
                    if token in revealed:  # several people can share a value, such as a first name
                        continue
                    cipher = AESGCM(self._keys.unwrap(wrapped, subject.encode(), key_id))
                    context = item_context(subject, field, source, version, token)
                    try:
                        value = cipher.decrypt(sealed[:NONCE_BYTES], sealed[NONCE_BYTES:], context)
                    except InvalidTag:
                        raise self._altered(field, subject) from None
                    revealed[token] = value.decode()
        return revealed

    def of_subjects(self, subjects: Sequence[str]) -> list[VaultItem]:
        """Everything kept about some subjects, in the clear; ordered by field, subject and source."""
        found: list[VaultItem] = []
        with self._ledger.read() as connection:
            for chunk in _chunks(sorted(set(subjects))):
                rows = connection.execute(_SEALED.where(one_of(connection, vault_items.c.subject, chunk)))
                found += [self._opened(row) for row in rows]
        return sorted(found, key=lambda item: (item.field, item.subject, item.source))

    def with_values(self, value_tokens: Sequence[str]) -> list[VaultItem]:
        """Every place where one of some values is kept, whoever's it is, in the clear."""
        found: list[VaultItem] = []
        with self._ledger.read() as connection:
            for chunk in _chunks(sorted(set(value_tokens))):
                rows = connection.execute(_SEALED.where(one_of(connection, vault_items.c.value_token, chunk)))
                found += [self._opened(row) for row in rows]
        return sorted(found, key=lambda item: (item.field, item.subject, item.source))

    def subjects_with(self, value_token: str) -> list[str]:
        """The subjects that have a value."""
        columns = vault_items.c
        query = select(columns.subject).distinct().where(columns.value_token == value_token).order_by(columns.subject)
        with self._ledger.read() as connection:
            return list(connection.execute(query).scalars())

    def erase(self, subjects: Sequence[str], values: Sequence[str] = ()) -> Erasure:
        """Destroy the data keys and all values of subjects, for good. Unknown subjects are no error.

        Parameters
        ----------
        subjects : sequence of str
            Tokens of the records.
        values : sequence of str, optional
            Tokens of values that are removed wherever they are kept, also where they are another subject's.
        """
        erased = removed = 0
        with self._ledger.begin() as connection:
            for chunk in _chunks(sorted(set(subjects))):
                removed += connection.execute(
                    delete(vault_items).where(one_of(connection, vault_items.c.subject, chunk))
                ).rowcount
                erased += connection.execute(
                    delete(vault_subjects).where(one_of(connection, vault_subjects.c.subject, chunk))
                ).rowcount
            for chunk in _chunks(sorted(set(values))):
                removed += connection.execute(
                    delete(vault_items).where(one_of(connection, vault_items.c.value_token, chunk))
                ).rowcount
        return Erasure(erased, removed, self.compact())

    def compact(self) -> bool:
        """Remove bytes of deleted rows from the database's own files; False when a reader stood in the way.

        SQLite overwrites deleted rows itself (`secure_delete`), so only its write-ahead log has to be emptied.
        PostgreSQL rewrites the two tables; its write-ahead log and replicas follow their own retention.
        """
        with outside_transactions(self._ledger.engine) as connection:
            if connection.dialect.name == "sqlite":
                busy = connection.exec_driver_sql("pragma wal_checkpoint(truncate)").one()[0]
                return not busy
            try:
                connection.exec_driver_sql("vacuum full vault_items, vault_subjects")
            except OperationalError:  # it waited for a lock in vain
                return False
            return True

    def _put_chunk(self, connection: Connection, chunk: list[VaultItem]) -> int:
        subjects = sorted({item.subject for item in chunk})
        places = vault_items.c
        known = {
            (row.subject, row.field, row.source): row
            for row in connection.execute(
                select(places.subject, places.field, places.source, places.version, places.value_token).where(
                    one_of(connection, places.subject, subjects)
                )
            )
        }
        changed = [
            item for item in chunk if item.place not in known or known[item.place].value_token != item.value_token
        ]
        if not changed:
            return 0
        data_keys = self._data_keys(connection, sorted({item.subject for item in changed}))
        former = self._former(connection, [known[item.place] for item in changed if item.place in known])
        replaced = [dict(zip(_PLACE, item.place, strict=True)) for item in changed if item.place in known]
        if replaced:
            this_place = [vault_items.c[name] == bindparam(name) for name in _PLACE]
            connection.execute(delete(vault_items).where(*this_place), replaced)
        recorded_at = to_micros(now())
        rows = []
        for item, version in [
            *((item, known[item.place].version + 1 if item.place in known else 1) for item in changed),
            *former,
        ]:
            nonce = os.urandom(NONCE_BYTES)
            context = item_context(*item.place, version, item.value_token)
            ciphertext = nonce + data_keys[item.subject].encrypt(nonce, item.value.encode(), context)
            rows.append((*item.place, version, item.value_token, ciphertext, recorded_at))
        bulk_insert(connection, vault_items, _ITEM, rows)
        return len(changed)

    def _former(self, connection: Connection, replaced: Sequence[Row]) -> list[tuple[VaultItem, int]]:
        """Addresses that make way for others, but that a destination still knows: they are kept in another place."""
        old = [row for row in replaced if row.field == FIELD]
        held = still_held(connection, sorted({row.value_token for row in old}))
        kept = []
        for row in old:
            if row.value_token not in held:
                continue
            places = vault_items.c
            sealed = connection.execute(
                _SEALED.where(places.subject == row.subject, places.field == row.field, places.source == row.source)
            ).one()
            place = place_of_former(row.source, row.version)
            kept.append((VaultItem(row.subject, row.field, row.value_token, self._decrypt(sealed), place), row.version))
        return kept

    def _data_keys(self, connection: Connection, subjects: list[str]) -> dict[str, AESGCM]:
        """The data keys of subjects; those who have none get one."""
        columns = vault_subjects.c
        ciphers = {
            row.subject: self._cipher(row)
            for row in connection.execute(
                select(columns.subject, columns.key_id, columns.wrapped_key).where(
                    one_of(connection, columns.subject, subjects)
                )
            )
        }
        recorded_at, rows = to_micros(now()), []
        for subject in subjects:
            if subject in ciphers:
                continue
            data_key = os.urandom(KEY_BYTES)
            ciphers[subject] = AESGCM(data_key)
            rows.append((subject, *self._keys.wrap(data_key, subject.encode()), recorded_at))
        bulk_insert(connection, vault_subjects, _SUBJECT, rows)
        return ciphers

    def _cipher(self, row: Row) -> AESGCM:
        return AESGCM(self._keys.unwrap(row.wrapped_key, row.subject.encode(), row.key_id))

    def _opened(self, row: Row) -> VaultItem:
        return VaultItem(row.subject, row.field, row.value_token, self._decrypt(row), row.source)

    def _decrypt(self, row: Row) -> str:
        cipher = self._cipher(row)
        context = item_context(row.subject, row.field, row.source, row.version, row.value_token)
        try:
            return cipher.decrypt(row.ciphertext[:NONCE_BYTES], row.ciphertext[NONCE_BYTES:], context).decode()
        except InvalidTag:
            raise self._altered(row.field, row.subject) from None

    def _altered(self, field: str, subject: str) -> LedgerError:
        return LedgerError(
            f"the {field} of {subject} in the vault was altered: it does not decrypt",
            hint=f"restore the ledger {location(self._ledger.engine)} from a backup made before that",
        )


def _tokens_of(items: Iterable[VaultItem]) -> Iterator[str]:
    for item in items:
        yield item.subject
        yield item.value_token


def item_context(subject: str, field: str, source: str, version: int, value_token: str) -> bytes:
    """The associated data of a value's encryption. Each part says how long it is, so no two places share a context."""
    return (
        f"{len(subject)}:{subject}{len(field)}:{field}{len(source)}:{source}{version}:{len(value_token)}:{value_token}"
    ).encode()


def _chunks(values: Iterable[_T], size: int = CHUNK) -> Iterator[list[_T]]:
    iterator = iter(values)
    while chunk := list(islice(iterator, size)):
        yield chunk
