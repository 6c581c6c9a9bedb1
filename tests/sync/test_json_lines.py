"""JSONL files and JSON records: values become text inside the engine, lines that are no records are set aside."""

from __future__ import annotations

import io

import pyarrow as pa
import pytest

from personalization.stages.sync.json_records import NOT_AN_OBJECT, NOT_JSON, JsonRecords, read_json_lines
from personalization.stages.sync.lines import NOT_UTF8

DATA = b"""\xef\xbb\xbf{"id": 1.50, "name": "x", "address": {"city": "K\xc3\xb6ln"}}\r

{"id": 12345678901234567890123, "extra": true}
[1]
{"id":
"text"
{"id": "\xff"}
{"id": null, "name": null}"""


@pytest.mark.parametrize("chunk_bytes", [1 << 20, 11])
def test_rows_lines_and_reasons(chunk_bytes: int) -> None:
    records = JsonRecords(["id", "name", "$.address.city"])
    batches = list(read_json_lines(io.BytesIO(DATA), "f.jsonl", records, chunk_bytes=chunk_bytes))
    rows = [tuple(row.values()) for batch in batches for row in batch.data.to_pylist()]
    lines = [line for batch in batches for line in batch.rows.to_pylist()]
    rejected = {each.row: each.reason for batch in batches for each in batch.rejected}
    assert rows == [("1.5", "x", "Köln"), ("12345678901234567890123", None, None), (None, None, None)]
    assert lines == [1, 3, 8]
    assert rejected == {4: NOT_AN_OBJECT, 5: NOT_JSON, 6: NOT_AN_OBJECT, 7: NOT_UTF8}


def test_it_knows_which_names_occurred() -> None:
    records = JsonRecords(["id", "gone"])
    records.columns_of(pa.array(['{"id": 1, "b": 2}', '{"id": null, "a.c": 2}']))
    assert records.columns == ["a.c", "b", "id"]
    assert records.seen == {"id"}


def test_names_with_dots_and_quotes() -> None:
    records = JsonRecords(["a.c", 'q"q'])
    table = records.columns_of(pa.array(['{"a.c": "dot", "q\\"q": "quote"}']))
    assert table.to_pylist() == [{"a.c": "dot", 'q"q': "quote"}]
