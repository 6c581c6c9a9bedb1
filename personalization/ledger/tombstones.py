"""Tombstones: who was erased, kept outside the ledger too, so that a ledger restored from a backup forgets them again.

A line a tombstone, appended and on the disk before anything is erased. Keep the file apart from backups of the ledger,
or restore it from the newest one: PERSONALIZATION_TOMBSTONES_FILE names another place for it.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, delete, insert, select

from personalization.errors import LedgerError
from personalization.ledger.engine import one_of
from personalization.ledger.privacy_log import append, request_content
from personalization.ledger.requests_schema import privacy_log, privacy_requests
from personalization.ledger.schema import now, vault_items, vault_subjects
from personalization.ledger.token_key import token_key_of

if TYPE_CHECKING:
    from personalization.ledger.keys import Keyring
    from personalization.ledger.ledger import Ledger

REASON, SOURCE = "erased", "privacy"


@dataclass(frozen=True)
class Tombstone:
    """What keeps an erased person erased. Tokens only.

    Attributes
    ----------
    request_id : str
        The request that was carried out, with its record in `request`.
    at : str
        When, ISO 8601.
    suppression_tokens : tuple of str
        Under the key that never changes: they match an address whatever happens to the other keys.
    identifier_tokens : tuple of str
        All identifiers by which the person was known.
    value_tokens : tuple of str
        Addresses and telephone numbers, to be removed wherever the vault has them.
    """

    request_id: str
    at: str
    suppression_tokens: tuple[str, ...]
    identifier_tokens: tuple[str, ...]
    value_tokens: tuple[str, ...]
    request: dict[str, Any]

    @property
    def pseudonyms(self) -> tuple[str, ...]:
        """What depends on the token key."""
        return (*self.identifier_tokens, *self.value_tokens)

    @property
    def tokens(self) -> list[str]:
        return sorted({*self.suppression_tokens, *self.identifier_tokens})


def keep(path: Path, tombstone: Tombstone) -> None:
    """Append a tombstone to the file; one of the same request with the same tokens is there once only."""
    if tombstone in read(path):
        return
    line = json.dumps(asdict(tombstone), sort_keys=True) + "\n"
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), "a", encoding="utf-8") as file:
        file.write(line)
        file.flush()
        os.fsync(file.fileno())


def read(path: Path) -> list[Tombstone]:
    """All tombstones of the file, those appended first at the top.

    Raises
    ------
    LedgerError
        The file can't be understood. A last line without its end is what a crash left: it was never promised.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return []
    except OSError as error:
        raise LedgerError(f"the tombstones {path} can't be read: {error.strerror}", hint=_HINT) from None
    found = []
    *lines, _ = text.split("\n")
    for number, line in enumerate(lines, 1):
        try:
            fields: dict[str, Any] = json.loads(line)
            for name in ("suppression_tokens", "identifier_tokens", "value_tokens"):
                fields[name] = tuple(fields[name])
            found.append(Tombstone(**fields))
        except (ValueError, TypeError, KeyError):
            raise LedgerError(f"line {number} of the tombstones {path} can't be understood", hint=_HINT) from None
    return found


_HINT = "restore it from a backup: without it a restored ledger would mail people who were erased"


def current(tombstone: Tombstone, keys: Keyring) -> Tombstone:
    """A tombstone under the token key in use."""
    return replace(
        tombstone,
        identifier_tokens=tuple(keys.current_tokens(tombstone.identifier_tokens)),
        value_tokens=tuple(keys.current_tokens(tombstone.value_tokens)),
        request={**tombstone.request, "subject_token": keys.current_token(tombstone.request["subject_token"])}
        if "subject_token" in tombstone.request
        else tombstone.request,
    )


def rewrite(path: Path, keys: Keyring) -> int:
    """Put the file under the token key in use, as a whole. Returns how many tombstones changed."""
    known = read(path)
    fresh = [current(tombstone, keys) for tombstone in known]
    changed = sum(new != old for new, old in zip(fresh, known, strict=True))
    if changed:
        temporary = path.with_name(f".{path.name}.tmp")
        with open(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as file:
            file.writelines(json.dumps(asdict(tombstone), sort_keys=True) + "\n" for tombstone in fresh)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    return changed


def bury(connection: Connection, ledger: Ledger, tombstone: Tombstone, at: datetime, *, replayed: bool = False) -> None:
    """Suppress a person and note the tombstone, in a transaction of `Ledger.begin`."""
    ledger.suppressions.add(tombstone.tokens, REASON, SOURCE, at, connection=connection)
    append(connection, "tombstone", _content(tombstone, replayed), at=at, request_id=tombstone.request_id)


def replay(ledger: Ledger, path: Path, open_keys: Callable[[], Keyring] | None = None) -> list[str]:
    """Bury again whom the ledger does not know to be erased: it was restored from a backup made before.

    They are suppressed and their data keys are destroyed in one transaction, before anything else is read. Their
    requests are open again, so that what the restored files hold of them is erased as well.

    Parameters
    ----------
    open_keys : callable
        Reads the key file. Called only when the tombstones are of an earlier token key than the ledger.

    Returns
    -------
    list of str
        The requests whose tombstones were missing.

    Raises
    ------
    KeyFileError
        The ledger is from before a replacement of the token key, and the tombstones are not.
    """
    known = read(path)
    if not known:
        return []
    with ledger.read() as connection:
        token_key = token_key_of(connection)
    if open_keys and token_key and any(_is_of_another(token, token_key) for each in known for token in each.pseudonyms):
        keys = open_keys()
        ledger.check_keys(keys)
        known = [current(tombstone, keys) for tombstone in known]
    missing = _missing(ledger, known)
    if not missing:
        return []
    with ledger.begin() as connection:
        for tombstone in missing:
            _reopen(connection, tombstone)
            bury(connection, ledger, tombstone, datetime.fromisoformat(tombstone.at), replayed=True)
            shred(connection, tombstone.identifier_tokens, tombstone.value_tokens)
    return sorted({tombstone.request_id for tombstone in missing})


def _is_of_another(token: str, token_key: str) -> bool:
    return token.startswith("t1_") and not token.startswith(f"t1_{token_key}_")


def shred(connection: Connection, subjects: Sequence[str], values: Sequence[str]) -> tuple[int, int]:
    """Remove data keys and values of subjects, and some values wherever they are. Returns how many of each."""
    items = connection.execute(delete(vault_items).where(one_of(connection, vault_items.c.subject, subjects))).rowcount
    items += connection.execute(
        delete(vault_items).where(one_of(connection, vault_items.c.value_token, values))
    ).rowcount
    keys = connection.execute(delete(vault_subjects).where(one_of(connection, vault_subjects.c.subject, subjects)))
    return keys.rowcount, items


def _missing(ledger: Ledger, known: Iterable[Tombstone]) -> list[Tombstone]:
    columns = privacy_log.c
    with ledger.read() as connection:
        contents: list[str] = list(
            connection.execute(select(columns.content).where(columns.kind == "tombstone")).scalars()
        )
    buried = {_key(json.loads(content)) for content in contents}
    return [tombstone for tombstone in known if _key(_content(tombstone, False)) not in buried]


def _key(content: dict[str, Any]) -> tuple[str, ...]:
    return (content["request_id"], *content["suppression_tokens"], *content["identifier_tokens"])


def _content(tombstone: Tombstone, replayed: bool) -> dict[str, Any]:
    return {
        "request_id": tombstone.request_id,
        "suppression_tokens": list(tombstone.suppression_tokens),
        "identifier_tokens": list(tombstone.identifier_tokens),
        "value_tokens": list(tombstone.value_tokens),
        **({"replayed": True} if replayed else {}),
    }


def _reopen(connection: Connection, tombstone: Tombstone) -> None:
    """The record of the request, when the restored ledger is older than it."""
    columns = privacy_requests.c
    if connection.execute(select(columns.kind).where(columns.request_id == tombstone.request_id)).first():
        return
    moments = {name: datetime.fromisoformat(tombstone.request[name]) for name in ("received_at", "due_at")}
    row = {**tombstone.request, **moments, "request_id": tombstone.request_id}
    connection.execute(insert(privacy_requests).values(**row, recorded_at=now()))
    append(connection, "request", request_content(row), at=row["received_at"], request_id=tombstone.request_id)
