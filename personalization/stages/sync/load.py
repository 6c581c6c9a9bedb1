"""Sync: every source table to the landing zone, identifiers to the vault, consent events to the ledger."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from personalization.errors import SourceError
from personalization.program import Program
from personalization.stages.sync.consent import append_consent
from personalization.stages.sync.identity_links import record_links
from personalization.stages.sync.landing import CONSUMER, SCHEMA, outdated_files
from personalization.stages.sync.pipeline import CONTRACT, explained, load, make_durable, open_pipeline
from personalization.stages.sync.table_load import TableLoad, TableResult
from personalization.stages.sync.tables import sync_tables
from personalization.workspace import Workspace

if TYPE_CHECKING:
    from dlt import Pipeline

    from personalization.ledger import Keyring, Ledger


@dataclass(frozen=True)
class SyncResult:
    """What a sync did. `consent_events` counts events new in the ledger; `notes` are worth telling a person."""

    tables: list[TableResult]
    consent_events: int

    @property
    def rows(self) -> int:
        return sum(table.rows for table in self.tables)

    @property
    def rejected(self) -> int:
        return sum(table.rejected for table in self.tables)

    @property
    def notes(self) -> list[str]:
        return [
            f"{table.source}.{table.table} has new columns that are not mapped: {', '.join(table.new_columns)}"
            for table in self.tables
            if table.new_columns
        ]


def sync(
    program: Program,
    workspace: Workspace,
    keys: Keyring,
    ledger: Ledger,
    *,
    on_progress: Callable[[str], None] | None = None,
) -> SyncResult:
    """Load all sources.

    Each source is one load: all its tables or none. A source that fails does not keep the others from being loaded;
    its error is raised after them. Killed at any moment and run again, no row is lost or doubled.

    Parameters
    ----------
    on_progress : callable, optional
        Called with a short text as each source begins.

    Raises
    ------
    ProgramError
        sources.yaml is wrong; nothing was read.
    SourceError
        One or more sources can't be read, or the landing zone can't be written.
    LedgerError, KeyFileError
        The vault can't take the identifiers; the source at hand did not land.
    """
    tables = sync_tables(program)
    progress = on_progress or (lambda message: None)
    pipeline = open_pipeline(workspace)
    results: list[TableResult] = []
    errors: list[SourceError] = []
    for source in program.sources:
        progress(f"loading {source}")
        loads = [TableLoad(table, pipeline, workspace, keys, ledger) for table in tables if table.source == source]
        try:
            _extract(pipeline, workspace, loads)
        except SourceError as error:
            errors.append(error)
            continue
        with explained(workspace):
            load(pipeline)
        results.extend(table.result for table in loads)
    if not all(result.unchanged for result in results):
        make_durable(workspace.landing)
    appended = append_consent(program, workspace, ledger)
    record_links(program, workspace, inbox=ledger.inbox.watermark(CONSUMER))
    for table in tables:
        if table.replaces:
            for path in outdated_files(workspace.landing, table.landing_name):
                path.unlink()
    if errors:
        raise errors[0] if len(errors) == 1 else _together(errors)
    return SyncResult(results, appended)


def _extract(pipeline: Pipeline, workspace: Workspace, loads: list[TableLoad]) -> None:
    """Read what is new of one source into a load package."""
    import dlt
    from dlt.extract import DltSource

    due = [table for table in loads if table.is_due()]
    if not due:
        return
    resources = [
        dlt.resource(each.rows(), name=each.table.landing_name, write_disposition="append", schema_contract=CONTRACT)
        for each in due
    ]
    with explained(workspace, [each.table for each in due]):
        pipeline.extract(DltSource(dlt.Schema(SCHEMA), SCHEMA, resources), loader_file_format="parquet")


def _together(errors: list[SourceError]) -> SourceError:
    return SourceError(f"{len(errors)} sources failed:\n" + "\n".join(str(error) for error in errors))
