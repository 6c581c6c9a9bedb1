"""The key file and the tokens made with it."""

from __future__ import annotations

import base64
import copy
import json
import os
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from personalization.errors import KeyFileError
from personalization.ledger import KEYS_VARIABLE, Keyring
from personalization.ledger.keys import verify_signature


def write_key_file(path: Path, **changes: Any) -> Path:
    """A key file with known keys: bytes 0 to 31, 32 to 63 and 64 to 95."""
    keys = [base64.b64encode(bytes(range(start, start + 32))).decode() for start in (0, 32, 64)]
    document = {
        "format": "personalization-keys-1",
        "token_key": "k1",
        "token_keys": {"k1": keys[0]},
        "vault_key": "v1",
        "vault_keys": {"v1": keys[1]},
        "suppression_key": keys[2],
    }
    path.write_text(json.dumps(document | changes))
    path.chmod(0o600)
    return path


@pytest.fixture
def known(tmp_path: Path) -> Keyring:
    return Keyring.load(write_key_file(tmp_path / "known.json"))


@pytest.mark.parametrize(
    ("namespace", "value", "token"),
    [
        ("customer", "1", "t1_k1_wvnvpnzmg3koihgvcot3hw4gloi7uusw"),
        ("email", "household1@example.com", "t1_k1_h3eocofxj6ddbaqczgnsxf7v2oaskawi"),
        ("export:mailchimp", "household1@example.com", "t1_k1_sp5p5r4xkbyz3w5qe354jrk42i2cbrcg"),
        ("email", "å@example.com", "t1_k1_y5vy5sq3madjd6jf3vyza2ycasvnwcnq"),
    ],
)
def test_tokens_are_these_for_ever(known: Keyring, namespace: str, value: str, token: str) -> None:
    assert known.token(namespace, value) == token


def test_suppression_tokens_are_these_for_ever(known: Keyring) -> None:
    assert known.suppression_token("household1@example.com") == "s1_fj4uxp2rz5s4k3e6uwzzhnpotqy7nnlu"


def test_many_tokens_are_the_same_as_one_by_one_and_differ(keys: Keyring) -> None:
    values = [str(number) for number in range(20_000)]
    tokens = keys.tokens("customer", values)
    assert len(set(tokens)) == len(values)
    assert [keys.token("customer", value) for value in values[:50]] == tokens[:50]
    assert keys.tokens("customer", []) == []
    assert not set(tokens) & set(keys.tokens("email", values))


def test_tokens_are_equal_in_another_process_and_differ_under_other_keys(keys: Keyring, tmp_path: Path) -> None:
    code = (
        f"from personalization.ledger import Keyring; print(Keyring.load({str(keys.path)!r}).token('email', 'a@b.org'))"
    )
    other = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()
    assert other == keys.token("email", "a@b.org")
    assert Keyring.create(tmp_path / "others.json").token("email", "a@b.org") != other


def test_a_new_key_file_belongs_to_its_owner_only_and_every_key_is_its_own(tmp_path: Path) -> None:
    path = tmp_path / "made" / "keys.json"
    Keyring.create(path)
    document = json.loads(path.read_text())
    made = [document["token_keys"]["k1"], document["vault_keys"]["v1"], document["suppression_key"]]
    assert path.stat().st_mode & 0o777 == 0o600
    assert len(set(made)) == 3
    assert list(path.parent.iterdir()) == [path]


def test_an_existing_key_file_is_not_replaced(keys: Keyring) -> None:
    before = keys.path.read_bytes()
    with pytest.raises(KeyFileError, match=r"keys\.json exists already\n  hint: keep it"):
        Keyring.create(keys.path)
    assert keys.path.read_bytes() == before


def test_force_replaces_it_and_keeps_the_old_one(keys: Keyring) -> None:
    first = keys.path.read_bytes()
    Keyring.create(keys.path, force=True)
    second = keys.path.read_bytes()
    Keyring.create(keys.path, force=True)
    assert (keys.path.parent / "keys.json.replaced-1").read_bytes() == first
    assert (keys.path.parent / "keys.json.replaced-2").read_bytes() == second
    assert len({first, second, keys.path.read_bytes()}) == 3


def test_the_environment_says_where_the_keys_are(
    keys: Keyring, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(KEYS_VARIABLE, str(keys.path))
    assert Keyring.load(tmp_path / "elsewhere.json").path == keys.path
    with pytest.raises(KeyFileError, match="exists already"):
        Keyring.create(tmp_path / "elsewhere.json")


def test_a_missing_key_file(tmp_path: Path) -> None:
    with pytest.raises(KeyFileError, match=r"keys\.json does not exist\n  hint: make one with `personalization init`"):
        Keyring.load(tmp_path / "keys.json")


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o644, 0o777])
def test_a_key_file_open_to_others_is_refused(keys: Keyring, mode: int) -> None:
    keys.path.chmod(mode)
    with pytest.raises(KeyFileError, match=rf"open to other users \(mode {mode:04o}\)\n  hint: chmod 600 .*keys\.json"):
        Keyring.load(keys.path)


def test_a_read_only_key_file_is_fine(keys: Keyring) -> None:
    keys.path.chmod(0o400)
    assert Keyring.load(keys.path).token("email", "a") == keys.token("email", "a")


def test_a_folder_is_no_key_file(tmp_path: Path) -> None:
    with pytest.raises(KeyFileError, match="can't be read: Is a directory"):
        Keyring.load(tmp_path)


def test_a_folder_that_can_not_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(KeyFileError, match=r"can't be written: (Not a directory|File exists)"):
        Keyring.create(tmp_path / "file" / "keys.json")


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", '{"format": "something else"}', "\udcff"])
def test_other_files_are_no_key_files(tmp_path: Path, content: str) -> None:
    path = tmp_path / "keys.json"
    path.write_bytes(content.encode("utf-8", "surrogateescape"))
    path.chmod(0o600)
    with pytest.raises(KeyFileError, match="is not a key file of the format personalization-keys-1"):
        Keyring.load(path)


SECRET = base64.b64encode(b"s3cr3t" * 5).decode()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"suppression_key": SECRET}, "the key 'suppression_key' in .* is not 32 bytes of base64"),
        ({"token_keys": {"k1": SECRET}}, "the key 'k1' in .* is not 32 bytes of base64"),
        ({"vault_keys": {"v1": None}}, "the key 'v1' in .* is not 32 bytes of base64"),
        ({"token_key": "k2"}, "names no token key"),
        ({"token_key": ["k1"]}, "names no token key"),
        ({"vault_keys": []}, "names no vault key"),
        ({"token_key": "K_1", "token_keys": {"K_1": SECRET}}, "token key with the unusable name 'K_1'"),
    ],
)
def test_damaged_key_files_are_explained_without_showing_a_key(
    tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    path = write_key_file(tmp_path / "keys.json", **changes)
    with pytest.raises(KeyFileError, match=message) as caught:
        Keyring.load(path)
    assert SECRET not in str(caught.value)


def test_keys_are_neither_shown_nor_copied(known: Keyring) -> None:
    assert "token key k1, vault key v1" in repr(known)
    for start in (0, 32, 64):
        key = bytes(range(start, start + 32))
        for form in (key.hex(), base64.b64encode(key).decode(), repr(key)):
            assert form not in f"{known!r} {known} {known.fingerprints}"
    for attempt in (pickle.dumps, copy.copy, copy.deepcopy):
        with pytest.raises(TypeError, match="keys stay in their file"):
            attempt(known)


def test_a_data_key_unwraps_only_in_its_context(keys: Keyring, tmp_path: Path) -> None:
    data_key = os.urandom(32)
    _, wrapped = keys.wrap(data_key, b"one")
    assert data_key not in wrapped
    assert keys.unwrap(wrapped, b"one", "v1") == data_key
    with pytest.raises(KeyFileError, match=r"'v1' of .* is not the one that the vault was written with"):
        keys.unwrap(wrapped, b"two", "v1")
    with pytest.raises(KeyFileError, match="is not the one"):
        Keyring.create(tmp_path / "others.json").unwrap(wrapped, b"one", "v1")
    with pytest.raises(KeyFileError, match="has no vault key 'v0'"):
        keys.unwrap(wrapped, b"one", "v0")


def test_many_suppression_tokens_are_the_same_as_one_by_one(keys: Keyring) -> None:
    values = [f"household{number}@example.com" for number in range(500)]
    assert keys.suppression_tokens(values) == [keys.suppression_token(value) for value in values]
    assert keys.suppression_tokens([]) == []


def test_signatures_verify_with_the_public_key_only_for_what_was_signed(keys: Keyring) -> None:
    signature = keys.sign(b"receipt")
    public = keys.public_key
    assert public is not None
    assert verify_signature(public, signature, b"receipt")
    assert not verify_signature(public, signature, b"receipt, changed")
    assert not verify_signature(public, bytes(64), b"receipt")
    assert not verify_signature("no key", signature, b"receipt")


def test_a_key_file_from_before_there_were_signatures_gets_a_signing_key(known: Keyring) -> None:
    assert known.public_key is None
    before = json.loads(known.path.read_text())
    signature = known.sign(b"receipt")
    after = json.loads(known.path.read_text())
    assert after.pop("signing_key")
    assert after == before
    assert oct(known.path.stat().st_mode & 0o777) == "0o600"
    again = Keyring.load(known.path)
    assert again.public_key is not None
    assert verify_signature(again.public_key, signature, b"receipt")


@pytest.mark.slow
def test_ten_million_tokens_are_all_different(keys: Keyring) -> None:
    """Invariant 42. Sixty bits of each are compared: when these differ, the tokens do."""
    seen = np.empty(10_000_000, dtype="S12")
    for start in range(0, len(seen), 500_000):
        tokens = keys.tokens("email", [f"household{number}@example.com" for number in range(start, start + 500_000)])
        seen[start : start + 500_000] = [token[-12:] for token in tokens]
    seen.sort()
    assert not (seen[1:] == seen[:-1]).any()
