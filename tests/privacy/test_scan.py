"""The byte scan finds values in every encoding and container (invariants 41, 44): it is what erasure is proven by."""

from __future__ import annotations

import base64
import bz2
import gzip
import io
import json
import lzma
import pickle
import sqlite3
import tarfile
import zipfile
import zlib
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from urllib.parse import quote

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from personalization.privacy.needles import Needle
from personalization.privacy.scan import scan

VALUE = "anna.kanarek+neu@example.org"
NEEDLES = [Needle("email", VALUE)]


def padded(content: bytes) -> bytes:
    return b"\x00\x01 before " + content + b" after \xff"


def zipped(content: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("inner.txt", content)
    return buffer.getvalue()


def tarred(content: bytes) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        entry = tarfile.TarInfo("inner.txt")
        entry.size = len(content)
        archive.addfile(entry, io.BytesIO(content))
    return buffer.getvalue()


ENCODED = {
    "utf-8": VALUE.encode(),
    "upper case": VALUE.upper().encode(),
    "utf-16-le": VALUE.encode("utf-16-le"),
    "utf-16-be": VALUE.encode("utf-16-be"),
    "numpy text": np.array([VALUE]).tobytes(),
    **{f"base64, offset {n}": base64.b64encode(b"x" * n + VALUE.encode() + b"rest of it") for n in range(3)},
    **{f"base64url, offset {n}": base64.urlsafe_b64encode(b"\xfb" * n + VALUE.encode() + b"\xff") for n in range(3)},
    "base64 of utf-16": base64.b64encode(VALUE.encode("utf-16-le")),
    "hex": VALUE.encode().hex().encode(),
    "HEX": VALUE.encode().hex().upper().encode(),
    "url": quote(VALUE, safe="").encode(),
    "url, lower case": quote(VALUE, safe="").lower().encode(),
    "html": VALUE.replace("@", "&#64;").encode(),
}
CONTAINERS: dict[str, Callable[[bytes], bytes]] = {
    "zlib": zlib.compress,
    "gzip": gzip.compress,
    "bzip2": bz2.compress,
    "xz": lzma.compress,
    "zip": zipped,
    "tar.gz": tarred,
    "pickle": lambda content: pickle.dumps({"text": content.decode()}),
    "zlib in pickle": lambda content: pickle.dumps(zlib.compress(content)),
    "base64 of zlib in JSON": lambda content: json.dumps(
        {"state": base64.b64encode(zlib.compress(content + b"filler" * 40)).decode()}
    ).encode(),
    "gzip of gzip": lambda content: gzip.compress(gzip.compress(content)),
}


def found(folder: Path) -> bool:
    return any(hit.kind == "email" for hit in scan(folder, NEEDLES).hits)


@pytest.mark.parametrize("name", ENCODED)
def test_every_encoding(tmp_path: Path, name: str) -> None:
    (tmp_path / "file").write_bytes(padded(ENCODED[name]))
    assert found(tmp_path)


@pytest.mark.parametrize("name", CONTAINERS)
def test_every_container(tmp_path: Path, name: str) -> None:
    (tmp_path / "file").write_bytes(CONTAINERS[name](b"some text and " + VALUE.encode() + b" and more"))
    assert found(tmp_path)


@pytest.mark.parametrize("name", CONTAINERS)
def test_another_value_is_not_found(tmp_path: Path, name: str) -> None:
    (tmp_path / "file").write_bytes(CONTAINERS[name](b"some text and anna.kanarek@example.org and more"))
    assert scan(tmp_path, NEEDLES).hits == ()


@pytest.mark.parametrize("codec", ["snappy", "zstd", "gzip", "none"])
@pytest.mark.parametrize("shape", ["text", "within", "list", "struct", "bytes"])
def test_parquet(tmp_path: Path, codec: str, shape: str) -> None:
    filler = [f"person-{number}@example.net" for number in range(1000)]
    columns = {
        "text": pa.array([*filler, VALUE]),
        "within": pa.array([*filler, f"wrote to {VALUE} twice"]),
        "list": pa.array([[text] for text in [*filler, VALUE]]),
        "struct": pa.array([{"deep": {"er": text}} for text in [*filler, VALUE]]),
        "bytes": pa.array([text.encode() for text in [*filler, VALUE]], pa.binary()),
    }
    path = tmp_path / "rows.parquet"
    pq.write_table(pa.table({"column": columns[shape]}), path, compression=codec)
    assert found(tmp_path)
    pq.write_table(pa.table({"column": columns[shape].slice(0, 1000)}), path, compression=codec)
    assert not found(tmp_path)


def test_sqlite_values_that_are_split_over_pages(tmp_path: Path) -> None:
    path = tmp_path / "storage.db"
    with closing(sqlite3.connect(path)) as database:
        database.execute("pragma page_size = 512")
        database.execute("create table events (event text)")
        for pad in range(0, 1024, 8):  # one of these has the value across a page's end
            database.execute("insert into events values (?)", ["x" * (4000 + pad) + VALUE + "y" * 4000])
        database.commit()
        assert found(tmp_path)
        database.execute("pragma secure_delete = on")
        database.execute("delete from events")
        database.commit()
        database.execute("vacuum")
    assert not found(tmp_path)


def test_duckdb_values_are_found_though_the_file_is_compressed(tmp_path: Path) -> None:
    path = tmp_path / "warehouse.duckdb"
    with duckdb.connect(str(path)) as engine:
        engine.execute("create schema s; create table s.people (who struct(mail varchar), n bigint)")
        engine.execute("insert into s.people select {'mail': 'u' || n || '@example.net'}, n from range(20000) t(n)")
        engine.execute("insert into s.people values ({'mail': $value}, 1)", {"value": VALUE})
    assert found(tmp_path)


def test_a_file_that_cannot_be_read_is_a_finding(tmp_path: Path) -> None:
    (tmp_path / "broken.duckdb").write_bytes(b"\0" * 8 + b"DUCK" + b"\0" * 100)
    (tmp_path / "broken.parquet").write_bytes(b"PAR1 and nothing else")
    hits = scan(tmp_path, NEEDLES).hits
    assert {(hit.path, hit.kind) for hit in hits} == {("broken.duckdb", "unreadable"), ("broken.parquet", "unreadable")}


def test_what_is_left_out_is_not_looked_at_and_what_is_found_is_not_shown(tmp_path: Path) -> None:
    (tmp_path / "kept").mkdir()
    (tmp_path / "kept" / "file").write_text(VALUE)
    (tmp_path / "file").write_text(VALUE)
    result = scan(tmp_path, NEEDLES, without=[tmp_path / "kept"])
    assert [str(hit) for hit in result.hits] == ["file: email in utf-8"]
    assert (result.files, result.bytes) == (1, len(VALUE))
    assert VALUE not in repr(result) + repr(NEEDLES)
