"""The compliance audit: finds what is planted, gives the same bytes again, and shows when the ledger was changed."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import text

from personalization.errors import DataError, PrivacyError
from personalization.ledger import ConsentEvent
from personalization.ledger.schema import to_micros
from personalization.privacy.audit import Audited, audit
from personalization.privacy.receipt import verify
from personalization.privacy.retention import expire, overdue
from personalization.runtime import Runtime
from personalization.sandbox import Sandbox
from tests.privacy.town import AT, BEN, OTHERS, Town


def now() -> datetime:
    return datetime.now(UTC)


def this_month(town: Town) -> str:
    return f"{now():%Y-%m}"


def titles(made: Audited) -> set[str]:
    return {finding.title for finding in made.findings}


@pytest.fixture
def audited(town: Town) -> Town:
    town.runtime.program.settings.privacy.retention_months.clear()
    return town


def test_a_clean_month_has_no_critical_finding_and_is_the_same_again(audited: Town) -> None:
    runtime = audited.runtime
    made = audit(runtime, this_month(audited), now(), read_platforms=False)
    assert made.critical == []
    first = {path.name: path.read_bytes() for path in made.folder.iterdir()}
    runtime.ledger.consent.append([_grant(audited, OTHERS[0], notice="1")])
    again = audit(runtime, this_month(audited), now() + timedelta(hours=1), read_platforms=False)
    assert again.again
    assert {path.name: path.read_bytes() for path in again.folder.iterdir()} == first
    document = verify(made.folder / "audit.json", runtime.keys)
    assert document["chains"]["problem"] is None
    assert document["consent"]["standing"] == [
        {
            "purpose": "email.marketing",
            "lawful_basis": "consent",
            "granted": 23,
            "withdrawn": 0,
            "proven_share": 1.0,
            "without_proof": 0,
        }
    ]
    anew = audit(runtime, this_month(audited), now(), anew=True, read_platforms=False)
    assert not anew.again
    assert (anew.folder / "audit.json").read_bytes() != first["audit.json"]


def test_what_is_planted_is_found(audited: Town, sandbox: Sandbox) -> None:
    runtime = audited.runtime
    runtime.ledger.consent.append([_grant(audited, OTHERS[1], notice=None)])
    runtime.ledger.requests.open("access", audited.token(BEN), "letter", now() - timedelta(days=40))
    (audited.state / "run.log").write_text("wrote to ben@example.com\n")
    audited.export("mailchimp")
    audited.withdraw(OTHERS[2], now())
    made = audit(runtime, this_month(audited), now())
    assert titles(made) >= {
        "Consent without proof",
        "Request answered too late",
        "Addresses outside the vault",
        "Opted out here, active there",
    }
    details = {finding.title: finding.detail for finding in made.critical}
    assert details["Consent without proof"].startswith("email.marketing: 1 grants count")
    assert details["Addresses outside the vault"].startswith("run.log: 1")
    assert details["Opted out here, active there"].startswith(("file: 1", "mailchimp: 1"))
    for path in made.folder.iterdir():
        assert b"ben@example.com" not in path.read_bytes()


def test_a_row_that_left_after_an_opt_out_is_found(audited: Town) -> None:
    """S1 is checked again from the books, not by the exporter's own word: a row is put there that should not be."""
    runtime = audited.runtime
    audited.withdraw(BEN, datetime(2026, 1, 1, tzinfo=UTC))
    later = to_micros(now() + timedelta(seconds=5))
    with runtime.ledger.begin() as connection:
        changed = connection.execute(
            text("update outbox set cut_at = :at where customer_token = :token"),
            {"at": later, "token": audited.token(BEN)},
        ).rowcount
    made = audit(runtime, this_month(audited), now() + timedelta(seconds=10), read_platforms=False)
    assert changed
    assert "Mailed against their word" in titles(made)


def test_a_changed_ledger_can_not_give_the_same_audit(audited: Town) -> None:
    runtime = audited.runtime
    audit(runtime, this_month(audited), now(), read_platforms=False)
    with runtime.ledger.begin() as connection:
        connection.execute(text("drop trigger consent_events_no_update"))
        connection.execute(text("update consent_events set action = 'withdraw' where seq = 3"))
    with pytest.raises(PrivacyError, match="can't be reproduced: the ledger no longer says what it said then"):
        audit(Runtime(runtime.workspace), this_month(audited), now(), read_platforms=False)


def test_small_counts_are_hidden(audited: Town) -> None:
    audited.withdraw(BEN, now() - timedelta(days=1))
    made = audit(audited.runtime, this_month(audited), now(), read_platforms=False)
    document = verify(made.folder / "audit.json")
    said = document["consent"]["statements"]["cells"]
    assert said["email.marketing|withdraw"] is None
    assert said["email.marketing|grant"] is None or said["email.marketing|"] is None
    assert "&lt; 10 *" in (made.folder / "index.html").read_text()


@pytest.mark.parametrize("month", ["2026-13", "26-11", "November"])
def test_a_wrong_month(town: Town, month: str) -> None:
    with pytest.raises(DataError, match=f"'{month}' is not a month"):
        audit(town.runtime, month, AT)


def test_a_month_to_come(town: Town) -> None:
    with pytest.raises(DataError, match="2999-01 has not begun yet"):
        audit(town.runtime, "2999-01", AT)


# --- invariant 51


def test_what_is_old_goes_and_records_of_requests_stay(town: Town) -> None:
    runtime = town.runtime
    made = runtime.ledger.requests.open("access", town.token(BEN), "letter", AT)
    copy = runtime.workspace.privacy / made
    copy.mkdir(parents=True)
    runtime.ledger.requests.answer(made, "copy made", AT)
    assert overdue(runtime, AT) == {"order_lines": 1}, "the order of 2020 is older than 24 months"
    assert expire(runtime, AT).rows == {"order_lines": 1}
    assert overdue(runtime, AT) == {}
    assert b"ORDER-CANARY" not in b"".join(path.read_bytes() for path in _files(runtime.workspace.landing))
    with runtime.warehouse.connect() as session:
        assert session.value("select count(*) from landed.order_lines") == 23
    later = AT + timedelta(days=3 * 365)
    expired = expire(runtime, later)
    assert (expired.rows["order_lines"], expired.copies) == (23, 1)
    assert not copy.exists()
    assert runtime.ledger.requests.get(made).status == "answered", "kept far longer than 24 months"


def _files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


def _grant(town: Town, customer: str, notice: str | None) -> ConsentEvent:
    return ConsentEvent(
        event_id=f"{customer}-later",
        subject_token=town.token(customer),
        purpose="email.marketing",
        action="grant",
        effective_at=datetime(2026, 2, 1, tzinfo=UTC),
        source="test",
        method="form",
        notice_version=notice,
    )
