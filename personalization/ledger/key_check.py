"""Ties a ledger to the keys it was written with: under other keys no opt-out in it would match anybody any more."""

from __future__ import annotations

from sqlalchemy import Connection, Engine, func, select

from personalization.errors import KeyFileError
from personalization.ledger.engine import bulk_insert, location, read, write
from personalization.ledger.inbox_schema import inbox, inbox_conflicts
from personalization.ledger.keys import Keyring
from personalization.ledger.schema import key_fingerprints, now, to_micros, vault_subjects


def check_keys(engine: Engine, keys: Keyring) -> None:
    """Compare the keys with those the ledger was first used with; a ledger that knows none yet notes these.

    Raises
    ------
    KeyFileError
        A key of the ledger is missing from the key file or is another one there, or identifiers would become tokens
        that match nothing in the ledger.
    """
    try:
        with read(engine) as connection:
            missing = _missing(connection, keys, location(engine))
    except KeyFileError:
        if not keys.reload():  # another process may have added a key since the file was read
            raise
        with read(engine) as connection:
            missing = _missing(connection, keys, location(engine))
    if missing:
        with write(engine) as connection:
            missing = _missing(connection, keys, location(engine))
            recorded_at = to_micros(now())
            rows = [(kind, key_id, keys.fingerprints[kind, key_id], recorded_at) for kind, key_id in missing]
            bulk_insert(connection, key_fingerprints, ("kind", "key_id", "fingerprint", "recorded_at"), rows)


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


def _missing(connection: Connection, keys: Keyring, ledger: str) -> list[tuple[str, str]]:
    """The keys of the file that the ledger has not seen yet."""
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
    if seen and ("token", keys.token_key_id) not in seen:
        raise KeyFileError(
            f"the key file {keys.path} makes tokens with the key '{keys.token_key_id}', which nothing in the ledger "
            f"{ledger} was made with",
            hint="set token_key back to the key used before: with another one no opt-out would match anybody",
        )
    return sorted(set(keys.fingerprints) - set(seen))
