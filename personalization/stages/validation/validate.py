"""Validation of everything that landed: tables `landed.*`, `quarantine.*` and `validation.*`."""

from __future__ import annotations

import pyarrow as pa

from personalization.program import Program
from personalization.stages.sync.entities import ENTITIES
from personalization.stages.sync.webhook_tables import replayed_events
from personalization.stages.validation.applied import LANDED, Applied, write_applied
from personalization.stages.validation.completeness import write_completeness
from personalization.stages.validation.split import Books, split_entity
from personalization.warehouse import Session
from personalization.workspace import Workspace

_BOOKS = pa.schema(
    [
        ("entity", pa.string()),
        ("landed", pa.int64()),
        ("valid", pa.int64()),
        ("quarantined", pa.int64()),
        ("superseded", pa.int64()),
    ]
)
_REASONS = pa.schema([("entity", pa.string()), ("outcome", pa.string()), ("reason", pa.string()), ("rows", pa.int64())])


def validate_landed(program: Program, workspace: Workspace, session: Session, *, inbox: int = 0) -> list[Books]:
    """Split the rows of every entity, and write what came of it. An entity that no source fills has empty tables.

    Parameters
    ----------
    inbox : int
        Up to which webhook event the landing zone counts: the watermark of its consumer `landing`.

    Besides `landed.<entity>` and `quarantine.<entity>` these tables are replaced:

    - `validation.books` (entity, landed, valid, quarantined, superseded)
    - `validation.reasons` (entity, outcome `quarantined` or `value_dropped`, reason, rows)
    - `validation.completeness` (table_name, column_name, rows, known, share)
    - `validation.applied`: up to which webhook event all this counts
    """
    entities = list(ENTITIES)
    applied = Applied(inbox, tuple(replayed_events(program, workspace.landing)))
    books = [split_entity(entity, program, workspace.landing, session, applied=inbox) for entity in entities]
    reasons = [
        {"entity": each.entity, "outcome": outcome, "reason": reason, "rows": rows}
        for each in books
        for outcome, counts in (("quarantined", each.reasons), ("value_dropped", each.dropped_values))
        for reason, rows in counts.items()
    ]
    counted = [{name: getattr(each, name) for name in _BOOKS.names} for each in books]
    with session.registered(
        _books=pa.Table.from_pylist(counted, _BOOKS), _reasons=pa.Table.from_pylist(reasons, _REASONS)
    ):
        session.replace_table("validation.books", "from _books")
        session.replace_table("validation.reasons", "from _reasons")
    write_applied(session, LANDED, applied)
    write_completeness(entities, session)
    return books
