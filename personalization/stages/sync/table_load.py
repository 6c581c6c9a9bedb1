"""One source table in one run: which of its rows are new, made ready to land, and what is remembered of it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from personalization.stages.sync.batches import Batch
from personalization.stages.sync.canonical import to_canonical
from personalization.stages.sync.cursor import Cursor
from personalization.stages.sync.database import read_database
from personalization.stages.sync.entities import REJECTED, ROW, SOURCE
from personalization.stages.sync.files import SourceFile, find_files, read_file
from personalization.stages.sync.pipeline import conform, landed_types, resource_state
from personalization.stages.sync.rest import read_rest
from personalization.stages.sync.tables import SyncTable
from personalization.stages.sync.tokenise import Tokeniser
from personalization.workspace import Workspace

if TYPE_CHECKING:
    from dlt import Pipeline
    from dlt.common.schema.typing import TColumnSchema

    from personalization.ledger import Keyring, Ledger


@dataclass
class TableResult:
    """What happened to one source table.

    Attributes
    ----------
    rows : int
        Rows that landed in this run, rejected ones included.
    rejected : int
        Of these, rows that could not be taken apart (they land with their position and the reason only).
    new_columns : list of str
        Source columns that appeared since the last load and are not mapped. They are ignored.
    unchanged : bool
        Nothing was read or nothing was new.
    """

    source: str
    table: str
    entity: str
    rows: int = 0
    rejected: int = 0
    new_columns: list[str] = field(default_factory=list)
    unchanged: bool = False


class TableLoad:
    """One table in one run: what is new, as rows ready to land. `result` is complete when the rows are through."""

    def __init__(
        self, table: SyncTable, pipeline: Pipeline, workspace: Workspace, keys: Keyring, ledger: Ledger
    ) -> None:
        self.table = table
        self.result = TableResult(table.source, table.name, table.entity.name)
        self._root: Path = workspace.root
        self._types = landed_types(pipeline, table.landing_name)
        self._tokeniser = Tokeniser(table.entity, keys, ledger.vault(keys), table.label)
        self._state = resource_state(pipeline, table.landing_name)
        if self._state.get("mapping") != table.mapping_hash:
            self._state = {"mapping": table.mapping_hash}  # other rows come of the same source: begin anew
        self._files: list[SourceFile] = []
        self._columns: list[str] = []

    def is_due(self) -> bool:
        """Whether there is anything to read. Files that did not change since they were loaded are not opened."""
        if self.table.settings.kind != "files":
            return True
        found = find_files(self.table, self._root)
        known = self._state.get("files", {})
        changed = [file for file in found if known.get(file.name, {}).get("fingerprint") != file.fingerprint]
        whole = self.table.replaces and (changed or known.keys() != {file.name for file in found})
        self._files = found if whole else changed
        self.result.unchanged = not self._files
        return bool(self._files)

    def rows(self) -> Iterator[Any]:
        """The rows to land, as dlt runs them; what is remembered about the table is saved with them."""
        import dlt

        yielded = False
        if self.table.settings.kind == "files":
            parts: Iterator[pa.Table] = self._from_files()
        else:
            parts = self._from_server()
        for rows in parts:
            self.result.rows += rows.num_rows
            self.result.rejected += rows.num_rows - rows[REJECTED].null_count
            yield rows if yielded else _with_zones(rows)
            yielded = True
        if self.table.replaces and not yielded:
            # an empty file, or rows that the source no longer has would go on counting
            yield pa.schema([(SOURCE, pa.string()), (ROW, pa.int64()), (REJECTED, pa.string())]).empty_table()
        self._note_columns()
        self.result.unchanged = not yielded
        state = dlt.current.resource_state()
        state.clear()
        state.update(self._state)

    def _from_files(self) -> Iterator[pa.Table]:
        known = {} if self.table.replaces else dict(self._state.get("files", {}))
        for file in self._files:
            cursor = self._cursor(known.get(file.name, {}).get("cursor"))
            yield from self._prepared(read_file(self.table, file, self._columns), cursor)
            known[file.name] = {"fingerprint": file.fingerprint, "cursor": cursor.state() if cursor else None}
        self._state["files"] = known

    def _from_server(self) -> Iterator[pa.Table]:
        cursor = self._cursor(self._state.get("cursor"))
        read = read_database if self.table.settings.kind == "database" else read_rest
        yield from self._prepared(read(self.table, cursor, self._columns), cursor)
        self._state["cursor"] = cursor.state() if cursor else None

    def _cursor(self, state: dict[str, Any] | None) -> Cursor | None:
        if self.table.spec.cursor is None or self.table.replaces:
            return None
        cursor = Cursor(self.table.spec.cursor, self.table.position("cursor"))
        if state and state["kind"]:
            cursor.restore(state)
        return cursor

    def _prepared(self, batches: Iterator[Batch], cursor: Cursor | None) -> Iterator[pa.Table]:
        """Canonical rows with tokens, without those that were loaded before."""
        seen = (
            Cursor(cursor.column, cursor.at, cursor.kind, cursor.value, cursor.raw, cursor.boundary) if cursor else None
        )
        for batch in batches:
            if cursor is None or seen is None:
                rows = self._landing_rows(batch)
            else:
                raw = batch.data[cursor.column]
                keys = cursor.keys(raw)
                new = pa.array(seen.is_new(keys))
                batch = Batch(batch.data.filter(new), batch.rows.filter(new), batch.origin, batch.rejected)
                rows, keys, raw = self._landing_rows(batch), keys.filter(new), raw.filter(new)
                good = rows.slice(0, batch.data.num_rows)
                content = good.drop_columns([ROW])
                fresh = pa.array(~seen.is_repeated(keys, content))
                cursor.advance(keys, raw, content)
                rows = pa.concat_tables([good.filter(fresh), rows.slice(good.num_rows)])
            if rows.num_rows:
                yield conform(rows, self._types)

    def _landing_rows(self, batch: Batch) -> pa.Table:
        return self._tokeniser.replace(to_canonical(self.table, batch))

    def _note_columns(self) -> None:
        known = self._state.get("columns")
        if known is not None:
            mapped = set(self.table.wanted)
            self.result.new_columns = [name for name in self._columns if name not in mapped and name not in known]
        self._state["columns"] = list(dict.fromkeys([*(known or []), *self._columns]))


def _with_zones(rows: pa.Table) -> Any:
    """Rows with the hint that timestamps without a zone stay without: dlt would take them as UTC."""
    import dlt

    hints: dict[str, TColumnSchema] = {
        field.name: {"name": field.name, "data_type": "timestamp", "timezone": field.type.tz is not None}
        for field in rows.schema
        if pa.types.is_timestamp(field.type)
    }
    return dlt.mark.with_hints(rows, dlt.mark.make_hints(columns=hints)) if hints else rows
