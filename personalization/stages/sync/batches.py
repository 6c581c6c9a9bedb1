"""What every reader yields: some mapped source columns as an Arrow table, with the position of each row."""

from __future__ import annotations

from dataclasses import dataclass

import pyarrow as pa


@dataclass(frozen=True)
class Rejected:
    """A row that can't even be taken apart. Its text is not kept: it may hold an address."""

    row: int
    reason: str


@dataclass(frozen=True)
class Batch:
    """Rows of one source table.

    Attributes
    ----------
    data : pa.Table
        The needed source columns, by their source names.
    rows : pa.Array
        INT64: line number (text files) or number of the record in its file or result, from 1.
    origin : str
        Which file, table or endpoint: `_source` becomes `<source name>/<origin>`.
    rejected : tuple of Rejected
        Rows of the same stretch of the source that are not in `data`.
    """

    data: pa.Table
    rows: pa.Array
    origin: str
    rejected: tuple[Rejected, ...] = ()
