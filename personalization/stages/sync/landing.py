"""What is in the landing zone: which loads are complete, and the Parquet files that count."""

from __future__ import annotations

from pathlib import Path

SCHEMA = "landing"
"""Name of dlt's schema and pipeline, and so part of its file names."""

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
