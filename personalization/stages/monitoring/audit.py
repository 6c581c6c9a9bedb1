"""The monthly audit: what we believe a destination holds against what it really holds.

Belief is the acknowledged state of the ledger, and consent as of now; reality is read back. Findings are counted and
sampled by the destination's own token, never by address.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from decimal import Decimal, InvalidOperation
from typing import TYPE_CHECKING, Any

import pyarrow as pa
from sqlalchemy import select

from personalization.ledger import normalise_email
from personalization.ledger.export_schema import acknowledged
from personalization.program.models import Destination
from personalization.stages.export.adapters.base import Clock
from personalization.stages.export.adapters.registry import limits_of
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


@dataclass(frozen=True)
class Difference:
    """One contact that is not as believed: in which campaign's audience, and which fields differ where it is stale."""

    kind: str
    token: str
    audience: str = ""
    fields: tuple[str, ...] = ()


@dataclass
class Audit:
    """One destination's findings. `source` and `found` are the totals that are compared."""

    destination: str
    source: int
    found: int
    counts: dict[str, int] = field(default_factory=lambda: dict.fromkeys(KINDS, 0))
    samples: dict[str, list[str]] = field(default_factory=lambda: {kind: [] for kind in KINDS})
    differences: list[Difference] = field(default_factory=list)

    @property
    def clean(self) -> bool:
        return not any(self.counts.values())

    @property
    def by_audience(self) -> dict[str, dict[str, int]]:
        """Findings by campaign and kind; contacts in no audience are under an empty name."""
        found: dict[str, dict[str, int]] = {}
        for each in self.differences:
            kinds = found.setdefault(each.audience, dict.fromkeys(KINDS, 0))
            kinds[each.kind] += 1
        return dict(sorted(found.items()))

    @property
    def by_field(self) -> dict[str, int]:
        """How many stale contacts have another value there, by field."""
        return dict(sorted(Counter(name for each in self.differences for name in each.fields).items()))

    def add(self, kind: str, token: str, audience: str = "", fields: tuple[str, ...] = ()) -> None:
        self.counts[kind] += 1
        self.differences.append(Difference(kind, token, audience, fields))
        if len(self.samples[kind]) < SAMPLES:
            self.samples[kind].append(token)


def audit_destination(runtime: Runtime, name: str, *, clock: Clock | None = None) -> Audit:
    """Read a destination back and compare it, contact by contact.

    A platform may show a change only a while after it has confirmed it. So when anything differs everything is read
    once more after that while, and a difference counts only when both reads show it.

    Raises
    ------
    ExportError
        The destination can't be read.
    LedgerError
        What it acknowledged, or who opted out, can't be read.
    """
    first = _read(runtime, name)
    if first.clean:
        return first
    destination = runtime.program.destinations[name]
    set_to = destination.limits.consistency_seconds
    (clock or Clock()).sleep(limits_of(destination).consistency if set_to is None else set_to)
    seen = {(each.kind, each.token) for each in first.differences}
    second = _read(runtime, name)
    confirmed = Audit(name, second.source, second.found)
    for each in second.differences:
        if (each.kind, each.token) in seen:
            confirmed.add(each.kind, each.token, each.audience, each.fields)
    return confirmed


def _read(runtime: Runtime, name: str) -> Audit:
    destination = runtime.program.destinations[name]
    believed = _believed(runtime, name)
    held, twice = _by_token(runtime, holdings(runtime.program, name, runtime.workspace, runtime.ledger))
    present = {token for token, row in believed.items() if row["state"] == "present"}
    audit = Audit(name, len(present), sum(holding.personalised for holding in held.values()))
    audience = {token: believed[token]["campaign"] or "" for token in present}
    for token in sorted(present):
        if token not in held:
            audit.add("missing", token, audience[token])
        elif differing := _differing(destination, json.loads(believed[token]["payload"]), held[token]):
            audit.add("stale", token, audience[token], differing)
    for token in sorted(token for token, holding in held.items() if holding.personalised and token not in present):
        audit.add("extra", token, _campaign_there(destination, held[token]))
    for token in twice:
        audit.add("duplicate", token, audience.get(token, ""))
    for token in sorted(_opted_out(runtime, believed, held)):
        audit.add("opted_out_but_active", token, audience.get(token, ""))
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
        *(columns[name] for name in ("address_token", "customer_token", "campaign", "purpose", "state", "payload"))
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


def _differing(destination: Destination, expected: dict[str, str | None], holding: Holding) -> tuple[str, ...]:
    """The fields that hold something else than acknowledged."""
    found = []
    for mapped in destination.fields:
        value = expected.get(mapped.name)
        if value is None and mapped.null == "keep":
            continue  # whatever the platform has is meant to stay
        if not _same(value or "", holding.values.get(mapped.name, "")):
            found.append(mapped.name)
    return tuple(found)


def _campaign_there(destination: Destination, holding: Holding) -> str:
    for mapped in destination.fields:
        if mapped.column == "campaign":
            return holding.values.get(mapped.name, "")
    return ""


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
