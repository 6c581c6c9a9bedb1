"""The dlt pipeline that writes the landing zone: settings, healing after a crash, and its errors in our words.

dlt keeps what a load is doing in `workspace.dlt`, and what was loaded from where (its state) beside the data, in the
same load: so rows and the memory of having read them can't part. See docs/decisions/0002-dlt-with-arrow.md.
"""

from __future__ import annotations

import errno
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa

from personalization.errors import PersonalizationError, SourceError
from personalization.stages.sync.landing import SCHEMA
from personalization.stages.sync.tables import SyncTable
from personalization.workspace import Workspace

if TYPE_CHECKING:
    from dlt import Pipeline
    from dlt.common.schema.typing import TSchemaContractDict

CONTRACT: TSchemaContractDict = {"tables": "evolve", "columns": "evolve", "data_type": "freeze"}
"""A column newly mapped is added; a column whose type changed stops its source."""

# dlt reads its settings from the environment; these are the project's, whatever the machine's own dlt settings say.
_SETTINGS = {
    "RUNTIME__DLTHUB_TELEMETRY": "false",
    "RUNTIME__LOG_LEVEL": "ERROR",
    "RUNTIME__INTERCEPT_SIGNALS": "false",  # Dagster and the CLI have their own; a killed load heals anyway
    "ENABLE_RUNTIME_TRACE": "false",
    "SCHEMA__NAMING": "direct",  # our names are clean already, and must not be changed
    "NORMALIZE__PARQUET_NORMALIZER__ADD_DLT_LOAD_ID": "true",
    "LOAD__DELETE_COMPLETED_JOBS": "true",  # else every loaded file is kept twice
    "LOAD__RAISE_ON_MAX_RETRIES": "2",
}

_DISK_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def open_pipeline(workspace: Workspace) -> Pipeline:
    """The pipeline, with everything that an interrupted run left behind finished and its state taken over.

    A package that was extracted completely is loaded now; one that was not is gone, as if its run had never begun.
    """
    import dlt

    os.environ.update(_SETTINGS)
    with explained(workspace):
        _prepare_landing(workspace)
    pipeline = dlt.pipeline(
        SCHEMA,
        pipelines_dir=str(workspace.dlt),
        destination=dlt.destinations.filesystem(
            bucket_url=str(workspace.landing.parent), warn_unsafe_layout_separators=False
        ),
        dataset_name=workspace.landing.name,
    )
    with explained(workspace):
        _clear_away_half_done(pipeline)
        if pipeline.has_pending_data:
            load(pipeline)
        pipeline.sync_destination()
    return pipeline


def _prepare_landing(workspace: Workspace) -> None:
    """Mark the landing zone as one. Where the mark is missing it is new or was emptied: then nothing was ever loaded.

    dlt would do this itself, but can't begin in a folder that exists, such as a mounted volume, or that it made right
    before it was killed.
    """
    from dlt.destinations.impl.filesystem.filesystem import CURRENT_VERSION, INIT_FILE_NAME

    mark = workspace.landing / INIT_FILE_NAME
    if mark.exists():
        return
    shutil.rmtree(workspace.dlt / SCHEMA, ignore_errors=True)
    workspace.landing.mkdir(parents=True, exist_ok=True)
    temporary = mark.with_suffix(".tmp")
    temporary.write_text(
        json.dumps({"initial_version": CURRENT_VERSION, "current_version": CURRENT_VERSION}), encoding="utf-8"
    )
    temporary.replace(mark)


def _clear_away_half_done(pipeline: Pipeline) -> None:
    """Remove what a killed process left that dlt itself would stumble over or keep for ever.

    What dlt does in two steps, and this puts right:

    - It moves a normalised package to its new place and then deletes the one it came from. Killed in between, it has
      both, and can't normalise it again.
    - It marks a loaded package as completed and then moves it. Killed in between, it can't complete it again. Without
      the mark it does the last step once more, which changes nothing.
    - It never looks again at packages that were still being extracted.
    """
    from dlt.common.storages import PackageStorage

    extracted, loading = pipeline._get_normalize_storage(), pipeline._get_load_storage()
    normalised = set(pipeline.list_normalized_load_packages())
    for load_id in normalised:
        if loading.normalized_packages.is_package_completed(load_id):
            package = loading.normalized_packages.get_package_path(load_id)
            loading.normalized_packages.storage.delete(f"{package}/{PackageStorage.PACKAGE_COMPLETED_FILE_NAME}")
    for load_id in pipeline.list_extracted_load_packages():
        if load_id in normalised:
            extracted.extracted_packages.delete_package(load_id)
    if extracted.is_storage_ready():
        for folder in extracted.storage.list_folder_dirs(".", to_root=False):
            if folder != extracted.EXTRACTED_FOLDER:
                extracted.storage.delete_folder(folder, recursively=True)


def load(pipeline: Pipeline) -> None:
    """Bring all extracted packages into the landing zone."""
    pipeline.normalize()
    pipeline.load()


@contextmanager
def explained(workspace: Workspace, tables: list[SyncTable] | None = None) -> Iterator[None]:
    """Turn dlt's errors into ours: what a source said stays as it was, a full disk and a changed type are named."""
    from dlt.common.schema.exceptions import DataValidationError
    from dlt.pipeline.exceptions import PipelineStepFailed

    try:
        yield
    except (PipelineStepFailed, OSError) as error:
        for cause in _causes(error):
            if isinstance(cause, PersonalizationError):
                raise cause from error
            if isinstance(cause, KeyboardInterrupt):
                raise KeyboardInterrupt from error
            if isinstance(cause, DataValidationError):
                raise _retyped(cause, tables or []) from error
            if _is_disk_full(cause):
                raise SourceError(
                    f"no space left for the landing zone {workspace.landing} (or for {workspace.dlt})",
                    hint="make room and run again: nothing that was loaded is lost, and nothing is loaded twice",
                ) from error
        *_, root = _causes(error)
        raise SourceError(
            f"the landing zone {workspace.landing} can't be written: {root}",
            hint="run again: a load that was begun is finished first",
        ) from error


def resource_state(pipeline: Pipeline, name: str) -> dict:
    """What was remembered about a table when it was last loaded; empty when it never was."""
    return dict(pipeline.state.get("sources", {}).get(SCHEMA, {}).get("resources", {}).get(name, {}))


def landed_types(pipeline: Pipeline, name: str) -> dict[str, pa.DataType]:
    """The Arrow types in which the columns of a landing table landed so far."""
    if pipeline.default_schema_name is None:
        return {}
    columns = pipeline.default_schema.tables.get(name, {}).get("columns", {})
    plain = {"bigint": pa.int64(), "double": pa.float64(), "text": pa.string(), "bool": pa.bool_(), "date": pa.date32()}
    types: dict[str, pa.DataType] = {}
    for column, hints in columns.items():
        kind = hints.get("data_type")
        if kind in plain:
            types[column] = plain[kind]
        elif kind == "decimal":
            types[column] = pa.decimal128(hints.get("precision") or 38, hints.get("scale") or 0)
        elif kind == "timestamp":
            types[column] = pa.timestamp("us", None if hints.get("timezone") is False else "UTC")
    return types


def conform(rows: pa.Table, types: dict[str, pa.DataType]) -> pa.Table:
    """Rows with columns cast to the types in which they landed before, where that loses nothing (1.0 is 1)."""
    for index, field in enumerate(rows.schema):
        landed = types.get(field.name)
        if landed is None or landed == field.type or not _same_meaning(field.type, landed):
            continue
        try:
            rows = rows.set_column(index, field.name, rows[field.name].cast(landed))
        except pa.ArrowInvalid:
            continue  # dlt's contract refuses it
    return rows


def _same_meaning(found: pa.DataType, landed: pa.DataType) -> bool:
    """Whether a cast keeps what values mean. Text that looks like numbers is still text; a time is no number."""
    if pa.types.is_timestamp(landed):  # a time cast to a date would lose its hour
        return pa.types.is_date(found) or pa.types.is_timestamp(found)
    return pa.types.is_string(landed) or (_is_number(found) and _is_number(landed))


def _is_number(kind: pa.DataType) -> bool:
    return pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind)


def _retyped(error: object, tables: list[SyncTable]) -> SourceError:
    name, column = str(getattr(error, "table_name", "")), str(getattr(error, "column_name", ""))
    table = next((table for table in tables if table.landing_name == name), None)
    item = getattr(error, "data_item", None)
    batch = item[0] if isinstance(item, list) else item
    found = batch.schema.field(column).type if isinstance(batch, pa.Table) else "another type"
    known = getattr(error, "table_schema", None) or {}
    expected = (known.get("columns", {}).get(column) or {}).get("data_type", "another type")
    label = table.label if table else name
    source_column = table.spec.columns.get(column, column) if table else column
    return SourceError(
        f"{label}: column '{source_column}' ({column}) was {expected} so far and is now {found}",
        at=table.position("columns", column) if table else None,
        hint="change it back at the source; to accept the new type, give the table another name in sources.yaml: "
        "then it is loaded anew",
    )


def _is_disk_full(error: BaseException) -> bool:
    if isinstance(error, OSError) and error.errno in _DISK_FULL:
        return True
    return any(os.strerror(code) in str(error) for code in _DISK_FULL)


def _causes(error: BaseException) -> Iterator[BaseException]:
    current: BaseException | None = error
    while current is not None:
        yield current
        current = current.__cause__ or current.__context__


def make_durable(folder: Path) -> None:
    """Flush every file below a folder to the disk, so that a power cut after this loses nothing of it."""
    for path in (folder, *folder.rglob("*")):
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
