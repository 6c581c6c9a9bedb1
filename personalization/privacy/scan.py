"""The byte scan: looks for values in every file below a folder, through compression, containers and databases.

It is the proof of an erasure, so it fails closed: a file that can't be read is a finding too.
"""

from __future__ import annotations

import base64
import bz2
import gzip
import io
import lzma
import re
import sqlite3
import zipfile
import zlib
from collections.abc import Collection, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from personalization.privacy.needles import Needle, Pattern, patterns

DEEPEST = 4
"""So many containers within containers are opened."""

_ZLIB = re.compile(rb"\x78[\x01\x5e\x9c\xda]")
_GZIP = re.compile(rb"\x1f\x8b\x08")
_BASE64 = re.compile(rb"[A-Za-z0-9+/_-]{64,}={0,2}")
_ZLIB_HEADS = (b"\x78\x01", b"\x78\x5e", b"\x78\x9c", b"\x78\xda")
_COMPRESSED = (b"\x1f\x8b\x08", *_ZLIB_HEADS, b"BZh", b"\xfd7zXZ\x00", b"PK\x03\x04")
_LONGEST = 1 << 30  # of what one container unpacks to


@dataclass(frozen=True, order=True)
class Hit:
    """A value that was found.

    Attributes
    ----------
    path : str
        The file, relative to the folder that was scanned.
    inside : str
        Where in it: a column, a compressed stream; empty for its plain bytes.
    kind, encoding : str
        What was found, in which form. The value itself is not shown.
    """

    path: str
    inside: str
    kind: str
    encoding: str

    def __str__(self) -> str:
        return f"{self.path}{f' ({self.inside})' if self.inside else ''}: {self.kind} in {self.encoding}"


@dataclass(frozen=True)
class Scan:
    """What a scan looked at and found."""

    files: int
    bytes: int
    hits: tuple[Hit, ...]


def scan(folder: Path, needles: Iterable[Needle], *, without: Collection[Path] = ()) -> Scan:
    """Look for needles in all files below a folder.

    Parameters
    ----------
    without : collection of Path
        Files and folders that are not looked at.

    Returns
    -------
    Scan
        Hits are ordered by file; a file that can't be read is a hit of the kind `unreadable`.
    """
    searched = _Searched(patterns(needles))
    files = size = 0
    hits: set[Hit] = set()
    for path in sorted(folder.rglob("*")):
        if path.is_symlink() or not path.is_file() or any(path == skip or skip in path.parents for skip in without):
            continue
        name = str(path.relative_to(folder))
        files += 1
        try:
            size += path.stat().st_size
            hits |= {Hit(name, inside, kind, encoding) for inside, kind, encoding in searched.in_file(path)}
        except FileNotFoundError:
            continue  # it went while the others were looked at
        except Exception as error:
            hits.add(Hit(name, type(error).__name__, "unreadable", "its own format"))
    return Scan(files, size, tuple(sorted(hits)))


class _Searched:
    """The patterns, and all ways into a file."""

    def __init__(self, wanted: list[Pattern]) -> None:
        self._patterns = wanted
        texts = {pattern.content for pattern in wanted}
        self._sql = "|".join(sorted(re.escape(text.decode()) for text in texts if text.isascii() and b"\0" not in text))

    def in_file(self, path: Path) -> Iterator[tuple[str, str, str]]:
        content = path.read_bytes()
        yield from self.in_bytes(content, "", DEEPEST)
        if content[:16] == b"SQLite format 3\0":
            yield from self._in_sqlite(path)
        elif content[8:12] == b"DUCK":
            yield from self._in_duckdb(path)
        elif content[:4] == b"PAR1":
            yield from self._in_parquet(content)

    def in_bytes(self, content: bytes, inside: str, depth: int) -> Iterator[tuple[str, str, str]]:
        """What plain bytes hold, and what can be unpacked from them."""
        for pattern in self._patterns:
            if pattern.content in content:
                yield inside, pattern.kind, pattern.encoding
        if depth:
            for kind, unpacked in _unpacked(content):
                yield from self.in_bytes(unpacked, f"{inside}, {kind}" if inside else kind, depth - 1)

    def _in_parquet(self, content: bytes) -> Iterator[tuple[str, str, str]]:
        import pyarrow.parquet as pq

        file = pq.ParquetFile(io.BytesIO(content))
        for batch in file.iter_batches(batch_size=65_536):
            for name, column in zip(batch.schema.names, batch.columns, strict=True):
                if _may_hold_text(column.type):
                    yield from self._in_values(_distinct(column), f"column {name}")

    def _in_values(self, values: Iterable[Any], inside: str) -> Iterator[tuple[str, str, str]]:
        """Distinct values of a column together, so that a value within a longer text is found as well."""
        distinct = {_as_bytes(value) for value in values if value is not None}
        if distinct:
            yield from self.in_bytes(b"\n".join(sorted(distinct)), inside, 2)

    def _in_sqlite(self, path: Path) -> Iterator[tuple[str, str, str]]:
        """Values, which in the file itself can be split over pages."""
        with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=30)) as database:
            database.text_factory = bytes
            names = database.execute("select name from sqlite_schema where type = 'table'").fetchall()
            for (name,) in names:
                table = name.decode()
                quoted = table.replace('"', '""')
                rows = database.execute(f'select * from "{quoted}"')  # noqa: S608  (quoted)
                columns = [column[0] for column in rows.description]
                while some := rows.fetchmany(5_000):
                    for number, column in enumerate(columns):
                        texts = (row[number] for row in some if isinstance(row[number], bytes))
                        yield from self._in_values(texts, f"{table}.{column}")

    def _in_duckdb(self, path: Path) -> Iterator[tuple[str, str, str]]:
        """Values, which in the file itself are compressed. The database looks for them; only what it finds is read."""
        import duckdb

        from personalization.privacy.relations import quoted, tables

        with duckdb.connect(str(path), read_only=True) as engine:
            for relation in tables(engine):
                names = [quoted(name) for name, _ in relation.columns]
                row = f"concat_ws(chr(10), {', '.join(f'{name}::varchar' for name in names)})"
                # a table at a time: to build so large an expression takes longer than to look for it
                found = engine.execute(
                    f"select {', '.join(names)} from {relation.sql}"  # noqa: S608  (quoted)
                    f" where regexp_matches({row}, $sought) limit 1000",
                    {"sought": self._sql},
                ).fetchall()
                for number, (name, _) in enumerate(relation.columns):
                    yield from self._in_values((values[number] for values in found), f"{relation.name}.{name}")


def _unpacked(content: bytes) -> Iterator[tuple[str, bytes]]:
    if content[:4] == b"PK\x03\x04":
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            for name in archive.namelist():
                yield f"zip member {name}", archive.read(name)
        return
    if content[:3] == b"BZh":
        yield from _whole("bzip2", bz2.decompress, content)
    if content[:6] == b"\xfd7zXZ\x00":
        yield from _whole("xz", lzma.decompress, content)
    if content[:3] == b"\x1f\x8b\x08":
        yield from _whole("gzip", gzip.decompress, content)
    for kind, magic, window in (("gzip", _GZIP, 31), ("zlib", _ZLIB, 15)):
        for match in magic.finditer(content):
            unpacked = _inflated(content, match.start(), window)
            if unpacked:
                yield f"{kind} at byte {match.start()}", unpacked
    for match in _BASE64.finditer(content):
        decoded = _decoded(match.group())
        if decoded.startswith(_COMPRESSED):
            yield f"base64 at byte {match.start()}", decoded


def _whole(kind: str, unpack: Any, content: bytes) -> Iterator[tuple[str, bytes]]:
    try:
        yield kind, unpack(content)
    except (OSError, EOFError, ValueError, zlib.error, lzma.LZMAError):
        return  # it only began like one


def _inflated(content: bytes, start: int, window: int) -> bytes:
    """What a stream that begins there unpacks to; nothing when none does."""
    stream = zlib.decompressobj(window)
    try:
        if not stream.decompress(content[start : start + 4096], 64) and len(content) - start > 4096:
            return b""
        stream = zlib.decompressobj(window)
        unpacked = stream.decompress(memoryview(content)[start:], _LONGEST)
    except zlib.error:
        return b""
    return unpacked if len(unpacked) >= 16 else b""


def _decoded(coded: bytes) -> bytes:
    plain = coded.rstrip(b"=").translate(bytes.maketrans(b"-_", b"+/"))
    try:
        return base64.b64decode(plain + b"=" * (-len(plain) % 4))
    except ValueError:
        return b""


def _distinct(column: Any) -> list[Any]:
    try:
        return list(column.unique().to_pylist())
    except NotImplementedError:  # of nested values
        return list(column.to_pylist())


def _may_hold_text(kind: Any) -> bool:
    return any(word in str(kind) for word in ("string", "binary", "utf8"))


def _as_bytes(value: Any) -> bytes:
    if isinstance(value, bytes):
        return value
    return (value if isinstance(value, str) else repr(value)).encode("utf-8", "surrogatepass")
