"""The warehouse under the token key in use: every text of every table, in one transaction of DuckDB."""

from __future__ import annotations

import pyarrow as pa

from personalization.ledger.retoken import Renaming
from personalization.warehouse import Session, Warehouse


def rewrite_warehouse(warehouse: Warehouse, renaming: Renaming) -> dict[str, int]:
    """Put every table under the key in use. Returns by table how many different values changed.

    DuckDB keeps replaced bytes in the file: move it into a new one afterwards.

    Raises
    ------
    WarehouseError
        Another process holds the file, or it is damaged.
    """
    if not warehouse.path.exists():
        return {}
    changed: dict[str, int] = {}
    with warehouse.connect() as session, session.transaction():
        columns = session.rows(
            "select table_schema, table_name, column_name, data_type from information_schema.columns"
            " join information_schema.tables using (table_catalog, table_schema, table_name)"
            " where table_catalog = current_database() and table_type = 'BASE TABLE' order by all"
        )
        for schema, table, column, kind in columns:
            if "VARCHAR" in kind or "JSON" in kind:
                named = f"{_quoted(schema)}.{_quoted(table)}"
                values = _rewrite_column(session, named, _quoted(column), kind, renaming)
                if values:
                    changed[f"{schema}.{table}"] = changed.get(f"{schema}.{table}", 0) + values
    return changed


def _rewrite_column(session: Session, table: str, column: str, kind: str, renaming: Renaming) -> int:
    plain = kind in ("VARCHAR", "JSON")
    text = f"{column}::varchar" if plain else f"to_json({column})::varchar"
    old = [
        value
        for (value,) in session.rows(f"select distinct {text} from {table} where contains({text}, 't1_')")  # noqa: S608
    ]
    new = renaming.texts(old)
    pairs = [(before, after) for before, after in zip(old, new, strict=True) if before != after]
    if not pairs:
        return 0
    names = pa.table({"before": [pair[0] for pair in pairs], "after": [pair[1] for pair in pairs]})
    fresh = "n.after" if plain else f"n.after::json::{kind}"
    with session.registered(_renamed=names):
        session.execute(f"update {table} t set {column} = {fresh} from _renamed n where {text} = n.before")  # noqa: S608
    return len(pairs)


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
