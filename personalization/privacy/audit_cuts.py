"""Looks again at everything that left in a month: was anybody mailed against their word, how fast was it passed on?

An independent reading of outbox, consent and suppressions, not the exporter's own: invariant S1 says that no row leaves
for a person whose opt-out was recorded before the batch's cut.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import duckdb
import pyarrow as pa
from sqlalchemy import BigInteger, ColumnElement, func, select, type_coerce

from personalization.ledger.consent_event import OPT_OUT
from personalization.ledger.engine import one_of
from personalization.ledger.export_schema import outbox
from personalization.ledger.schema import consent_events, suppressions, to_micros

if TYPE_CHECKING:
    from personalization.privacy.audit_ledger import Numbers, Period
    from personalization.runtime import Runtime

_TEXT, _NUMBER = pa.string(), pa.int64()


def opt_out_speed(runtime: Runtime, period: Period) -> dict[str, Any]:
    """Seconds from an opt-out to the platform's acknowledgement of it: how many, p50, p95 and the longest."""
    columns, said = outbox.c, consent_events.c
    retracted = (
        select(columns.address_token, columns.customer_token, _micros(columns.changed_at, "told_at"))
        .where(columns.operation == "retract", columns.state == "acked")
        .where(_within(columns.changed_at, period))
    )
    with runtime.ledger.read() as connection:
        told = connection.execute(retracted).all()
        tokens = sorted({token for row in told for token in (row.address_token, row.customer_token) if token})
        opt_outs = (
            select(said.subject_token, func.max(type_coerce(said.recorded_at, BigInteger)).label("at"))
            .where(said.action.in_(OPT_OUT), one_of(connection, said.subject_token, tokens))
            .group_by(said.subject_token)
        )
        heard: dict[str, int] = {row.subject_token: row.at for row in connection.execute(opt_outs)}
    waits = []
    for row in told:
        known = [heard[token] for token in (row.address_token, row.customer_token) if token in heard]
        if known:
            waits.append((row.told_at - max(known)) / 1e6)
    waits.sort()
    if not waits:
        return {"retractions": 0, "p50": None, "p95": None, "max": None}
    at = {name: waits[min(len(waits) - 1, int(share * len(waits)))] for name, share in (("p50", 0.5), ("p95", 0.95))}
    return {
        "retractions": len(waits),
        **{name: round(wait, 1) for name, wait in at.items()},
        "max": round(waits[-1], 1),
    }


def check_cuts(runtime: Runtime, period: Period, numbers: Numbers) -> dict[str, int]:
    """How many cuts and rows were checked, and how many rows left for somebody who had opted out before."""
    columns, said, listed = outbox.c, consent_events.c, suppressions.c
    names = [columns[name] for name in ("id", "run", "batch", "purpose", "customer_token", "address_token")]
    left = (
        select(*names, _micros(columns.cut_at, "cut_at"))
        .where(columns.operation.in_(("add", "change")), columns.state.in_(("acked", "uncertain")))
        .where(_within(columns.cut_at, period))
    )
    events = select(
        *(said.subject_token, said.purpose, said.action),
        *(_micros(said[name], name) for name in ("effective_at", "recorded_at")),
    ).where(said.seq <= numbers.consent)
    suppressed = select(listed.identifier_token, _micros(listed.recorded_at, "recorded_at"))
    with runtime.ledger.read() as connection:
        rows = connection.execute(left).all()
        if not rows:
            return {"cuts": 0, "rows": 0, "violations": 0}
        found = {
            "rows": _table(rows, {"id": _NUMBER, "purpose": _TEXT, "cut_at": _NUMBER, **_TOKENS}),
            "events": _table(connection.execute(events).all(), _EVENTS),
            "listed": _table(
                connection.execute(suppressed.where(listed.seq <= numbers.suppressions)).all(),
                {"identifier_token": _TEXT, "recorded_at": _NUMBER},
            ),
            "identity": _identity(runtime, "landed.identity"),
            "covers": _identity(runtime, "landed.identity_covers"),
        }
    with duckdb.connect() as engine:
        for name, table in found.items():
            engine.register(name, table)
        violations = engine.execute(_VIOLATIONS, {"opt_outs": sorted(OPT_OUT)}).fetchall()[0][0]
    return {"cuts": len({(row.run, row.batch) for row in rows}), "rows": len(rows), "violations": int(violations)}


_TOKENS = {"customer_token": _TEXT, "address_token": _TEXT}
_EVENTS = {
    "subject_token": _TEXT,
    "purpose": _TEXT,
    "action": _TEXT,
    "effective_at": _NUMBER,
    "recorded_at": _NUMBER,
}

# for each row that left, what its person had said last before the cut, by any identifier
_VIOLATIONS = """
    with own as (
        select id, purpose, cut_at, unnest([customer_token, address_token]) as token from rows
    ), people as (
        select o.id, o.purpose, o.cut_at, b.identifier_token as token
        from own o
        join identity a on a.identifier_token = o.token
        join identity b on b.customer_token = a.customer_token
        union
        select o.id, o.purpose, o.cut_at, c.identifier_token
        from own o
        join identity a on a.identifier_token = o.token
        join covers c on c.customer_token = a.customer_token
        union
        from own
    ), latest as (
        select p.id, e.action in (select unnest($opt_outs)) as opted_out
        from people p join events e on e.subject_token = p.token and e.purpose = p.purpose
        where e.recorded_at < p.cut_at
        qualify row_number() over (partition by p.id order by e.effective_at desc, opted_out desc) = 1
    )
    select count(distinct id) from (
        select id from latest where opted_out
        union
        select p.id from people p join listed l on l.identifier_token = p.token where l.recorded_at < p.cut_at
    )
"""


def _micros(column: ColumnElement[Any], name: str) -> ColumnElement[int]:
    return type_coerce(column, BigInteger).label(name)


def _within(column: ColumnElement[Any], period: Period) -> ColumnElement[bool]:
    moment = type_coerce(column, BigInteger)
    return (moment >= to_micros(period.begin)) & (moment < to_micros(period.end))


def _table(rows: Sequence[Any], kinds: Mapping[str, pa.DataType]) -> pa.Table:
    return pa.table({name: pa.array([getattr(row, name) for row in rows], kind) for name, kind in kinds.items()})


def _identity(runtime: Runtime, name: str) -> pa.Table:
    if runtime.workspace.warehouse.exists():
        with runtime.warehouse.connect() as session:
            if session.has_table(name):
                return session.arrow(f"select identifier_token, customer_token from {name}")  # noqa: S608
    return pa.table({"identifier_token": pa.array([], _TEXT), "customer_token": pa.array([], _TEXT)})
