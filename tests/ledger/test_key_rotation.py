"""The vault's master key is replaced under traffic and through crashes; nothing is lost (invariant 43)."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from datetime import UTC, datetime
from pathlib import Path

import pytest

from personalization.errors import KeyFileError
from personalization.ledger import Keyring, Ledger, VaultItem
from personalization.ledger.inbox_event import Arrival
from personalization.ledger.key_rotation import key_uses, retire_vault_key, rotate_vault

AT = datetime(2026, 11, 25, tzinfo=UTC)


def people(keys: Keyring, numbers: range) -> list[VaultItem]:
    return [
        VaultItem(f"subject-{n}", "email", keys.token("email", f"u{n}@example.com"), f"u{n}@example.com", "crm")
        for n in numbers
    ]


@pytest.fixture
def filled(ledger: Ledger, keys: Keyring) -> Ledger:
    ledger.vault(keys).put(people(keys, range(50)))
    ledger.inbox.receive(
        [
            Arrival.sealed(keys, source="shop", event_key="e1", body=b'{"email": "u1@example.com"}', received_at=AT),
            Arrival.sealed(keys, source="shop", event_key="e1", body=b'{"email": "u2@example.com"}', received_at=AT),
            Arrival.sealed(keys, source="shop", event_key="e2", body=b"{}", received_at=AT),
        ]
    )
    return ledger


def assert_everything_opens(ledger: Ledger, keys: Keyring, numbers: range) -> None:
    items = people(keys, numbers)
    revealed = ledger.vault(keys).reveal([item.value_token for item in items])
    assert revealed == {item.value_token: item.value for item in items}
    assert ledger.vault(keys).put(items) == 0, "known values are still known"


def test_everything_is_under_the_new_key_and_opens(filled: Ledger, keys: Keyring) -> None:
    link = keys.seal_links([b"a link in an e-mail"])[0]
    suppressed = keys.suppression_token("erased@example.com")
    rotated, rotation = rotate_vault(filled, keys, AT)
    assert (rotation.old_keys, rotation.new_key, rotation.data_keys, rotation.bodies) == (("v1",), "v2", 50, 3)
    assert key_uses(filled) == {"v2": 53}
    assert_everything_opens(filled, rotated, range(50))
    assert [row.body(rotated) for row in filled.inbox.rows(0)] == [b'{"email": "u1@example.com"}', b"{}"]
    retired = retire_vault_key(filled, rotated, "v1", AT)
    assert ("vault", "v1") not in retired.fingerprints
    assert_everything_opens(filled, retired, range(50))
    assert retired.open_link(link) == b"a link in an e-mail", "links that are out go on working"
    assert retired.suppression_token("erased@example.com") == suppressed, "its key is never replaced"
    assert [entry.content for entry in filled.requests.entries(kind="rotation")] == [
        {"kind": "vault", "from": ["v1"], "to": "v2", "data_keys": 50, "bodies": 3},
        {"kind": "vault", "retired": "v1"},
    ]
    filled.verify()


def test_an_old_key_that_rows_need_is_not_given_away(filled: Ledger, keys: Keyring) -> None:
    with pytest.raises(KeyFileError, match="the vault key 'v1' is the one in use"):
        retire_vault_key(filled, keys, "v1", AT)
    stale = filled.vault(Keyring.load(keys.path))
    rotated, _ = rotate_vault(filled, keys, AT)
    stale.put(people(keys, range(50, 53)))  # a process that has not read the key file since
    with pytest.raises(KeyFileError, match=r"3 rows of the ledger need the vault key 'v1'.*\n  hint: run"):
        retire_vault_key(filled, rotated, "v1", AT)
    again, rotation = rotate_vault(filled, rotated, AT)
    assert (rotation.new_key, rotation.data_keys) == ("v2", 3), "it goes on, without another key"
    retire_vault_key(filled, again, "v1", AT)
    assert_everything_opens(filled, again, range(53))


def test_a_key_taken_out_by_hand_while_rows_need_it_fails_loudly(filled: Ledger, keys: Keyring) -> None:
    rotate_vault(filled, keys, AT)
    document = json.loads(keys.path.read_text())
    del document["vault_keys"]["v2"]
    document["vault_key"] = "v1"
    keys.path.write_text(json.dumps(document))
    with pytest.raises(KeyFileError, match="does not hold the vault key 'v2'"):
        filled.vault(Keyring.load(keys.path))
    with pytest.raises(KeyFileError, match="has no vault key 'v9'"):
        retire_vault_key(filled, keys, "v9", AT)


def test_traffic_goes_on_while_the_key_is_replaced(filled: Ledger, keys: Keyring) -> None:
    """A writer with the old keys in memory and a reader: neither sees an error, no value is lost."""
    stop, errors, written = threading.Event(), [], [50]
    url = str(filled.engine.url.render_as_string(hide_password=False)).replace("+pysqlite", "").replace("+psycopg", "")

    def traffic() -> None:
        try:
            with Ledger.open(url, wait_seconds=10) as own:
                mine = Keyring.load(keys.path)
                while not stop.is_set() or written[0] == 50:
                    first = written[0]
                    own.vault(mine).put(people(mine, range(first, first + 5)))
                    own.vault(mine).reveal([item.value_token for item in people(mine, range(first))])
                    written[0] = first + 5
        except Exception as error:
            errors.append(error)

    thread = threading.Thread(target=traffic)
    thread.start()
    rotated = keys
    for _ in range(3):
        rotated, _ = rotate_vault(filled, rotated, AT)
    stop.set()
    thread.join()
    assert errors == []
    rotated, _ = rotate_vault(filled, rotated, AT)
    assert_everything_opens(filled, rotated, range(written[0]))


class Overtaken(Keyring):
    """Keys of a process that is slower than the rotations: each time it has read the file, another key is in use."""

    overtaken_by = 2
    url = ""

    def reload(self) -> bool:
        changed = super().reload()
        if self.overtaken_by:
            self.overtaken_by -= 1
            self.rotate()
        return changed

    def rotate(self) -> None:
        with Ledger.open(self.url) as other:
            rotate_vault(other, Keyring.load(self.path), AT)


def test_keys_are_read_until_nothing_is_new(filled: Ledger, url: str, keys: Keyring) -> None:
    slow = Overtaken.load(keys.path)
    slow.url = url
    slow.rotate()
    assert_everything_opens(filled, slow, range(50))
    assert slow.vault_key_id == "v4"


@pytest.mark.parametrize("point", ["rotate.key_added", "rotate.some_wrapped", "rotate.some_sealed"])
def test_killed_anywhere_and_run_again_it_completes(
    filled: Ledger, url: str, keys: Keyring, point: str, tmp_path: Path
) -> None:
    code = f"""
import sys
from datetime import UTC, datetime
from personalization.ledger import Keyring, Ledger
from personalization.ledger import key_rotation
key_rotation.CHUNK = 7
ledger = Ledger.open({url!r})
key_rotation.rotate_vault(ledger, Keyring.load({str(keys.path)!r}), datetime(2026, 11, 25, tzinfo=UTC))
"""
    command = [sys.executable, "-c", code]
    killed = subprocess.run(
        command, env={**os.environ, "PERSONALIZATION_CRASH_AT": point}, capture_output=True, text=True, check=False
    )
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    subprocess.run(command, check=True, capture_output=True)
    rotated = Keyring.load(keys.path)
    assert rotated.vault_key_id == "v2", "the interrupted rotation went on, no second key was made"
    assert key_uses(filled) == {"v2": 53}
    assert_everything_opens(filled, rotated, range(50))
