"""Source columns to canonical ones: renamed, constants added, positions added, and types that make no sense refused."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from personalization.errors import SourceError
from personalization.stages.sync.batches import Batch
from personalization.stages.sync.entities import REJECTED, ROW, SOURCE, Column, ColumnType
from personalization.stages.sync.tables import SyncTable

_READABLE_AS = {
    ColumnType.TEXT: "text, number, boolean, date or timestamp",
    ColumnType.NUMBER: "number or text",
    ColumnType.TIMESTAMP: "timestamp, date or text",
    ColumnType.DATE: "date, timestamp or text",
}


def to_canonical(table: SyncTable, batch: Batch) -> pa.Table:
    """A batch with canonical columns, `_source`, `_row` and `_rejected`.

    Rejected rows come last, with nothing but their position and reason. Identifiers are still in the clear.

    Raises
    ------
    SourceError
        A column is of a type that its canonical column can't be read from.
    """
    columns: dict[str, Any] = {}
    for name, source_column in table.spec.columns.items():
        column = table.entity.column(name)
        columns[name] = _plain(table, column, batch, batch.data[source_column])
    for name, value in table.spec.constants.items():
        columns[name] = pa.repeat(pa.scalar(value), batch.data.num_rows)
    columns[ROW] = batch.rows
    good = pa.table(columns)
    if batch.rejected:
        bad = pa.table({ROW: pa.array([r.row for r in batch.rejected], pa.int64())})
        bad = bad.append_column(REJECTED, pa.array([r.reason for r in batch.rejected], pa.string()))
        good = pa.concat_tables(
            [good.append_column(REJECTED, pa.nulls(good.num_rows, pa.string())), bad], promote_options="default"
        )
    else:
        good = good.append_column(REJECTED, pa.nulls(good.num_rows, pa.string()))
    return good.append_column(SOURCE, pa.repeat(pa.scalar(f"{table.source}/{batch.origin}"), good.num_rows))


def _plain(table: SyncTable, column: Column, batch: Batch, values: pa.ChunkedArray) -> pa.ChunkedArray:
    """The values in one of the few types that land: text, bigint, double, decimal, boolean, date, timestamp (µs)."""
    kind = values.type
    if pa.types.is_dictionary(kind):
        values = pc.cast(values, kind.value_type)
        kind = values.type
    if pa.types.is_null(kind):
        return values.cast(pa.string())
    if not _fits(column, kind):
        raise SourceError(
            f"{batch.origin}: column '{table.spec.columns[column.name]}' is of type {kind}; "
            f"{column.name} can be read from {_READABLE_AS[column.type]}",
            at=table.position("columns", column.name),
        )
    if pa.types.is_uint64(kind):  # may be larger than any bigint
        return values.cast(pa.string() if column.type is ColumnType.TEXT else pa.float64())
    if pa.types.is_integer(kind):
        return values.cast(pa.int64())
    if pa.types.is_floating(kind):
        return values.cast(pa.float64())
    if pa.types.is_date(kind):
        return values.cast(pa.date32())
    if pa.types.is_timestamp(kind):
        # DuckDB and dlt keep microseconds; a zone's name says only how to show the instant
        return values.cast(pa.timestamp("us", "UTC" if kind.tz else None), safe=False)
    if _is_text(kind):
        return values.cast(pa.string())
    return values


def _fits(column: Column, kind: pa.DataType) -> bool:
    if _is_text(kind):
        return True
    if column.identifier is not None:
        return pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind)
    if pa.types.is_boolean(kind):
        return column.type is ColumnType.TEXT
    if pa.types.is_date(kind) or pa.types.is_timestamp(kind):
        return column.type is not ColumnType.NUMBER
    if pa.types.is_integer(kind):
        return True
    if pa.types.is_floating(kind) or pa.types.is_decimal(kind):
        return column.type in (ColumnType.TEXT, ColumnType.NUMBER)
    return False


def _is_text(kind: pa.DataType) -> bool:
    return pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind)
