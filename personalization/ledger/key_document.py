"""What is in the key file: its keys by kind and name, and how they are added, retired and put into use.

The file as such, read and changed as a whole, is `key_file`'s; what the keys are used for, `keys`'.
"""

from __future__ import annotations

import base64
import binascii
import hmac
import re
from pathlib import Path

from personalization.errors import KeyFileError
from personalization.ledger import key_file
from personalization.ledger.key_file import KEY_BYTES, RESTORE_HINT, Document

_KEY_ID = re.compile(r"[a-z][a-z0-9]{0,7}")


def versioned(document: Document, kind: str, path: Path) -> tuple[str, dict[str, bytes]]:
    """The id of the current key of a kind, and all its keys by id."""
    current, named = document.get(f"{kind}_key"), document.get(f"{kind}_keys")
    if not isinstance(current, str) or not isinstance(named, dict) or current not in named:
        raise KeyFileError(f"the key file {path} names no {kind} key", hint=RESTORE_HINT)
    for key_id in named:
        if not _KEY_ID.fullmatch(key_id):
            raise KeyFileError(f"the key file {path} has a {kind} key with the unusable name '{key_id}'")
    return current, {key_id: key_of(named, key_id, path) for key_id in named}


def made_over(document: Document, keys: dict[str, bytes], path: Path) -> dict[str, str]:
    """By token key the one whose tokens it makes its own of; the first key is not in it."""
    named = document.get("token_keys_over", {})
    sound = isinstance(named, dict) and all(new in keys and old in keys for new, old in named.items())
    for start in named if sound else ():
        seen = {start}
        while (start := named.get(start)) is not None:
            sound = sound and start not in seen
            if not sound:
                break
            seen.add(start)
    if not sound:
        raise KeyFileError(f"the key file {path} does not hold all token keys that others build on", hint=RESTORE_HINT)
    return named


def next_token_key(document: Document, keys: dict[str, bytes], path: Path) -> str | None:
    """The token key of a rotation that has begun, if there is one."""
    key_id = document.get("token_key_next")
    if key_id is not None and key_id not in keys:
        raise KeyFileError(f"the key file {path} does not hold the token key '{key_id}'", hint=RESTORE_HINT)
    return key_id


def key_of(holder: Document, name: str, path: Path) -> bytes:
    """The bytes of one key. Raises `KeyFileError` when they are missing or not of the right length."""
    try:
        key = base64.b64decode(holder[name], validate=True)
    except (KeyError, TypeError, ValueError, binascii.Error):
        key = b""
    if len(key) != KEY_BYTES:
        raise KeyFileError(
            f"the key '{name}' in {path} is not {KEY_BYTES} bytes of base64",
            hint=RESTORE_HINT,
        )
    return key


def derived(key: bytes, purpose: str) -> bytes:
    """A key for another purpose, from which nothing about `key` can be told."""
    return hmac.digest(key, f"personalization/{purpose}/1\x00".encode(), "sha256")


def link_key(key: bytes) -> bytes:
    """AES-SIV takes two keys of 256 bits, one after the other."""
    return derived(key, "link mac") + derived(key, "link cipher")


def link_keys(document: Document, path: Path) -> dict[str, bytes]:
    """What opens links that went out under master keys which are retired since: it opens nothing else."""
    named = document.get("link_keys", {})
    try:
        return {key_id: base64.b64decode(text, validate=True) for key_id, text in named.items()}
    except (AttributeError, TypeError, ValueError):
        raise KeyFileError(f"the link_keys in {path} can't be understood", hint=RESTORE_HINT) from None


def retire_vault_key(document: Document, key_id: str) -> None:
    """Take a master key out of a key file's contents; what is left opens the links made under it, and no more."""
    key = base64.b64decode(document["vault_keys"].pop(key_id))
    document.setdefault("link_keys", {})[key_id] = base64.b64encode(link_key(key)).decode()


def add_token_key(document: Document) -> None:
    """Put a new token key into a key file's contents: the next one, to be made over the one in use."""
    if "token_key_next" in document:
        return
    taken = [int(name[1:]) for name in document["token_keys"] if name[1:].isdigit()]
    name = f"k{max(taken, default=0) + 1}"
    document["token_keys"][name] = key_file.new_key()
    document.setdefault("token_keys_over", {})[name] = document["token_key"]
    document["token_key_next"] = name


def finish_token_key(document: Document, key_id: str) -> None:
    """Say in a key file's contents that the ledger is under the token key `key_id` now."""
    document["token_key"] = key_id
    if document.get("token_key_next") == key_id:
        del document["token_key_next"]


def with_signing_key(document: Document) -> None:
    document.setdefault("signing_key", key_file.new_key())
