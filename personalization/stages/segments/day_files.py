"""The durable record of memberships: one Parquet file a day, from which every segment table can be made again.

A file has one row per member (status 'in' or 'held') and, for each segment evaluated, one row without a customer that
says so, with what is needed to summarise it. So a segment that nobody is in differs from one that was not evaluated.
Rows are in the order of segments and tokens within them: whoever reads one segment reads one stretch of the file.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

from sqlglot import exp

from personalization.as_of import AsOf
from personalization.warehouse import Session

_COLUMNS = {
    "as_of": "date",
    "segment": "varchar",
    "customer_token": "varchar",
    "status": "varchar",
    "title": "varchar",
    "candidates": "bigint",
    "completeness": "double",
    "state": "varchar",
    "rule_version": "varchar",
    "key": "varchar",
}


@dataclass(frozen=True)
class DayFiles:
    """The day files in the workspace's history folder."""

    history: Path

    @property
    def folder(self) -> Path:
        return self.history / "segments"

    def path(self, as_of: AsOf) -> Path:
        return self.folder / f"as_of={as_of.key}.parquet"

    def relation(self, *, before: AsOf | None = None, only: AsOf | None = None) -> str:
        """SQL for the rows of all files, of those before a day, or of one day; without any file, of no rows."""
        paths = self.paths()
        if before is not None:
            paths = [path for path in paths if path < self.path(before)]
        if only is not None:
            paths = [path for path in paths if path == self.path(only)]
        return self.rows_of(paths)

    def paths(self) -> list[Path]:
        """All day files, by day."""
        return sorted(self.folder.glob("as_of=*.parquet"))

    @staticmethod
    def day_of(path: Path) -> str:
        """The day of a file, as YYYY-MM-DD."""
        return path.stem.removeprefix("as_of=")

    def stamps(self) -> dict[str, str]:
        """For each day that has a file, a text that changes when the file is replaced; no file is read for it."""
        found = {}
        for path in self.paths():
            status = path.stat()
            found[self.day_of(path)] = f"{status.st_ino}-{status.st_size}-{status.st_mtime_ns}"
        return found

    @staticmethod
    def rows_of(paths: Sequence[Path]) -> str:
        """SQL for the rows of some files. Columns that a file of an earlier version lacks are NULL."""
        columns = ", ".join(f"null::{kind} as {name}" for name, kind in _COLUMNS.items())
        nothing = f"select {columns} limit 0"
        if not paths:
            return f"({nothing})"
        files = f"read_parquet([{', '.join(map(_quoted, paths))}], hive_partitioning = false, union_by_name = true)"
        return f"(from ({nothing}) union all by name from {files})"

    def write(self, session: Session, as_of: AsOf, parts: Sequence[str]) -> Path:
        """Write a day's rows from queries, all or nothing: a crash leaves the old file or the new one.

        Parameters
        ----------
        parts : sequence of str
            Queries whose rows are wanted, in this order and in the order they give. Columns they lack are NULL.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self.path(as_of)
        temporary = path.with_name(f".{path.name}.tmp")
        columns = ", ".join(f"{name}::{kind} as {name}" for name, kind in _COLUMNS.items())
        query = " union all by name ".join([f"from {self.rows_of([])}", *parts])
        session.execute(
            f"copy (select {columns} from ({query})) to {_quoted(temporary)} (format parquet, compression zstd)"  # noqa: S608
        )
        _sync(temporary)
        os.replace(temporary, path)
        _sync(self.folder)
        return path


def quoted_list(names: Collection[str]) -> str:
    """Names of segments for `in (…)`; the program's models let nothing into them that SQL would misread."""
    return ", ".join(f"'{name}'" for name in sorted(names)) or "null"


def _quoted(path: Path) -> str:
    return exp.Literal.string(str(path)).sql(dialect="duckdb")


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
