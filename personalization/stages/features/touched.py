"""Marts and features of touched customers, made again by the dbt models' own SQL."""

from __future__ import annotations

from personalization.as_of import AsOf
from personalization.program import Program
from personalization.stages.validation.touched import TouchedRows
from personalization.warehouse import Session
from personalization.warehouse.compiled import Model, compiled_models
from personalization.warehouse.dbt import dbt_vars
from personalization.warehouse.touched_models import note_rows, rebuild, restrict_sources
from personalization.workspace import Workspace

FEATURES, LABELS = "features.customer_features", "features.customer_labels"


def models_of(program: Program, workspace: Workspace, as_of: AsOf) -> list[Model]:
    """The models for a day; see `compiled_models`."""
    return compiled_models(workspace, dbt_vars(program, as_of))


def rebuild_touched(session: Session, models: list[Model], rows: TouchedRows, horizon_days: int) -> None:
    """Replace the rows of the people in `_touched` in every mart and feature table. Call it in a transaction.

    When purchases become known up to another day, the windows whose outcome is known may be others: then the labels of
    all customers are made again.
    """
    before = _closed_windows(session, horizon_days)
    note_rows(session, models)
    whole = frozenset(f"marts.{entity}" for entity in ("products", "campaign_history") if entity in rows.entities)
    rebuild(session, models, restrict_sources(session), whole=whole)
    if _closed_windows(session, horizon_days) != before:
        labels = next(model for model in models if model.table == LABELS)
        session.replace_rows(LABELS, "true", labels.sql)


def _closed_windows(session: Session, horizon_days: int) -> list[tuple[object, ...]]:
    return session.rows(
        f"""
        select distinct as_of from {FEATURES}
        where as_of + $horizon <= (select max(event_day) from marts.customer_day where event = 'purchase')
        order by as_of
        """,  # noqa: S608  (names of ours)
        {"horizon": horizon_days},
    )
