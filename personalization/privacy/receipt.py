"""Signed documents: receipts of erasures and audits. Anyone with the public key can check them, also years later."""

from __future__ import annotations

import base64
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from personalization.errors import PrivacyError
from personalization.ledger.keys import verify_signature

if TYPE_CHECKING:
    from personalization.ledger import Keyring

ALGORITHM = "ed25519"
_SIGNATURE = "signature"


def signed(document: dict[str, Any], keys: Keyring) -> dict[str, Any]:
    """The document with its signature: over the canonical JSON of all its other members."""
    signature = keys.sign(canonical(document))
    return {
        **document,
        _SIGNATURE: {
            "algorithm": ALGORITHM,
            "public_key": keys.public_key,
            "value": base64.b64encode(signature).decode(),
        },
    }


def canonical(document: dict[str, Any]) -> bytes:
    """What is signed: JSON with sorted keys, without spaces, without the signature itself."""
    content = {name: value for name, value in document.items() if name != _SIGNATURE}
    return json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def verify(path: Path, keys: Keyring | None = None) -> dict[str, Any]:
    """Read a signed document and check it.

    Parameters
    ----------
    keys : Keyring, optional
        Whose signature it must be; without it any key is taken that fits, and what is proven is only that the document
        was not changed since.

    Raises
    ------
    PrivacyError
        It is no signed document, was changed, or was signed by somebody else.
    """
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        signature = document[_SIGNATURE]
        value = base64.b64decode(signature["value"], validate=True)
        public_key = str(signature["public_key"])
    except OSError as error:
        raise PrivacyError(f"{path} can't be read: {error.strerror}") from None
    except (ValueError, KeyError, TypeError):
        raise PrivacyError(f"{path} is not a signed document", hint="give a receipt.json or audit.json") from None
    if not verify_signature(public_key, value, canonical(document)):
        raise PrivacyError(f"{path} was changed after it was signed", hint="take the copy that was handed out")
    if keys is not None and public_key != keys.public_key:
        raise PrivacyError(
            f"{path} was signed with another key than that of {keys.path}",
            hint="it belongs to another installation, or the key file was replaced since",
        )
    return dict(document)


def write(path: Path, text: str) -> None:
    """Write a private file as a whole: readable by its owner only, on the disk when this returns."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    temporary = path.with_name(f".{path.name}.tmp")
    with open(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
