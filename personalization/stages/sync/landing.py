"""What is in the landing zone: which loads are complete, and the Parquet files that count."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

SCHEMA = "landing"
"""Name of dlt's schema and pipeline, and so part of its file names."""

CONSUMER = "landing"
"""The landing zone as a consumer of the webhook inbox."""

_LOADS = "_dlt_loads"


def completed_loads(landing: Path) -> list[str]:
    """Ids of the loads that ended, oldest first. Files of other loads are leftovers of a crash and don't count."""
    prefix = f"{SCHEMA}__"
    return sorted(path.stem.removeprefix(prefix) for path in (landing / _LOADS).glob(f"{prefix}*.jsonl"))


def landed_files(landing: Path, table: str, *, newest_only: bool = False) -> list[Path]:
    """The Parquet files of complete loads of one landing table, oldest load first.

    Parameters
    ----------
    newest_only : bool
        Only those of the newest load: for tables that are loaded whole each time.
    """
    complete = set(completed_loads(landing))
    files = [path for path in (landing / table).glob("*.parquet") if load_of(path) in complete]
    if newest_only and files:
        newest = max(load_of(path) for path in files)
        files = [path for path in files if load_of(path) == newest]
    return sorted(files, key=lambda path: (load_of(path), path.name))


def outdated_files(landing: Path, table: str) -> list[Path]:
    """Files of a table that is loaded whole each time which a newer complete load has replaced."""
    counting = landed_files(landing, table, newest_only=True)
    if not counting:
        return []
    newest = load_of(counting[0])
    return [path for path in (landing / table).glob("*.parquet") if load_of(path) < newest]


def load_of(path: Path) -> str:
    """The load id in a file name `<seconds>.<fraction>.<file id>.parquet`."""
    return path.name.removesuffix(".parquet").rpartition(".")[0]


_INBOX_FILE = re.compile(r"inbox\.(\d{12})-(\d{12})\.parquet")


@dataclass(frozen=True, order=True)
class InboxFile:
    """Rows of the events `first` to `last` of the inbox, in the landing table of one webhook table."""

    first: int
    last: int
    path: Path

    @classmethod
    def name(cls, first: int, last: int) -> str:
        return f"inbox.{first:012d}-{last:012d}.parquet"


def inbox_files(landing: Path, table: str, *, up_to: int, after: int = 0) -> list[InboxFile]:
    """The files of webhook events that count: of events after one and up to another.

    Files beyond `up_to`, the watermark of the ledger, are leftovers of a crash. A file whose range lies within that of
    another was merged into it and is about to be deleted.
    """
    found = [file for file in all_inbox_files(landing, table) if file.last <= up_to and file.last > after]
    found.sort(key=lambda file: (file.first, -file.last))
    counting: list[InboxFile] = []
    for file in found:
        if not counting or file.last > counting[-1].last:
            counting.append(file)
    return counting


def all_inbox_files(landing: Path, table: str) -> list[InboxFile]:
    """Every file of webhook events of a landing table, whether it counts or not."""
    matches = ((_INBOX_FILE.fullmatch(path.name), path) for path in (landing / table).glob("inbox.*.parquet"))
    return sorted(InboxFile(int(match[1]), int(match[2]), path) for match, path in matches if match)


def replayed_files(landing: Path, table: str) -> list[Path]:
    """Files of single events that were dead letters once: `replayed.<number>.parquet`. They always count."""
    return sorted((landing / table).glob("replayed.*.parquet"))


def replayed_name(seq: int) -> str:
    return f"replayed.{seq:012d}.parquet"


def replayed_seq(path: Path) -> int:
    return int(path.name.split(".")[1])


def write_durably(rows: pa.Table, path: Path) -> None:
    """Write a Parquet file, all or nothing: when this returns it is on the disk under its name."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.tmp")
    with temporary.open("wb") as file:
        pq.write_table(rows, file)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
