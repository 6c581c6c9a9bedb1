"""The key file on the disk: found, read, made and changed as a whole, readable by its owner only."""

from __future__ import annotations

import base64
import errno
import fcntl
import json
import os
import secrets
from collections.abc import Callable
from pathlib import Path
from typing import Any

from personalization.errors import KeyFileError

KEYS_VARIABLE = "PERSONALIZATION_KEYS_FILE"
FORMAT = "personalization-keys-1"
KEY_BYTES = 32
RESTORE_HINT = "restore it from your backup of the keys"

Document = dict[str, Any]


def location(path: str | Path) -> Path:
    """Where the key file is: PERSONALIZATION_KEYS_FILE when set, else `path`."""
    return Path(os.environ.get(KEYS_VARIABLE) or path)


def new_key() -> str:
    """A new random key, as it is written in the file."""
    return base64.b64encode(secrets.token_bytes(KEY_BYTES)).decode()


def create(path: Path, *, force: bool) -> None:
    """Write a key file with new random keys. See `Keyring.create`."""
    document = {
        "format": FORMAT,
        "token_key": "k1",
        "token_keys": {"k1": new_key()},
        "vault_key": "v1",
        "vault_keys": {"v1": new_key()},
        "suppression_key": new_key(),
        "signing_key": new_key(),
    }
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if force and path.exists():
            _set_aside(path)
        made = _write_new(path, _text(document))
    except OSError as error:
        raise KeyFileError(f"the key file {path} can't be written: {error.strerror}") from None
    if not made:
        raise KeyFileError(
            f"the key file {path} exists already",
            hint="keep it: without it nothing in the vault can be read and no opt-out matches anybody",
        )


def read(path: Path) -> Document:
    """The contents of the key file at `path`. Raises `KeyFileError`: see `Keyring.load`."""
    try:
        with path.open("rb") as file:
            mode = os.fstat(file.fileno()).st_mode & 0o777
            content = file.read()
    except FileNotFoundError:
        raise KeyFileError(
            f"the key file {path} does not exist",
            hint=f"make one with `personalization init`, or set {KEYS_VARIABLE} to where it is",
        ) from None
    except OSError as error:
        raise KeyFileError(f"the key file {path} can't be read: {error.strerror}") from None
    if mode & 0o077:
        raise KeyFileError(f"the key file {path} is open to other users (mode {mode:04o})", hint=f"chmod 600 {path}")
    try:
        document = json.loads(content)
    except ValueError:
        document = None
    if not isinstance(document, dict) or document.get("format") != FORMAT:
        raise KeyFileError(f"{path} is not a key file of the format {FORMAT}", hint=RESTORE_HINT)
    return document


def change(path: Path, edit: Callable[[Document], None]) -> None:
    """Change the key file as a whole: after a crash it is the old one or the new one, and only one process changes it.

    Raises
    ------
    KeyFileError
        It can't be read or written, for example because it is a mounted secret.
    """
    try:
        with path.parent.joinpath(f".{path.name}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            document = read(path)
            edit(document)
            temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
            _write_through(temporary, _text(document))
            os.replace(temporary, path)
            _sync_folder(path.parent)
    except OSError as error:
        raise KeyFileError(
            f"the key file {path} can't be changed: {error.strerror}",
            hint="make it writable for this command, or change it where it is kept and mount it again",
        ) from None


def _text(document: Document) -> str:
    return json.dumps(document, indent=2) + "\n"


def _write_through(path: Path, text: str) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _write_new(path: Path, text: str) -> bool:
    """Write a complete file that only its owner can read, or nothing; False when there is one already."""
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        _write_through(temporary, text)
        os.link(temporary, path)  # unlike a rename, a link never replaces an existing key file
    except FileExistsError:
        return False
    finally:
        temporary.unlink(missing_ok=True)
    _sync_folder(path.parent)
    return True


def _set_aside(path: Path) -> None:
    number = 1
    while True:
        try:
            os.link(path, path.with_name(f"{path.name}.replaced-{number}"))
            break
        except OSError as error:
            if error.errno != errno.EEXIST:
                raise
            number += 1
    path.unlink()
