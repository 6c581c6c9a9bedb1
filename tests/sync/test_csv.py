"""CSV files: bad rows are set aside with their line and reason, all others are read, and lines are true lines."""

from __future__ import annotations

import csv
import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from personalization.errors import SourceError
from personalization.stages.sync.csv_file import BAD_QUOTES, MAX_RECORD_LINES, CsvReader
from personalization.stages.sync.lines import NOT_UTF8

Row = tuple[int, list[str | None]]


def read(data: bytes, delimiter: str = ",", chunk_bytes: int = 1 << 20) -> tuple[list[Row], dict[int, str]]:
    """The rows of a file with their line numbers, and the reasons of rejected lines."""
    reader = CsvReader(io.BytesIO(data), "f.csv", delimiter, chunk_bytes=chunk_bytes)
    rows: list[Row] = []
    rejected: dict[int, str] = {}
    for batch in reader.batches(reader.columns):
        values = [list(record.values()) for record in batch.data.to_pylist()]
        rows.extend(zip(batch.rows.to_pylist(), values, strict=True))
        rejected.update({each.row: each.reason for each in batch.rejected})
    return rows, rejected


@pytest.mark.parametrize(
    ("body", "rows", "rejected"),
    [
        pytest.param(b"1,a\n2,b\n", [(2, ["1", "a"]), (3, ["2", "b"])], {}, id="plain"),
        pytest.param(b"1,a\r\n2,b\r\n", [(2, ["1", "a"]), (3, ["2", "b"])], {}, id="windows line ends"),
        pytest.param(b"1,a\n2,b", [(2, ["1", "a"]), (3, ["2", "b"])], {}, id="no line end at the end"),
        pytest.param(b"1,a\n\n2,b\n", [(2, ["1", "a"]), (4, ["2", "b"])], {}, id="blank lines count as lines"),
        pytest.param(b'1,"a\nb"\n2,c\n', [(2, ["1", "a\nb"]), (4, ["2", "c"])], {}, id="line break in quotes"),
        pytest.param(b'1,"a,""b"""\n', [(2, ["1", 'a,"b"'])], {}, id="quotes and delimiter in quotes"),
        pytest.param(b'1,5" pipe\n', [(2, ["1", '5" pipe'])], {}, id="a quote inside a bare value is itself"),
        pytest.param(b'1,""\n2,\n', [(2, ["1", None]), (3, ["2", None])], {}, id="empty is NULL"),
        pytest.param(b"1\n2,b\n", [(3, ["2", "b"])], {2: "1 columns where the header has 2"}, id="too few"),
        pytest.param(b"1,a,x,y\n2,b\n", [(3, ["2", "b"])], {2: "4 columns where the header has 2"}, id="too many"),
        pytest.param(b'"1,2","a",x\n', [], {2: "3 columns where the header has 2"}, id="too many, quoted"),
        pytest.param(b'1,"a"b\n2,c\n', [(3, ["2", "c"])], {2: BAD_QUOTES}, id="text after a closing quote"),
        pytest.param(b'1,"a\n2,b\n3,c\n', [(3, ["2", "b"]), (4, ["3", "c"])], {2: BAD_QUOTES}, id="never closed"),
        pytest.param(
            b'1,"a\n2,"b"\n3,c\n', [(3, ["2", "b"]), (4, ["3", "c"])], {2: BAD_QUOTES}, id="closed by another"
        ),
        pytest.param(
            b'1,"a\n2,"b\nc"\n3,d\n', [(3, ["2", "b\nc"]), (5, ["3", "d"])], {2: BAD_QUOTES}, id="then a good one"
        ),
        pytest.param(b"1,\xe9\n2,b\n", [(3, ["2", "b"])], {2: NOT_UTF8}, id="latin-1"),
        pytest.param(b"1,a\rb\n2,b\n", [(3, ["2", "b"])], {2: BAD_QUOTES}, id="stray carriage return"),
    ],
)
@pytest.mark.parametrize("chunk_bytes", [1 << 20, 7])
def test_rows_lines_and_reasons(body: bytes, rows: list[Row], rejected: dict[int, str], chunk_bytes: int) -> None:
    assert read(b"id,name\n" + body, chunk_bytes=chunk_bytes) == (rows, rejected)


def test_line_numbers_after_a_bad_row_with_quoted_line_breaks_before_it() -> None:
    rows, rejected = read(b'id,name\n1,"a\n\nb"\n2\n3,c\n')
    assert [line for line, _ in rows] == [2, 6]
    assert rejected == {5: "1 columns where the header has 2"}


def test_a_byte_order_mark_is_not_part_of_the_first_name() -> None:
    assert CsvReader(io.BytesIO(b"\xef\xbb\xbfid,name\n1,a\n"), "f.csv").columns == ["id", "name"]


@pytest.mark.parametrize("delimiter", [";", "\t", "|"])
def test_other_delimiters(delimiter: str) -> None:
    data = f"id{delimiter}name\n1{delimiter}a,b\n".encode()
    assert read(data, delimiter) == ([(2, ["1", "a,b"])], {})


def test_a_header_without_rows_is_an_empty_table() -> None:
    assert read(b"id,name\n") == ([], {})
    assert read(b"id,name") == ([], {})


def test_a_value_may_have_many_lines_but_a_quote_is_not_waited_for_forever() -> None:
    long = "x\n" * (MAX_RECORD_LINES - 1)
    rows, rejected = read(f'id,name\n1,"{long}"\n2,b\n'.encode())
    assert (rows[0][1], rejected) == (["1", long], {})
    too_long = "x\n" * (MAX_RECORD_LINES + 1)
    rows, rejected = read(f'id,name\n1,"{too_long}"\n2,b\n'.encode(), chunk_bytes=64)
    assert rejected[2] == BAD_QUOTES
    assert rows[-1][1] == ["2", "b"]


def test_utf16_is_refused_with_what_to_do() -> None:
    with pytest.raises(SourceError, match=r"f\.csv is UTF-16 text\n  hint: export it as UTF-8"):
        read("id,name\n1,a\n".encode("utf-16"))


def test_a_header_that_is_not_utf8_is_refused() -> None:
    with pytest.raises(SourceError, match=r"f\.csv: the header is not UTF-8 text"):
        read("größe,name\n".encode("latin-1"))


def test_an_empty_first_line_is_refused() -> None:
    with pytest.raises(SourceError, match=r"f\.csv: the first line is empty, it must name the columns"):
        read(b"\nid,name\n")


cells = st.text(st.characters(codec="utf-8", exclude_characters="\x00\r"), min_size=1, max_size=6)


@given(st.lists(st.tuples(cells, cells), max_size=8), st.integers(min_value=1, max_value=40))
def test_whatever_a_csv_writer_writes_is_read_back(records: list[tuple[str, str]], chunk_bytes: int) -> None:
    text = io.StringIO()
    writer = csv.writer(text, quoting=csv.QUOTE_ALL, lineterminator="\n")
    writer.writerows([("id", "name"), *records])
    rows, rejected = read(text.getvalue().encode(), chunk_bytes=chunk_bytes)
    assert ([tuple(values) for _, values in rows], rejected) == (records, {})
    lines = text.getvalue().split("\n")
    for line, values in rows:
        assert lines[line - 1].startswith('"' + str(values[0]).replace('"', '""').split("\n")[0])
