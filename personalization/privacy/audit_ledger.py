"""The part of the audit that comes from the ledger's records alone: the same at the same numbers, at any time."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from statistics import median
from typing import TYPE_CHECKING, Any

from sqlalchemy import select

from personalization.ledger.consent_event import OPT_OUT
from personalization.ledger.privacy_log import Entry
from personalization.ledger.schema import consent_events, suppressions
from personalization.privacy.cells import publishable, table_sums, with_totals

if TYPE_CHECKING:
    from personalization.ledger import Ledger


@dataclass(frozen=True)
class Numbers:
    """How far the ledger is read: the same numbers give the same audit again."""

    consent: int
    suppressions: int
    privacy_log: int


@dataclass(frozen=True)
class Period:
    """A month in the program's time zone, from its first instant to that of the next month."""

    month: str
    begin: datetime
    end: datetime

    def has(self, moment: datetime | None) -> bool:
        return moment is not None and self.begin <= moment < self.end


def consent_part(ledger: Ledger, purposes: Mapping[str, str], period: Period, numbers: Numbers) -> dict[str, Any]:
    """Totals of consent and opt-outs, and how much of what is granted can be proven. Purposes come with their basis."""
    said: Counter[tuple[str, str]] = Counter()
    by_notice: Counter[tuple[str, str]] = Counter()
    gpc: list[dict[str, Any]] = []
    columns = consent_events.c
    names = ("subject_token", "purpose", "action", "source", "method", "notice_version", "notice_sha256")
    query = (
        select(*(columns[name] for name in names), columns.event_id, columns.evidence, columns.recorded_at)
        .where(columns.seq <= numbers.consent)
        .order_by(columns.seq)
    )
    proofs: dict[str, bool] = {}
    opt_outs = 0
    with ledger.read() as connection:
        for row in connection.execute(query, execution_options={"yield_per": 5_000}):
            proofs[row.event_id] = bool((row.notice_version or row.notice_sha256) and row.method and row.source)
            if not period.has(row.recorded_at):
                continue
            said[row.purpose, row.action] += 1
            by_notice[row.purpose, row.notice_version or "none"] += 1
            opt_outs += row.action in OPT_OUT
            if row.evidence and '"gpc":true' in row.evidence:
                gpc.append({"purpose": row.purpose, "applied": row.action in OPT_OUT})
    return {
        "statements": _table(said, "purpose", "action"),
        "statements_by_notice": _table(by_notice, "purpose", "notice version"),
        "opt_outs": _single(opt_outs),
        "standing": _standing(ledger, purposes, period, numbers, proofs),
        "browser_signals": {"received": len(gpc), "applied": sum(signal["applied"] for signal in gpc)},
    }


def _standing(
    ledger: Ledger, purposes: Mapping[str, str], period: Period, numbers: Numbers, proofs: dict[str, bool]
) -> list[dict[str, Any]]:
    """By purpose, at the end of the month: how many identifiers stand where, and how many grants have proof."""
    rows = []
    for name, lawful_basis in purposes.items():
        snapshot = ledger.consent.snapshot(name, effective_before=period.end, up_to_seq=numbers.consent).to_pylist()
        granted = [row["event_id"] for row in snapshot if row["state"] == "granted"]
        proven = sum(proofs.get(event_id, False) for event_id in granted)
        rows.append(
            {
                "purpose": name,
                "lawful_basis": lawful_basis,
                **_hidden(granted=len(granted), withdrawn=len(snapshot) - len(granted)),
                "proven_share": round(proven / len(granted), 4) if granted else None,
                "without_proof": len(granted) - proven,
            }
        )
    return rows


def suppressions_part(ledger: Ledger, period: Period, numbers: Numbers) -> dict[str, Any]:
    """How many identifiers were suppressed in the month, by reason and source."""
    columns = suppressions.c
    query = select(columns.reason, columns.source, columns.recorded_at).where(columns.seq <= numbers.suppressions)
    with ledger.read() as connection:
        found: Counter[tuple[str, str]] = Counter(
            (row.reason, row.source) for row in connection.execute(query) if period.has(row.recorded_at)
        )
    return {"added": _table(found, "reason", "source")}


def requests_part(ledger: Ledger, period: Period, numbers: Numbers, at: datetime) -> dict[str, Any]:
    """The record that CCPA section 7101 wants of every request, and whether deadlines were kept."""
    shown: list[dict[str, Any]] = []
    answered_in: list[float] = []
    receipts = {entry.request_id: entry for entry in _entries(ledger, "receipt", numbers)}
    for request in ledger.requests.all(up_to_seq=numbers.privacy_log):
        touched = period.has(request.received_at) or period.has(request.answered_at)
        if not touched and not (request.is_open and request.received_at < period.end):
            continue
        receipt = receipts.get(request.request_id)
        if request.answered_at:
            answered_in.append((request.answered_at - request.received_at).total_seconds() / 86_400)
        shown.append(
            {
                "request": request.request_id,
                "nature": request.kind,
                "manner": request.manner,
                "received": request.received_at.isoformat(),
                "due": request.due_at.isoformat(),
                "status": request.status,
                "answered": request.answered_at.isoformat() if request.answered_at else None,
                "answer": request.outcome,
                "basis_of_denial": request.basis,
                "extended_because": request.extended_because,
                "overdue": request.is_overdue(min(at, period.end)),
                "nothing_left": receipt.content["complete"] if receipt else None,
            }
        )
    counts = Counter(row["nature"] for row in shown if period.has(datetime.fromisoformat(row["received"])))
    return {
        "requests": shown,
        "received": dict(sorted(counts.items())),
        "answered": sum(period.has(_moment(row["answered"])) for row in shown if row["status"] == "answered"),
        "denied": sum(period.has(_moment(row["answered"])) for row in shown if row["status"] == "denied"),
        "median_days": round(median(answered_in), 1) if answered_in else None,
        "mean_days": round(sum(answered_in) / len(answered_in), 1) if answered_in else None,
        "rotations": [
            {"at": entry.at.isoformat(), **entry.content}
            for entry in _entries(ledger, "rotation", numbers)
            if period.has(entry.at)
        ],
    }


def _moment(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text) if text else None


def _entries(ledger: Ledger, kind: str, numbers: Numbers) -> Sequence[Entry]:
    return ledger.requests.entries(kind=kind, up_to_seq=numbers.privacy_log)


def _table(found: Counter[tuple[str, str]], row: str, column: str) -> dict[str, Any]:
    """Counts with totals, small ones hidden: `cells` by row and column, None where nothing may be said."""
    if not found:
        return {"row": row, "column": column, "rows": [], "columns": [], "cells": {}}
    counts, rows, columns = with_totals(found)
    return {
        "row": row,
        "column": column,
        "rows": rows,
        "columns": columns,
        "cells": publishable(counts, table_sums(rows, columns)),
    }


def _hidden(**counts: int) -> dict[str, int | None]:
    return dict(publishable(counts, []))


def _single(count: int) -> int | None:
    return publishable({"count": count}, [])["count"]
