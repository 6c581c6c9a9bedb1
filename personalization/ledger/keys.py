"""The key file and what is made with it: tokens that stand for identifiers, and the wrapping of the vault's data keys.

Keys never leave this class: not in its repr, not in an error, not in a pickle. Formats: docs/keys-and-tokens.md.
"""

from __future__ import annotations

import base64
import hmac
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
from cryptography.exceptions import InvalidSignature, InvalidTag
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM, AESSIV

from personalization.errors import KeyFileError
from personalization.ledger import key_file
from personalization.ledger.key_document import (
    derived,
    key_of,
    link_key,
    link_keys,
    made_over,
    next_token_key,
    versioned,
    with_signing_key,
)
from personalization.ledger.key_file import FORMAT, KEY_BYTES, KEYS_VARIABLE, RESTORE_HINT

__all__ = ["FORMAT", "KEYS_VARIABLE", "KEY_BYTES", "NONCE_BYTES", "Keyring", "verify_signature"]

NONCE_BYTES = 12

_TOKEN_BYTES = 20  # 160 bits: exactly 32 characters of base32
_ALPHABET = np.frombuffer(b"abcdefghijklmnopqrstuvwxyz234567", dtype=np.uint8)  # RFC 4648, lower case
_TOKEN = re.compile(r"t1_[a-z][a-z0-9]{0,7}_[a-z2-7]{32}", re.ASCII)
_LINK = re.compile(r"l1_(?P<key>[a-z][a-z0-9]{0,7})_(?P<sealed>[A-Za-z0-9_-]{22,400})", re.ASCII)


@dataclass(frozen=True)
class _VaultCiphers:
    """What is made of the master keys, by their names, and which is in use: replaced as a whole, for other threads."""

    current: str
    wrap: dict[str, AESGCM]
    seal: dict[str, AESGCM]
    link: dict[str, AESSIV]


class Keyring:
    """All keys of one installation.

    Keys are used, never handed out: `token` and `tokens` for identifiers, `current_tokens` for tokens made under
    earlier keys, `suppression_token` for the do-not-mail list of erased people, `wrap` and `unwrap` for the vault's
    data keys, `seal`, `unseal` and `digest` for the bodies of webhooks, `seal_links` and `open_link` for links in
    e-mails, `sign` for receipts and audits.

    Attributes
    ----------
    path : Path
        The key file.
    token_key_id, vault_key_id : str
        Names of the keys in use. Which token key that is, the ledger says: see `key_check`. Reading the key file again
        never changes it, because what was computed before would be mixed with what is computed after.
    file_token_key_id : str
        The token key that the key file calls the one in use.
    next_token_key_id : str, optional
        The token key of a rotation that has begun.
    fingerprints : dict
        By kind and name, a value that tells keys apart without telling anything about them.
    """

    def __init__(self, document: dict[str, Any], path: Path) -> None:
        self.path = path
        self.token_key_id = ""
        self._take(document)

    def _take(self, document: dict[str, Any]) -> None:
        path = self.path
        self.file_token_key_id, self._token_keys = versioned(document, "token", path)
        self._made_over = made_over(document, self._token_keys, path)
        self.next_token_key_id = next_token_key(document, self._token_keys, path)
        if self.token_key_id not in self._token_keys:
            self.token_key_id = self.file_token_key_id
        vault_key_id, vault_keys = versioned(document, "vault", path)
        self._vault = _VaultCiphers(
            vault_key_id,
            wrap={key_id: AESGCM(key) for key_id, key in vault_keys.items()},
            seal={key_id: AESGCM(derived(key, "seal")) for key_id, key in vault_keys.items()},
            link={
                **{key_id: AESSIV(key) for key_id, key in link_keys(document, path).items()},  # of retired master keys
                **{key_id: AESSIV(link_key(key)) for key_id, key in vault_keys.items()},
            },
        )
        self._suppression_key = key_of(document, "suppression_key", path)
        self._digest_key = derived(self._suppression_key, "digest")  # never replaced: it tells a repetition for ever
        self._signing_key = _signing_key(document, path)
        self._namespaces: dict[tuple[str, str], bytes] = {}
        self._retoken_keys: dict[str, bytes] = {}
        self.fingerprints: dict[tuple[str, str], str] = {
            **{("token", key_id): _fingerprint(key) for key_id, key in self._token_keys.items()},
            **{("vault", key_id): _fingerprint(key) for key_id, key in vault_keys.items()},
            ("suppression", "s1"): _fingerprint(self._suppression_key),
        }

    @property
    def vault_key_id(self) -> str:
        return self._vault.current

    @classmethod
    def create(cls, path: str | Path, *, force: bool = False) -> Keyring:
        """Make a key file with new random keys, readable only by its owner.

        Parameters
        ----------
        path : path
            Where; PERSONALIZATION_KEYS_FILE, when set, is used instead.
        force : bool
            Replace an existing key file. The old one is kept beside it as `<name>.replaced-N`, because nothing
            that was encrypted with it can be read again without it.

        Raises
        ------
        KeyFileError
            The file exists (and `force` is false) or can't be written.
        """
        path = key_file.location(path)
        key_file.create(path, force=force)
        return cls.load(path)

    @classmethod
    def load(cls, path: str | Path) -> Keyring:
        """Read the key file at `path`; PERSONALIZATION_KEYS_FILE, when set, is read instead.

        Raises
        ------
        KeyFileError
            The file is missing, open to other users, not a key file, or a key has the wrong length.
        """
        path = key_file.location(path)
        return cls(key_file.read(path), path)

    def reload(self) -> bool:
        """Read the key file again, because another process may have added a key. True when anything is new."""
        before = self.fingerprints
        self._take(key_file.read(self.path))
        return self.fingerprints != before

    def token(self, namespace: str, value: str) -> str:
        """The token that stands for one normalised identifier: the same in every process, different per namespace.

        Parameters
        ----------
        namespace : str
            `customer`, `email`, `phone`, or for exports `export:<destination>`.
        value : str
            The identifier, already normalised (`normalise_email` and its like).

        Returns
        -------
        str
            `t1_<key id>_` and 32 characters of `a-z2-7`: the first 160 bits of the HMAC-SHA256, in base32.
        """
        return self.tokens(namespace, [value])[0]

    def tokens(self, namespace: str, values: Sequence[str]) -> list[str]:
        """`token` for many values at once, in their order."""
        first, *later = self.token_keys_before(self.token_key_id)
        key = self._namespace_key(first, namespace)
        tokens = _encode(f"t1_{first}_", [hmac.digest(key, value.encode(), "sha256") for value in values])
        for key_id in later:
            tokens = self._over(key_id, tokens)
        return tokens

    def token_keys_before(self, key_id: str) -> list[str]:
        """The token keys that tokens of a key are made with, the first one first and `key_id` itself last."""
        chain = [key_id]
        while (before := self._made_over.get(chain[-1])) is not None:
            chain.append(before)
        return chain[::-1]

    def current_token(self, token: str) -> str:
        """`current_tokens` of one token."""
        return self.current_tokens([token])[0]

    def current_tokens(self, tokens: Sequence[str]) -> list[str]:
        """The tokens under the key in use, of tokens that may have been made under earlier ones, in their order.

        Nothing but the old token is needed, so also people whose identifier is nowhere in the clear keep their place.
        What is no token, or one of a key that comes later or is not known, is left as it is.
        """
        found = list(tokens)
        chain = self.token_keys_before(self.token_key_id)
        for before, key_id in pairwise(chain):
            head = f"t1_{before}_"
            old = [number for number, token in enumerate(found) if token.startswith(head) and _TOKEN.fullmatch(token)]
            for number, new in zip(old, self._over(key_id, [found[number] for number in old]), strict=True):
                found[number] = new
        return found

    def use_token_key(self, key_id: str) -> None:
        """Make tokens under this key from now on. For `key_check` and whoever replaces the key."""
        if key_id not in self._token_keys:
            raise KeyFileError(f"the key file {self.path} has no token key '{key_id}'", hint=RESTORE_HINT)
        self.token_key_id = key_id

    def _over(self, key_id: str, tokens: list[str]) -> list[str]:
        """Tokens under a later key, made of the tokens under the key before it."""
        key = self._retoken_keys.get(key_id)
        if key is None:
            key = self._retoken_keys[key_id] = derived(self._token_keys[key_id], "retoken")
        return _encode(f"t1_{key_id}_", [hmac.digest(key, token.encode(), "sha256") for token in tokens])

    def keep(self, texts: Sequence[str], contexts: Sequence[str], key_id: str | None = None) -> list[bytes]:
        """Encrypt what was made under an earlier token key and must stay as it was (AES-SIV, RFC 5297).

        Parameters
        ----------
        contexts : sequence of str
            What each belongs to; needed to read it again.
        key_id : str, optional
            The token key from which the key is derived; default: the one in use.
        """
        cipher = self._keeping(key_id)
        return [
            cipher.encrypt(text.encode(), [context.encode()]) for text, context in zip(texts, contexts, strict=True)
        ]

    def kept(self, sealed: Sequence[bytes], contexts: Sequence[str], key_id: str | None = None) -> list[str]:
        """What `keep` encrypted.

        Raises
        ------
        KeyFileError
            It was altered, moved, or is of another key.
        """
        cipher = self._keeping(key_id)
        try:
            return [
                cipher.decrypt(one, [context.encode()]).decode() for one, context in zip(sealed, contexts, strict=True)
            ]
        except InvalidTag:
            raise KeyFileError(
                f"what was kept under an earlier token key does not open with the keys of {self.path}",
                hint="this key file was replaced, or the ledger was altered: compare both with your backups",
            ) from None

    def _keeping(self, key_id: str | None) -> AESSIV:
        key = self._token_keys[key_id or self.token_key_id]
        return AESSIV(derived(key, "kept mac") + derived(key, "kept cipher"))

    def suppression_token(self, value: str) -> str:
        """The token under which an opt-out outlives erasure and key rotation: its key is never replaced."""
        return self.suppression_tokens([value])[0]

    def suppression_tokens(self, values: Sequence[str]) -> list[str]:
        """`suppression_token` for many values at once, in their order."""
        return _encode("s1_", [hmac.digest(self._suppression_key, value.encode(), "sha256") for value in values])

    def sign(self, content: bytes) -> bytes:
        """The ed25519 signature (RFC 8032, 64 bytes) of a receipt or an audit.

        A key file made before there were signatures gets its signing key now.

        Raises
        ------
        KeyFileError
            The key file has no signing key and can't be changed.
        """
        if self._signing_key is None:
            key_file.change(self.path, with_signing_key)
            self._signing_key = _signing_key(key_file.read(self.path), self.path)
        assert self._signing_key is not None
        return self._signing_key.sign(content)

    @property
    def public_key(self) -> str | None:
        """What signatures are verified with, in base64; None while nothing was ever signed."""
        if self._signing_key is None:
            return None
        return base64.b64encode(self._signing_key.public_key().public_bytes_raw()).decode()

    def wrap(self, data_key: bytes, context: bytes) -> tuple[str, bytes]:
        """Encrypt a data key with the vault's current master key; `context` must be given again to unwrap it.

        Returns
        -------
        (str, bytes)
            The name of the master key, to be kept beside the wrapped key. It comes from here and not from
            `vault_key_id`, because another thread may read a new key file in between.
        """
        vault, nonce = self._vault, os.urandom(NONCE_BYTES)
        return vault.current, nonce + vault.wrap[vault.current].encrypt(nonce, data_key, context)

    def unwrap(self, wrapped: bytes, context: bytes, key_id: str) -> bytes:
        """The data key that `wrap` encrypted under the master key `key_id`.

        Raises
        ------
        KeyFileError
            This key file does not hold that master key, or holds another one under its name.
        """
        if key_id not in self._vault.wrap:
            self.reload()
        cipher = self._vault.wrap.get(key_id)
        if cipher is None:
            raise KeyFileError(f"the key file {self.path} has no vault key '{key_id}'", hint=RESTORE_HINT)
        try:
            return cipher.decrypt(wrapped[:NONCE_BYTES], wrapped[NONCE_BYTES:], context)
        except InvalidTag:
            raise KeyFileError(
                f"the vault key '{key_id}' of {self.path} is not the one that the vault was written with",
                hint="this key file was replaced or belongs to another ledger: restore it from your backup of the keys",
            ) from None

    def seal(self, data: bytes, context: bytes) -> tuple[str, bytes]:
        """Encrypt data with a key derived from the vault's current master key; `context` is needed to `unseal` it.

        Returns
        -------
        (str, bytes)
            The name of the master key, as `wrap` returns it, and the sealed data.
        """
        vault, nonce = self._vault, os.urandom(NONCE_BYTES)
        return vault.current, nonce + vault.seal[vault.current].encrypt(nonce, data, context)

    def unseal(self, sealed: bytes, context: bytes, key_id: str) -> bytes:
        """The data that `seal` encrypted while `key_id` was the vault's current key.

        Raises
        ------
        KeyFileError
            This key file does not hold that master key; or the data were altered, moved, or sealed with another key.
        """
        if key_id not in self._vault.seal:
            self.reload()
        cipher = self._vault.seal.get(key_id)
        if cipher is None:
            raise KeyFileError(
                f"the key file {self.path} has no vault key '{key_id}'", hint="restore it from your backup of the keys"
            )
        try:
            return cipher.decrypt(sealed[:NONCE_BYTES], sealed[NONCE_BYTES:], context)
        except InvalidTag:
            raise KeyFileError(
                f"something sealed with the vault key '{key_id}' does not open with that key of {self.path}",
                hint="this key file was replaced, or the ledger was altered: compare both with your backups",
            ) from None

    def digest(self, data: bytes) -> str:
        """A keyed SHA-256 in hex, the same for ever: tells whether two data are equal, and nothing else about them."""
        return hmac.digest(self._digest_key, data, "sha256").hex()

    def seal_links(self, contents: Sequence[bytes]) -> list[str]:
        """What stands in links for some contents: the same text for the same content, and nothing can be read from it.

        AES-SIV (RFC 5297) under a key derived from the vault's current master key, as `l1_<key id>_<base64url>`.
        """
        vault = self._vault
        head = f"l1_{vault.current}_"
        cipher, context = vault.link[vault.current], [head.encode()]
        return [
            head + base64.urlsafe_b64encode(cipher.encrypt(content, context)).rstrip(b"=").decode()
            for content in contents
        ]

    def open_link(self, text: str) -> bytes | None:
        """The content that `seal_links` sealed; None when it is forged, cut, or of a key that is not in this file."""
        found = _LINK.fullmatch(text)
        cipher = self._vault.link.get(found["key"]) if found else None
        if found is None or cipher is None or len(found["sealed"]) % 4 == 1:
            return None
        sealed = base64.urlsafe_b64decode(found["sealed"] + "=" * (-len(found["sealed"]) % 4))
        try:
            content = cipher.decrypt(sealed, [f"l1_{found['key']}_".encode()])
        except (InvalidTag, ValueError):
            return None
        # base64 has several texts for some bytes: only the one that was written is a link
        return content if base64.urlsafe_b64encode(sealed).rstrip(b"=").decode() == found["sealed"] else None

    def _namespace_key(self, key_id: str, namespace: str) -> bytes:
        key = self._namespaces.get((key_id, namespace))
        if key is None:
            label = b"personalization/token/1\x00" + namespace.encode()
            key = hmac.digest(self._token_keys[key_id], label, "sha256")
            self._namespaces[key_id, namespace] = key
        return key

    def __repr__(self) -> str:
        return f"<Keyring {self.path}: token key {self.token_key_id}, vault key {self.vault_key_id}>"

    def __reduce_ex__(self, protocol: Any) -> NoReturn:
        raise TypeError("a Keyring can't be pickled or copied: keys stay in their file and in this process")


def verify_signature(public_key: str, signature: bytes, content: bytes) -> bool:
    """Whether `content` was signed with the private half of a public key (base64 of 32 bytes)."""
    try:
        Ed25519PublicKey.from_public_bytes(base64.b64decode(public_key, validate=True)).verify(signature, content)
    except (InvalidSignature, ValueError):
        return False
    return True


def _signing_key(document: dict[str, Any], path: Path) -> Ed25519PrivateKey | None:
    if "signing_key" not in document:
        return None
    return Ed25519PrivateKey.from_private_bytes(key_of(document, "signing_key", path))


def _fingerprint(key: bytes) -> str:
    return hmac.digest(key, b"personalization/fingerprint/1", "sha256").hex()[:16]


def _encode(prefix: str, digests: list[bytes]) -> list[str]:
    """Prefix and base32 of the first 160 bits of each digest. In numpy: base64.b32encode is far slower."""
    if not digests:
        return []
    raw = np.frombuffer(b"".join(digests), dtype=np.uint8).reshape(len(digests), -1)[:, :_TOKEN_BYTES]
    # 40 bits at a time: five bytes become eight characters
    quanta = raw.reshape(len(digests), 4, 5).astype(np.uint64)
    words = (quanta << np.array([32, 24, 16, 8, 0], dtype=np.uint64)).sum(axis=2, dtype=np.uint64)
    shifts = np.array([35, 30, 25, 20, 15, 10, 5, 0], dtype=np.uint64)
    letters = _ALPHABET[(words[:, :, None] >> shifts) & np.uint64(31)].reshape(len(digests), 32)
    text = letters.tobytes().decode("ascii")
    return [prefix + text[start : start + 32] for start in range(0, len(text), 32)]
