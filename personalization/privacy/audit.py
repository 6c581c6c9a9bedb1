"""The compliance report of a month: signed, with findings, and the same bytes again whenever it is asked for.

What the ledger's records say is computed anew from them, up to the numbers noted when the audit was first made. What
no record vouches for (platforms, files, keys) was observed then and is kept in the privacy log as it was seen.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

from sqlalchemy import func, select

from personalization.errors import DataError, LedgerError, PrivacyError
from personalization.ledger.consent_event import canonical_json
from personalization.ledger.schema import consent_events, suppressions
from personalization.privacy import receipt
from personalization.privacy.audit_ledger import Numbers, Period, consent_part, requests_part, suppressions_part
from personalization.privacy.audit_observed import observe
from personalization.privacy.audit_pages import audit_markdown, audit_page
from personalization.privacy.cells import K
from personalization.privacy.inventory import CATEGORIES

if TYPE_CHECKING:
    from personalization.runtime import Runtime

KIND = "compliance audit"
JSON, PAGE, MARKDOWN = "audit.json", "index.html", "audit.md"
CRITICAL, WARNING, NOTE = "critical", "warning", "note"
KEY_DAYS = 365
SPEED_SECONDS = 60.0


@dataclass(frozen=True)
class Finding:
    """Something a person has to look at. `severity` is critical, warning or note."""

    severity: str
    title: str
    detail: str


@dataclass(frozen=True)
class Audited:
    """An audit that was made, or made again. `findings` are ordered by severity."""

    month: str
    folder: Path
    findings: list[Finding]
    again: bool

    @property
    def critical(self) -> list[Finding]:
        return [finding for finding in self.findings if finding.severity == CRITICAL]


def audit(runtime: Runtime, month: str, at: datetime, *, anew: bool = False, read_platforms: bool = True) -> Audited:
    """Make the audit of a month in var/privacy/audit-<month>, or reproduce the one that was made.

    Parameters
    ----------
    month : str
        `YYYY-MM`; a month in the program's time zone that has begun.
    anew : bool
        Look at everything again, and let this audit take the place of an earlier one.
    read_platforms : bool
        Read the destinations back.

    Raises
    ------
    DataError
        That is no month, or it has not begun.
    PrivacyError
        The audit that was made can't be reproduced: its numbers no longer give the same document.
    """
    period = _period(runtime, month, at)
    known = None if anew else _made(runtime, month)
    if known is None:
        numbers = _numbers(runtime)
        seen = {"at": at.isoformat(), **observe(runtime, period, numbers, at, read_platforms=read_platforms)}
        observed = json.loads(canonical_json(seen))  # as it will be read from the log again, the order included
        document = _document(runtime, period, numbers, observed)
        content = {"month": month, "numbers": asdict(numbers), "observed": observed, "sha256": _sha256(document)}
        runtime.ledger.requests.log("audit", content, at=at)
    else:
        numbers, observed = Numbers(**known["numbers"]), known["observed"]
        document = _document(runtime, period, numbers, observed)
        if _sha256(document) != known["sha256"]:
            raise PrivacyError(
                f"the audit of {month} can't be reproduced: the ledger no longer says what it said then",
                hint="run `personalization privacy verify-ledger`; compare with the audit that was handed out",
            )
    document = receipt.signed(document, runtime.keys)
    folder = runtime.workspace.privacy / f"audit-{month}"
    receipt.write(folder / JSON, json.dumps(document, indent=2, sort_keys=True, ensure_ascii=False) + "\n")
    receipt.write(folder / PAGE, audit_page(document))
    receipt.write(folder / MARKDOWN, audit_markdown(document))
    return Audited(month, folder, [Finding(**entry) for entry in document["findings"]], known is not None)


def newest(runtime: Runtime) -> Audited | None:
    """The audit that was made last, as its document has it; None when none was made."""
    made = runtime.ledger.requests.entries(kind="audit")
    if not made:
        return None
    month = str(made[-1].content["month"])
    folder = runtime.workspace.privacy / f"audit-{month}"
    if not (folder / JSON).exists():
        return audit(runtime, month, made[-1].at)
    document = receipt.verify(folder / JSON, runtime.keys)
    return Audited(month, folder, [Finding(**entry) for entry in document["findings"]], True)


def _document(runtime: Runtime, period: Period, numbers: Numbers, observed: dict[str, Any]) -> dict[str, Any]:
    ledger, at = runtime.ledger, datetime.fromisoformat(observed["at"])
    document: dict[str, Any] = {
        "document": KIND,
        "month": period.month,
        "period": {"begin": period.begin.isoformat(), "end": period.end.isoformat()},
        "made_at": observed["at"],
        "read_up_to": asdict(numbers),
        "smallest_count": K,
        "chains": _chains(runtime, numbers),
        "inventory": [{"category": name, **asdict(category)} for name, category in CATEGORIES.items()],
        "consent": consent_part(ledger, observed["purposes"], period, numbers),
        "suppressions": suppressions_part(ledger, period, numbers),
        "privacy_requests": requests_part(ledger, period, numbers, at),
        "observed": observed,
    }
    document["findings"] = [asdict(finding) for finding in findings(document)]
    return document


def findings(document: dict[str, Any]) -> list[Finding]:
    """What has to be looked at, the worst first."""
    found = [*_about_chains(document), *_about_consent(document), *_about_requests(document), *_about_exports(document)]
    found += _about_the_rest(document)
    order = (CRITICAL, WARNING, NOTE)
    return sorted(found, key=lambda finding: (order.index(finding.severity), finding.title))


def _about_chains(document: dict[str, Any]) -> Iterator[Finding]:
    problem = document["chains"]["problem"]
    if problem:
        yield Finding(CRITICAL, "The ledger was tampered with", problem)


def _about_consent(document: dict[str, Any]) -> Iterator[Finding]:
    for row in document["consent"]["standing"]:
        if row["without_proof"] and row["lawful_basis"] == "consent":
            yield Finding(
                CRITICAL,
                "Consent without proof",
                f"{row['purpose']}: {row['without_proof']:,} grants count without notice, method or source on record",
            )
    signals = document["consent"]["browser_signals"]
    if signals["applied"] < signals["received"]:
        yield Finding(
            CRITICAL,
            "Browser signals not applied",
            f"{signals['received'] - signals['applied']:,} of {signals['received']:,} Sec-GPC signals opted nobody out",
        )
    if document["observed"]["conflicts"]:
        yield Finding(
            NOTE,
            "Statements that came twice with different content",
            f"{document['observed']['conflicts']:,}; the first was kept, opt-outs count all the same",
        )


def _about_requests(document: dict[str, Any]) -> Iterator[Finding]:
    for row in document["privacy_requests"]["requests"]:
        if row["overdue"]:
            yield Finding(CRITICAL, "Request answered too late", f"{row['request']} was due on {row['due'][:10]}")
        if row["nothing_left"] is False and row["status"] != "answered":
            yield Finding(CRITICAL, "Erasure not complete", f"{row['request']}: its receipt names what is left")


def _about_exports(document: dict[str, Any]) -> Iterator[Finding]:
    observed = document["observed"]
    cuts = observed["cuts"]
    if cuts["violations"]:
        yield Finding(
            CRITICAL,
            "Mailed against their word",
            f"{cuts['violations']:,} of {cuts['rows']:,} rows left after an opt-out was recorded",
        )
    slowest = observed["opt_out_speed"]["max"]
    if slowest is not None and slowest > SPEED_SECONDS:
        yield Finding(WARNING, "Opt-outs passed on slowly", f"the slowest took {slowest:,.0f} seconds to the platform")
    for row in observed["exports"]:
        if row["open_books"]:
            yield Finding(CRITICAL, "Books that don't close", f"{row['destination']}: {row['open_books']} runs")
        for override in row["overrides"]:
            yield Finding(
                NOTE, "Mass-change guard overridden", f"{row['destination']}, run {override['run']}: {override['who']}"
            )
    for row in observed["platforms"]:
        name = row["destination"]
        if "problem" in row:
            yield Finding(WARNING, "Platform not read", f"{name}: {row['problem']}")
            continue
        if row["opted_out_but_active"]:
            yield Finding(CRITICAL, "Opted out here, active there", f"{name}: {row['opted_out_but_active']:,} contacts")
        others = {kind: row[kind] for kind in ("missing", "stale", "extra", "duplicate") if row.get(kind)}
        if others:
            listed = ", ".join(f"{count:,} {kind}" for kind, count in others.items())
            yield Finding(WARNING, "Platform differs from what it acknowledged", f"{name}: {listed}")


def _about_the_rest(document: dict[str, Any]) -> Iterator[Finding]:
    observed = document["observed"]
    for row in observed["identifiers_in_files"]:
        yield Finding(
            CRITICAL, "Addresses outside the vault", f"{row['file']}: {row['addresses']:,} addresses of people"
        )
    if observed["without_purpose"]:
        shown = ", ".join(observed["without_purpose"][:5])
        yield Finding(
            WARNING, "Data without a stated purpose", f"{len(observed['without_purpose'])} columns, such as {shown}"
        )
    for kind, count in observed["retention_overdue"].items():
        yield Finding(
            WARNING, "Kept longer than allowed", f"{kind}: {count:,}; run `personalization privacy retention`"
        )
    for key in observed["keys"]:
        if key["kind"] == "vault" and key["age_days"] > KEY_DAYS:
            yield Finding(
                WARNING,
                "Old master key",
                f"{key['key']} is {key['age_days']} days old: personalization keys rotate vault",
            )


def _chains(runtime: Runtime, numbers: Numbers) -> dict[str, Any]:
    """The chains' hashes at the noted numbers, and the first thing that is wrong with them."""
    from personalization.ledger.requests_schema import privacy_log
    from personalization.ledger.token_rotation import former_head

    problem = None
    try:
        runtime.ledger.verify()
    except LedgerError as error:
        problem = error.message
    with runtime.ledger.read() as connection:
        consent = connection.execute(
            select(consent_events.c.hash).where(consent_events.c.seq == numbers.consent)
        ).scalar_one_or_none()
        log = connection.execute(
            select(privacy_log.c.hash).where(privacy_log.c.seq == numbers.privacy_log)
        ).scalar_one_or_none()
        # what an audit from before a replacement of the token key had seen
        consent = former_head(connection, "consent", numbers.consent, log_seq=numbers.privacy_log) or consent
        log = former_head(connection, "privacy_log", numbers.privacy_log, log_seq=numbers.privacy_log) or log
    return {"consent_head": consent, "privacy_log_head": log, "problem": problem}


def _numbers(runtime: Runtime) -> Numbers:
    with runtime.ledger.read() as connection:
        last_consent, last_suppression = (
            int(connection.execute(select(func.coalesce(func.max(table.c.seq), 0))).scalar_one())
            for table in (consent_events, suppressions)
        )
    return Numbers(last_consent, last_suppression, runtime.ledger.requests.state().seq)


def _made(runtime: Runtime, month: str) -> dict[str, Any] | None:
    """What the log has of the newest audit of a month."""
    made = [entry.content for entry in runtime.ledger.requests.entries(kind="audit") if entry.content["month"] == month]
    return made[-1] if made else None


def _period(runtime: Runtime, month: str, at: datetime) -> Period:
    if not re.fullmatch(r"\d{4}-(0[1-9]|1[0-2])", month):
        raise DataError(f"'{month}' is not a month", hint="write it as 2026-11")
    zone = ZoneInfo(runtime.program.settings.timezone)
    year, number = int(month[:4]), int(month[5:])
    begin = datetime(year, number, 1, tzinfo=zone)
    following = date(year + number // 12, number % 12 + 1, 1)
    end = datetime(following.year, following.month, 1, tzinfo=zone)
    if begin > at:
        raise DataError(f"{month} has not begun yet", hint="ask for a month of the past")
    return Period(month, begin, end)


def _sha256(document: dict[str, Any]) -> str:
    return hashlib.sha256(receipt.canonical(document)).hexdigest()
