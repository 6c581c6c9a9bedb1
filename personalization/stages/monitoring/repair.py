"""What an audit found, put right by the ordinary exporter: a plan with a hash, then exactly that.

A repair only changes what a destination is *taken to know*, contact by contact. The next export then sends, clears or
opts out as it always does: with its cut, its guard and its books. So a repair can't subscribe anybody.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, delete, insert, update

from personalization.errors import ExportError
from personalization.ledger.engine import bulk_insert, one_of
from personalization.ledger.export_schema import acknowledged, export_repairs
from personalization.ledger.schema import now, to_micros
from personalization.stages.export.adapters.base import Clock
from personalization.stages.export.planner import IDENTITY
from personalization.stages.monitoring.audit import Audit, Difference, audit_destination

if TYPE_CHECKING:
    from personalization.runtime import Runtime

ACTIONS = {
    "missing": "send again if still wanted",
    "stale": "send again",
    "extra": "clear, or send if wanted",
    "opted_out_but_active": "opt out again",
}
BY_HAND = "by hand"
_CHUNK = 5_000


@dataclass(frozen=True)
class Repair:
    """What a repair would do.

    Attributes
    ----------
    audit : Audit
        The findings, confirmed by a second read.
    steps : tuple of (Difference, str)
        Each with its action; `by hand` where there is no way by the exporter.
    hash : str
        Over all steps: equal repairs have equal hashes.
    """

    audit: Audit
    steps: tuple[tuple[Difference, str], ...]
    hash: str

    @property
    def counts(self) -> dict[str, int]:
        """Contacts by action."""
        return dict(Counter(action for _, action in self.steps))

    @property
    def marked(self) -> list[Difference]:
        """What the exporter will put right."""
        return [each for each, action in self.steps if action != BY_HAND]

    def to_dict(self) -> dict[str, Any]:
        audit = self.audit
        return {
            "destination": audit.destination,
            "acknowledged": audit.source,
            "found": audit.found,
            "findings": audit.counts,
            "by_audience": audit.by_audience,
            "by_field": audit.by_field,
            "samples": audit.samples,
            "actions": self.counts,
            "hash": self.hash,
        }


def plan_repair(runtime: Runtime, name: str, *, clock: Clock | None = None) -> Repair:
    """Read a destination back, twice where it differs, and say what a repair would do. Nothing is changed.

    Raises
    ------
    ExportError, LedgerError
        The destination, or the ledger, can't be read.
    """
    audit = audit_destination(runtime, name, clock=clock)
    known = runtime.ledger.vault(runtime.keys).reveal([each.token for each in audit.differences])
    steps = tuple(
        sorted(((each, _action(each, known)) for each in audit.differences), key=lambda s: (s[0].kind, s[0].token))
    )
    lines = [f"{name}\x1f{each.kind}\x1f{each.token}\x1f{action}" for each, action in steps]
    return Repair(audit, steps, hashlib.sha256("\n".join(lines).encode()).hexdigest())


def repair(
    runtime: Runtime, name: str, repair_hash: str, *, actor: str, reason: str, clock: Clock | None = None
) -> Repair:
    """Mark exactly the contacts of a repair plan; the next export does the rest.

    Raises
    ------
    ExportError
        The repair is not the one of this hash any more, or the destination is being exported to.
    """
    with runtime.ledger.leases.held(f"export:{name}") as lease:
        planned = plan_repair(runtime, name, clock=clock)
        if planned.hash != repair_hash:
            raise ExportError(
                f"the repair of '{name}' is not {repair_hash[:12]} any more but {planned.hash[:12]}",
                hint="look at the new one: personalization export reconcile --plan",
            )
        with runtime.ledger.begin() as connection:
            lease.hold(connection)
            _mark(connection, runtime, name, planned.marked)
            connection.execute(
                insert(export_repairs).values(
                    destination=name,
                    repair_hash=planned.hash,
                    contacts=len(planned.marked),
                    actor=actor,
                    reason=reason,
                    recorded_at=now(),
                )
            )
    return planned


def _action(difference: Difference, known: dict[str, str]) -> str:
    if difference.kind == "extra" and difference.token not in known:
        return BY_HAND  # without the address nothing can be said to the destination about it
    return ACTIONS.get(difference.kind, BY_HAND)


def _mark(connection: Connection, runtime: Runtime, name: str, differences: Sequence[Difference]) -> None:
    """Missing: nothing of ours is there. Everything else: something is there, nobody knows what."""
    by_kind: dict[str, list[Difference]] = {kind: [] for kind in ACTIONS}
    for each in differences:
        by_kind[each.kind].append(each)
    for kind, state in (("missing", "removed"), ("stale", "present"), ("opted_out_but_active", "present")):
        tokens = [each.token for each in by_kind[kind]]
        for start in range(0, len(tokens), _CHUNK):
            chosen = one_of(connection, acknowledged.c.address_token, tokens[start : start + _CHUNK])
            connection.execute(
                update(acknowledged)
                .where(acknowledged.c.destination == name, chosen)
                .values(state=state, row_hash="", payload="{}")
            )
    extra = by_kind["extra"]
    tokens = [each.token for each in extra]
    people = _people(runtime, tokens)
    purposes, campaigns = runtime.program.purposes, runtime.program.campaigns
    moment, columns = to_micros(now()), tuple(column.name for column in acknowledged.c)
    for start in range(0, len(tokens), _CHUNK):
        chosen = one_of(connection, acknowledged.c.address_token, tokens[start : start + _CHUNK])
        connection.execute(delete(acknowledged).where(acknowledged.c.destination == name, chosen))
    rows = []
    for each in extra:
        campaign = each.audience if each.audience in campaigns else None
        values = {
            "destination": name,
            "address_token": each.token,
            "customer_token": people.get(each.token, each.token),
            "campaign": campaign,
            "purpose": campaigns[campaign].purpose if campaign else next(iter(purposes)),
            "state": "present",
            "row_hash": "",
            "payload": "{}",
            "run": 0,
            "acked_at": moment,
        }
        rows.append(tuple(values[column] for column in columns))
    bulk_insert(connection, acknowledged, columns, rows)


def _people(runtime: Runtime, tokens: Sequence[str]) -> dict[str, str]:
    with runtime.warehouse.connect() as session:
        if not tokens or not session.has_table(IDENTITY):
            return {}
        query = f"select identifier_token, customer_token from {IDENTITY} where identifier_token in (select unnest(?))"  # noqa: S608
        return dict(session.rows(query, [list(tokens)]))
