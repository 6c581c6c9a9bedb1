"""The source tables of a program, checked: what is read from where and which canonical columns it becomes."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from personalization.errors import Position, ProgramError, SourceError, did_you_mean, nearest
from personalization.program import Program
from personalization.program.models import DatabaseSource, FilesSource, RestSource, SourceTable, WebhookSource
from personalization.stages.sync.entities import ENTITIES, Entity, landing_table
from personalization.stages.sync.webhook_tables import (
    WebhookSyncTable,
    check_webhook_tables,
    landing_tables,
    webhook_tables,
)

Source = FilesSource | DatabaseSource | RestSource

_PLACE = {"files": "path", "database": "table", "rest": "endpoint"}
"""What says where a table is found within a source of each kind."""


@dataclass(frozen=True)
class SyncTable:
    """One table of sources.yaml and the program it was written in."""

    program: Program
    source: str
    name: str

    @property
    def label(self) -> str:
        return f"{self.source}.{self.name}"

    @property
    def settings(self) -> Source:
        settings = self.program.sources[self.source]
        assert not isinstance(settings, WebhookSource), "webhooks are not read: see `mapped_tables`"
        return settings

    @property
    def spec(self) -> SourceTable:
        return self.settings.tables[self.name]

    @property
    def entity(self) -> Entity:
        return ENTITIES[self.spec.entity]

    @property
    def landing_name(self) -> str:
        return landing_table(self.entity.name, self.source, self.name)

    @property
    def replaces(self) -> bool:
        """Whether each load is the whole table, so that only the newest counts."""
        return self.spec.write == "replace"

    @property
    def wanted(self) -> list[str]:
        """The source columns to read: the mapped ones and the cursor, each once."""
        cursor = [self.spec.cursor] if self.spec.cursor else []
        return list(dict.fromkeys([*self.spec.columns.values(), *cursor]))

    @cached_property
    def mapping_hash(self) -> str:
        """Changes whenever the same source rows would become other landing rows: then the table is read anew."""
        fields = {"entity", "columns", "constants", "cursor", "write", "format", "delimiter", "records"}
        text = json.dumps(self.spec.model_dump(mode="json", include=fields), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def position(self, *path: str) -> Position:
        """Where a setting of this table was written; without a path, where the table begins."""
        return self.program.position("sources", ("sources", self.source, "tables", self.name, *path))

    def position_of(self, source_column: str) -> Position:
        """Where a source column was named."""
        for canonical, mapped in self.spec.columns.items():
            if mapped == source_column:
                return self.position("columns", canonical)
        return self.position("cursor")

    def require_columns(self, found: list[str], place: str) -> None:
        """Check that every mapped column was found, once.

        Parameters
        ----------
        found : list of str
            All columns of the source, in its order.
        place : str
            The file, table or endpoint, for the message.

        Raises
        ------
        SourceError
            Naming the first missing column, those found, and the most alike.
        """
        for column in self.wanted:
            count = found.count(column)
            if count > 1:
                raise SourceError(
                    f"{place} has {count} columns named '{column}'",
                    at=self.position_of(column),
                    hint="rename one of them at the source, so that it is clear which is meant",
                )
            if not count:
                self.raise_missing(column, found, place)

    def raise_missing(self, column: str, found: list[str], place: str) -> None:
        """Raise the `SourceError` for a mapped column that the source does not have."""
        alike = nearest(column, found)
        shown = ", ".join(found[:20]) + (", …" if len(found) > 20 else "")
        raise SourceError(
            f"{place} has no column '{column}'; it has: {shown or 'none'}",
            at=self.position_of(column),
            hint=f"did you mean '{alike}'?" if alike else "map the column by the name it has now",
        )


def sync_tables(program: Program) -> list[SyncTable]:
    """All source tables in the order they are written.

    Raises
    ------
    ProgramError
        With every mistake in their settings: see `check_tables`.
    """
    problems = check_tables(program)
    if problems:
        raise ProgramError(f"{len(problems)} problems in {program.root / 'sources.yaml'}", problems=problems)
    return mapped_tables(program)


def landing_names(program: Program, entity: str) -> list[tuple[str, bool]]:
    """The landing tables of an entity, and for each whether only its newest load counts."""
    return [(table.landing_name, table.replaces) for table in mapped_tables(program) if table.entity.name == entity]


def mapped_entities(program: Program) -> list[str]:
    """Entities that at least one source table or webhook is mapped to, in the order of `ENTITIES`."""
    used = {table.entity.name for table in mapped_tables(program)}
    used |= {table.entity.name for table in landing_tables(program)}
    return [name for name in ENTITIES if name in used]


def check_tables(program: Program) -> list[ProgramError]:
    """Mistakes in sources.yaml that can be seen without looking at the sources, each with its position."""
    problems: list[ProgramError] = []
    names: dict[str, str] = {}
    for source_table in mapped_tables(program):
        problems.extend(_check_table(source_table))
    problems.extend(check_webhook_tables(program))
    both: list[SyncTable | WebhookSyncTable] = [*mapped_tables(program), *webhook_tables(program)]
    for table in both:
        other = names.setdefault(table.landing_name, table.label)
        if other != table.label:
            problems.append(
                ProgramError(
                    f"{table.label} and {other} would share the landing table '{table.landing_name}'",
                    at=table.position(),
                    hint="rename one of the two tables",
                )
            )
    return problems


def _check_table(table: SyncTable) -> Iterable[ProgramError]:
    spec, entity, kind = table.spec, table.entity, table.settings.kind
    place = _PLACE[kind]
    if not getattr(spec, place):
        yield ProgramError(f"{table.label}: a table of a {kind} source needs '{place}'", at=table.position())
    if kind == "files" and spec.path and not file_format(spec):
        yield ProgramError(
            f"{table.label}: can't tell the format of '{spec.path}'",
            at=table.position("path"),
            hint="write format: csv, jsonl or parquet",
        )
    if len(spec.delimiter) != 1 or spec.delimiter in '"\r\n':
        yield ProgramError(
            f"{table.label}: delimiter must be one character, not {spec.delimiter!r}", at=table.position("delimiter")
        )
    if kind != "files" and spec.write == "append" and not spec.cursor:
        yield ProgramError(
            f"{table.label}: write: append needs a cursor, else every run would load every row again",
            at=table.position(),
            hint="name a column that only grows as cursor, or write: replace",
        )
    for group in ("columns", "constants"):
        for name in getattr(spec, group):
            if name not in entity.column_names:
                yield ProgramError(
                    f"{table.label}: '{name}' is not a column of {entity.name} "
                    f"({did_you_mean(name, entity.column_names)})",
                    at=table.position(group, name),
                )
    for name in sorted(spec.columns.keys() & spec.constants.keys()):
        yield ProgramError(
            f"{table.label}: '{name}' is both mapped and a constant", at=table.position("constants", name)
        )
    given = spec.columns.keys() | spec.constants.keys()
    for column in entity.columns:
        if column.required and column.name not in given:
            yield ProgramError(
                f"{table.label}: {entity.name} needs the column '{column.name}', which is not mapped",
                at=table.position("columns"),
                hint="map it to a source column, or give it as a constant",
            )
    if entity.one_of and not given & set(entity.one_of):
        yield ProgramError(
            f"{table.label}: {entity.name} needs one of: {', '.join(entity.one_of)}", at=table.position("columns")
        )


def file_format(spec: SourceTable) -> str | None:
    """The format of a file table: as written, else by the ending of its path."""
    by_suffix = {".csv": "csv", ".jsonl": "jsonl", ".ndjson": "jsonl", ".parquet": "parquet"}
    return spec.format or by_suffix.get(Path(spec.path or "").suffix)


def mapped_tables(program: Program) -> list[SyncTable]:
    """All tables that are read from sources, unchecked, in the order they are written. Webhooks are not read."""
    return [
        SyncTable(program, source, name)
        for source, settings in program.sources.items()
        if not isinstance(settings, WebhookSource)
        for name in settings.tables
    ]
