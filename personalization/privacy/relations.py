"""Finds a person's rows in tables nobody named: every column of every table is looked at for the person's tokens."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
from sqlalchemy import Connection, Table, Text, cast, func, or_, select

from personalization.ledger.schema import metadata

TOKEN_LENGTH = 48
"""No token is longer; longer texts are looked into, because JSON may hold tokens."""

OWNERS = ("customer_token", "customer_key")

_ROWS_AT_ONCE = 10_000


@dataclass(frozen=True)
class Relation:
    """A table, and the columns of it that can hold a token.

    Attributes
    ----------
    name : str
        `schema.table`, or the path of a Parquet file.
    sql : str
        What to select from.
    columns : tuple of (str, str)
        Names and types of its columns with text in them, nested ones too.
    """

    name: str
    sql: str
    columns: tuple[tuple[str, str], ...]

    @property
    def owner(self) -> str | None:
        """The column that says whose a row is, whatever other identifiers stand in it."""
        names = {name for name, _ in self.columns}
        return next((name for name in OWNERS if name in names), None)

    @property
    def holds(self) -> str:
        """SQL that holds for rows with one of the tokens `$tokens` (also `$pattern`) in any column."""
        parts = [_holds(quoted(name), kind) for name, kind in self.columns]
        return f"({' or '.join(parts)})" if parts else "false"

    @property
    def condition(self) -> str:
        """SQL that holds for the person's own rows: with one of the tokens, and not said to be somebody else's."""
        if self.owner is None:
            return self.holds
        owner = quoted(self.owner)
        return f"({self.holds} and ({owner} is null or {owner} in (select unnest($tokens))))"


def _holds(column: str, kind: str) -> str:
    if kind == "VARCHAR":
        return (
            f"case when strlen({column}) <= {TOKEN_LENGTH} then {column} in (select unnest($tokens))"
            f" else coalesce(regexp_matches({column}, $pattern), false) end"
        )
    return f"coalesce(regexp_matches({column}::varchar, $pattern), false)"


def tables(engine: duckdb.DuckDBPyConnection, *, views: bool = False) -> list[Relation]:
    """Every table of a DuckDB database that has a column with text in it."""
    kinds = ("BASE TABLE", "VIEW") if views else ("BASE TABLE",)
    rows = engine.execute(
        "select table_schema, table_name, column_name, data_type from information_schema.columns"
        " join information_schema.tables using (table_catalog, table_schema, table_name)"
        " where table_catalog = current_database() and table_type in (select unnest($kinds))"
        " order by table_schema, table_name, ordinal_position",
        {"kinds": list(kinds)},
    ).fetchall()
    found: dict[tuple[str, str], list[tuple[str, str]]] = {}
    for schema, table, column, kind in rows:
        if has_text(kind):
            found.setdefault((schema, table), []).append((column, kind))
    return [
        Relation(f"{schema}.{table}", f"{quoted(schema)}.{quoted(table)}", tuple(columns))
        for (schema, table), columns in found.items()
    ]


def parquet(engine: duckdb.DuckDBPyConnection, path: Path) -> Relation:
    """A Parquet file."""
    sql = f"read_parquet({literal(str(path))}, hive_partitioning = false)"
    rows = engine.execute(f"select column_name, column_type from (describe from {sql})").fetchall()  # noqa: S608
    return Relation(str(path), sql, tuple((name, kind) for name, kind in rows if has_text(kind)))


def has_text(kind: str) -> bool:
    """Whether a DuckDB type can hold a token: text, bytes, or anything nested with text in it."""
    return any(word in kind for word in ("VARCHAR", "BLOB", "JSON", "UNION", "VARIANT"))


def rows_of(engine: duckdb.DuckDBPyConnection, relation: Relation, tokens: Sequence[str]) -> pa.Table:
    """The rows of a relation that are the person's."""
    query = f"select * from {relation.sql} where {relation.condition}"  # noqa: S608  (names are quoted)
    return engine.sql(query, params=_used(relation, tokens)).to_arrow_table()


def count_of(engine: duckdb.DuckDBPyConnection, relation: Relation, tokens: Sequence[str]) -> int:
    """How many rows of a relation are the person's."""
    found = engine.execute(
        f"select count(*) from {relation.sql} where {relation.condition}",  # noqa: S608
        _used(relation, tokens),
    ).fetchall()
    return int(found[0][0])


def _used(relation: Relation, tokens: Sequence[str]) -> dict[str, Any]:
    return used(relation.condition, tokens)


def used(sql: str, tokens: Sequence[str]) -> dict[str, Any]:
    """The parameters of `Relation.condition` that occur in a query."""
    given = {"tokens": list(tokens), "pattern": "|".join(tokens)}
    return {name: value for name, value in given.items() if f"${name}" in sql}


def quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def ledger_tables() -> dict[str, Table]:
    """Every table of the ledger by name, those of parts that nobody has opened yet included."""
    import importlib
    import pkgutil

    import personalization.ledger as package

    for module in pkgutil.iter_modules(package.__path__):
        if module.name == "schema" or module.name.endswith("_schema"):
            importlib.import_module(f"personalization.ledger.{module.name}")
    return dict(metadata.tables)


def text_columns(table: Table) -> list[Any]:
    """The columns of a ledger's table that hold text."""
    return [column for column in table.c if isinstance(column.type, Text)]


def ledger_condition(table: Table, tokens: Sequence[str]) -> Any:
    """What holds for rows of a ledger's table with one of the tokens in any text, JSON included."""
    return or_(
        *(
            or_(
                column.in_(tokens), *((func.length(column) > TOKEN_LENGTH) & column.contains(token) for token in tokens)
            )
            for column in text_columns(table)
        )
    )


def ledger_rows(connection: Connection, table: Table, tokens: Sequence[str]) -> Iterator[dict[str, Any]]:
    """The rows of a ledger's table that hold one of the tokens; texts that are JSON are read as such."""
    if not text_columns(table):
        return
    query = select(table).where(ledger_condition(table, tokens)).order_by(*table.primary_key.columns)
    for row in connection.execute(query, execution_options={"yield_per": _ROWS_AT_ONCE}):
        yield {name: _readable(value) for name, value in row._mapping.items()}


def ledger_count(connection: Connection, table: Table, tokens: Sequence[str]) -> int:
    """How many rows of a ledger's table hold one of the tokens."""
    if not text_columns(table):
        return 0
    query = select(func.count()).select_from(table).where(ledger_condition(table, tokens))
    return int(connection.execute(query).scalar_one())


def contains_value(table: Table, values: Sequence[str]) -> Any:
    """What holds for rows of a ledger's table with one of some plain values in any text."""
    texts = [cast(column, Text) for column in text_columns(table)]
    return or_(*(text.contains(value, autoescape=True) for text in texts for value in values))


def _readable(value: Any) -> Any:
    if isinstance(value, bytes | memoryview):
        return f"{len(value)} encrypted bytes"
    if isinstance(value, str) and value[:1] in "{[":
        try:
            return json.loads(value)
        except ValueError:
            return value
    return value
