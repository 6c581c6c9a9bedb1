"""Removes rows of old runs from the outbox. The books of each run are kept: how many rows ended how.

What still matters stays, however old: rows of unclear end, and refusals that count for when a contact is tried again.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from datetime import datetime
from typing import TYPE_CHECKING

from sqlalchemy import ColumnElement, Connection, and_, delete, func, or_, select, update

from personalization.ledger.engine import one_of
from personalization.ledger.export_schema import export_runs, outbox
from personalization.ledger.pushes_schema import opt_out_pushes
from personalization.ledger.rejections import Rejections

if TYPE_CHECKING:
    from personalization.ledger.ledger import Ledger

CHUNK = 5_000
_SETTLED = ("acked", "suppressed", "invalid", "held")


def overdue_rows(ledger: Ledger, before: datetime) -> int:
    """How many rows `expire_rows` would remove."""
    refused = _refused(ledger)
    with ledger.read() as connection:
        return connection.execute(select(func.count()).where(_removable(connection, before, refused))).scalar_one()


def expire_rows(ledger: Ledger, before: datetime) -> int:
    """Remove settled rows of runs that ended before a moment. Returns how many.

    In transactions of a few thousand rows, so that no exporter or receiver has to wait long.
    """
    refused, removed = _refused(ledger), 0
    while True:
        with ledger.begin() as connection:
            query = select(outbox.c.id, outbox.c.run, outbox.c.state).where(_removable(connection, before, refused))
            rows = connection.execute(query.order_by(outbox.c.id).limit(CHUNK)).all()
            if not rows:
                return removed
            gone: defaultdict[int, Counter[str]] = defaultdict(Counter)
            for row in rows:
                gone[row.run][row.state] += 1
            ids = [row.id for row in rows]
            connection.execute(delete(opt_out_pushes).where(one_of(connection, opt_out_pushes.c.outbox_id, ids)))
            connection.execute(delete(outbox).where(one_of(connection, outbox.c.id, ids)))
            for run, ended in gone.items():
                known = select(export_runs.c.removed).where(export_runs.c.run == run)
                ended += Counter(json.loads(connection.execute(known).scalar() or "{}"))
                noted = update(export_runs).where(export_runs.c.run == run).values(removed=json.dumps(ended))
                connection.execute(noted)
            removed += len(rows)


def _refused(ledger: Ledger) -> dict[str, list[str]]:
    """By destination the contacts whose refusals still count."""
    with ledger.read() as connection:
        names: list[str] = list(connection.execute(select(export_runs.c.destination).distinct()).scalars())
    return {name: [each.address_token for each in Rejections(ledger).of(name)] for name in names}


def _removable(connection: Connection, before: datetime, refused: dict[str, list[str]]) -> ColumnElement[bool]:
    columns = outbox.c
    ended = select(export_runs.c.run).where(export_runs.c.state != "open", export_runs.c.finished_at < before)
    still_count = [
        and_(columns.destination == name, one_of(connection, columns.address_token, tokens))
        for name, tokens in refused.items()
        if tokens
    ]
    rejected = columns.state == "rejected"
    resolved = and_(columns.state == "uncertain", columns.resolved_run.is_not(None))
    return and_(
        columns.run.in_(ended),
        or_(columns.state.in_(_SETTLED), resolved, and_(rejected, ~or_(*still_count)) if still_count else rejected),
    )
