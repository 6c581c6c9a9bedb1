"""JSON records as Arrow columns of text, taken apart inside DuckDB: lines of a JSONL file, or pages of a REST API."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO

import duckdb
import numpy as np
import pyarrow as pa

from personalization.stages.sync.batches import Batch, Rejected
from personalization.stages.sync.lines import CHUNK_BYTES, NOT_UTF8, as_text, blank, line_starts, read_chunks, slices

NOT_JSON = "not valid JSON"
NOT_AN_OBJECT = "valid JSON, but not an object with named values"


class JsonRecords:
    """Takes records apart; remembers the names it has seen, and which of the wanted ones occurred in any record.

    A wanted name is a key of the record, or a path such as `$.address.city` to a value further inside.
    """

    def __init__(self, wanted: list[str]) -> None:
        self._wanted = wanted
        self._engine = duckdb.connect()
        self.columns: list[str] = []
        self.seen: set[str] = set()

    def columns_of(self, records: pa.Array) -> pa.Table:
        """The wanted values of each record as text; NULL where a record does not have them.

        Parameters
        ----------
        records : pa.Array
            JSON objects as text.
        """
        paths = {f"p{i}": _path(name) for i, name in enumerate(self._wanted)}
        values = ", ".join(f"json_extract_string(record, ${parameter}) as {parameter}" for parameter in paths)
        with self._registered(records):
            found = self._engine.sql(
                f"select {values} from records order by n",  # noqa: S608  (names of parameters only)
                params=paths,
            ).to_arrow_table()
            self._note_names(paths)
        return found.rename_columns(self._wanted)

    def problems_of(self, records: pa.Array) -> dict[int, str]:
        """Why texts are not records, by their index; the others are absent."""
        with self._registered(records):
            rows = self._engine.execute(
                "select n, case when json_valid(record) then ? else ? end from records"
                " where not json_valid(record) or json_type(record) <> 'OBJECT'",
                [NOT_AN_OBJECT, NOT_JSON],
            ).fetchall()
        return dict(rows)

    @contextmanager
    def _registered(self, records: pa.Array) -> Iterator[None]:
        self._engine.register("records", pa.table({"record": records, "n": pa.array(np.arange(len(records)))}))
        try:
            yield
        finally:
            self._engine.unregister("records")

    def _note_names(self, paths: dict[str, str]) -> None:
        missing = {name: path for name, path in zip(self._wanted, paths.values(), strict=True) if name not in self.seen}
        for name, path in missing.items():
            if self._engine.execute("select bool_or(json_exists(record, ?)) from records", [path]).fetchall()[0][0]:
                self.seen.add(name)
        keys = self._engine.execute("select distinct unnest(json_keys(record)) as k from records order by k").fetchall()
        self.columns.extend(key for (key,) in keys if key not in self.columns)


def read_json_lines(
    file: BinaryIO, name: str, records: JsonRecords, *, chunk_bytes: int = CHUNK_BYTES
) -> Iterator[Batch]:
    """The records of a JSONL file, one a line; `rows` are line numbers. Lines that are no records are set aside."""
    carry, line = b"", 1
    chunks = read_chunks(file, name, chunk_bytes)
    done = False
    while not done:
        chunk = next(chunks, b"")
        done = not chunk
        data = carry + chunk
        whole = len(data) if done else data.rfind(b"\n") + 1
        carry = data[whole:]
        if not whole:
            continue
        starts = line_starts(data[:whole])
        text, readable = as_text(slices(data[:whole], starts))
        numbers = np.arange(line, line + len(starts) - 1)
        line += len(starts) - 1
        empty = blank(text) & readable
        problems = records.problems_of(text) | dict.fromkeys(np.flatnonzero(~readable).tolist(), NOT_UTF8)
        good = np.ones(len(text), dtype=bool)
        good[list(problems)] = False
        rejected = tuple(Rejected(int(numbers[i]), problems[i]) for i in sorted(problems) if not empty[i])
        yield Batch(
            records.columns_of(text.filter(pa.array(good))), pa.array(numbers[good], pa.int64()), name, rejected
        )


def _path(name: str) -> str:
    return name if name.startswith("$.") else '$."' + name.replace('"', '\\"') + '"'
