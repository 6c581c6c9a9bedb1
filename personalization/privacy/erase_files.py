"""Takes a person out of files: Parquet rows, texts in place, SQLite storage of other programs, whole model files."""

from __future__ import annotations

import os
import shutil
import sqlite3
from collections.abc import Collection, Iterable, Sequence
from contextlib import closing, suppress
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from personalization.privacy.needles import Needle, Pattern, patterns
from personalization.privacy.relations import Relation, parquet, used

ERASED = "[erased]"
_BINARY_TOO = {".joblib", ".pkl", ".pickle"}
_SQLITE = b"SQLite format 3\0"


def rewrite_parquet(folder: Path, tokens: Sequence[str], *, rows_of_others: bool) -> tuple[int, int]:
    """Replace each Parquet file below a folder that has something of a person by one without it.

    Parameters
    ----------
    rows_of_others : bool
        Whether a row of somebody else in which an identifier of the person stands goes as a whole; else only the
        identifier does.

    Returns
    -------
    (int, int)
        How many files were rewritten and how many rows went.
    """
    files = rows = 0
    with duckdb.connect() as engine:
        for path in sorted(folder.rglob("*.parquet")):
            relation = parquet(engine, path)
            gone = _rows_with(engine, relation, relation.holds if rows_of_others else relation.condition, tokens)
            touched = _rows_with(engine, relation, relation.holds, tokens)
            if touched:
                without_rows(path, gone, tokens=tokens)
                files, rows = files + 1, rows + len(gone)
    return files, rows


def _rows_with(
    engine: duckdb.DuckDBPyConnection, relation: Relation, condition: str, tokens: Sequence[str]
) -> list[int]:
    source = relation.sql.replace("hive_partitioning", "file_row_number = true, hive_partitioning")
    query = f"select file_row_number from {source} where {condition}"  # noqa: S608
    return [row for (row,) in engine.execute(query, used(query, tokens)).fetchall()]


def without_rows(path: Path, gone: Sequence[int], *, tokens: Sequence[str] = ()) -> None:
    """The file without some rows, and without some tokens in the rest; a crash leaves the old file or the new one."""
    original = pq.ParquetFile(path)
    table = original.read()
    keep = pa.array(sorted(set(range(table.num_rows)) - set(gone)), pa.int64())
    kept = table.take(keep)
    for number, field in enumerate(kept.schema):
        if pa.types.is_string(field.type) and tokens:
            known = pc.is_in(kept[field.name], value_set=pa.array(list(tokens), field.type))
            kept = kept.set_column(number, field, pc.if_else(known, pa.scalar(None, field.type), kept[field.name]))
    codec = original.metadata.row_group(0).column(0).compression if original.metadata.num_row_groups else "SNAPPY"
    original.close()
    temporary = path.with_name(f".{path.name}.tmp")
    with temporary.open("wb") as file:
        pq.write_table(kept, file, compression="NONE" if codec == "UNCOMPRESSED" else codec)
        file.flush()
        os.fsync(file.fileno())
    shutil.copymode(path, temporary)
    temporary.replace(path)


def scrub(folder: Path, needles: Iterable[Needle], *, without: Collection[Path]) -> dict[str, int]:
    """Take a person out of everything else below a folder: reports, logs, settings, storage of Dagster, models.

    Texts are kept with `[erased]` in the place of what referred to the person; a model file is removed, and the next
    run trains another. What can't be handled so is left for the byte scan to name.

    Returns
    -------
    dict
        How many texts, SQLite values and models were changed.
    """
    wanted = patterns(needles)
    changed = {"texts": 0, "sqlite_values": 0, "models": 0}
    for path in sorted(folder.rglob("*")):
        if path.is_symlink() or not path.is_file() or any(path == skip or skip in path.parents for skip in without):
            continue
        content = path.read_bytes()
        if content.startswith(_SQLITE):
            changed["sqlite_values"] += _scrub_sqlite(path, wanted)
        elif any(pattern.content in content for pattern in wanted):
            if path.suffix in _BINARY_TOO:
                shutil.rmtree(path.parent)
                changed["models"] += 1
            elif _scrub_text(path, content, wanted):
                changed["texts"] += 1
    return changed


def _scrub_text(path: Path, content: bytes, wanted: Sequence[Pattern]) -> bool:
    try:
        content.decode()
    except UnicodeDecodeError:
        return False
    for pattern in sorted(wanted, key=lambda pattern: -len(pattern.content)):
        content = content.replace(pattern.content, ERASED.encode())
    temporary = path.with_name(f".{path.name}.tmp")
    with temporary.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    shutil.copymode(path, temporary)
    temporary.replace(path)
    return True


def _scrub_sqlite(path: Path, wanted: Sequence[Pattern]) -> int:
    """Replace texts in every column of a SQLite file, and overwrite what they were."""
    texts = [pattern.content.decode() for pattern in wanted if _is_text(pattern.content)]
    texts.sort(key=len, reverse=True)
    changed = 0
    with closing(sqlite3.connect(path, isolation_level=None, timeout=30)) as database:
        database.execute("pragma secure_delete = on")
        names = database.execute("select name from sqlite_schema where type = 'table' and name not like 'sqlite_%'")
        for (table,) in names.fetchall():
            columns = database.execute(f"select name from pragma_table_info({_literal(table)})").fetchall()  # noqa: S608
            for (column,) in columns:
                changed += _replace_in(database, table, column, texts)
        if changed:
            with suppress(sqlite3.OperationalError):  # in use; what was replaced is overwritten all the same
                database.execute("vacuum")
        database.execute("pragma wal_checkpoint(truncate)")
    return changed


def _replace_in(database: sqlite3.Connection, table: str, column: str, texts: Sequence[str]) -> int:
    named, of = _quoted(column), _quoted(table)
    present = [
        text
        for text in texts
        if database.execute(f"select 1 from {of} where instr({named}, ?) limit 1", [text]).fetchone()  # noqa: S608
    ]
    changed = 0
    for text in present:
        changed += database.execute(
            f"update {of} set {named} = replace({named}, ?, ?) where typeof({named}) = 'text' and instr({named}, ?)",  # noqa: S608
            [text, ERASED, text],
        ).rowcount
    return changed


def _is_text(content: bytes) -> bool:
    try:
        return "\0" not in content.decode()
    except UnicodeDecodeError:
        return False


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
