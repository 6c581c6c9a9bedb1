"""Whether a value can be read as a date or time: as an Ibis expression, with the formats that dbt then converts."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import ibis
import ibis.expr.types as ir

EARLIEST, LATEST = datetime(1900, 1, 1), datetime(2100, 1, 1)  # noqa: DTZ001  (compared with UTC without a zone)


@ibis.udf.scalar.builtin(name="try_strptime")
def _read_local(text: str, formats: list[str]) -> datetime:  # type: ignore[empty-body]
    """DuckDB's function, for formats without a zone."""


@ibis.udf.scalar.builtin(name="try_strptime")
def _read_zoned(text: str, formats: list[str]) -> ibis.dtype("timestamp('UTC')"):  # type: ignore[valid-type]
    """DuckDB's function, for formats with a zone."""


def as_time(value: ir.Value, formats: Sequence[str]) -> ir.TimestampValue:
    """A timestamp, to about a day (local time is not converted); NULL where the value is in none of the formats."""
    if value.type().is_timestamp():
        return value.cast("timestamp")
    text = value.cast("string").strip()
    zoned = [format_ for format_ in formats if "%z" in format_]
    local = [format_ for format_ in formats if "%z" not in format_]
    with_offset = text.re_replace("([0-9])Z$", r"\1+00:00")
    return ibis.coalesce(_read_zoned(with_offset, zoned).cast("timestamp"), _read_local(text, local))
