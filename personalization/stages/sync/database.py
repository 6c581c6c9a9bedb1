"""Sources that are SQL databases: rows are fetched in batches by a server-side cursor and become Arrow columns."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from personalization.errors import SourceError, did_you_mean
from personalization.program import resolve_secret
from personalization.program.models import DatabaseSource
from personalization.stages.sync.batches import Batch
from personalization.stages.sync.cursor import Cursor
from personalization.stages.sync.tables import SyncTable

if TYPE_CHECKING:
    import sqlalchemy as sa

BATCH_ROWS = 50_000


def read_database(table: SyncTable, cursor: Cursor | None, columns: list[str]) -> Iterator[Batch]:
    """The rows of a table or view; with a cursor only those at or beyond its last value, where the database can tell.

    One SELECT, so a snapshot. The names of all columns are appended to `columns` first.

    Raises
    ------
    SourceError
        The database refuses or is out of reach, the table does not exist, or lacks a mapped column.
    """
    import sqlalchemy as sa

    settings = table.settings
    assert isinstance(settings, DatabaseSource)
    at = table.program.position("sources", ("sources", table.source, "connection"))
    try:
        engine = sa.create_engine(resolve_secret(settings.connection, at=at))
    except (sa.exc.ArgumentError, sa.exc.NoSuchModuleError, ImportError) as error:
        raise SourceError(
            f"source '{table.source}': the connection URL can't be used: {error}",
            at=at,
            hint="SQLAlchemy's form: dialect+driver://user:${env:PASSWORD}@host/database, with the driver installed",
        ) from None
    try:
        with engine.connect() as connection:
            found = _reflect(connection, table)
            columns.extend(column.name for column in found.columns)
            table.require_columns(columns, str(table.spec.table))
            yield from _fetch(connection, table, found, cursor)
    except sa.exc.SQLAlchemyError as error:
        reason = str(getattr(error, "orig", None) or error).strip().splitlines()[0]
        raise SourceError(
            f"source '{table.source}': the database answered: {reason}", at=at, hint="check its address and the rights"
        ) from None
    finally:
        engine.dispose()


def _reflect(connection: sa.Connection, table: SyncTable) -> sa.Table:
    import sqlalchemy as sa

    schema, _, name = str(table.spec.table).rpartition(".")
    try:
        return sa.Table(name, sa.MetaData(), schema=schema or None, autoload_with=connection)
    except sa.exc.NoSuchTableError:
        inspector = sa.inspect(connection)
        names = [*inspector.get_table_names(schema or None), *inspector.get_view_names(schema or None)]
        raise SourceError(
            f"source '{table.source}' has no table '{table.spec.table}'",
            at=table.position("table"),
            hint=did_you_mean(name, names),
        ) from None


def _fetch(connection: sa.Connection, table: SyncTable, found: sa.Table, cursor: Cursor | None) -> Iterator[Batch]:
    import sqlalchemy as sa

    selected = [found.c[name] for name in table.wanted]
    query = sa.select(*selected)
    if cursor:
        query = _only_new(query, found.c[cursor.column], cursor)
    fields = [pa.field(column.name, _landed_type(table, column)) for column in selected]
    result = connection.execution_options(stream_results=True, yield_per=BATCH_ROWS).execute(query)
    row = 1
    for rows in result.partitions():
        columns = zip(fields, zip(*rows, strict=True), strict=True)
        yield Batch(
            pa.table({field.name: _column(table, field, values) for field, values in columns}),
            pa.array(np.arange(row, row + len(rows)), pa.int64()),
            str(table.spec.table),
        )
        row += len(rows)


def _only_new(query: sa.Select, column: sa.Column, cursor: Cursor) -> sa.Select:
    """Let the database leave out old rows. A text column is compared by us: databases sort text in their own ways."""
    import sqlalchemy as sa

    last: Any = cursor.typed_value
    if isinstance(last, datetime) and isinstance(column.type, sa.DateTime):
        last = last if column.type.timezone else last.replace(tzinfo=None)
    elif isinstance(last, datetime) and isinstance(column.type, sa.Date):
        last = last.date()
    elif not (isinstance(last, Decimal) and isinstance(column.type, sa.Numeric | sa.Integer)):
        last = None
    return query if last is None else query.where(sa.or_(column >= last, column.is_(None)))


def _landed_type(table: SyncTable, column: sa.Column) -> pa.DataType:
    kind = arrow_type(column.type)
    if kind is None:
        raise SourceError(
            f"{table.spec.table}: column '{column.name}' is of type {column.type!r}, which can't be loaded",
            at=table.position_of(column.name),
            hint="map a column of a plain type, or make a view that casts it",
        )
    return kind


def arrow_type(kind: Any) -> pa.DataType | None:
    """The Arrow type in which a database type lands; None for types that are no single plain value."""
    import sqlalchemy as sa

    if isinstance(kind, sa.Boolean):
        return pa.bool_()
    if isinstance(kind, sa.Integer):
        return pa.int64()
    if isinstance(kind, sa.Float):
        return pa.float64()
    if isinstance(kind, sa.Numeric):
        fits = kind.precision is not None and kind.scale is not None and 0 <= kind.scale <= kind.precision <= 38
        return pa.decimal128(kind.precision, kind.scale) if fits else pa.decimal128(38, 9)
    if isinstance(kind, sa.DateTime):
        return pa.timestamp("us", "UTC" if kind.timezone else None)
    if isinstance(kind, sa.Date):
        return pa.date32()
    if isinstance(kind, sa.String | sa.Uuid | sa.Enum):
        return pa.string()
    return None


def _column(table: SyncTable, field: pa.Field, values: tuple[Any, ...]) -> pa.Array:
    try:
        return _to_arrow(values, field.type)
    except (pa.ArrowException, OverflowError, ValueError):
        # without the value, which may be an identifier
        raise SourceError(
            f"{table.spec.table}: column '{field.name}' has a value that is no {field.type}",
            at=table.position_of(field.name),
            hint="the column's declared type says otherwise; cast it in a view",
        ) from None


def _to_arrow(values: tuple[Any, ...], kind: pa.DataType) -> pa.Array:
    if pa.types.is_string(kind):
        return pa.array([None if value is None else str(value) for value in values], kind)
    if pa.types.is_decimal(kind):
        return pa.array([None if value is None else _exact(value, kind.scale) for value in values], kind)
    if pa.types.is_timestamp(kind) and kind.tz:
        return pa.array([None if value is None else _utc(value) for value in values], kind)
    return pa.array(values, kind)


def _exact(value: Any, scale: int) -> Decimal | None:
    number = value if isinstance(value, Decimal) else Decimal(str(value))
    return round(number, scale) if number.is_finite() else None


def _utc(value: datetime) -> datetime:
    return value.astimezone(UTC) if value.tzinfo else value.replace(tzinfo=UTC)
