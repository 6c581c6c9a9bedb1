"""Splits an entity's landing rows in the engine: `landed.<entity>`, `quarantine.<entity>`, and books that close."""

from __future__ import annotations

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
    SOURCE,
    Column,
    ColumnType,
    Entity,
)
from personalization.stages.sync.landing import landed_files
from personalization.stages.sync.tables import landing_names
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


def split_entity(entity: str, program: Program, landing: Path, session: Session) -> Books:
    """Write `landed.<entity>` and `quarantine.<entity>` anew from all complete loads.

    The files are read once; all rules run in the engine.
    """
    described = ENTITIES[entity]
    rules = rules_for(entity, program)
    rejecting = [rule for rule in rules if rule.rejects]
    dropping = [rule for rule in rules if not rule.rejects]
    session.raw.execute(
        f"create or replace temp view _landing as {_landing_query(described, program, landing, session)}"
    )
    rows = session.ibis.table("_landing")
    ok = rows[REJECTED].isnull()
    for rule in rejecting:
        ok = ok & rule.passes(rows)
    good = ibis.to_sql(_without_unusable(rows.filter(ok), dropping), dialect="duckdb")
    bad = ibis.to_sql(rows.filter(~ok).mutate(reasons=_reasons(rows, rejecting)), dialect="duckdb")
    with session.transaction():
        valid = session.replace_table(f"landed.{entity}", _newest_of_each_key(described, good, session))
        quarantined = session.replace_table(f"quarantine.{entity}", _unresolved(described, good, bad, session))
        landed = int(session.value("select count(*) from _landing"))
        dropped = _count_dropped(session, rows.filter(ok), dropping)
    books = Books(
        entity,
        landed,
        valid,
        quarantined,
        landed - valid - quarantined,
        _count_reasons(session, entity),
        {f"{rule.column}: {rule.message}": n for rule, n in dropped if n},
    )
    for temporary in ("view _landing", "table _repeated", "table _bad"):
        session.raw.execute(f"drop {temporary}")
    return books


_NEWEST_FIRST = f"{LOAD_ID} desc, {ROW} desc, {SOURCE} desc, {_TABLE} desc"


def _key(entity: Entity) -> list[str]:
    return [*entity.key, _TABLE] if entity.keyed_per_table else list(entity.key)


def _newest_of_each_key(entity: Entity, good: str, session: Session) -> str:
    """The valid rows, one a key. Only rows that share a key are put in order: nearly all have theirs to themselves."""
    columns, key = ", ".join([*entity.landed_columns, SOURCE, ROW]), ", ".join(_key(entity))
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


def _unresolved(entity: Entity, good: str, bad: str, session: Session) -> str:
    """The invalid rows that were neither corrected by a later load nor landed again as they were."""
    session.raw.execute(f"create or replace temp table _bad as {bad}")
    same_key = " and ".join(f"g.{name} is not distinct from b.{name}" for name in _key(entity))
    content = ", ".join([*entity.landed_columns, REJECTED, "reasons", SOURCE])
    return f"""
        select {", ".join([*entity.landed_columns, SOURCE, ROW])}, reasons from _bad b
        where not exists (select 1 from ({good}) g where {same_key} and g.{LOAD_ID} > b.{LOAD_ID})
        qualify row_number() over (
            partition by {content}, case when {REJECTED} is not null then {ROW} end order by {_NEWEST_FIRST}
        ) = 1
    """  # noqa: S608  (names of ours)


def _landing_query(entity: Entity, program: Program, landing: Path, session: Session) -> str:
    """All rows that count, with every canonical column; text without the words for "no value"."""
    queries: list[str] = []
    mapped: set[str] = set()
    for table, replaces in landing_names(program, entity.name):
        files = landed_files(landing, table, newest_only=replaces)
        if files:
            source = f"read_parquet([{', '.join(_quoted(str(path)) for path in files)}], union_by_name = true)"
            types = dict(session.rows(f"select column_name, column_type from (describe from {source})"))  # noqa: S608
            queries.append(_table_query(entity, table, source, types))
            mapped |= types.keys()
    # a column that no table has; one that only some have is filled up by name, with its own type
    nowhere = [name for name in entity.landed_columns if name not in mapped]
    nulls = "".join(f", null::varchar as {name}" for name in nowhere)
    if not queries:
        queries.append(f"select {_AS_ADDED} where false")
    return f"select *{nulls} from ({' union all by name '.join(queries)})"  # noqa: S608  (names of ours, paths quoted)


_AS_ADDED = (
    f"null::varchar as {REJECTED}, null::varchar as {SOURCE}, null::bigint as {ROW}, null::varchar as {LOAD_ID}, "
    f"null::varchar as {_TABLE}"
)


def _table_query(entity: Entity, table: str, source: str, types: dict[str, str]) -> str:
    values = [
        f"{_value(name, column, types[name])} as {name}"
        for column in entity.columns
        for name in column.landed
        if name in types
    ]
    added = [REJECTED, SOURCE, ROW, f"{LOAD_ID}::varchar as {LOAD_ID}", f"{_quoted(table)} as {_TABLE}"]
    return f"select {', '.join([*values, *added])} from {source}"  # noqa: S608  (names of ours, paths quoted)


def _value(name: str, column: Column, found: str) -> str:
    if found == "VARCHAR":
        missing = ", ".join(_quoted(word) for word in MISSING_WORDS)
        return f"case when upper(trim({name})) in ({missing}) then null else {name} end"
    if column.type is ColumnType.TEXT and found in ("DOUBLE", "FLOAT"):
        # whole numbers with gaps come out of many tools as floating point numbers: 17.0 is the id 17
        return (
            f"coalesce(case when {name} = trunc({name}) then try_cast({name} as bigint) end::varchar, {name}::varchar)"
        )
    return f"{name}::varchar" if column.type is ColumnType.TEXT else name


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


def _count_reasons(session: Session, entity: str) -> dict[str, int]:
    rows = session.rows(
        f"select regexp_replace(reason, ' \\(''.*''\\)$', '', 's') as r, count(*)"  # noqa: S608
        f" from (select unnest(reasons) as reason from quarantine.{entity}) group by r order by count(*) desc, r"
    )
    return dict(rows)


def _count_dropped(session: Session, rows: ir.Table, dropping: list[Rule]) -> list[tuple[Rule, int]]:
    if not dropping:
        return []
    counts = {f"c{index}": (~rule.passes(rows)).sum().fill_null(0) for index, rule in enumerate(dropping)}
    found = session.rows(ibis.to_sql(rows.aggregate(**counts), dialect="duckdb"))[0]
    return [(rule, int(n)) for rule, n in zip(dropping, found, strict=True)]


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
