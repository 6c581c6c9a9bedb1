"""Splits an entity's landing rows in the engine: `landed.<entity>`, `quarantine.<entity>`, and books that close."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import ibis
import ibis.expr.types as ir

from personalization.program import Program
from personalization.stages.sync.entities import (
    ENTITIES,
    LOAD_ID,
    REJECTED,
    ROW,
    SEQ,
    SOURCE,
    Column,
    ColumnType,
    Entity,
)
from personalization.stages.sync.landing import inbox_files, landed_files, replayed_files
from personalization.stages.sync.results_tables import results_tables
from personalization.stages.sync.tables import landing_names
from personalization.stages.sync.webhook_tables import landed_text, landing_tables
from personalization.stages.validation.rules import Rule, rules_for
from personalization.warehouse import Session

MISSING_WORDS = ("", "NULL", "N/A", "#N/A", "\\N")
"""How exports spell "no value"; the dbt macro `clean_text` knows the same."""

_TABLE = "_table"


@dataclass(frozen=True)
class Books:
    """What became of the landed rows of an entity. `landed = valid + quarantined + superseded` always.

    Attributes
    ----------
    superseded : int
        Rows with a newer version of the same key, or that landed again unchanged.
    reasons : dict
        Quarantined rows by reason, without the values.
    dropped_values : dict
        Rows that stayed but lost a value that could not be used, by reason.
    """

    entity: str
    landed: int
    valid: int
    quarantined: int
    superseded: int
    reasons: dict[str, int] = field(default_factory=dict)
    dropped_values: dict[str, int] = field(default_factory=dict)

    @property
    def quarantined_share(self) -> float:
        return self.quarantined / self.landed if self.landed else 0.0


def split_entity(entity: str, program: Program, landing: Path, session: Session, *, applied: int = 0) -> Books:
    """Write `landed.<entity>` and `quarantine.<entity>` anew from all complete loads and webhook events.

    The files are read once; all rules run in the engine.

    Parameters
    ----------
    applied : int
        Up to which event of the inbox the landing zone counts.
    """
    described = ENTITIES[entity]
    session.raw.execute(
        f"create or replace temp view _landing as {landing_query(described, program, landing, session, applied)}"
    )
    parts = Parts.of(entity, program, session)
    with session.transaction():
        valid = session.replace_table(f"landed.{entity}", newest_of_each_key(described, parts.good, session))
        quarantined = session.replace_table(
            f"quarantine.{entity}", unresolved(described, parts.good, parts.bad, session)
        )
        landed = int(session.value("select count(*) from _landing"))
        dropped = parts.count_dropped(session)
    books = Books(
        entity, landed, valid, quarantined, landed - valid - quarantined, count_reasons(session, entity), dropped
    )
    for temporary in ("view _landing", "table _repeated", "table _bad"):
        session.raw.execute(f"drop {temporary}")
    return books


@dataclass(frozen=True)
class Parts:
    """The rows of `_landing` as queries: those that pass the rules, without unusable values, and the others."""

    good: str
    bad: str
    ok: ir.Table
    dropping: list[Rule]

    @classmethod
    def of(cls, entity: str, program: Program, session: Session) -> Parts:
        rules = rules_for(entity, program)
        rejecting = [rule for rule in rules if rule.rejects]
        dropping = [rule for rule in rules if not rule.rejects]
        rows = session.ibis.table("_landing")
        ok = rows[REJECTED].isnull()
        for rule in rejecting:
            ok = ok & rule.passes(rows)
        passing = rows.filter(ok)
        return cls(
            ibis.to_sql(_without_unusable(passing, dropping), dialect="duckdb"),
            ibis.to_sql(rows.filter(~ok).mutate(reasons=_reasons(rows, rejecting)), dialect="duckdb"),
            passing,
            dropping,
        )

    def count_dropped(
        self, session: Session, which: Callable[[ir.Table], ir.BooleanValue] | None = None
    ) -> dict[str, int]:
        """Rows (or some of them) that stayed without a value that could not be used, by reason."""
        if not self.dropping:
            return {}
        rows = self.ok.filter(which(self.ok)) if which else self.ok
        counts = {f"c{index}": (~rule.passes(rows)).sum().fill_null(0) for index, rule in enumerate(self.dropping)}
        found = session.rows(ibis.to_sql(rows.aggregate(**counts), dialect="duckdb"))[0]
        return {f"{rule.column}: {rule.message}": int(n) for rule, n in zip(self.dropping, found, strict=True) if n}


_NEWEST_FIRST = f"{LOAD_ID} desc, {ROW} desc, {SOURCE} desc, {_TABLE} desc"


def key_of(entity: Entity) -> list[str]:
    return [*entity.key, _TABLE] if entity.keyed_per_table else list(entity.key)


def newest_of_each_key(entity: Entity, good: str, session: Session) -> str:
    """The valid rows, one a key. Only rows that share a key are put in order: nearly all have theirs to themselves."""
    columns, key = ", ".join([*entity.landed_columns, SOURCE, ROW]), ", ".join(key_of(entity))
    session.raw.execute(
        f"create or replace temp table _repeated as select hash({key}) as h from ({good})"  # noqa: S608  (names of ours)
        " group by h having count(*) > 1"
    )
    return f"""
        select {columns} from ({good}) where hash({key}) not in (select h from _repeated)
        union all
        select {columns} from ({good}) where hash({key}) in (select h from _repeated)
        qualify row_number() over (partition by {key} order by {_NEWEST_FIRST}) = 1
    """  # noqa: S608  (names of ours)


def unresolved(entity: Entity, good: str, bad: str, session: Session) -> str:
    """The invalid rows that were neither corrected by a later load nor landed again as they were."""
    session.raw.execute(f"create or replace temp table _bad as {bad}")
    same_key = " and ".join(f"g.{name} is not distinct from b.{name}" for name in key_of(entity))
    content = ", ".join([*entity.landed_columns, REJECTED, "reasons", SOURCE])
    return f"""
        select {", ".join([*entity.landed_columns, SOURCE, ROW])}, reasons from _bad b
        where not exists (select 1 from ({good}) g where {same_key} and g.{LOAD_ID} > b.{LOAD_ID})
        qualify row_number() over (
            partition by {content}, case when {REJECTED} is not null then {ROW} end order by {_NEWEST_FIRST}
        ) = 1
    """  # noqa: S608  (names of ours)


def landing_query(
    entity: Entity, program: Program, landing: Path, session: Session, applied: int, *, files: bool = True
) -> str:
    """All rows that count, with every canonical column; text without the words for "no value".

    Parameters
    ----------
    applied : int
        Up to which event of the inbox rows count.
    files : bool
        Whether to read the tables that were loaded, or those of webhook events only.
    """
    parts: list[tuple[str, str, dict[str, str]]] = []
    for table, replaces in landing_names(program, entity.name):
        paths = landed_files(landing, table, newest_only=replaces)
        if paths:
            parts.append((table, *_described(paths, session)))
    by_event = [table for table in landing_tables(program) if table.entity is entity]
    reported = [table for table in results_tables(program) if table.entity is entity]
    written = [name for table in by_event for name in landed_text(table)]
    written += [name for table in reported for name in table.columns]
    types = [types for _, _, types in parts] + [dict.fromkeys(written, "VARCHAR")]
    mixed = _mixed(entity, types)
    queries = [_table_query(entity, table, source, found, mixed) for table, source, found in parts if files]
    for name in (table.landing_name for table in by_event):
        paths = [file.path for file in inbox_files(landing, name, up_to=applied)]
        paths += replayed_files(landing, name)
        if paths:
            source, found = _described(paths, session)
            queries.append(_table_query(entity, name, source, found, mixed))
    for results in reported:
        if files and (paths := results.files(landing)):
            source, found = _described(paths, session)
            queries.append(_table_query(entity, results.landing_name, source, found, mixed))
    mapped = {name for each in types for name in each}
    # a column that no table has; one that only some have is filled up by name, with its own type
    nowhere = [name for name in entity.landed_columns if name not in mapped]
    nulls = "".join(f", null::varchar as {name}" for name in nowhere)
    # columns of every table that counts, also of one that nothing came of yet: the types must not depend on that
    typed = {name: "varchar" if name in mixed else each[name] for each in types for name in each}
    shape = "".join(
        f", null::{'varchar' if column.type is ColumnType.TEXT else typed[name]} as {name}"
        for column in entity.columns
        for name in column.landed
        if name in typed
    )
    queries.append(f"select {_AS_ADDED}{shape} where false")
    return f"select *{nulls} from ({' union all by name '.join(queries)})"  # noqa: S608  (names of ours, paths quoted)


def _mixed(entity: Entity, tables: list[dict[str, str]]) -> set[str]:
    """Columns that are text in one table and typed in another."""
    found = {name: {types[name] for types in tables if name in types} for name in entity.landed_columns}
    return {name for name, kinds in found.items() if "VARCHAR" in kinds and len(kinds) > 1}


def _described(paths: list[Path], session: Session) -> tuple[str, dict[str, str]]:
    """The SQL that reads some files, and the types of their columns."""
    source = f"read_parquet([{', '.join(_quoted(str(path)) for path in paths)}], union_by_name = true)"
    return source, dict(session.rows(f"select column_name, column_type from (describe from {source})"))  # noqa: S608


_AS_ADDED = (
    f"null::varchar as {REJECTED}, null::varchar as {SOURCE}, null::bigint as {ROW}, null::varchar as {LOAD_ID}, "
    f"null::bigint as {SEQ}, null::varchar as {_TABLE}"
)


def _table_query(entity: Entity, table: str, source: str, types: dict[str, str], mixed: set[str]) -> str:
    values = [
        f"{_value(name, column, types[name], name in mixed)} as {name}"
        for column in entity.columns
        for name in column.landed
        if name in types
    ]
    seq = SEQ if SEQ in types else "null::bigint"
    added = [
        REJECTED,
        SOURCE,
        ROW,
        f"{LOAD_ID}::varchar as {LOAD_ID}",
        f"{seq} as {SEQ}",
        f"{_quoted(table)} as {_TABLE}",
    ]
    return f"select {', '.join([*values, *added])} from {source}"  # noqa: S608  (names of ours, paths quoted)


def _value(name: str, column: Column, found: str, as_text: bool) -> str:
    if found == "VARCHAR":
        missing = ", ".join(_quoted(word) for word in MISSING_WORDS)
        return f"case when upper(trim({name})) in ({missing}) then null else {name} end"
    if column.type is ColumnType.TEXT and found in ("DOUBLE", "FLOAT"):
        # whole numbers with gaps come out of many tools as floating point numbers: 17.0 is the id 17
        return (
            f"coalesce(case when {name} = trunc({name}) then try_cast({name} as bigint) end::varchar, {name}::varchar)"
        )
    if as_text and found.startswith("TIMESTAMP"):
        return _time_as_text(f"{name}::timestamp", calendar=not column.instant)
    return f"{name}::varchar" if column.type is ColumnType.TEXT or as_text else name


def _time_as_text(time: str, *, calendar: bool) -> str:
    """A typed time as text, because other tables have text: with its zone, so that it means the same."""
    instant = f"strftime({time}, '%Y-%m-%dT%H:%M:%S.%f+00:00')"
    if not calendar:
        return instant
    return f"case when {time} = date_trunc('day', {time}) then strftime({time}, '%Y-%m-%d') else {instant} end"


def _without_unusable(rows: ir.Table, dropping: list[Rule]) -> ir.Table:
    """Rows with NULL in place of values that a rule does not accept. The note of an unusable address itself stays."""
    replaced: dict[str, ir.Value] = {}
    for rule in dropping:
        if rule.shows_value:
            value = replaced.get(rule.column, rows[rule.column])
            replaced[rule.column] = ibis.ifelse(rule.passes(rows), value, ibis.null(value.type()))
    return rows.mutate(**replaced) if replaced else rows


def _reasons(rows: ir.Table, rejecting: list[Rule]) -> ir.ArrayValue:
    found = [ibis.ifelse(rule.passes(rows), ibis.null("string"), rule.reason(rows)) for rule in rejecting]
    all_found = ibis.array(found).filter(lambda reason: reason.notnull())
    return ibis.ifelse(rows[REJECTED].isnull(), all_found, ibis.array([rows[REJECTED]]))


def count_reasons(session: Session, entity: str) -> dict[str, int]:
    rows = session.rows(
        f"select regexp_replace(reason, ' \\(''.*''\\)$', '', 's') as r, count(*)"  # noqa: S608
        f" from (select unnest(reasons) as reason from quarantine.{entity}) group by r order by count(*) desc, r"
    )
    return dict(rows)


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
