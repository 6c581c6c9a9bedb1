"""What there is of a person, counted by place: shown before an erasure, and checked after it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING

import duckdb

from personalization.privacy.inbox_events import events_of
from personalization.privacy.person import Person, find_person
from personalization.privacy.places import LEDGER, Fate
from personalization.privacy.relations import count_of, ledger_count, ledger_tables, parquet, tables

if TYPE_CHECKING:
    from personalization.runtime import Runtime


@dataclass
class Found:
    """Rows by place; `identifiers` counts those of the person, `values` what the vault holds by field."""

    identifiers: int
    values: dict[str, int]
    ledger: dict[str, int] = field(default_factory=dict)
    files: dict[str, int] = field(default_factory=dict)
    warehouse: dict[str, int] = field(default_factory=dict)
    events: int = 0

    def to_dict(self) -> dict[str, object]:
        return asdict(self)

    def lines(self) -> Iterator[str]:
        """For people: one line a place."""
        yield f"identifiers: {self.identifiers}"
        yield f"in the vault: {_listed(self.values)}"
        for name, rows in self.ledger.items():
            kept = ", kept as proof" if name in LEDGER and LEDGER[name].fate is Fate.KEPT else ""
            yield f"ledger {name}: {rows} rows{kept}"
        if self.events:
            yield f"webhook events: {self.events}"
        yield f"files: {sum(self.files.values())} rows in {len(self.files)} Parquet files"
        yield f"warehouse: {sum(self.warehouse.values())} rows in {len(self.warehouse)} tables"


def found_of(runtime: Runtime, asked: str | Person) -> Found:
    """Count what is held of a person."""
    person = asked if isinstance(asked, Person) else find_person(runtime, asked)
    values: dict[str, int] = {}
    for item in person.held:
        values[item.field] = values.get(item.field, 0) + 1
    found = Found(len(person.tokens), values)
    with runtime.ledger.read() as connection:
        for name, table in sorted(ledger_tables().items()):
            rows = ledger_count(connection, table, person.tokens)
            if rows:
                found.ledger[name] = rows
    found.events = sum(1 for _ in events_of(runtime, person.tokens))
    with duckdb.connect() as engine:
        for folder in (runtime.workspace.landing, runtime.workspace.history):
            for path in sorted(folder.rglob("*.parquet")):
                rows = count_of(engine, parquet(engine, path), person.tokens)
                if rows:
                    found.files[str(path.relative_to(runtime.workspace.state))] = rows
    if runtime.workspace.warehouse.exists():
        with runtime.warehouse.connect() as session:
            for relation in tables(session.raw):
                rows = count_of(session.raw, relation, person.tokens)
                if rows:
                    found.warehouse[relation.name] = rows
    return found


def _listed(counts: dict[str, int]) -> str:
    return ", ".join(f"{name} ({count})" for name, count in sorted(counts.items())) or "nothing"
