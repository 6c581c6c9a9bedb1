"""Takes a person out of the ledger: every table as `places` says, with proof kept where the law asks for it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from sqlalchemy import Connection, case, delete, func, update

from personalization.ledger.engine import outside_transactions
from personalization.ledger.export_schema import outbox
from personalization.ledger.inbox_event import seal_rest
from personalization.ledger.inbox_schema import inbox, inbox_conflicts
from personalization.ledger.outbox import NEVER_SENT
from personalization.privacy.inbox_events import GONE, events_of
from personalization.privacy.places import LEDGER, Fate
from personalization.privacy.relations import ledger_condition, ledger_count, ledger_tables, text_columns
from personalization.privacy.scan import Hit

if TYPE_CHECKING:
    from personalization.ledger import Ledger
    from personalization.privacy.work import Work
    from personalization.runtime import Runtime

NOBODY = "erased"


def erase_bodies(runtime: Runtime, work: Work) -> dict[str, int]:
    """Destroy the bodies of webhook events about the person; what they say of others stays. That they came is kept."""
    keys, ledger = runtime.keys, runtime.ledger
    events = list(events_of(runtime, work.tokens))
    shared = [event for event in events if event.rest is not GONE]
    with ledger.begin() as connection:
        for event in shared:
            key_id, body = seal_rest(keys, event.row, json.dumps(event.rest, ensure_ascii=False).encode())
            connection.execute(update(inbox).where(inbox.c.seq == event.row.seq).values(body=body, key_id=key_id))
        erased = ledger.inbox.erase_bodies(
            [event.row.seq for event in events if event.rest is GONE], connection=connection
        )
        # a conflict is of one event with the row's own id: it is about the same people
        connection.execute(
            update(inbox_conflicts)
            .where(inbox_conflicts.c.seq.in_([event.row.seq for event in shared]))
            .values(body=None)
        )
    return {"bodies": erased, "parts_of_bodies": len(shared)}


def erase_rows(ledger: Ledger, work: Work) -> dict[str, int]:
    """Remove or blank the person's rows. Call it while no export runs."""
    tokens = [*work.tokens, *(token for found in work.external_ids.values() for token in found)]
    changed: dict[str, int] = {}
    with ledger.begin() as connection:
        for name, table in sorted(ledger_tables().items()):
            fate = LEDGER[name].fate if name in LEDGER else Fate.REMOVED
            if not text_columns(table):
                continue
            if fate is Fate.REMOVED:
                rows = connection.execute(delete(table).where(ledger_condition(table, tokens))).rowcount
            elif fate is Fate.BLANKED:
                rows = _blank_outbox(connection, tokens)
            else:
                continue
            if rows:
                changed[name] = rows
    return changed


def _blank_outbox(connection: Connection, tokens: list[str]) -> int:
    """Rows stay, because the books of past exports must add up; nothing in them refers to anybody any more."""
    columns = outbox.c
    unsent = columns.state.in_(NEVER_SENT)
    return connection.execute(
        update(outbox)
        .where(ledger_condition(outbox, tokens))
        .values(
            customer_token=NOBODY,
            address_token=None,
            payload="{}",
            row_hash="",
            reason=case((unsent, NOBODY), else_=columns.reason),
            state=case((unsent, "suppressed"), (columns.state == "in_flight", "uncertain"), else_=columns.state),
            resolved_run=case(
                (columns.state.in_(("uncertain", "in_flight")), func.coalesce(columns.resolved_run, columns.run)),
                else_=columns.resolved_run,
            ),
        )
    ).rowcount


def compact(runtime: Runtime) -> dict[str, int]:
    """Remove the bytes of removed rows from the database's own files, as far as the database lets us."""
    ledger = runtime.ledger
    emptied = ledger.vault(runtime.keys).compact()
    if ledger.engine.dialect.name == "postgresql":
        with outside_transactions(ledger.engine) as connection:
            for name in sorted(ledger_tables()):
                if LEDGER.get(name) and LEDGER[name].fate in (Fate.REMOVED, Fate.BLANKED, Fate.BODIES):
                    connection.exec_driver_sql(f"vacuum full {name}")
    return {"log_emptied": int(emptied)}


def left_in_ledger(ledger: Ledger, work: Work) -> list[Hit]:
    """Tables that still refer to the person and must not, and values anywhere in them."""
    from personalization.privacy.relations import contains_value

    tokens = [*work.tokens, *(token for found in work.external_ids.values() for token in found)]
    values = [text for kind, text in work.values if kind in ("email", "phone")]
    hits = []
    with ledger.read() as connection:
        for name, table in sorted(ledger_tables().items()):
            place = LEDGER.get(name)
            if not text_columns(table):
                continue
            if place is None or place.fate is not Fate.KEPT:
                rows = ledger_count(connection, table, tokens)
                if rows:
                    hits.append(Hit("ledger", f"{rows} rows of {name}", "token", "utf-8"))
            if values:
                query = table.select().where(contains_value(table, values)).limit(1)
                if connection.execute(query).first():
                    hits.append(Hit("ledger", name, "value", "utf-8"))
    return hits
