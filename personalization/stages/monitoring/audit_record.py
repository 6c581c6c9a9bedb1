"""Keeps the findings of the monthly audit in `monitoring.platform_audit`, and shows them."""

from __future__ import annotations

from collections.abc import Sequence

from personalization.stages.monitoring.audit import KINDS, Audit, audit_rows
from personalization.stages.monitoring.markdown import table
from personalization.warehouse import Session

PLATFORM_AUDIT = "monitoring.platform_audit"


def record_audit(session: Session, month: str, audits: Sequence[Audit]) -> int:
    """Replace the findings of a month (its first day, `YYYY-MM-DD`). Returns the number of rows."""
    findings = audit_rows(month, audits)
    session.execute("create schema if not exists monitoring")
    with session.registered(_findings=findings), session.transaction():
        session.execute(f"create table if not exists {PLATFORM_AUDIT} as from _findings limit 0")
        session.execute(f"delete from {PLATFORM_AUDIT} where month = ?", [month])  # noqa: S608
        session.execute(f"insert into {PLATFORM_AUDIT} from _findings order by all")
    return findings.num_rows


def audit_table(audits: Sequence[Audit]) -> str:
    """One row a finding that occurred, with a few tokens; a clean destination says so."""
    rows = []
    for audit in audits:
        totals = f"{audit.source:,} acknowledged, {audit.found:,} found"
        if audit.clean:
            rows.append((audit.destination, "clean", totals, ""))
        for kind, count in audit.counts.items():
            if count:
                samples = ", ".join(f"`{token}`" for token in audit.samples[kind])
                rows.append((audit.destination, KINDS[kind], f"{count:,} of {totals}", samples))
    lines = table(["destination", "finding", "contacts", "some of them"], rows)
    where = [
        (audit.destination, audience or "none", *(f"{count:,}" for count in counts.values()))
        for audit in audits
        for audience, counts in audit.by_audience.items()
    ]
    if where:
        lines += ["", *table(["destination", "audience", *(kind.replace("_", " ") for kind in KINDS)], where)]
    fields = [(audit.destination, name, f"{count:,}") for audit in audits for name, count in audit.by_field.items()]
    if fields:
        lines += ["", *table(["destination", "field", "contacts with another value"], fields)]
    return "\n".join(lines)
