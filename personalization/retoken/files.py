"""Files under the token key in use: Parquet, texts, SQLite storage of other programs. Each is the old file or the new.

What is done already holds no old token and is left alone, so a crash anywhere is mended by doing it again.
"""

from __future__ import annotations

import gzip
import os
import re
import shutil
import sqlite3
from collections.abc import Collection, Iterator
from contextlib import closing, suppress
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from personalization.ledger.retoken import TOKENS, Renaming

_TOKEN = re.compile(TOKENS.pattern.encode())
_SQLITE = b"SQLite format 3\0"
_GZIP = b"\x1f\x8b"


@dataclass
class Rewritten:
    """How many files changed, and which ones hold old tokens in a form that can't be rewritten."""

    parquet: int = 0
    texts: int = 0
    sqlite_values: int = 0
    left: list[Path] = field(default_factory=list)


def rewrite_files(folder: Path, renaming: Renaming, current_key: str, *, without: Collection[Path]) -> Rewritten:
    """Put every file below a folder under the key in use.

    Parameters
    ----------
    without : collection of Path
        Files and folders that are left alone.
    """
    done = Rewritten()
    for path in _files(folder, without):
        head = _head(path)
        if path.suffix == ".parquet":
            done.parquet += rewrite_parquet(path, renaming)
        elif head.startswith(_SQLITE):
            done.sqlite_values += _rewrite_sqlite(path, renaming)
        elif path.suffix not in ("-wal", "-shm"):
            done.texts += _rewrite_text(path, renaming, current_key, head, done.left)
    return done


def _files(folder: Path, without: Collection[Path]) -> Iterator[Path]:
    for path in sorted(folder.rglob("*")):
        if path.is_symlink() or not path.is_file():
            continue
        if not any(path == skip or skip in path.parents for skip in without):
            yield path


def _head(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(16)


def rewrite_parquet(path: Path, renaming: Renaming) -> bool:
    """Put a Parquet file under the key in use; its schema, order and compression stay. True when it changed."""
    with pq.ParquetFile(path) as original:
        table = original.read()
        groups = original.metadata.num_row_groups
        codec = original.metadata.row_group(0).column(0).compression if groups and table.num_columns else "SNAPPY"
    changed = False
    for number, column in enumerate(table.schema):
        chunks = table.column(number).chunks
        fresh = [rewrite_array(chunk, renaming) for chunk in chunks]
        if any(new is not old for new, old in zip(fresh, chunks, strict=True)):
            table = table.set_column(number, column, pa.chunked_array(fresh, column.type))
            changed = True
    if changed:
        temporary = path.with_name(f".{path.name}.tmp")
        with temporary.open("wb") as file:
            pq.write_table(table, file, compression="NONE" if codec == "UNCOMPRESSED" else codec)
            file.flush()
            os.fsync(file.fileno())
        shutil.copymode(path, temporary)
        temporary.replace(path)
    return changed


def rewrite_array(array: pa.Array, renaming: Renaming) -> pa.Array:
    """The array with tokens under the key in use, also inside lists and structures; itself when there are no others."""
    kind = array.type
    if pa.types.is_dictionary(kind):
        fresh = rewrite_array(array.dictionary, renaming)
        return array if fresh is array.dictionary else pa.DictionaryArray.from_arrays(array.indices, fresh)
    if pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind):
        holding = pc.fill_null(pc.match_substring(array.cast(pa.large_string()), "t1_"), False)
        if not pc.any(holding).as_py():
            return array
        encoded = array.cast(pa.large_string()).dictionary_encode()
        before = encoded.dictionary.to_pylist()
        after = renaming.texts(before)
        if before == after:
            return array
        return pa.array(after, pa.large_string()).take(encoded.indices).cast(kind)
    if pa.types.is_struct(kind) or pa.types.is_nested(kind):
        held = array.to_pylist()
        fresh = [_rewrite_value(value, renaming) for value in held]
        return array if held == fresh else pa.array(fresh, kind)
    return array


def _rewrite_value(value: object, renaming: Renaming) -> object:
    if isinstance(value, str):
        return renaming.text(value)
    if isinstance(value, dict):
        return {name: _rewrite_value(part, renaming) for name, part in value.items()}
    if isinstance(value, list):
        return [_rewrite_value(part, renaming) for part in value]
    if isinstance(value, tuple):
        return tuple(_rewrite_value(part, renaming) for part in value)
    return value


def _rewrite_text(path: Path, renaming: Renaming, current_key: str, head: bytes, left: list[Path]) -> bool:
    content = path.read_bytes()
    zipped = head.startswith(_GZIP)
    if zipped:
        with suppress(OSError, EOFError):
            content = gzip.decompress(content)
    current = f"t1_{current_key}_".encode()
    if all(token.startswith(current) for token in _TOKEN.findall(content)):
        return False
    try:
        fresh = renaming.text(content.decode()).encode()
    except UnicodeDecodeError:
        left.append(path)
        return False
    if fresh == content:  # tokens of keys that nobody knows
        return False
    temporary = path.with_name(f".{path.name}.tmp")
    with temporary.open("wb") as file:
        file.write(gzip.compress(fresh) if zipped else fresh)
        file.flush()
        os.fsync(file.fileno())
    shutil.copymode(path, temporary)
    temporary.replace(path)
    return True


def _rewrite_sqlite(path: Path, renaming: Renaming) -> int:
    """Every text of a SQLite file, such as the event log of Dagster, and overwrite what was there before."""
    changed = 0
    with closing(sqlite3.connect(path, isolation_level=None, timeout=30)) as database:
        database.execute("pragma secure_delete = on")
        named = database.execute(
            "select name, sql from sqlite_schema where type = 'table' and name not like 'sqlite_%'"
        )
        for table, written in named.fetchall():
            if "without rowid" in (written or "").lower() or (written or "").lower().startswith("create virtual"):
                continue
            database.execute("begin immediate")
            for (column,) in database.execute("select name from pragma_table_info(?)", [table]).fetchall():
                name, of = _quoted(column), _quoted(table)
                rows = database.execute(
                    f"select rowid, {name} from {of} where typeof({name}) = 'text' and instr({name}, 't1_')"  # noqa: S608
                ).fetchall()
                fresh = renaming.texts([text for _, text in rows])
                new = [(text, rowid) for text, (rowid, old) in zip(fresh, rows, strict=True) if text != old]
                database.executemany(f"update {of} set {name} = ? where rowid = ?", new)  # noqa: S608
                changed += len(new)
            database.execute("commit")
        database.execute("pragma wal_checkpoint(truncate)")
    return changed


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
