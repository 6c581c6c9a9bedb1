"""Incremental loading: which rows are new, by a source column that only grows."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from personalization.errors import Position, SourceError
from personalization.stages.sync.dates import instant_sql

NUMBER, INSTANT = "number", "instant"
MAX_BOUNDARY = 10_000
"""So many rows at the last cursor value are remembered, not to be loaded twice. More are deduplicated by key."""


@dataclass
class Cursor:
    """The largest value loaded so far, and what a batch has beyond it.

    Rows *at* the last value are read again, because others with the same value may have come since; those that were
    loaded before are recognised by a hash. A row whose cursor is missing or unreadable is always loaded: it can't be
    told to be old.

    Attributes
    ----------
    kind : str
        "number" or "instant"; empty until the first value was seen.
    value : str
        The largest value, in a spelling of ours.
    raw : str
        The same as the source wrote it, for a REST API's query.
    boundary : list of str
        Hashes of the loaded rows at `value`.
    """

    column: str
    at: Position
    kind: str = ""
    value: str = ""
    raw: str = ""
    boundary: list[str] = field(default_factory=list)

    def restore(self, state: dict[str, Any]) -> None:
        self.kind, self.value, self.raw = state["kind"], state["value"], state["raw"]
        self.boundary = list(state["boundary"])

    def state(self) -> dict[str, Any]:
        return {"kind": self.kind, "value": self.value, "raw": self.raw, "boundary": self.boundary}

    @property
    def typed_value(self) -> Decimal | datetime | None:
        """The last value for a database query; None when nothing was loaded yet."""
        if not self.value:
            return None
        return Decimal(self.value) if self.kind == NUMBER else datetime.fromisoformat(self.value).replace(tzinfo=UTC)

    def keys(self, values: pa.ChunkedArray) -> pa.ChunkedArray:
        """The values as decimals or instants, which can be compared; NULL where that is not possible.

        Raises
        ------
        SourceError
            No value of the column is a number or a date.
        """
        if pa.types.is_dictionary(values.type):
            values = pc.cast(values, values.type.value_type)
        kind = _kind_of(values.type)
        if kind == NUMBER:
            keys = _query("try_cast(value as decimal(38, 9))", values)
        elif kind == INSTANT:
            keys = values.cast(pa.timestamp("us"), safe=False)
        else:
            as_number = _query("try_cast(trim(value) as decimal(38, 9))", values)
            as_instant = _query(instant_sql("value", "UTC"), values).cast(pa.timestamp("us"))
            numbers, instants = (len(keys) - keys.null_count for keys in (as_number, as_instant))
            kind = self.kind or (NUMBER if numbers >= instants else INSTANT)
            keys = as_number if kind == NUMBER else as_instant
            if not (numbers or instants):
                self._refuse_unreadable(values)
                return keys
        if self.kind and kind != self.kind:
            raise SourceError(
                f"cursor column '{self.column}' had {self.kind}s so far and now has {kind}s",
                at=self.at,
                hint="name another cursor: then the whole table is loaded anew",
            )
        self.kind = kind
        return keys

    def is_new(self, keys: pa.ChunkedArray) -> np.ndarray:
        """Which rows are at or beyond the last value, or can't be told to be old."""
        if not self.value:
            return np.ones(len(keys), dtype=bool)
        last = pa.scalar(self._parse(self.value), keys.type)
        return pc.fill_null(pc.greater_equal(keys, last), True).to_numpy()

    def is_repeated(self, keys: pa.ChunkedArray, rows: pa.Table) -> np.ndarray:
        """Which rows are at the last value and were loaded before. `rows` are as they land, without position."""
        repeated = np.zeros(rows.num_rows, dtype=bool)
        if self.value and self.boundary:
            last = pa.scalar(self._parse(self.value), keys.type)
            at_last = pc.fill_null(pc.equal(keys, last), False).to_numpy()
            known = set(self.boundary)
            repeated[at_last] = [hash_ in known for hash_ in row_hashes(rows.filter(pa.array(at_last)))]
        return repeated

    def advance(self, keys: pa.ChunkedArray, raw: pa.ChunkedArray, rows: pa.Table) -> None:
        """Take over the largest of the keys, if it is larger than the last value. Arguments are of the same rows."""
        largest = pc.max(keys).as_py()
        if largest is None:
            return
        last = self._parse(self.value) if self.value else None
        if last is not None and largest < last:
            return
        at_largest = pc.fill_null(pc.equal(keys, pa.scalar(largest, keys.type)), False)
        hashes = row_hashes(rows.filter(at_largest)) if pc.sum(at_largest).as_py() <= MAX_BOUNDARY else []
        kept = self.boundary if largest == last else []
        self.boundary = sorted({*kept, *hashes})[:MAX_BOUNDARY]
        self.value = str(largest) if self.kind == NUMBER else largest.isoformat()
        self.raw = str(raw.filter(at_largest)[0].as_py())

    def _refuse_unreadable(self, values: pa.ChunkedArray) -> None:
        present = pc.drop_null(values)
        if len(present):
            raise SourceError(
                f"cursor column '{self.column}' has neither numbers nor dates, for example '{present[0].as_py()[:40]}'",
                at=self.at,
                hint="name a column that grows with every change, or write: replace without a cursor",
            )

    def _parse(self, text: str) -> Decimal | datetime:
        return Decimal(text) if self.kind == NUMBER else datetime.fromisoformat(text)


def row_hashes(rows: pa.Table) -> list[str]:
    """A hash of the values of each row."""
    engine = duckdb.connect()
    engine.register("loaded", rows)
    return [hash_ for (hash_,) in engine.execute("select md5(loaded::varchar) from loaded").fetchall()]


def _kind_of(kind: pa.DataType) -> str | None:
    if pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind):
        return NUMBER
    if pa.types.is_timestamp(kind) or pa.types.is_date(kind):
        return INSTANT
    return None


def _query(expression: str, values: pa.ChunkedArray) -> pa.ChunkedArray:
    engine = duckdb.connect()
    engine.execute("set timezone = 'UTC'")
    engine.register("numbered", pa.table({"value": values, "n": pa.array(np.arange(len(values)))}))
    return engine.sql(f"select {expression} as key from numbered order by n").to_arrow_table()["key"]  # noqa: S608
