"""Column lineage: from which columns of which tables each column of a query is made, read off its SQL."""

from __future__ import annotations

from collections.abc import Mapping

Columns = Mapping[str, Mapping[str, str]]
"""Types of the columns of each table: `{"marts.orders": {"order_id": "VARCHAR"}}`."""


def column_lineage(sql: str, columns: Columns, dialect: str = "duckdb") -> dict[str, list[tuple[str, str]]]:
    """The table columns behind every column of a query, in alphabetical order.

    Parameters
    ----------
    sql : str
        One `select`, with any number of CTEs. Tables are named `schema.name`, with or without a catalog.
    columns : mapping
        Columns of the tables it reads, to resolve `select *`.

    Raises
    ------
    sqlglot.errors.SqlglotError
        When the SQL can't be parsed, or names a column that no table has.

    >>> column_lineage("select a + b as c from s.t", {"s.t": {"a": "INT", "b": "INT"}})
    {'c': [('s.t', 'a'), ('s.t', 'b')]}
    """
    from sqlglot import exp, parse_one
    from sqlglot.lineage import lineage
    from sqlglot.optimizer.qualify import qualify
    from sqlglot.optimizer.scope import build_scope
    from sqlglot.schema import MappingSchema

    schema = MappingSchema(dialect=dialect)
    for table, types in columns.items():
        schema.add_table(table, dict(types), dialect=dialect)
    query = parse_one(sql, dialect=dialect)
    for table_node in query.find_all(exp.Table):
        table_node.set("catalog", None)  # the warehouse is one file, and the tables above are named without it
    query = qualify(query, schema=schema, dialect=dialect)
    nodes = lineage(None, query, schema, dialect=dialect, scope=build_scope(query), copy=False, trim_selects=False)
    return {
        name: sorted(
            {
                (f"{leaf.expression.db}.{leaf.expression.name}", exp.to_column(leaf.name).name)
                for leaf in node.walk()
                if isinstance(leaf.expression, exp.Table) and not leaf.downstream
            }
        )
        for name, node in nodes.items()
    }
