"""The durable record of memberships: one Parquet file a day, from which every segment table can be made again.

A file has one row per member (status 'in' or 'held') and, for each segment evaluated, one row without a customer that
says so, with what is needed to summarise it. So a segment that nobody is in differs from one that was not evaluated.
"""

from __future__ import annotations

import os
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
        paths = sorted(self.folder.glob("as_of=*.parquet"))
        if before is not None:
            paths = [path for path in paths if path < self.path(before)]
        if only is not None:
            paths = [path for path in paths if path == self.path(only)]
        if paths:
            return f"read_parquet([{', '.join(map(_quoted, paths))}], hive_partitioning = false)"
        columns = ", ".join(f"null::{kind} as {name}" for name, kind in _COLUMNS.items())
        return f"(select {columns} limit 0)"

    def write(self, session: Session, as_of: AsOf, query: str) -> Path:
        """Write a day's rows from a query, all or nothing: a crash leaves the old file or the new one."""
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self.path(as_of)
        temporary = path.with_name(f".{path.name}.tmp")
        columns = ", ".join(f"{name}::{kind} as {name}" for name, kind in _COLUMNS.items())
        session.execute(
            f"copy (select {columns} from ({query}) order by all) to {_quoted(temporary)} (format parquet)"  # noqa: S608
        )
        _sync(temporary)
        os.replace(temporary, path)
        _sync(self.folder)
        return path


def _quoted(path: Path) -> str:
    return exp.Literal.string(str(path)).sql(dialect="duckdb")


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
