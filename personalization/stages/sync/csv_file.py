"""CSV: every column as text, bad rows set aside with their line number and a reason, the others loaded.

Arrow parses the rows, but stops at the first bad one and says nothing about lines. So rows are found and checked
first, on whole arrays: where each begins (a quoted value may hold line breaks), encoding, quotes, number of columns.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import csv as arrow_csv

from personalization.errors import SourceError
from personalization.stages.sync.batches import Batch, Rejected
from personalization.stages.sync.lines import CHUNK_BYTES, NOT_UTF8, as_text, blank, line_starts, read_chunks, slices

MAX_RECORD_LINES = 500
"""A quote that is not closed within so many lines is taken as a mistake in its own line, not as a long value."""

BAD_QUOTES = "bad quoting: a quote is not closed, or text follows a closing quote"


class CsvReader:
    """One CSV file (RFC 4180, UTF-8, any one-character delimiter). The first line names the columns.

    Raises
    ------
    SourceError
        The header can't be read, or names a column twice.
    """

    def __init__(self, file: BinaryIO, name: str, delimiter: str = ",", *, chunk_bytes: int = CHUNK_BYTES) -> None:
        self._chunks = read_chunks(file, name, chunk_bytes)
        self._name = name
        self._delimiter = delimiter
        self._grammar = _Grammar(delimiter)
        self._carry = b""
        self._line = 1
        self.columns = self._read_header()

    def batches(self, wanted: list[str]) -> Iterator[Batch]:
        """The rows, with the `wanted` columns as text. An empty value is NULL; `rows` are line numbers."""
        unique = [name if self.columns.count(name) == 1 else f"{name}#{i}" for i, name in enumerate(self.columns)]
        done = False
        while not done:
            chunk = next(self._chunks, b"")
            done = not chunk
            data = self._carry + chunk
            # rows are only looked for in whole lines; the rest waits for the next chunk
            whole = len(data) if done else data.rfind(b"\n") + 1
            records = self._grammar.records(data[:whole], last=done)
            self._carry = data[records.consumed :]
            if len(records.lines):
                yield self._parse(records, unique, wanted)
            self._line += records.consumed_lines

    def _read_header(self) -> list[str]:
        """The names in the first record, which is taken off the data."""
        while b"\n" not in self._carry and (chunk := next(self._chunks, b"")):
            self._carry += chunk
        line, newline, rest = self._carry.partition(b"\n")
        try:
            names = [name.strip() for name in next(csv.reader([line.decode("utf-8")], delimiter=self._delimiter), [])]
        except UnicodeDecodeError:
            raise SourceError(f"{self._name}: the header is {NOT_UTF8}", hint="export the file as UTF-8") from None
        if not any(names):
            raise SourceError(f"{self._name}: the first line is empty, it must name the columns")
        self._carry, self._line = rest, 1 + len(newline)
        return names

    def _parse(self, records: _Records, columns: list[str], wanted: list[str]) -> Batch:
        text, readable = as_text(records.text)
        lines = records.lines + self._line
        empty = blank(text) & readable
        well_quoted = self._grammar.well_quoted(text)
        found = self._grammar.count_columns(text)
        good = readable & ~empty & well_quoted & (found == len(columns))
        rejected = []
        for index in np.flatnonzero(~good & ~empty):
            if not readable[index]:
                reason = NOT_UTF8
            elif not well_quoted[index]:
                reason = BAD_QUOTES
            else:
                reason = f"{found[index]} columns where the header has {len(columns)}"
            rejected.append(Rejected(int(lines[index]), reason))
        kept = text.filter(pa.array(good)) if not good.all() else text
        table = self._to_columns(kept, columns, wanted)
        return Batch(table, pa.array(lines[good], pa.int64()), self._name, tuple(rejected))

    def _to_columns(self, text: pa.LargeStringArray, columns: list[str], wanted: list[str]) -> pa.Table:
        string_columns = pa.schema([(name, pa.string()) for name in wanted])
        if not len(text):
            return string_columns.empty_table()
        start, end = text.offset, text.offset + len(text)
        offsets = np.frombuffer(text.buffers()[1], dtype=np.int64)
        data = text.buffers()[2].slice(offsets[start], offsets[end] - offsets[start])
        table = arrow_csv.read_csv(
            pa.BufferReader(data),
            read_options=arrow_csv.ReadOptions(column_names=columns, block_size=max(data.size, 1 << 20)),
            parse_options=arrow_csv.ParseOptions(delimiter=self._delimiter, newlines_in_values=True),
            convert_options=arrow_csv.ConvertOptions(
                column_types=string_columns,
                include_columns=wanted,
                null_values=[""],
                strings_can_be_null=True,
                quoted_strings_can_be_null=True,
            ),
        )
        if table.num_rows != len(text):
            raise SourceError(f"{self._name}: {len(text)} rows were found but {table.num_rows} were read")
        return table


@dataclass(frozen=True)
class _Records:
    """Rows found in a piece of a file: their text, the 0-based line each begins at, and how much was used up."""

    text: pa.LargeBinaryArray
    lines: np.ndarray
    consumed: int
    consumed_lines: int


class _Grammar:
    """What a well-formed row looks like, for one delimiter."""

    def __init__(self, delimiter: str) -> None:
        self._delimiter = delimiter
        d = re.escape(delimiter)
        quoted, bare = '"(?:[^"]|"")*"', rf'[^"{d}\r\n][^{d}\r\n]*'
        self._value = f"{quoted}|{bare}"
        row = rf"(?:{self._value})?(?:{d}(?:{self._value})?)*\r?\n?"
        self._row = f"^{row}$"
        self._compiled = re.compile(row.encode())

    def records(self, data: bytes, *, last: bool) -> _Records:
        """Split whole lines into rows. Unless it is the `last` piece, an open row at its end is left for the next."""
        if not data:
            return _Records(pa.array([], pa.large_binary()), np.array([], dtype=np.int64), 0, 0)
        starts = line_starts(data)
        within = self._continuation_lines(data, starts, last=last)
        if within is None:
            return _Records(slices(data, starts), np.arange(len(starts) - 1), len(data), len(starts) - 1)
        continues, end = within
        first = np.flatnonzero(~continues[:end])
        return _Records(
            slices(data, np.append(starts[first], starts[end])), first.astype(np.int64), int(starts[end]), end
        )

    def _continuation_lines(self, data: bytes, starts: np.ndarray, *, last: bool) -> tuple[np.ndarray, int] | None:
        """Which lines continue the row before them, and how many lines are complete; None when every line is a row.

        A line with an odd number of quotes opens or closes a value with line breaks, unless it is a row by itself
        (`5" pipe`). When what it would open makes no row either, the quote is a mistake of that line alone, and the
        lines after it are not lost with it.
        """
        quotes = np.frombuffer(data, dtype=np.uint8) == ord('"')
        if not quotes.any():
            return None
        odd = np.flatnonzero(np.add.reduceat(quotes, starts[:-1], dtype=np.int64) % 2)
        continues = np.zeros(len(starts) - 1, dtype=bool)
        position = 0
        while position < len(odd):
            opening = odd[position]
            position += 1
            if self._compiled.fullmatch(data, starts[opening], starts[opening + 1]):
                continue
            if position == len(odd):
                if not last and len(starts) - 1 - opening <= MAX_RECORD_LINES:
                    return continues, int(opening)
                continue
            closing = odd[position]
            if closing - opening > MAX_RECORD_LINES:
                continue
            if self._compiled.fullmatch(data, starts[opening], starts[closing + 1]):
                continues[opening + 1 : closing + 1] = True
                position += 1
        return continues, len(continues)

    def well_quoted(self, text: pa.LargeStringArray) -> np.ndarray:
        suspicious = pc.match_substring_regex(text, pattern=r'"|\r[^\n]').to_numpy(zero_copy_only=False)
        well = np.ones(len(text), dtype=bool)
        if suspicious.any():
            some = text.filter(pa.array(suspicious))
            well[suspicious] = pc.match_substring_regex(some, pattern=self._row).to_numpy(zero_copy_only=False)
        return well

    def count_columns(self, text: pa.LargeStringArray) -> np.ndarray:
        found = pc.count_substring(text, self._delimiter).to_numpy(zero_copy_only=False).copy()
        quoted = pc.match_substring(text, '"').to_numpy(zero_copy_only=False)
        if quoted.any():
            # without their values rows are delimiters only, none of which stands inside quotes
            bare = pc.replace_substring_regex(text.filter(pa.array(quoted)), pattern=self._value, replacement="")
            found[quoted] = pc.count_substring(bare, self._delimiter).to_numpy(zero_copy_only=False)
        return found + 1
