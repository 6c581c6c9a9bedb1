"""Replaces the vault's master key: every data key is wrapped anew, no value is decrypted, nobody has to stop.

Killed anywhere and run again it goes on: the key file holds the new key before the first row uses it, and a row says
itself which key it needs. The old key stays until nothing uses it; taking it away earlier is refused by name.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, NoReturn

from sqlalchemy import BindParameter, ColumnElement, Connection, Table, bindparam, func, or_, select, update

from personalization.crash_points import crash_point
from personalization.errors import KeyFileError
from personalization.ledger import key_file
from personalization.ledger.inbox_event import resealed
from personalization.ledger.inbox_schema import inbox, inbox_conflicts
from personalization.ledger.key_check import vault_key_uses
from personalization.ledger.key_document import retire_vault_key as retire
from personalization.ledger.keys import Keyring
from personalization.ledger.retoken import text_columns
from personalization.ledger.schema import metadata, vault_subjects

if TYPE_CHECKING:
    from personalization.ledger.ledger import Ledger

CHUNK = 2_000
_HINT = "run `personalization keys rotate vault` first"


@dataclass(frozen=True)
class Rotation:
    """What a rotation did: the keys, and how many data keys and webhook bodies are under the new one now."""

    old_keys: tuple[str, ...]
    new_key: str
    data_keys: int
    bodies: int


def rotate_vault(
    ledger: Ledger, keys: Keyring, at: datetime, *, on_progress: Callable[[int], None] | None = None
) -> tuple[Keyring, Rotation]:
    """Make a new master key, or go on with an interrupted rotation, and wrap everything under it.

    Running processes read the key file again when they meet the new key, so imports, webhooks and exports go on.

    Returns
    -------
    (Keyring, Rotation)
        The keys as they are now, and what was done.
    """
    uses = key_uses(ledger)
    if set(uses) <= {keys.vault_key_id}:  # no rotation is under way
        key_file.change(keys.path, _add_vault_key)
        crash_point("rotate.key_added")
        keys = Keyring.load(keys.path)
    ledger.vault(keys)  # notes the new key's fingerprint
    old = tuple(sorted(key for key in key_uses(ledger) if key != keys.vault_key_id))
    data_keys = bodies = 0
    while moved := _rewrap(ledger, keys):
        data_keys += moved
        crash_point("rotate.some_wrapped")
        if on_progress:
            on_progress(data_keys)
    for table in (inbox, inbox_conflicts):
        while moved := _reseal(ledger, keys, table):
            bodies += moved
            crash_point("rotate.some_sealed")
    rotation = Rotation(old, keys.vault_key_id, data_keys, bodies)
    ledger.requests.log(
        "rotation",
        {"kind": "vault", "from": list(old), "to": keys.vault_key_id, "data_keys": data_keys, "bodies": bodies},
        at=at,
    )
    return keys, rotation


def retire_vault_key(ledger: Ledger, keys: Keyring, key_id: str, at: datetime) -> Keyring:
    """Take an old master key out of the key file, for good.

    Raises
    ------
    KeyFileError
        It is in use, or there is no such key.
    """
    if key_id == keys.vault_key_id:
        raise KeyFileError(
            f"the vault key '{key_id}' is the one in use", hint="run `personalization keys rotate vault`"
        )
    if ("vault", key_id) not in keys.fingerprints:
        raise KeyFileError(f"the key file {keys.path} has no vault key '{key_id}'")
    uses = key_uses(ledger).get(key_id, 0)
    if uses:
        raise KeyFileError(
            f"{uses:,} rows of the ledger need the vault key '{key_id}': without it they could never be read again",
            hint=_HINT,
        )

    key_file.change(keys.path, lambda document: retire(document, key_id))
    ledger.requests.log("rotation", {"kind": "vault", "retired": key_id}, at=at)
    return Keyring.load(keys.path)


def refuse_to_retire_token_key(ledger: Ledger, keys: Keyring, key_id: str) -> NoReturn:
    """A token key never leaves the key file: say why, and what still depends on it.

    Raises
    ------
    KeyFileError
        Always: it is in use, or rows hold tokens of it, or the tokens of later keys are made over its.
    """
    if key_id == keys.token_key_id:
        raise KeyFileError(
            f"the token key '{key_id}' is the one in use", hint="run `personalization keys rotate token`"
        )
    rows = token_key_uses(ledger, key_id)
    if rows:
        listed = ", ".join(f"{count:,} of {table}" for table, count in sorted(rows.items()))
        raise KeyFileError(
            f"rows of the ledger hold tokens of the key '{key_id}': {listed}",
            hint="run `personalization keys rotate token`; without the key they would match nobody",
        )
    raise KeyFileError(
        f"no row holds tokens of the key '{key_id}' any more, but those of '{keys.token_key_id}' are made over them: "
        "without it no identifier becomes its token",
        hint=f"keep it. Alone it tells nothing about what is stored: that needs '{keys.token_key_id}' as well",
    )


def token_key_uses(ledger: Ledger, key_id: str) -> dict[str, int]:
    """How many rows of which tables hold tokens of a token key."""
    found: dict[str, int] = {}
    with ledger.read() as connection:
        for table in metadata.sorted_tables:
            columns = [table.c[name] for name in text_columns(table)]
            if columns:
                holding = or_(*(column.contains(f"t1_{key_id}_", autoescape=True) for column in columns))
                rows = connection.execute(select(func.count()).select_from(table).where(holding)).scalar_one()
                if rows:
                    found[table.name] = rows
    return found


def key_uses(ledger: Ledger) -> dict[str, int]:
    """How many rows need each master key of the vault."""
    with ledger.read() as connection:
        return vault_key_uses(connection)


def _add_vault_key(document: key_file.Document) -> None:
    taken = [int(name[1:]) for name in document["vault_keys"] if name[1:].isdigit()]
    name = f"v{max(taken, default=0) + 1}"
    document["vault_keys"][name] = key_file.new_key()
    document["vault_key"] = name


def _rewrap(ledger: Ledger, keys: Keyring) -> int:
    """Wrap some data keys anew. A row that changed meanwhile is left for the next turn."""
    columns = vault_subjects.c
    with ledger.begin() as connection:
        rows = connection.execute(
            select(columns.subject, columns.key_id, columns.wrapped_key)
            .where(columns.key_id != keys.vault_key_id)
            .order_by(columns.subject)
            .limit(CHUNK)
        ).all()
        changed = []
        for row in rows:
            data_key = keys.unwrap(row.wrapped_key, row.subject.encode(), row.key_id)
            key_id, wrapped = keys.wrap(data_key, row.subject.encode())
            changed.append({"of": row.subject, "key_id": key_id, "wrapped_key": wrapped})
        _update(connection, vault_subjects, columns.subject == bindparam("of"), changed)
    return len(changed)


def _reseal(ledger: Ledger, keys: Keyring, table: Table) -> int:
    """Seal some webhook bodies anew."""
    with ledger.begin() as connection:
        query = (
            select(table.c.seq, inbox.c.source, inbox.c.event_key, table.c.key_id, table.c.body)
            .where(table.c.key_id != keys.vault_key_id, table.c.body.is_not(None))
            .order_by(table.c.seq)
            .limit(CHUNK)
        )
        if table is inbox_conflicts:
            query = query.join_from(inbox_conflicts, inbox).add_columns(table.c.digest)
        rows = connection.execute(query).all()
        same = table.c.seq == bindparam("of")
        if table is inbox_conflicts:
            same &= table.c.digest == bindparam("digest_of")
        changed = []
        for row in rows:
            key_id, body = resealed(keys, row.source, row.event_key, row.key_id, row.body)
            changed.append({"of": row.seq, "key_id": key_id, "body": body})
            if table is inbox_conflicts:
                changed[-1]["digest_of"] = row.digest
        _update(connection, table, same, changed)
    return len(changed)


def _update(connection: Connection, table: Table, same: ColumnElement[bool], changed: list[dict]) -> None:
    if changed:
        values: dict[str, BindParameter] = {name: bindparam(name) for name in changed[0] if name in table.c}
        connection.execute(update(table).where(same).values(values), changed)
