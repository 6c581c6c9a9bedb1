"""Sources made of files: CSV, JSONL and Parquet in a folder, an installed package or an object store."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from personalization.errors import ProgramError, SourceError, did_you_mean
from personalization.program import resolve_secret
from personalization.program.models import FilesSource
from personalization.stages.sync.batches import Batch
from personalization.stages.sync.csv_file import CsvReader
from personalization.stages.sync.json_records import JsonRecords, read_json_lines
from personalization.stages.sync.tables import SyncTable, file_format

BATCH_ROWS = 250_000
_PACKAGE = "package:"


@dataclass(frozen=True)
class SourceFile:
    """A file to load. `fingerprint` differs when its content may differ; `name` is its path below the location."""

    name: str
    path: str
    fingerprint: str
    filesystem: Any


def find_files(table: SyncTable, root: Path) -> list[SourceFile]:
    """The files of a table, sorted by name: one, or all that a pattern such as `orders-*.csv` fits.

    Raises
    ------
    SourceError
        The location can't be reached, or no file is there (with the files that are).
    """
    settings = table.settings
    assert isinstance(settings, FilesSource)
    pattern = table.spec.path or ""
    filesystem, folder, version = _open_location(table, settings.location, root)
    path = f"{folder}/{pattern}"
    try:
        has_wildcard = any(character in pattern for character in "*?[")
        found = sorted(filesystem.glob(path)) if has_wildcard else [path] if filesystem.isfile(path) else []
        if not found:
            raise _missing_file(table, filesystem, folder, pattern)
        return [_describe(filesystem, folder, each, version) for each in found]
    except (OSError, ImportError) as error:
        raise SourceError(
            f"{table.label}: {settings.location} can't be read: {error}",
            at=table.program.position("sources", ("sources", table.source, "location")),
        ) from error


def read_file(table: SyncTable, file: SourceFile, columns: list[str]) -> Iterator[Batch]:
    """The rows of one file. The names of all its columns are appended to `columns` on the way.

    Raises
    ------
    SourceError
        The file is empty, unreadable, or lacks a mapped column.
    """
    try:
        with filesystem_open(file) as stream:
            yield from _READERS[str(file_format(table.spec))](table, file, stream, columns)
    except OSError as error:
        raise SourceError(f"{file.path} can't be read: {error}", at=table.position("path")) from error


def filesystem_open(file: SourceFile) -> Any:
    return file.filesystem.open(file.path, "rb")


def _read_csv(table: SyncTable, file: SourceFile, stream: Any, columns: list[str]) -> Iterator[Batch]:
    reader = CsvReader(stream, file.name, table.spec.delimiter)
    columns.extend(reader.columns)
    table.require_columns(reader.columns, file.name)
    yield from reader.batches(table.wanted)


def _read_jsonl(table: SyncTable, file: SourceFile, stream: Any, columns: list[str]) -> Iterator[Batch]:
    records = JsonRecords(table.wanted)
    rows = 0
    for batch in read_json_lines(stream, file.name, records):
        rows += batch.data.num_rows
        yield batch
    columns.extend(records.columns)
    # a record may leave out what it has no value for, so only a name that none has is missing
    for column in table.wanted:
        if rows and column not in records.seen:
            table.raise_missing(column, records.columns, file.name)


def _read_parquet(table: SyncTable, file: SourceFile, stream: Any, columns: list[str]) -> Iterator[Batch]:
    try:
        parquet = pq.ParquetFile(stream)
        columns.extend(parquet.schema_arrow.names)
        table.require_columns(parquet.schema_arrow.names, file.name)
        row = 1
        for batch in parquet.iter_batches(batch_size=BATCH_ROWS, columns=table.wanted):
            yield Batch(
                pa.Table.from_batches([batch]), pa.array(np.arange(row, row + batch.num_rows), pa.int64()), file.name
            )
            row += batch.num_rows
    except pa.ArrowException as error:
        raise SourceError(
            f"{file.path} is not a readable Parquet file: {str(error).splitlines()[0]}",
            at=table.position("path"),
            hint="it may have been cut off while it was written; write it again",
        ) from error


_READERS = {"csv": _read_csv, "jsonl": _read_jsonl, "parquet": _read_parquet}


def _open_location(table: SyncTable, location: str, root: Path) -> tuple[Any, str, str | None]:
    """The filesystem, the folder on it, and for an installed package its version."""
    import fsspec

    at = table.program.position("sources", ("sources", table.source, "location"))
    if location.startswith(_PACKAGE):
        package, _, inside = location.removeprefix(_PACKAGE).partition("/")
        spec = find_spec(package) if package.isidentifier() else None
        if spec is None or not spec.submodule_search_locations:
            raise SourceError(
                f"the package '{package}' is not installed", at=at, hint=f"install it: pip install {package}"
            )
        folder = Path(next(iter(spec.submodule_search_locations))) / inside
        return fsspec.filesystem("file"), str(folder), importlib.metadata.version(package)
    location = resolve_secret(location, at=at)
    if "://" not in location:
        return fsspec.filesystem("file"), str(root / location), None
    try:
        filesystem, folder = fsspec.core.url_to_fs(location)
    except ImportError as error:
        raise SourceError(f"{location} needs a package that is not installed: {error}", at=at) from None
    except ValueError as error:
        raise ProgramError(f"location '{location}' is not understood: {error}", at=at) from None
    filesystem.invalidate_cache()  # listings are kept in memory, and files come and go between runs
    return filesystem, folder.rstrip("/"), None


def _describe(filesystem: Any, folder: str, path: str, version: str | None) -> SourceFile:
    info = filesystem.info(path)
    name = path.removeprefix(folder).lstrip("/")
    if not info["size"]:
        raise SourceError(f"{path} is empty (0 bytes)", hint="an export without rows still has its header or schema")
    # pip gives files the time of their installation: for a package its version says more
    changed = version or next(
        (str(info[key]) for key in ("ETag", "etag", "md5Hash", "mtime", "LastModified", "created") if info.get(key)), ""
    )
    return SourceFile(name, path, f"{info['size']}:{changed}", filesystem)


def _missing_file(table: SyncTable, filesystem: Any, folder: str, pattern: str) -> SourceError:
    at = table.position("path")
    if not filesystem.isdir(folder):
        return SourceError(f"the folder {folder} does not exist, it should hold {pattern}", at=at)
    names = [path.rsplit("/", 1)[-1] for path in filesystem.ls(folder, detail=False)]
    if not names:
        return SourceError(f"{folder}/{pattern} does not exist; the folder is empty", at=at)
    return SourceError(f"{folder}/{pattern} does not exist", at=at, hint=did_you_mean(pattern, names))
