"""Puts every token in the ledger's tables under another token key, inside one transaction of the only writer.

There is no list of columns that somebody could forget to extend: every text of every table is looked at. Tables whose
rows are bound to their tokens by hashes or encryption are in `token_rotation`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from sqlalchemy import Connection, LargeBinary, Table, Text, text

from personalization.ledger.keys import Keyring

CHUNK = 5_000
TOKENS = re.compile(r"t1_[a-z][a-z0-9]{0,7}_[a-z2-7]{32}(?![a-z2-7])", re.ASCII)
"""A token, wherever it stands in a text."""

Row = dict[str, Any]

NOT_OURS: dict[tuple[str, str], str] = {
    ("inbox", "event_key"): "the sender's words, to which the sealed body is bound",
    ("inbox", "source"): "a name in the program",
}
"""Columns that are left as they are, and why."""


class Renaming:
    """Rewrites texts that hold tokens of earlier token keys.

    Parameters
    ----------
    keys : Keyring
        With the new token key in use.
    """

    def __init__(self, keys: Keyring) -> None:
        self._keys = keys
        self._current = f"t1_{keys.token_key_id}_"

    def texts(self, values: Sequence[str | None]) -> list[str | None]:
        """The texts with every token under the key in use; all tokens are made at once, because that is quick."""
        found = {
            token
            for value in values
            if value is not None and "t1_" in value
            for token in TOKENS.findall(value)
            if not token.startswith(self._current)
        }
        if not found:
            return list(values)
        old = sorted(found)
        new = dict(zip(old, self._keys.current_tokens(old), strict=True))
        return [self._replaced(value, new) for value in values]

    def text(self, value: str) -> str:
        return str(self.texts([value])[0])

    def rows(self, rows: Sequence[Row], columns: Sequence[str]) -> None:
        """Rewrite columns of rows, in place."""
        values = self.texts([row[name] for row in rows for name in columns])
        places = ((row, name) for row in rows for name in columns)
        for (row, name), value in zip(places, values, strict=True):
            row[name] = value

    @staticmethod
    def _replaced(value: str | None, new: Mapping[str, str]) -> str | None:
        if value is None or "t1_" not in value:
            return value
        if value in new:
            return new[value]
        return TOKENS.sub(lambda match: new.get(match[0], match[0]), value)


def text_columns(table: Table) -> list[str]:
    """The columns of a table that may hold tokens."""
    return [
        column.name
        for column in table.columns
        if isinstance(column.type, Text) and (table.name, column.name) not in NOT_OURS
    ]


def stored_rows(connection: Connection, table: Table, order: str | None = None) -> Iterator[list[Row]]:
    """The rows of a table in chunks, values as they are stored, with `place`: where `write_back` finds them again.

    Parameters
    ----------
    order : str, optional
        The column of their numbers, to have them in that order.

    Rows may be written back while this goes on: it gives the table as it was at the beginning.
    """
    names = [column.name for column in table.columns]
    listed = ", ".join(names)
    if connection.dialect.name == "sqlite":
        last = -(2**63)
        query = f"select rowid, {listed} from {table.name} where rowid > ? order by rowid limit {CHUNK}"  # noqa: S608
        while found := connection.exec_driver_sql(query, (last,)).fetchall():
            last = found[-1][0]
            yield [dict(zip(["place", *names], row, strict=True)) for row in found]
        return
    query = f"select ctid::text, {listed} from {table.name}" + (f" order by {order}" if order else "")  # noqa: S608
    driver: Any = connection.connection
    with driver.cursor(name=f"rows_of_{table.name}") as cursor:  # it does not see what is written after it was opened
        cursor.execute(query)
        while found := cursor.fetchmany(CHUNK):
            yield [dict(zip(["place", *names], row, strict=True)) for row in found]


def write_back(connection: Connection, table: Table, columns: Sequence[str], rows: Sequence[Row]) -> None:
    """Set columns of rows that `stored_rows` gave."""
    if not rows:
        return
    if connection.dialect.name == "sqlite":
        assigned = ", ".join(f"{name} = ?" for name in columns)
        connection.exec_driver_sql(
            f"update {table.name} set {assigned} where rowid = ?",  # noqa: S608
            [(*(row[name] for name in columns), row["place"]) for row in rows],
        )
        return
    kinds = [_kind(table, name) for name in columns]
    given = ", ".join(f"new.{name}" for name in columns)
    shown = ", ".join(f"%s::{kind}[]" for kind in ("text", *kinds))
    named = ", ".join(("place", *columns))
    assigned = ", ".join(f"{name} = {value}" for name, value in zip(columns, given.split(", "), strict=True))
    driver: Any = connection.connection
    with driver.cursor() as cursor:
        cursor.execute(
            f"update {table.name} t set {assigned} from unnest({shown}) as new ({named})"  # noqa: S608
            " where t.ctid = new.place::tid",
            [[row["place"] for row in rows], *([row[name] for row in rows] for name in columns)],
        )


def rewrite(
    connection: Connection,
    table: Table,
    renaming: Renaming,
    also: Callable[[list[Row], list[Row]], Iterable[str]] | None = None,
) -> int:
    """Put every text of a table under the key in use. Returns how many rows changed.

    Parameters
    ----------
    also : callable
        Called with rows as they were and as they will be; sets what depends on tokens, and says in which columns.
    """
    columns = text_columns(table)
    changed = 0
    for rows in stored_rows(connection, table):
        before = [dict(row) for row in rows]
        renaming.rows(rows, columns)
        written = [*columns, *(also(before, rows) if also else ())]
        different = [row for row, old in zip(rows, before, strict=True) if row != old]
        write_back(connection, table, list(dict.fromkeys(written)), different)
        changed += len(different)
    return changed


@contextmanager
def guards_off(connection: Connection, tables: Iterable[Table]) -> Iterator[None]:
    """Let rows of append-only tables be written anew inside the block; a rollback brings the guards back as well."""
    names = [table.name for table in tables]
    if connection.dialect.name == "sqlite":
        found = connection.exec_driver_sql("select name, tbl_name, sql from sqlite_schema where type = 'trigger'").all()
        guards = [(str(name), str(sql)) for name, table, sql in found if table in names]
        for name, _ in guards:
            connection.exec_driver_sql(f"drop trigger {name}")
        yield
        for _, sql in guards:
            connection.exec_driver_sql(sql)
        return
    for name in names:
        connection.execute(text(f"alter table {name} disable trigger user"))
    yield
    for name in names:
        connection.execute(text(f"alter table {name} enable trigger user"))


def _kind(table: Table, name: str) -> str:
    kind = table.c[name].type
    if isinstance(kind, Text):
        return "text"
    return "bytea" if isinstance(kind, LargeBinary) else "bigint"
