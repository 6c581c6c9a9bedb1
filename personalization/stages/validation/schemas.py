"""pandera schemas of the landed and mart tables, and how a table is held against one inside the engine.

Every check comes back from the engine as one boolean. Only when it is false are examples fetched, at most twenty:
pandera's own failure cases would carry every failing row out of the warehouse.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import ibis
import ibis.expr.types as ir

from personalization.program import Program
from personalization.stages.sync.entities import ENTITIES, ROW, SOURCE
from personalization.stages.validation.rules import rules_for
from personalization.warehouse import Session

if TYPE_CHECKING:
    import pandera.ibis as pa
    from pandera.errors import SchemaError

MAX_EXAMPLES = 20


@dataclass(frozen=True)
class Expectation:
    """Something that holds for every row of a table. `holds` is NULL-safe: NULL counts as False."""

    name: str
    message: str
    holds: Callable[[ir.Table], ir.BooleanValue]


@dataclass(frozen=True)
class TableSchema:
    """What a table looks like: its columns, the key that no two rows share, and what holds for its rows."""

    table: str
    columns: tuple[str, ...]
    key: tuple[str, ...]
    expectations: tuple[Expectation, ...]

    def failing(self, rows: ir.Table, expectation: Expectation) -> ir.Table:
        """The rows an expectation does not hold for, by their key."""
        return rows.filter(~expectation.holds(rows).fill_null(False)).select(*self.key)

    def repeated(self, rows: ir.Table) -> ir.Table:
        """Keys that occur more than once."""
        return rows.group_by(*self.key).having(rows.count() > 1).agg(rows=rows.count())

    def to_pandera(self) -> pa.DataFrameSchema:
        import pandera.ibis as pa

        checks = [
            pa.Check(
                lambda data, each=expectation: self.failing(data.table, each).count() == 0,
                name=expectation.name,
                error=expectation.message,
            )
            for expectation in self.expectations
        ]
        checks.append(
            pa.Check(
                lambda data: self.repeated(data.table).count() == 0,
                name=UNIQUE,
                error=f"more than one row with the same {', '.join(self.key)}",
            )
        )
        columns = {name: pa.Column(nullable=True) for name in self.columns}
        return pa.DataFrameSchema(columns, checks=checks, name=self.table)


UNIQUE = "unique_key"


@dataclass(frozen=True)
class Failure:
    """A check that does not hold: for how many rows, and the keys of the first of them (in key order)."""

    check: str
    message: str
    rows: int
    examples: list[tuple[Any, ...]]


def check_table(schema: TableSchema, session: Session) -> list[Failure]:
    """Validate a table with pandera; an empty list means that everything holds."""
    from pandera.errors import SchemaErrors

    rows = session.ibis.table(schema.table.split(".")[1], database=schema.table.split(".")[0])
    missing = [name for name in schema.columns if name not in rows.columns]
    if missing:  # no other check makes sense then
        return [Failure("columns", f"{schema.table} has no column {', '.join(missing)}", 0, [])]
    try:
        schema.to_pandera().validate(rows, lazy=True)
    except SchemaErrors as errors:
        return [_explain(schema, rows, error, session) for error in errors.schema_errors]
    return []


def landed_schema(entity: str, program: Program) -> TableSchema:
    """The schema of `landed.<entity>`: the rules that split the rows, checked again on what came of it."""
    described = ENTITIES[entity]
    rules = [rule for rule in rules_for(entity, program) if rule.rejects or rule.shows_value]
    # the key of an entity that is keyed per table is not a key of the table as a whole
    key = (SOURCE, ROW) if described.keyed_per_table else described.key
    return TableSchema(
        f"landed.{entity}",
        (*described.landed_columns, SOURCE, ROW),
        key,
        tuple(Expectation(rule.name, f"{rule.column}: {rule.message}", rule.passes) for rule in rules),
    )


def _explain(schema: TableSchema, rows: ir.Table, error: SchemaError, session: Session) -> Failure:
    check, message = error.check.name, error.check.error
    if check == UNIQUE:
        failing = schema.repeated(rows)
    else:
        failing = schema.failing(rows, next(each for each in schema.expectations if each.name == check))
    shown = failing.order_by(*schema.key).limit(MAX_EXAMPLES)
    return Failure(
        check,
        message,
        int(session.value(ibis.to_sql(failing.count(), dialect="duckdb"))),
        session.rows(ibis.to_sql(shown, dialect="duckdb")),
    )
