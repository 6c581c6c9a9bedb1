"""What an erasure has to know of the person to the end, sealed on the disk while it lasts: a crash may come.

When the vault's values are destroyed nobody else knows them any more, but files and platforms must still be cleared
of them. The file can be read with the key file only, and is removed when the erasure ends.
"""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from personalization.ledger import normalise_email
from personalization.privacy.needles import TOKEN, Needle
from personalization.privacy.person import NORMALISERS, Person

if TYPE_CHECKING:
    from personalization.ledger import Keyring
    from personalization.runtime import Runtime

FILE = "work.sealed"


@dataclass(frozen=True)
class Work:
    """The identifiers and values of a person who is being erased.

    Attributes
    ----------
    tokens : tuple of str
        Every identifier token.
    value_tokens : tuple of str
        Tokens of addresses and telephone numbers in the vault.
    addresses : tuple of str
        In the clear, as written and normalised.
    values : tuple of (str, str)
        Kind and text of every value that a byte scan can look for.
    external_ids : dict
        By destination, what it knows the person as.
    suppression_tokens : tuple of str
    """

    tokens: tuple[str, ...]
    value_tokens: tuple[str, ...]
    addresses: tuple[str, ...] = field(repr=False)
    values: tuple[tuple[str, str], ...] = field(repr=False)
    external_ids: dict[str, tuple[str, ...]]
    suppression_tokens: tuple[str, ...]

    @classmethod
    def of(cls, runtime: Runtime, person: Person) -> Work:
        """What there is to do for a person."""
        keys = runtime.keys
        identifiers = {kind: person.identifiers(kind) for kind in NORMALISERS}
        addresses = {*(item.value for item in person.own("email")), *identifiers["email"]}
        values = {(item.field, item.value) for item in person.held if not _is_common(runtime, person, item.value_token)}
        values |= {(kind, value) for kind, found in identifiers.items() for value in found}
        plain = {value for found in identifiers.values() for value in found} | ({person.asked} - {""})
        return cls(
            tokens=person.tokens,
            value_tokens=tuple(sorted({item.value_token for kind in NORMALISERS for item in person.own(kind)})),
            addresses=tuple(sorted(addresses)),
            values=tuple(sorted(values)),
            external_ids={
                name: tuple(runtime.ledger.kept.external_ids(keys, name, person.tokens))
                for name in runtime.program.destinations
            },
            suppression_tokens=tuple(sorted(keys.suppression_tokens(sorted(plain)))),
        )

    def joined(self, other: Work) -> Work:
        """Both together: an erasure that is done again may find more than it did at first."""
        names = self.external_ids.keys() | other.external_ids.keys()
        return Work(
            _both(self.tokens, other.tokens),
            _both(self.value_tokens, other.value_tokens),
            _both(self.addresses, other.addresses),
            tuple(sorted({*self.values, *other.values})),
            {name: _both(self.external_ids.get(name, ()), other.external_ids.get(name, ())) for name in names},
            _both(self.suppression_tokens, other.suppression_tokens),
        )

    @property
    def plain_needles(self) -> list[Needle]:
        """Values, and what platforms make of addresses; they must be nowhere."""
        hashes = [
            Needle("address as MD5", hashlib.md5(address.lower().encode(), usedforsecurity=False).hexdigest())
            for address in self.addresses
            if normalise_email(address)
        ]
        return [*(Needle(kind, text) for kind, text in self.values), *hashes]

    @property
    def token_needles(self) -> list[Needle]:
        """Tokens; they must be nowhere but in the proof that the ledger keeps."""
        external = {token for tokens in self.external_ids.values() for token in tokens}
        return [Needle(TOKEN, token) for token in sorted({*self.tokens, *external})]

    def save(self, folder: Path, keys: Keyring) -> None:
        """Seal it into the folder of the request."""
        key_id, sealed = keys.seal(json.dumps(asdict(self)).encode(), _context(folder))
        temporary = folder / f".{FILE}.tmp"
        with open(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
            file.write(key_id.encode() + b"\n" + sealed)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(folder / FILE)

    @classmethod
    def load(cls, folder: Path, keys: Keyring) -> Work | None:
        """What an interrupted erasure left, or None."""
        try:
            key_id, _, sealed = (folder / FILE).read_bytes().partition(b"\n")
        except FileNotFoundError:
            return None
        found = json.loads(keys.unseal(sealed, _context(folder), key_id.decode()))
        found["values"] = [tuple(value) for value in found["values"]]
        external = {name: tuple(tokens) for name, tokens in found.pop("external_ids").items()}
        return cls(external_ids=external, **{name: tuple(value) for name, value in found.items()})

    @staticmethod
    def forget(folder: Path) -> None:
        (folder / FILE).unlink(missing_ok=True)


def _is_common(runtime: Runtime, person: Person, value_token: str) -> bool:
    """Whether somebody else has the same value, such as a first name: finding it would prove nothing."""
    own = set(person.tokens)
    vault = runtime.ledger.vault(runtime.keys)
    return any(subject not in own for subject in vault.subjects_with(value_token))


def _both(one: tuple[str, ...], other: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(sorted({*one, *other}))


def _context(folder: Path) -> bytes:
    return b"personalization/erasure/1:" + folder.name.encode()
