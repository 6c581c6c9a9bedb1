"""The embedded warehouse: one DuckDB file, one writing process, opened late and closed early.

DuckDB lets one process write a file and shuts every other process out meanwhile, so nothing keeps a connection
between stages; dbt, which runs in a process of its own, finds the file free.
"""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
from sqlglot import exp

from personalization.as_of import AsOf
from personalization.errors import WarehouseError

log = logging.getLogger(__name__)

_LOCK = re.compile(r"Conflicting lock is held in (?P<program>.*?) \(PID (?P<pid>\d+)\)")


@dataclass
class Warehouse:
    """Opens connections to the DuckDB file.

    Parameters
    ----------
    path : Path
        The database file; made when it does not exist.
    wait_seconds : float
        How long to wait for another process to let the file go before `WarehouseError`.
    threads, memory_limit
        DuckDB settings; None leaves DuckDB's own default.
    """

    path: Path
    wait_seconds: float = 10.0
    threads: int | None = None
    memory_limit: str | None = None

    @contextmanager
    def connect(self, *, read_only: bool = False) -> Iterator[Session]:
        """A session that is closed at the end of the block.

        Raises
        ------
        WarehouseError
            When another process holds the file (with its PID), or the file can't be opened or written.
        """
        connection = self._open(read_only=read_only)
        try:
            yield Session(connection)
        except duckdb.IOException as error:
            raise WarehouseError(f"the warehouse {self.path} can't be written: {_first_line(error)}") from error
        finally:
            connection.close()

    def _open(self, *, read_only: bool) -> duckdb.DuckDBPyConnection:
        if read_only and not self.path.exists():
            raise WarehouseError(
                f"there is no warehouse at {self.path} yet", hint="run `personalization run` first: it makes one"
            )
        self.path.parent.mkdir(parents=True, exist_ok=True)
        config: dict[str, Any] = {}
        if self.threads:
            config["threads"] = self.threads
        if self.memory_limit:
            config["memory_limit"] = self.memory_limit
        deadline = time.monotonic() + self.wait_seconds
        while True:
            try:
                connection = duckdb.connect(str(self.path), read_only=read_only, config=config)
                connection.execute("set timezone = 'UTC'")  # no result may depend on the machine's own zone
                connection.execute("set enable_progress_bar = false")  # it would write over our own
                return connection
            except duckdb.Error as error:
                lock = _LOCK.search(str(error))
                if lock and time.monotonic() < deadline:
                    time.sleep(0.2)
                    continue
                if lock:
                    raise WarehouseError(
                        f"the warehouse {self.path} is locked by process {lock['pid']} ({lock['program']})",
                        hint="wait for that run to end, or stop it; only one process can write the warehouse",
                    ) from None
                raise WarehouseError(
                    f"the warehouse {self.path} can't be opened: {_first_line(error)}",
                    hint="it is a cache: `personalization run` sets it aside and rebuilds it from landing and ledger",
                ) from None

    def set_aside_if_damaged(self) -> Path | None:
        """Move a file that DuckDB can't open for damage to a folder `damaged` beside it, with its write-ahead log.

        Call it before everything is made again: the warehouse is a cache, and the next run rebuilds it.

        Returns
        -------
        Path or None
            The folder it was moved to; None when it opens, does not exist, or another process holds it.
        """
        if not self.path.exists():
            return None
        try:
            duckdb.connect(str(self.path)).close()
        except duckdb.Error as error:
            if _LOCK.search(str(error)):
                return None
            reason = _first_line(error)
        else:
            return None
        folder = self.path.parent / "damaged" / datetime.now(UTC).strftime("%Y%m%dT%H%M%S%fZ")
        folder.mkdir(parents=True)
        for path in (self.path, self.path.with_name(f"{self.path.name}.wal")):
            if path.exists():
                path.rename(folder / path.name)
        (folder / "why.txt").write_text(f"{reason}\n", encoding="utf-8")
        log.error("the warehouse %s is damaged and was moved to %s: %s", self.path, folder, reason)
        return folder


class Session:
    """One open connection with the few operations that stages need. `raw` is the DuckDB connection itself."""

    def __init__(self, connection: duckdb.DuckDBPyConnection) -> None:
        self.raw = connection
        self._in_transaction = False

    @property
    def ibis(self) -> Any:
        """The same connection as an Ibis backend."""
        import ibis

        return ibis.duckdb.from_connection(self.raw)

    def arrow(self, sql: str, parameters: list[Any] | dict[str, Any] | None = None) -> pa.Table:
        """The result of a query as an Arrow table. `sql` is the project's own text, never a user's."""
        return self.raw.sql(sql, params=parameters).to_arrow_table()

    def rows(self, sql: str, parameters: list[Any] | dict[str, Any] | None = None) -> list[tuple[Any, ...]]:
        """The result of a small query as Python tuples."""
        return self.raw.execute(sql, parameters).fetchall()

    def value(self, sql: str, parameters: list[Any] | dict[str, Any] | None = None) -> Any:
        """The first column of the first row, or None."""
        rows = self.rows(sql, parameters)
        return rows[0][0] if rows else None

    def execute(self, sql: str, parameters: list[Any] | dict[str, Any] | None = None) -> None:
        self.raw.execute(sql, parameters)

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All or nothing. Inside another transaction it is a part of that one."""
        if self._in_transaction:
            yield
            return
        self.raw.execute("begin transaction")
        self._in_transaction = True
        try:
            yield
        except BaseException:
            self.raw.execute("rollback")
            raise
        else:
            self.raw.execute("commit")
        finally:
            self._in_transaction = False

    @contextmanager
    def registered(self, **tables: pa.Table) -> Iterator[None]:
        """Arrow tables visible to SQL under the given names during the block."""
        for name, table in tables.items():
            self.raw.register(name, table)
        try:
            yield
        finally:
            for name in tables:
                self.raw.unregister(name)

    def has_table(self, table: str) -> bool:
        """Whether `schema.name` exists as a table or view."""
        schema, name = table.split(".")
        return bool(
            self.value(
                "select count(*) from information_schema.tables where table_schema = ? and table_name = ?",
                [schema, name],
            )
        )

    def replace_table(self, table: str, query: str, parameters: list[Any] | dict[str, Any] | None = None) -> int:
        """Create or replace `schema.name` from a query, in one statement. Returns the number of rows."""
        self.raw.execute(f"create schema if not exists {table.split('.')[0]}")
        self.raw.execute(f"create or replace table {table} as {query}", parameters)
        return int(self.value(f"select count(*) from {table}"))  # noqa: S608  (table is a name of ours)

    def replace_day(
        self,
        table: str,
        as_of: AsOf,
        query: str,
        parameters: list[Any] | dict[str, Any] | None = None,
        *,
        order: str = "all",
    ) -> int:
        """Replace the rows of one `as_of` day of `schema.name` by a query's rows, all or nothing.

        The query must return a DATE column `as_of` equal to the day in every row. A table whose columns changed
        since it was made is rebuilt from this day on (it is a cache). `order` may name a key, which is quicker to sort
        by than all columns. Returns the number of rows written.
        """
        self.raw.execute(f"create schema if not exists {table.split('.')[0]}")
        with self.transaction():
            self.raw.execute(f"create or replace temp table _new_day as {query}", parameters)
            columns = self.rows("select column_name, column_type from (describe _new_day)")
            if not self.has_table(table) or columns != self.rows(
                f"select column_name, column_type from (describe {table})"  # noqa: S608
            ):
                self.raw.execute(f"create or replace table {table} as from _new_day limit 0")
            self.set_note(table, None)
            self.raw.execute(f"delete from {table} where as_of = ?", [as_of.day])  # noqa: S608
            self.raw.execute(f"insert into {table} from _new_day order by {order}")
            count = int(self.value("select count(*) from _new_day"))
            self.raw.execute("drop table _new_day")
        return count

    def replace_rows(
        self,
        table: str,
        where: str,
        query: str,
        parameters: list[Any] | dict[str, Any] | None = None,
        *,
        order: str = "all",
    ) -> int:
        """Replace some rows of `schema.name` by a query's rows, all or nothing; see `replace_day` for `order`.

        Returns the number of rows written.

        Raises
        ------
        WarehouseError
            The table has other columns than the query.
        """
        with self.transaction():
            self.raw.execute(f"create or replace temp table _new_rows as {query}", parameters)
            shape = "select column_name, column_type from (describe {})"
            if self.rows(shape.format("_new_rows")) != self.rows(shape.format(table)):
                raise WarehouseError(
                    f"{table} has other columns than the program now gives it",
                    hint="run `personalization run` once: after it, the rows of single customers can be made again",
                )
            self.set_note(table, None)
            self.raw.execute(f"delete from {table} where {where}")  # noqa: S608  (names of ours)
            self.raw.execute(f"insert into {table} from _new_rows order by {order}")
            count = int(self.value("select count(*) from _new_rows"))
            self.raw.execute("drop table _new_rows")
        return count

    def note(self, table: str) -> str | None:
        """What was noted about the present rows of `schema.name`; None when nothing was, or rows were written since."""
        schema, name = table.split(".")
        found = self.value(
            "select comment from duckdb_tables()"
            " where database_name = current_database() and schema_name = ? and table_name = ?",
            [schema, name],
        )
        return None if found is None else str(found)

    def set_note(self, table: str, note: str | None) -> None:
        """Note something about the present rows of `schema.name`; None takes the note away."""
        if note is not None or self.note(table) is not None:
            text = "null" if note is None else exp.Literal.string(note).sql(dialect="duckdb")
            self.raw.execute(f"comment on table {table} is {text}")

    def fingerprint(self, table: str) -> str:
        """A hash over all rows of a table that does not depend on their order, to compare two builds."""
        return str(
            self.value(
                f"select count(*) || '-' || coalesce(sum(hash(t)::hugeint), 0)::varchar from {table} t"  # noqa: S608
            )
        )


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0]
