"""The monthly audit: what we believe a destination holds against what it really holds.

Belief is the acknowledged state of the ledger, and consent as of now; reality is read back. Findings are counted and
sampled by the destination's own token, never by address.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from decimal import Decimal, InvalidOperation
from typing import TYPE_CHECKING, Any

import pyarrow as pa
from sqlalchemy import select

from personalization.ledger import normalise_email
from personalization.ledger.export_schema import acknowledged
from personalization.program.models import Destination
from personalization.stages.export.cut import Contact, Cut
from personalization.stages.export.holdings import Holding, holdings
from personalization.stages.export.planner import read_identity

if TYPE_CHECKING:
    from personalization.runtime import Runtime

SAMPLES = 5
KINDS = {
    "missing": "acknowledged, but not there",
    "stale": "there with other values than acknowledged",
    "extra": "there with our fields filled, but never acknowledged",
    "duplicate": "there more than once",
    "opted_out_but_active": "has opted out here, and would still be mailed there",
}


@dataclass
class Audit:
    """One destination's findings. `source` and `found` are the totals that are compared."""

    destination: str
    source: int
    found: int
    counts: dict[str, int] = field(default_factory=lambda: dict.fromkeys(KINDS, 0))
    samples: dict[str, list[str]] = field(default_factory=lambda: {kind: [] for kind in KINDS})

    @property
    def clean(self) -> bool:
        return not any(self.counts.values())

    def add(self, kind: str, token: str) -> None:
        self.counts[kind] += 1
        if len(self.samples[kind]) < SAMPLES:
            self.samples[kind].append(token)


def audit_destination(runtime: Runtime, name: str) -> Audit:
    """Read a destination back and compare it, contact by contact.

    Raises
    ------
    ExportError
        The destination can't be read.
    LedgerError
        What it acknowledged, or who opted out, can't be read.
    """
    destination = runtime.program.destinations[name]
    believed = _believed(runtime, name)
    held, twice = _by_token(runtime, holdings(runtime.program, name, runtime.workspace, runtime.ledger))
    present = {token for token, row in believed.items() if row["state"] == "present"}
    audit = Audit(name, len(present), sum(holding.personalised for holding in held.values()))
    for token in sorted(present):
        if token not in held:
            audit.add("missing", token)
        elif not _agrees(destination, json.loads(believed[token]["payload"]), held[token]):
            audit.add("stale", token)
    for token in sorted(token for token, holding in held.items() if holding.personalised and token not in present):
        audit.add("extra", token)
    for token in twice:
        audit.add("duplicate", token)
    for token in sorted(_opted_out(runtime, believed, held)):
        audit.add("opted_out_but_active", token)
    return audit


def audit_rows(month: str, audits: Iterable[Audit]) -> pa.Table:
    """The findings as rows: `month`, `destination`, `finding`, `contacts`; every kind, also those with none."""
    rows = [
        {"month": month, "destination": audit.destination, "finding": kind, "contacts": audit.counts[kind]}
        for audit in audits
        for kind in KINDS
    ]
    names = [("month", pa.string()), ("destination", pa.string()), ("finding", pa.string()), ("contacts", pa.int64())]
    return pa.Table.from_pylist(rows, schema=pa.schema(names))


def _believed(runtime: Runtime, name: str) -> dict[str, dict[str, Any]]:
    columns = acknowledged.c
    query = select(
        columns.address_token, columns.customer_token, columns.purpose, columns.state, columns.payload
    ).where(columns.destination == name)
    with runtime.ledger.read() as connection:
        return {row.address_token: dict(row._mapping) for row in connection.execute(query)}


def _by_token(runtime: Runtime, found: Iterable[Holding]) -> tuple[dict[str, Holding], list[str]]:
    """Contacts by the token of their address, and the tokens that occur more than once."""
    listed = [(normalise_email(holding.address), holding) for holding in found]
    readable = [(address, holding) for address, holding in listed if address]
    tokens = runtime.keys.tokens("email", [address for address, _ in readable])
    held: dict[str, Holding] = {}
    twice = []
    for token, (_, holding) in zip(tokens, readable, strict=True):
        if token in held:
            twice.append(token)
        held[token] = holding
    return held, twice


def _agrees(destination: Destination, expected: dict[str, str | None], holding: Holding) -> bool:
    for mapped in destination.fields:
        value = expected.get(mapped.name)
        if value is None and mapped.null == "keep":
            continue  # whatever the platform has is meant to stay
        if not _same(value or "", holding.values.get(mapped.name, "")):
            return False
    return True


def _same(expected: str, found: str) -> bool:
    if expected == found:
        return True
    try:
        return float(Decimal(expected)) == float(Decimal(found))
    except InvalidOperation:
        return False


def _opted_out(runtime: Runtime, believed: dict[str, dict[str, Any]], held: dict[str, Holding]) -> set[str]:
    """Contacts the destination would mail although their people opted out of the purpose they were exported for."""
    with runtime.warehouse.connect() as session:
        identity = read_identity(session)
    cut = Cut(runtime.ledger, runtime.program.purposes, identity)
    active = [
        Contact(token, row["purpose"], (token, row["customer_token"]))
        for token, row in believed.items()
        if token in held and held[token].active
    ]
    return {token for token, block in cut.blocked(active).items() if block.opted_out}
