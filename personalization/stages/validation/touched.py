"""Takes new webhook events over into `landed.*`: only rows whose keys occur in them are looked at again.

What comes out is what `validate_landed` would write from all files.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import ibis.expr.types as ir

from personalization.errors import DataError
from personalization.program import Program
from personalization.stages.sync.entities import ENTITIES, SEQ, TOKEN_COLUMNS, Entity
from personalization.stages.sync.landing import inbox_files, replayed_files, replayed_seq
from personalization.stages.sync.webhook_tables import landing_tables
from personalization.stages.validation.applied import LANDED, Applied, write_applied
from personalization.stages.validation.completeness import write_completeness
from personalization.stages.validation.split import (
    Parts,
    count_reasons,
    landing_query,
    newest_of_each_key,
    unresolved,
)
from personalization.warehouse import Session

CHANGED_TOKENS, CHANGED_PRODUCTS, CHANGED_CAMPAIGNS = "_changed_tokens", "_changed_products", "_changed_campaigns"
"""Temporary tables: identifiers (`token`), product ids and campaign ids of rows that are new, changed or gone."""

_IDENTIFIERS = tuple(TOKEN_COLUMNS.values())
_ONE_KEY = {"products": ("product_id", CHANGED_PRODUCTS), "campaign_history": ("campaign_id", CHANGED_CAMPAIGNS)}


@dataclass(frozen=True)
class TouchedRows:
    """New rows by entity, and how many rows with the same keys are in quarantine now."""

    rows: dict[str, int]
    quarantined: int

    @property
    def entities(self) -> set[str]:
        return set(self.rows)


def land_touched(session: Session, program: Program, landing: Path, since: Applied, now: Applied) -> TouchedRows:
    """Bring `landed.*`, `quarantine.*` and `validation.*` from the events of `since` to those of `now`.

    Call it inside a transaction. It makes the temporary tables `_changed_tokens`, `_changed_products` and
    `_changed_campaigns`.

    Raises
    ------
    DataError
        The tables are of another shape: the mapping of sources changed since they were made.
    """
    session.execute(f"create or replace temp table {CHANGED_TOKENS} (token varchar)")
    for column, table in _ONE_KEY.values():
        session.execute(f"create or replace temp table {table} ({column} varchar)")
    replayed = sorted(set(now.replayed) - set(since.replayed))
    rows: dict[str, int] = {}
    quarantined = 0
    for entity in _entities_with_files(program, landing, since, now, replayed):
        new = _NewRows(since.inbox, tuple(replayed))
        found, bad = _split_touched(session, ENTITIES[entity], program, landing, now.inbox, new)
        if found:
            rows[entity] = found
            quarantined += bad
    if rows:
        write_completeness(list(ENTITIES), session)
    write_applied(session, LANDED, now)
    return TouchedRows(rows, quarantined)


@dataclass(frozen=True)
class _NewRows:
    """Which rows of events are new."""

    after: int
    replayed: tuple[int, ...]

    @property
    def sql(self) -> str:
        replayed = f" or {SEQ} in ({', '.join(map(str, self.replayed))})" if self.replayed else ""
        return f"({SEQ} > {self.after}{replayed})"

    def holds(self, rows: ir.Table) -> ir.BooleanValue:
        return (rows[SEQ] > self.after) | rows[SEQ].isin(self.replayed or [-1])


def _entities_with_files(
    program: Program, landing: Path, since: Applied, now: Applied, replayed: Sequence[int]
) -> list[str]:
    found = {
        table.entity.name
        for table in landing_tables(program)
        if inbox_files(landing, table.landing_name, up_to=now.inbox, after=since.inbox)
        or any(replayed_seq(path) in replayed for path in replayed_files(landing, table.landing_name))
    }
    return [name for name in ENTITIES if name in found]


def _split_touched(
    session: Session, entity: Entity, program: Program, landing: Path, applied: int, new: _NewRows
) -> tuple[int, int]:
    """Split the rows whose keys occur in new ones. Returns how many rows are new, and how many are bad."""
    name, key = entity.name, ", ".join(entity.key)
    events = landing_query(entity, program, landing, session, applied, files=False)
    session.execute(f"create or replace temp table _new as select * from ({events}) where {new.sql}")  # noqa: S608
    count = int(session.value("select count(*) from _new"))
    if not count:
        return 0, 0
    session.execute(f"create or replace temp table _keys as select distinct {key} from _new")  # noqa: S608
    # a key that no table has yet has no older rows: then the files need not be read
    known = any(
        session.value(f"select count(*) from {table} t join _keys k on {_same(entity, 't', 'k')}")  # noqa: S608
        for table in (f"landed.{name}", f"quarantine.{name}")
    )
    rows = "from _new"
    if known:
        everything = landing_query(entity, program, landing, session, applied)
        rows = f"select l.* from ({everything}) l semi join _keys k on {_same(entity, 'l', 'k')}"  # noqa: S608
    session.execute(f"create or replace temp table _looked_at as {rows}")
    session.execute("create or replace temp view _landing as from _looked_at")
    parts = Parts.of(name, program, session)
    session.execute(f"create or replace temp table _valid as {newest_of_each_key(entity, parts.good, session)}")
    session.execute(f"create or replace temp table _held as {unresolved(entity, parts.good, parts.bad, session)}")
    dropped = parts.count_dropped(session, new.holds)
    _note_changed(session, entity, f"landed.{name} t join _keys k on {_same(entity, 't', 'k')}")
    for target, source in ((f"landed.{name}", "_valid"), (f"quarantine.{name}", "_held")):
        _require_same_shape(session, target, source)
        session.execute(f"delete from {target} t using _keys k where {_same(entity, 't', 'k')}")  # noqa: S608
        session.execute(f"insert into {target} by name from {source}")
    _note_changed(session, entity, "_valid t")
    _update_books(session, name, count, dropped)
    held = int(session.value("select count(*) from _held"))
    for temporary in ("view _landing", *(f"table {t}" for t in ("_new", "_keys", "_looked_at", "_valid", "_held"))):
        session.execute(f"drop {temporary}")
    return count, held


def _same(entity: Entity, left: str, right: str) -> str:
    return " and ".join(f"{left}.{name} is not distinct from {right}.{name}" for name in entity.key)


def _note_changed(session: Session, entity: Entity, rows: str) -> None:
    for column in _IDENTIFIERS:
        if column in entity.landed_columns:
            session.execute(
                f"insert into {CHANGED_TOKENS} select distinct t.{column} from {rows} where t.{column} is not null"  # noqa: S608
            )
    if entity.name in _ONE_KEY:
        column, table = _ONE_KEY[entity.name]
        session.execute(f"insert into {table} select distinct t.{column} from {rows}")  # noqa: S608


def _require_same_shape(session: Session, target: str, source: str) -> None:
    described = "select column_name, column_type from (describe {}) order by column_name"
    if session.rows(described.format(target)) != session.rows(described.format(source)):
        raise DataError(
            f"{target} was made for other sources than sources.yaml has now",
            hint="run `personalization run` once: after it, events are taken over as they come",
        )


def _update_books(session: Session, entity: str, new: int, dropped: dict[str, int]) -> None:
    """What `validate_landed` would count over all files: only rows were added, so only sums have to be."""
    session.execute(
        f"""
        update validation.books set
            landed = landed + $new,
            valid = (select count(*) from landed.{entity}),
            quarantined = (select count(*) from quarantine.{entity})
        where entity = $entity
        """,  # noqa: S608  (names of ours)
        {"new": new, "entity": entity},
    )
    session.execute("update validation.books set superseded = landed - valid - quarantined where entity = $1", [entity])
    session.execute("delete from validation.reasons where entity = $1 and outcome = 'quarantined'", [entity])
    for outcome, counts in (("quarantined", count_reasons(session, entity)), ("value_dropped", dropped)):
        for reason, rows in counts.items():
            values = {"entity": entity, "outcome": outcome, "reason": reason, "rows": rows}
            known = session.value(
                "select count(*) from validation.reasons where entity = $entity and outcome = $outcome"
                " and reason = $reason",
                {name: value for name, value in values.items() if name != "rows"},
            )
            session.execute(
                "update validation.reasons set rows = rows + $rows"
                " where entity = $entity and outcome = $outcome and reason = $reason"
                if known
                else "insert into validation.reasons values ($entity, $outcome, $reason, $rows)",
                values,
            )
