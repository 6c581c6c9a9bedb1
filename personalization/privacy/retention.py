"""Removes what has been kept long enough, as `privacy` of program.yaml says. Records of requests stay.

Rows of orders and mailings leave the landing zone by their own moment; the warehouse is rebuilt from there by the next
run, and here at once. Copies made for people and bodies of webhook messages go after their days.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import duckdb
from sqlalchemy import func, select

from personalization.ledger.inbox_schema import inbox
from personalization.ledger.outbox_retention import expire_rows, overdue_rows
from personalization.ledger.requests import add_months
from personalization.privacy.erase_files import without_rows
from personalization.privacy.erase_warehouse import move_to_new_file
from personalization.stages.sync.dates import instant_sql
from personalization.stages.sync.results_tables import ResultsTable, results_tables
from personalization.stages.sync.tables import SyncTable, mapped_tables

if TYPE_CHECKING:
    from personalization.runtime import Runtime

MOMENTS = {"order_lines": "ordered_at", "email_events": "occurred_at", "customer_events": "occurred_at"}
_WAREHOUSE = {
    "order_lines": (("landed.order_lines", None), ("marts.order_lines", "ordered_at"), ("marts.orders", "ordered_at")),
    "email_events": (("landed.email_events", None), ("marts.email_events", "occurred_at")),
    "customer_events": (("landed.customer_events", None), ("marts.customer_events", "occurred_at")),
}


@dataclass(frozen=True)
class Expired:
    """What was removed, by kind; `rows` of the landing zone by entity, and of the outbox as `export_rows`."""

    rows: dict[str, int]
    copies: int
    bodies: int


def overdue(runtime: Runtime, at: datetime) -> dict[str, int]:
    """How much is kept longer than it may be: rows by entity, copies, and bodies of messages."""
    found: dict[str, int] = {}
    for entity, months in runtime.program.settings.privacy.retention_months.items():
        rows = sum(len(gone) for _, gone in _old_rows(runtime, entity, add_months(at, -months)))
        if rows:
            found[entity] = rows
    copies = len(_old_copies(runtime, at))
    if copies:
        found["copies"] = copies
    before = at - timedelta(days=runtime.program.settings.privacy.bodies_days)
    query = select(func.count()).where(inbox.c.body.is_not(None), inbox.c.received_at < before)
    with runtime.ledger.read() as connection:
        bodies = int(connection.execute(query).scalar_one())
    if bodies:
        found["message_bodies"] = bodies
    exported = overdue_rows(runtime.ledger, at - timedelta(days=runtime.program.settings.privacy.outbox_days))
    if exported:
        found["export_rows"] = exported
    return found


def expire(runtime: Runtime, at: datetime) -> Expired:
    """Remove what is overdue."""
    rows: dict[str, int] = {}
    settings = runtime.program.settings.privacy
    for entity, months in settings.retention_months.items():
        gone = 0
        for path, old in _old_rows(runtime, entity, add_months(at, -months)):
            without_rows(path, old)
            gone += len(old)
        if gone:
            rows[entity] = gone
    if rows:
        _from_warehouse(runtime, at)
    copies = _old_copies(runtime, at)
    for folder in copies:
        shutil.rmtree(folder)
    bodies = runtime.ledger.inbox.expire_bodies(at - timedelta(days=settings.bodies_days))
    if bodies:
        runtime.ledger.vault(runtime.keys).compact()
    exported = expire_rows(runtime.ledger, at - timedelta(days=settings.outbox_days))
    if exported:
        rows["export_rows"] = exported
    expired = Expired(rows, len(copies), bodies)
    if rows or copies or bodies:
        content = {"step": "retention", "rows": rows, "copies": len(copies), "bodies": bodies}
        runtime.ledger.requests.log("step", content, at=at)
    return expired


def _old_rows(runtime: Runtime, entity: str, before: datetime) -> list[tuple[Path, list[int]]]:
    """By landing file: the numbers of rows whose moment is before; a row without a readable moment stays."""
    moment, settings = MOMENTS[entity], runtime.program.settings
    found = []
    with duckdb.connect() as engine:
        engine.execute("set timezone = 'UTC'")
        tables: list[SyncTable | ResultsTable] = [*mapped_tables(runtime.program), *results_tables(runtime.program)]
        for table in tables:
            if table.entity.name != entity:
                continue
            for path in sorted((runtime.workspace.landing / table.landing_name).glob("*.parquet")):
                kinds = dict(
                    engine.execute(
                        "select column_name, column_type from (describe from read_parquet($path))", {"path": str(path)}
                    ).fetchall()
                )
                if moment not in kinds:
                    continue
                text = f"nullif(trim({moment}::varchar), '')"
                instant = (
                    f"{moment}::timestamp"
                    if kinds[moment].startswith("TIMESTAMP")
                    else instant_sql(text, settings.timezone, settings.slash_dates)
                )
                rows = engine.execute(
                    f"select file_row_number from read_parquet($path, file_row_number = true)"  # noqa: S608
                    f" where {instant} < $before::timestamp",
                    {"path": str(path), "before": before.replace(tzinfo=None)},
                ).fetchall()
                if rows:
                    found.append((path, [row for (row,) in rows]))
    return found


def _from_warehouse(runtime: Runtime, at: datetime) -> None:
    """What the next run would remove as well."""
    if not runtime.workspace.warehouse.exists():
        return
    settings = runtime.program.settings
    with runtime.warehouse.connect() as session:
        for entity, months in settings.privacy.retention_months.items():
            before = add_months(at, -months).replace(tzinfo=None)
            for table, moment in _WAREHOUSE[entity]:
                if not session.has_table(table):
                    continue
                text = f"nullif(trim({MOMENTS[entity]}::varchar), '')"
                instant = moment or instant_sql(text, settings.timezone, settings.slash_dates)
                session.execute(f"delete from {table} where {instant} < $before", {"before": before})  # noqa: S608
    move_to_new_file(runtime.warehouse)


def _old_copies(runtime: Runtime, at: datetime) -> list[Path]:
    before = at - timedelta(days=runtime.program.settings.privacy.copies_days)
    return [
        folder
        for request in runtime.ledger.requests.all()
        if request.kind == "access" and request.answered_at and request.answered_at < before
        if (folder := runtime.workspace.privacy / request.request_id).exists()
    ]
