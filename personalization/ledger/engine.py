"""Connections to the ledger's database: durable, one writer at a time, errors that say which ledger and what to do."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from sqlalchemy import (
    BigInteger,
    BindParameter,
    ColumnElement,
    Connection,
    Engine,
    LargeBinary,
    Select,
    Table,
    Text,
    any_,
    cast,
    create_engine,
    event,
    func,
    literal_column,
    select,
)
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, NoSuchModuleError, SQLAlchemyError

from personalization.errors import LedgerError

_MODE = "ledger_mode"  # execution option: write, read (the default), or none for statements outside transactions
_WRITER_LOCK = 0x1ED6E2  # PostgreSQL advisory lock: any number, but the same in every process


def open_engine(url: str, wait_seconds: float) -> Engine:
    """An engine for `sqlite:///path` or `postgresql://…`; a new SQLite file is readable by its owner only.

    Raises
    ------
    LedgerError
        The URL is not one of these two, the folder can't be made, or the PostgreSQL driver is not installed.
    """
    try:
        parsed = make_url(url)
    except ArgumentError:
        raise LedgerError("the ledger's URL can't be understood", hint=_URL_HINT) from None
    backend = parsed.get_backend_name()
    if backend == "sqlite" and parsed.database and parsed.database != ":memory:":
        return _sqlite(parsed, wait_seconds)
    if backend == "postgresql":
        return _postgres(parsed, wait_seconds)
    raise LedgerError(f"the ledger can't be kept in '{parsed.render_as_string(hide_password=True)}'", hint=_URL_HINT)


_URL_HINT = "use sqlite:///path/to/ledger.sqlite or postgresql://user@host/database"


def location(engine: Engine) -> str:
    """How messages name the ledger: the file, or the URL without its password."""
    url = engine.url
    return str(url.database) if engine.dialect.name == "sqlite" else url.render_as_string(hide_password=True)


def _sqlite(url: URL, wait_seconds: float) -> Engine:
    path = Path(str(url.database))
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _make(path)
    except OSError as error:
        raise LedgerError(f"the ledger {path} can't be opened: {error.strerror}", hint=_FILE_HINT) from None
    engine = create_engine(
        url.set(drivername="sqlite+pysqlite"), connect_args={"timeout": wait_seconds}, hide_parameters=True
    )

    @event.listens_for(engine, "connect")
    def configure(connection: Any, _: Any) -> None:
        connection.isolation_level = None  # transactions begin where we say, not where the driver guesses
        connection.execute("pragma journal_mode = wal")
        connection.execute("pragma synchronous = full")  # a commit is on the disk when it returns
        connection.execute("pragma secure_delete = on")  # erased bytes are overwritten
        connection.execute("pragma foreign_keys = on")
        connection.execute("pragma cache_size = -65536")  # 64 MiB: indexes of random tokens are written all over

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        mode = _mode(connection)
        if mode == "write":
            connection.exec_driver_sql("begin immediate")
        elif mode == "read":
            connection.exec_driver_sql("begin")
            connection.exec_driver_sql("select 1 from sqlite_schema limit 1")  # the snapshot is taken now, not later

    return engine


def _make(path: Path) -> None:
    """Make an empty file for its owner only; one that exists is looked at, but never opened.

    Closing any descriptor of the file would drop the locks that this process holds on it by other connections. Another
    process would then take itself for the last one and remove the write-ahead log under us, with what is committed
    after that (https://www.sqlite.org/howtocorrupt.html, section 2.2).
    """
    try:
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))
    except FileExistsError:
        if path.is_dir():
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR)) from None
        if not os.access(path, os.R_OK | os.W_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES)) from None


def _postgres(url: URL, wait_seconds: float) -> Engine:
    milliseconds = int(wait_seconds * 1000)
    try:
        engine = create_engine(
            url.set(drivername="postgresql+psycopg"),
            connect_args={"options": f"-c lock_timeout={milliseconds}", "connect_timeout": max(2, int(wait_seconds))},
            hide_parameters=True,
        )
    except (ImportError, NoSuchModuleError):
        raise LedgerError(
            "the driver for PostgreSQL is not installed", hint="pip install 'personalization[postgres]'"
        ) from None

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        mode = _mode(connection)
        if mode == "write":
            # one writer, as on SQLite: numbers without gaps and a chain need it
            connection.exec_driver_sql(f"select pg_advisory_xact_lock({_WRITER_LOCK})")
        elif mode == "read":
            connection.exec_driver_sql("set transaction isolation level repeatable read read only")
            connection.exec_driver_sql("select 1")  # the snapshot is taken now, not later

    return engine


@contextmanager
def write(engine: Engine) -> Iterator[Connection]:
    """A transaction of the only writer: committed at the end of the block, rolled back on any exception."""
    with explained(engine), engine.connect() as connection:
        connection = connection.execution_options(**{_MODE: "write"})
        with connection.begin():
            yield connection


@contextmanager
def read(engine: Engine) -> Iterator[Connection]:
    """A snapshot: every query in the block sees the ledger as it was when the block began. Blocks no writer."""
    with explained(engine), engine.connect() as connection, connection.begin():
        yield connection


@contextmanager
def outside_transactions(engine: Engine) -> Iterator[Connection]:
    """A connection whose statements are on their own: for upkeep that can't run inside a transaction."""
    options: dict[str, Any] = {_MODE: "none"}
    if engine.dialect.name == "postgresql":
        options["isolation_level"] = "AUTOCOMMIT"  # SQLite's driver is in that state always, see `_sqlite`
    with explained(engine), engine.connect() as connection:
        yield connection.execution_options(**options)


def is_writing(connection: Connection) -> bool:
    """Whether this is a transaction of `write`, whose own changes may still be rolled back."""
    return _mode(connection) == "write"


def _mode(connection: Connection) -> str:
    return str(connection.get_execution_options().get(_MODE, "read"))


@contextmanager
def explained(engine: Engine) -> Iterator[None]:
    """Database errors inside the block become `LedgerError`. Their texts never show parameters."""
    try:
        yield
    except DBAPIError as error:
        raise _explain(location(engine), str(error.orig).strip().split("\n", 1)[0]) from error
    except _driver_error(engine) as error:  # from `bulk_insert`, which talks to PostgreSQL's driver itself
        raise _explain(location(engine), str(error).strip().split("\n", 1)[0]) from error
    except SQLAlchemyError as error:
        raise _explain(location(engine), str(error).strip().split("\n", 1)[0]) from error


def _driver_error(engine: Engine) -> type[Exception]:
    driver: Any = engine.dialect.dbapi
    error: type[Exception] = driver.Error
    return error


DAMAGED_HINT = "keep the file as it is and restore the last backup beside it; nothing is exported meanwhile"
_FILE_HINT = "check that the folder exists, is writable for this user, and that its disk is not full"


def _explain(where: str, reason: str) -> LedgerError:
    lowered = reason.lower()
    if "locked" in lowered or "lock timeout" in lowered:
        return LedgerError(
            f"the ledger {where} is locked by another process",
            hint="wait for the other run to end, or stop it, then run again; nothing was written",
        )
    if "malformed" in lowered or "not a database" in lowered or "corrupt" in lowered:
        return LedgerError(
            f"the ledger {where} is damaged: {reason}",
            hint=DAMAGED_HINT,
        )
    if "append-only" in lowered:
        return LedgerError(f"the ledger {where} refused a change: {reason}")
    if any(word in lowered for word in ("unable to open", "readonly", "read-only", "disk i/o", "is full", "no space")):
        return LedgerError(f"the ledger {where} can't be opened or written: {reason}", hint=_FILE_HINT)
    if "connection" in lowered:
        return LedgerError(f"the ledger {where} can't be reached: {reason}", hint="is the database server running?")
    return LedgerError(f"the ledger {where} answered: {reason}")


def one_of(
    connection: Connection, column: ColumnElement[Any], values: Sequence[str] | Sequence[int]
) -> ColumnElement[bool]:
    """`column in (values)` for any number of values, bound as one parameter so that no limit on parameters applies."""
    if connection.dialect.name == "sqlite":
        listed = func.json_each(BindParameter(None, json.dumps(list(values)), Text)).table_valued("value")
        return column.in_(select(listed.c.value))
    kind = BigInteger if values and isinstance(values[0], int) else Text
    return column == any_(BindParameter(None, list(values), ARRAY(kind)))


def bulk_insert(connection: Connection, table: Table, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Insert many rows fast: one prepared statement on SQLite, `COPY` on PostgreSQL.

    Values go to the database as they are, so a moment is given as microseconds (`schema.to_micros`).
    """
    rows = list(map(tuple, rows))
    if not rows:
        return
    names = ", ".join(table.c[name].name for name in columns)
    if connection.dialect.name == "sqlite":
        places = ", ".join("?" * len(columns))
        connection.exec_driver_sql(f"insert into {table.name} ({names}) values ({places})", rows)  # noqa: S608
        return
    driver: Any = connection.connection
    with driver.cursor() as cursor, cursor.copy(f"copy {table.name} ({names}) from stdin") as copy:
        for row in rows:
            copy.write_row(row)


def insert_alike(
    connection: Connection,
    table: Table,
    same: Mapping[str, Any],
    columns: Sequence[str],
    rows: Sequence[Sequence[str | int]],
) -> None:
    """`bulk_insert` of rows that differ in some columns only, of texts and whole numbers.

    On SQLite it is one step of the database, during which other threads of this process go on; one row after the other
    would wait for them at each.
    """
    if not rows:
        return
    if connection.dialect.name != "sqlite":
        bulk_insert(connection, table, (*same, *columns), [(*same.values(), *row) for row in rows])
        return
    names = ", ".join(table.c[name].name for name in (*same, *columns))
    values = ", ".join(["?"] * len(same) + [f"json_extract(value, '$[{place}]')" for place in range(len(columns))])
    connection.exec_driver_sql(
        f"insert into {table.name} ({names}) select {values} from json_each(?)",  # noqa: S608
        (*same.values(), json.dumps(rows)),
    )


def fetch_columns(connection: Connection, query: Select[Any]) -> list[list[Any]]:
    """The columns of a query's answer, each as one list, all in the same order of rows.

    The database writes each column as one JSON text, in one step, during which other threads of this process go on; one
    row after the other would wait for them at each. Texts, whole numbers and their nulls, and bytes that are not null.
    """
    listed = query.subquery()
    sqlite = connection.dialect.name == "sqlite"
    gather = func.json_group_array if sqlite else func.json_agg
    binary = [isinstance(column.type, LargeBinary) for column in listed.c]
    texts = [
        cast(gather((func.hex(column) if sqlite else func.encode(column, "hex")) if is_binary else column), Text)
        for column, is_binary in zip(listed.c, binary, strict=True)
    ]
    found = connection.execute(select(*texts)).one()
    columns = [json.loads(text) if text else [] for text in found]
    return [
        [bytes.fromhex(value) for value in column] if is_binary else column
        for column, is_binary in zip(columns, binary, strict=True)
    ]


def fetch_texts(connection: Connection, query: Select[Any]) -> list[pa.Array]:
    """The columns of a query's answer as Arrow texts, all in the same order of rows.

    For tokens, hashes and names, which have no line ends: the database joins each column to one text, whose lines are
    found at once, so that no Python object is made for a row. Ten times as fast as fetching rows, and in little memory.
    A null comes back as an empty text.
    """
    listed = query.subquery()
    line_end: ColumnElement[str] = literal_column(
        "'\n'"
    )  # written out, because a parameter would be looked at for every row
    columns = [
        func.coalesce(column, literal_column("''")) if getattr(source, "nullable", True) else column
        for column, source in zip(listed.c, query.selected_columns, strict=True)
    ]
    if connection.dialect.name == "sqlite":
        joined: list[Any] = [cast(func.group_concat(column, line_end), LargeBinary) for column in columns]
    else:
        joined = [func.string_agg(cast(column, Text), line_end) for column in columns]
    found: Any = connection.execute(select(func.count(), *joined).select_from(listed)).one()
    counted, *texts = found
    return [_lines(text, counted) for text in texts]


def _lines(text: bytes | str | None, counted: int) -> pa.Array:
    """The lines of a text, of which there must be so many."""
    if not counted:
        return pa.array([], pa.string())
    raw = text.encode() if isinstance(text, str) else text or b""
    ends = np.flatnonzero(np.frombuffer(raw, np.uint8) == ord("\n"))
    if len(ends) != counted - 1:
        raise LedgerError(f"{counted:,} texts of the ledger were read as {len(ends) + 1:,}: some have line ends")
    offsets = np.zeros(counted + 1, np.int32 if len(raw) < 2**31 else np.int64)
    offsets[1:-1] = ends - np.arange(counted - 1)
    offsets[-1] = len(raw) - len(ends)
    kind = pa.string() if offsets.dtype == np.int32 else pa.large_string()
    buffers = [None, pa.py_buffer(offsets), pa.py_buffer(raw.replace(b"\n", b""))]
    return pa.Array.from_buffers(kind, counted, buffers).cast(pa.string())
