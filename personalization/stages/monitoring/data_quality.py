"""Rows of every entity: landed, valid, quarantined with reasons, superseded; and how complete the valid ones are."""

from __future__ import annotations

from personalization.stages.monitoring.summary import EntityRows, FieldCompleteness, Missing, ReasonCount
from personalization.warehouse import Session

BOOKS, REASONS, COMPLETENESS = "validation.books", "validation.reasons", "validation.completeness"


def entity_rows(session: Session) -> list[EntityRows] | Missing:
    """What became of the rows of each entity, and why rows were quarantined or lost a value, commonest first."""
    if not session.has_table(BOOKS):
        return Missing(BOOKS, "validation")
    reasons: dict[str, list[ReasonCount]] = {}
    for entity, outcome, reason, rows in session.rows(
        f"select entity, outcome, reason, rows from {REASONS} order by entity, outcome, rows desc, reason"  # noqa: S608
    ):
        reasons.setdefault(entity, []).append(ReasonCount(outcome, reason, rows))
    return [
        EntityRows(entity, landed, valid, quarantined, superseded, reasons.get(entity, []))
        for entity, landed, valid, quarantined, superseded in session.rows(
            f"select entity, landed, valid, quarantined, superseded from {BOOKS} order by entity"  # noqa: S608
        )
    ]


def field_completeness(session: Session) -> list[FieldCompleteness] | Missing:
    """Known values per column of the valid rows, least known first within an entity."""
    if not session.has_table(COMPLETENESS):
        return Missing(COMPLETENESS, "validation")
    return [
        FieldCompleteness(table.removeprefix("landed."), column, rows, known)
        for table, column, rows, known in session.rows(
            f"""
            select table_name, column_name, rows, known from {COMPLETENESS}
            where rows > 0 order by table_name, known, column_name
            """  # noqa: S608
        )
    ]
