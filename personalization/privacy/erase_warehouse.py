"""Takes a person out of the warehouse, and the warehouse into a new file: DuckDB keeps deleted bytes in the old one.

Measured with DuckDB 2.0: after DELETE and CHECKPOINT, and even after rewriting the table, the bytes were still in the
file; after COPY FROM DATABASE into a new one they were not.
"""

from __future__ import annotations

import os
from collections.abc import Sequence

import duckdb

from personalization.errors import WarehouseError
from personalization.privacy.relations import Relation, literal, quoted, tables, used
from personalization.warehouse import Warehouse


def erase_rows(warehouse: Warehouse, tokens: Sequence[str]) -> dict[str, int]:
    """Remove every row with one of the tokens from every table, then move all into a new file.

    Returns
    -------
    dict
        How many rows went from each table that had some.
    """
    if not warehouse.path.exists():
        return {}
    with warehouse.connect() as session:
        removed = {relation.name: _delete(session.raw, relation, tokens) for relation in tables(session.raw)}
        for name in removed:
            session.set_note(name, None)
    move_to_new_file(warehouse)
    return {name: rows for name, rows in removed.items() if rows}


def _delete(engine: duckdb.DuckDBPyConnection, relation: Relation, tokens: Sequence[str]) -> int:
    """Remove the person's rows. Where an identifier of the person stands in somebody else's row, only it goes."""
    delete = f"delete from {relation.sql} where {relation.condition}"  # noqa: S608
    gone = int(engine.execute(delete, used(delete, tokens)).fetchall()[0][0])
    if relation.owner:
        for name in (quoted(name) for name, kind in relation.columns if kind == "VARCHAR"):
            engine.execute(
                f"update {relation.sql} set {name} = null where {name} in (select unnest($tokens))",  # noqa: S608
                {"tokens": list(tokens)},
            )
    return gone


def move_to_new_file(warehouse: Warehouse) -> None:
    """Copy all tables and views into a new file that takes the old one's place when it is complete.

    Raises
    ------
    WarehouseError
        The copy is not like the original; that one is kept.
    """
    fresh = warehouse.path.with_name(f".{warehouse.path.name}.fresh")
    for leftover in (fresh, fresh.with_name(f"{fresh.name}.wal")):
        leftover.unlink(missing_ok=True)
    with warehouse.connect() as session:
        name = session.value("select current_database()")
        session.execute("checkpoint")
        session.execute(f"attach {literal(str(fresh))} as fresh")
        session.execute(f"copy from database {quoted(name)} to fresh")
        differing = list(_counts(session.raw, name).items() ^ _counts(session.raw, "fresh").items())
        session.execute("checkpoint fresh")
        session.execute("detach fresh")
        if differing:
            fresh.unlink()
            raise WarehouseError(
                f"the copy of the warehouse differs in {differing[0][0]}",
                hint="the warehouse was left as it is; delete the file and run again: it is rebuilt",
            )
        with fresh.open("rb+") as file:
            os.fsync(file.fileno())
        # while the old file is still locked by this connection, so that nobody opens it in between
        fresh.replace(warehouse.path)
    # the old connection may have left a log beside the new file under the old one's name
    warehouse.path.with_name(f"{warehouse.path.name}.wal").unlink(missing_ok=True)
    os.sync()


def _counts(engine: duckdb.DuckDBPyConnection, database: str) -> dict[str, int]:
    names = engine.execute(
        "select table_schema, table_name from information_schema.tables"
        " where table_catalog = $database and table_type = 'BASE TABLE'",
        {"database": database},
    ).fetchall()
    return {
        f"{schema}.{table}": int(
            engine.execute(
                f"select count(*) from {quoted(database)}.{quoted(schema)}.{quoted(table)}"  # noqa: S608
            ).fetchall()[0][0]
        )
        for schema, table in names
    }
