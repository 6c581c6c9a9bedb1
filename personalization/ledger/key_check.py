"""Ties a ledger to the keys it was written with: under other keys no opt-out in it would match anybody any more."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass

from sqlalchemy import Connection, Engine, func, insert, select

from personalization.errors import KeyFileError
from personalization.ledger.consent_chain import GENESIS
from personalization.ledger.engine import bulk_insert, location, read, write
from personalization.ledger.inbox_schema import inbox, inbox_conflicts
from personalization.ledger.keys import Keyring
from personalization.ledger.schema import key_fingerprints, now, to_micros, vault_subjects
from personalization.ledger.token_key import OlderLedger, changes_made, token_key_of
from personalization.ledger.token_key_schema import token_key_changes


def check_keys(engine: Engine, keys: Keyring, *, older_ledger: bool = False) -> str:
    """Compare the keys with those the ledger was first used with, and let them make tokens as the ledger has them.

    A ledger that knows no keys yet notes these. Which token key is in use, the ledger says: the key file gets a new
    one before the ledger is rewritten, and calls it the one in use afterwards.

    Parameters
    ----------
    older_ledger : bool
        Let a ledger pass that is under an earlier token key than the key file: for bringing it up to it.

    Returns
    -------
    str
        The token key that the ledger is under.

    Raises
    ------
    KeyFileError
        A key of the ledger is missing from the key file or is another one there, or identifiers would become tokens
        that match nothing in the ledger.
    """
    while True:
        known = keys.fingerprints
        try:
            token_key = _checked(engine, keys, older_ledger)
        except KeyFileError:
            # Another process may have added a key since the file was read, and one more while it was read again. A
            # key is in the file before it is in the ledger: what is still missing when nothing is new, is missing.
            keys.reload()
            if keys.fingerprints == known:
                raise
        else:
            keys.use_token_key(token_key)
            return token_key


def _checked(engine: Engine, keys: Keyring, older_ledger: bool) -> str:
    """The token key that the ledger is under; keys that it has not seen yet are noted."""
    with read(engine) as connection:
        missing, token_key = _compared(connection, keys, location(engine), older_ledger)
    if missing:
        with write(engine) as connection:
            missing, token_key = _compared(connection, keys, location(engine), older_ledger)
            note_keys(connection, keys, missing)
            if token_key_of(connection) != token_key:
                note_change(connection, TokenKeyChange(token_key))
    return token_key


def note_keys(connection: Connection, keys: Keyring, missing: Iterable[tuple[str, str]]) -> None:
    """Remember the fingerprints of keys, given as (kind, name)."""
    recorded_at = to_micros(now())
    rows = [(kind, key_id, keys.fingerprints[kind, key_id], recorded_at) for kind, key_id in missing]
    bulk_insert(connection, key_fingerprints, ("kind", "key_id", "fingerprint", "recorded_at"), rows)


@dataclass(frozen=True)
class TokenKeyChange:
    """A change of the token key, with the ends of both chains before and after it."""

    key_id: str
    earlier_key: str | None = None
    consent_seq: int = 0
    consent_head_before: str = GENESIS
    consent_head: str = GENESIS
    log_seq: int = 0
    log_head_before: str = GENESIS
    log_head: str = GENESIS


def note_change(connection: Connection, change: TokenKeyChange) -> int:
    """Put the ledger under another token key. Returns the number of the change."""
    number = changes_made(connection) + 1
    connection.execute(insert(token_key_changes).values(number=number, recorded_at=now(), **asdict(change)))
    return number


def vault_key_uses(connection: Connection) -> dict[str, int]:
    """How many rows need each master key of the vault: data keys and sealed bodies of webhooks."""
    uses: dict[str, int] = {}
    for table in (vault_subjects, inbox, inbox_conflicts):
        query = select(table.c.key_id, func.count().label("rows")).group_by(table.c.key_id)
        if table is not vault_subjects:
            query = query.where(table.c.body.is_not(None))
        for row in connection.execute(query):
            uses[row.key_id] = uses.get(row.key_id, 0) + int(row.rows)
    return uses


def _compared(
    connection: Connection, keys: Keyring, ledger: str, older_ledger: bool
) -> tuple[list[tuple[str, str]], str]:
    """The keys of the file that the ledger has not seen yet, and the token key to use."""
    seen = {(row.kind, row.key_id): row.fingerprint for row in connection.execute(select(key_fingerprints))}
    for (kind, key_id), fingerprint in seen.items():
        found = keys.fingerprints.get((kind, key_id))
        if found is None and kind == "vault" and not vault_key_uses(connection).get(key_id):
            continue  # it was retired: nothing in the ledger needs it
        if found != fingerprint:
            raise KeyFileError(
                f"the key file {keys.path} does not hold the {kind} key '{key_id}' that the ledger {ledger} was "
                "written with",
                hint="restore the key file from your backup: with other keys no opt-out would match anybody",
            )
    token_key = token_key_of(connection)
    if token_key is None:
        token_key = keys.file_token_key_id
    elif token_key not in (keys.file_token_key_id, keys.next_token_key_id):
        if token_key not in keys.token_keys_before(keys.file_token_key_id):
            raise KeyFileError(
                f"the key file {keys.path} makes tokens with the key '{keys.file_token_key_id}', which nothing in the "
                f"ledger {ledger} was made with",
                hint="set token_key back to the key used before: with another one no opt-out would match anybody",
            )
        if not older_ledger:
            raise OlderLedger(
                f"the ledger {ledger} is under the token key '{token_key}', the key file {keys.path} under the later "
                f"'{keys.file_token_key_id}': this ledger is a copy from before that rotation",
                hint="put the newest copy back; when there is none, `personalization keys rotate token` brings this "
                f"one to '{keys.file_token_key_id}'",
            )
    known = {("token", key_id) for key_id in keys.token_keys_before(token_key)}
    mine = {(kind, key_id) for kind, key_id in keys.fingerprints if kind != "token" or (kind, key_id) in known}
    return sorted(mine - set(seen)), token_key
