"""One webhook event: sealed on its way into the inbox, what became of it there, and read back."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from personalization.ledger.keys import Keyring

NEW, DUPLICATE, CONFLICT = "new", "duplicate", "conflict"


@dataclass(frozen=True, slots=True)
class Arrival:
    """An event on its way into the inbox. Made by `Arrival.sealed`; holds nothing in the clear.

    Attributes
    ----------
    source : str
        A webhook source of `program/sources.yaml`.
    event_key : str
        The sender's id of the event, the same at each repetition.
    event_at : datetime or None
        When it happened, in the sender's words.
    received_at : datetime
        When it came.
    digest : str
        `Keyring.digest` of what must be equal at each repetition.
    key_id : str
        The vault key that the body was sealed under.
    body : bytes
        The sealed body.
    """

    source: str
    event_key: str
    event_at: datetime | None
    received_at: datetime
    digest: str
    key_id: str
    body: bytes

    @classmethod
    def sealed(
        cls,
        keys: Keyring,
        *,
        source: str,
        event_key: str,
        body: bytes,
        received_at: datetime,
        event_at: datetime | None = None,
        same: bytes | None = None,
    ) -> Arrival:
        """Encrypt a body. `same` is the part of it that must be equal at each repetition; default: all of it."""
        digest = keys.digest(body if same is None else same)
        return cls(source, event_key, event_at, received_at, digest, *keys.seal(body, _context(source, event_key)))


@dataclass(frozen=True, slots=True)
class Receipt:
    """What became of an arrival: its number (or that of the first one), and `new`, `duplicate` or `conflict`."""

    seq: int
    state: str


@dataclass(frozen=True, slots=True)
class InboxRow:
    """An event of the inbox. `sealed` is None once the body was erased."""

    seq: int
    source: str
    event_key: str
    event_at: datetime | None
    received_at: datetime
    key_id: str
    sealed: bytes | None

    def body(self, keys: Keyring) -> bytes | None:
        """The body as it came, or None when it was erased.

        Raises
        ------
        KeyFileError
            These are not the keys it was sealed with, or the row was altered.
        """
        if self.sealed is None:
            return None
        return keys.unseal(self.sealed, _context(self.source, self.event_key), self.key_id)

    def __repr__(self) -> str:
        return f"InboxRow({self.seq}, {self.source}, {self.event_key})"


def resealed(keys: Keyring, source: str, event_key: str, key_id: str, sealed: bytes) -> tuple[str, bytes]:
    """A sealed body under the vault's current key instead of an older one, after that key's name."""
    context = _context(source, event_key)
    return keys.seal(keys.unseal(sealed, context, key_id), context)


def seal_rest(keys: Keyring, row: InboxRow, body: bytes) -> tuple[str, bytes]:
    """What is left of a body, sealed in its place, after the key's name: somebody it was about was erased from it."""
    return keys.seal(body, _context(row.source, row.event_key))


def _context(source: str, event_key: str) -> bytes:
    """Binds a sealed body to its event: copied to another row it does not open."""
    return f"{len(source)}:{source}{len(event_key)}:{event_key}".encode()
