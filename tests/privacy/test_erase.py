"""Erasure that is true: gone everywhere, proven, and it stays so (invariants 34 and 44)."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import select

from personalization.errors import PrivacyError
from personalization.ledger import ConsentEvent
from personalization.ledger.contacts import Contacts
from personalization.ledger.export_schema import outbox
from personalization.ledger.schema import consent_events
from personalization.privacy.erase import Erased, erase, finish_begun
from personalization.privacy.found import found_of
from personalization.privacy.person import find_person
from personalization.privacy.places import LEDGER, Fate
from personalization.privacy.receipt import verify
from personalization.sandbox import Sandbox
from tests.privacy.town import ANNA, ANNA_TWO, AT, BEN, BEN_VALUES, CANARY, NEW, OLD, SECOND, Town

VALUES = [*CANARY.values(), *SECOND.values(), OLD]
STEPS = ("vault", "inbox", "landing", "history", "destinations", "warehouse", "copies", "files", "compaction")
POINTS = ("sealed", "tombstone_kept", "begun", *STEPS[:4], "deleted_at_destinations", *STEPS[4:], "receipt")


def everywhere(town: Town) -> bytes:
    """All bytes of the state folder but the tombstones: those are tokens, kept on purpose."""
    files = sorted(path for path in town.state.rglob("*") if path.is_file() and path.name != "tombstones.jsonl")
    return b"".join(path.read_bytes() for path in files)


def addresses_at(sandbox: Sandbox) -> set[str]:
    return set(sandbox.members())


def gone_from_the_source(town: Town) -> None:
    town.write_customers(anna=None)


def assert_gone(town: Town, sandbox: Sandbox, erased: Erased) -> None:
    content = everywhere(town)
    assert [value for value in VALUES if value.encode() in content or value.lower().encode() in content] == []
    found = found_of(town.runtime, ANNA)
    assert (found.values, found.files, found.warehouse, found.events) == ({}, {}, {}, 0)
    assert {LEDGER[name].fate for name in found.ledger} == {Fate.KEPT}
    assert not {address.lower() for address in addresses_at(sandbox)} & {value.lower() for value in VALUES}
    receipt = verify(erased.receipt, town.runtime.keys)
    assert receipt["complete"] is True
    assert receipt["scan"]["left"] == []
    town.runtime.ledger.verify()


def test_nothing_of_the_person_is_left_and_everything_of_others_is(town: Town, sandbox: Sandbox) -> None:
    town.export("mailchimp")
    before = found_of(town.runtime, BEN)
    assert len(addresses_at(sandbox)) == 22
    gone_from_the_source(town)
    erased = erase(town.runtime, NEW, at=AT, manner="letter")
    assert_gone(town, sandbox, erased)
    assert erased.sources == ["data/consents.csv", "data/orders.csv"] or erased.sources == []
    assert found_of(town.runtime, BEN) == before
    assert len(addresses_at(sandbox)) == 21
    assert BEN_VALUES["email"].encode() in everywhere(town), "Ben is in the exported files still"
    assert erased.steps["files"] == {"models": 1, "sqlite_values": 1, "texts": 2}
    assert erased.steps["destinations"]["mailchimp"] == 1
    assert erased.request.outcome == "erased"


@pytest.mark.slow
def test_what_is_kept_is_proof_without_values(town: Town, sandbox: Sandbox) -> None:
    gone_from_the_source(town)
    erase(town.runtime, NEW, at=AT)
    columns = consent_events.c
    with town.runtime.ledger.read() as connection:
        kept = connection.execute(select(columns.event_id).where(columns.subject_token == town.token(ANNA))).scalars()
        assert list(kept) == [f"crm.consents:CONSENT-{ANNA}"]
        blanked = connection.execute(select(outbox.c.state).where(outbox.c.customer_token == "erased")).scalars()
        assert "acked" in set(blanked), "the books of past exports still add up"
    assert town.token(ANNA) not in Contacts(town.runtime.ledger).known("file")["customer_token"].to_pylist()
    suppressed = set(town.runtime.ledger.suppressions.snapshot()["identifier_token"].to_pylist())
    keys = town.runtime.keys
    assert {
        town.token(ANNA),
        town.token(ANNA_TWO),
        keys.token("email", OLD),
        keys.token("email", NEW.lower()),
    } <= suppressed
    assert keys.suppression_token(NEW.lower()) in suppressed


def test_the_person_comes_again_by_import_and_by_webhook_and_is_not_mailed(town: Town, sandbox: Sandbox) -> None:
    erase(town.runtime, NEW, at=AT)
    town.write_customers(anna=CANARY)
    town.write("consents.csv", [_grant(ANNA, "again")])
    town.sync()
    town.runtime.ledger.consent.append([_granted(town, ANNA)])
    assert find_person(town.runtime, NEW).held, "the source brought her back"
    town.decide()
    town.export("mailchimp", "file")
    assert not {address.lower() for address in addresses_at(sandbox)} & {value.lower() for value in VALUES}
    newest = sorted((town.state / "exports" / "file").glob("run-*"))[-1]
    assert CANARY["last"] not in (newest / "upserts.csv").read_text()
    assert NEW not in (newest / "upserts.csv").read_text()


@pytest.mark.slow
def test_a_ledger_restored_from_before_forgets_again(town: Town, sandbox: Sandbox, tmp_path: Path) -> None:
    """The whole state of yesterday comes back, without the tombstones, which are kept apart."""
    yesterday = shutil.copytree(town.state, tmp_path / "yesterday")
    gone_from_the_source(town)
    erased = erase(town.runtime, NEW, at=AT)
    town.runtime.ledger.close()
    tombstones = (town.state / "tombstones.jsonl").read_text()
    shutil.rmtree(town.state)
    shutil.copytree(yesterday, town.state)
    (town.state / "tombstones.jsonl").write_text(tombstones)
    restored = Town(town.root)
    assert restored.runtime.ledger.vault(restored.runtime.keys).of_subjects([town.token(ANNA)]) == []
    assert town.token(ANNA) in restored.runtime.ledger.suppressions.snapshot()["identifier_token"].to_pylist()
    request = restored.runtime.ledger.requests.get(erased.request.request_id)
    assert request.is_open, "what the restored files hold has to go as well"
    assert finish_begun(restored.runtime, AT + timedelta(days=1)) == []
    found = found_of(restored.runtime, ANNA)
    assert (found.values, found.files, found.warehouse) == ({}, {}, {})
    assert restored.runtime.ledger.requests.get(request.request_id).status == "answered"
    restored.runtime.ledger.close()


def test_whatever_is_left_is_named_and_the_command_fails(town: Town, sandbox: Sandbox) -> None:
    gone_from_the_source(town)
    stray = town.state / "notes.bin"
    stray.write_bytes(b"\xff\xfe\x80" + NEW.encode("utf-16-le"))
    with pytest.raises(
        PrivacyError, match=r"not everything is erased:\n  notes\.bin: email in utf-16-le\n  hint: remove"
    ):
        erase(town.runtime, NEW, at=AT)
    (request,) = town.runtime.ledger.requests.all()
    assert request.is_open
    receipt = verify(town.runtime.workspace.privacy / request.request_id / "receipt.json", town.runtime.keys)
    assert receipt["complete"] is False
    stray.unlink()
    assert_gone(town, sandbox, erase(town.runtime, NEW, at=AT))
    assert len(town.runtime.ledger.requests.all()) == 1


@pytest.mark.slow
def test_a_destination_that_is_down_is_cleared_by_the_next_try(
    town: Town, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    town.export("mailchimp")
    gone_from_the_source(town)
    monkeypatch.delenv("MAILCHIMP_API_KEY")
    with pytest.raises(PrivacyError, match="mailchimp could not be cleared"):
        erase(town.runtime, NEW, at=AT)
    monkeypatch.setenv("MAILCHIMP_API_KEY", sandbox.api_key)
    assert_gone(town, sandbox, erase(town.runtime, NEW, at=AT))


def test_a_receipt_that_was_changed_or_is_of_others_is_refused(town: Town, tmp_path: Path) -> None:
    gone_from_the_source(town)
    erased = erase(town.runtime, "nobody@example.com", at=AT)
    document = json.loads(erased.receipt.read_text())
    changed = tmp_path / "receipt.json"
    changed.write_text(json.dumps({**document, "complete": not document["complete"]}))
    with pytest.raises(PrivacyError, match="was changed after it was signed"):
        verify(changed, town.runtime.keys)
    other = Town(tmp_path / "other")
    from personalization.ledger import Keyring

    with pytest.raises(PrivacyError, match="signed with another key"):
        verify(erased.receipt, Keyring.create(other.root / "keys.json"))
    changed.write_text("{}")
    with pytest.raises(PrivacyError, match="is not a signed document"):
        verify(changed)


def _killed(town: Town, point: str, sandbox: Sandbox) -> int:
    code = f"""
import sys
from datetime import datetime, UTC
from personalization.runtime import Runtime
from personalization.workspace import Workspace
from personalization.privacy.erase import erase
erase(Runtime(Workspace.at({str(town.root)!r})), {NEW!r}, at=datetime(2026, 11, 25, 12, tzinfo=UTC))
"""
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PERSONALIZATION_CRASH_AT": f"erase.{point}"},
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode


@pytest.mark.parametrize("points", [("vault",), pytest.param(POINTS, marks=pytest.mark.slow)], ids=["one", "all"])
def test_killed_at_any_step_and_run_again_it_completes(town: Town, sandbox: Sandbox, points: tuple[str, ...]) -> None:
    town.export("mailchimp")
    gone_from_the_source(town)
    town.runtime.ledger.close()
    for point in points:
        assert _killed(town, point, sandbox) == -signal.SIGKILL, point
    assert_gone(town, sandbox, erase(town.runtime, NEW, at=AT))
    (request,) = town.runtime.ledger.requests.all()
    assert (request.status, request.outcome) == ("answered", "erased")
    assert not list(town.state.rglob("work.sealed"))


def _grant(customer: str, event: str) -> dict[str, str]:
    return {
        "event": event,
        "id": customer,
        "purpose": "email.marketing",
        "action": "grant",
        "at": "2027-01-01T00:00:00Z",
        "method": "form",
        "notice": "1",
    }


def _granted(town: Town, customer: str) -> ConsentEvent:
    return ConsentEvent(
        event_id="hook-again",
        subject_token=town.token(customer),
        purpose="email.marketing",
        action="grant",
        effective_at=datetime(2027, 1, 2, tzinfo=UTC),
        source="hooks",
    )
