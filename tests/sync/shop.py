"""A small company for tests: a program with some sources, and what became of its data."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
from ruamel.yaml import YAML

from personalization.ledger import Keyring, Ledger
from personalization.program import Program, load_program
from personalization.stages.sync.landing import landed_files
from personalization.stages.sync.load import SyncResult, sync
from personalization.stages.validation.split import Books, split_entity
from personalization.stages.validation.validate import validate_landed
from personalization.warehouse import Warehouse
from personalization.workspace import Workspace

PROGRAM = {"name": "Test shop", "timezone": "Europe/Berlin", "currency": "EUR", "start": "2017-01-01"}
CONSENT = {"purposes": {"email.marketing": {"title": "News", "notices": [{"version": "1", "text": "We may write."}]}}}

ORDERS = {
    "order_id": "order",
    "product_id": "product",
    "customer_id": "customer",
    "quantity": "quantity",
    "amount": "amount",
    "ordered_at": "ordered",
}
HEADER = "order,product,customer,quantity,amount,ordered"


@dataclass(frozen=True)
class Shop:
    """A workspace in a temporary folder. Data files go to `data/`."""

    root: Path

    @property
    def workspace(self) -> Workspace:
        return Workspace.at(self.root)

    @property
    def program(self) -> Program:
        return load_program(self.workspace.program)

    @cached_property
    def keys(self) -> Keyring:
        return Keyring.load(self.workspace.keys)

    @cached_property
    def ledger(self) -> Ledger:
        return Ledger.open(self.workspace.ledger_url)

    @property
    def warehouse(self) -> Warehouse:
        return Warehouse(self.workspace.warehouse)

    def write_program(self, sources: dict[str, Any]) -> None:
        """Write all program files, with these sources."""
        self.workspace.program.mkdir(parents=True, exist_ok=True)
        for name, content in (("program", PROGRAM), ("consent", CONSENT), ("sources", {"sources": sources})):
            with (self.workspace.program / f"{name}.yaml").open("w", encoding="utf-8") as file:
                YAML().dump(content, file)

    def use_files(self, **tables: dict[str, Any]) -> None:
        """One source `files` of the folder `data`, with these tables."""
        self.write_program({"files": {"kind": "files", "location": "data", "tables": tables}})

    def write(self, name: str, content: str | bytes) -> Path:
        path = self.root / "data" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    def write_lines(self, name: str, *lines: str) -> Path:
        return self.write(name, "".join(f"{line}\n" for line in lines))

    def write_jsonl(self, name: str, records: Iterable[dict[str, Any]]) -> Path:
        return self.write_lines(name, *(json.dumps(record) for record in records))

    def write_parquet(self, name: str, columns: dict[str, Any]) -> Path:
        path = self.root / "data" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(pa.table(columns), path)
        return path

    def sync(self) -> SyncResult:
        return sync(self.program, self.workspace, self.keys, self.ledger)

    def landing(self, table: str, columns: str = "*", *, newest_only: bool = False) -> list[tuple[Any, ...]]:
        """Rows of complete loads of a landing table, in the order they landed."""
        files = [str(path) for path in landed_files(self.workspace.landing, table, newest_only=newest_only)]
        if not files:
            return []
        query = f"select {columns} from read_parquet(?, union_by_name = true) order by _dlt_load_id, _source, _row"
        return duckdb.execute(query, [files]).fetchall()

    def landed_types(self, table: str) -> dict[str, str]:
        files = [str(path) for path in landed_files(self.workspace.landing, table)]
        query = "select column_name, column_type from (describe from read_parquet(?, union_by_name = true))"
        return dict(duckdb.execute(query, [files]).fetchall())

    def validate(self) -> dict[str, Books]:
        """Everything, as a run does it."""
        with self.warehouse.connect() as session:
            return {books.entity: books for books in validate_landed(self.program, self.workspace, session)}

    def split(self, entity: str) -> Books:
        """Only one entity."""
        with self.warehouse.connect() as session:
            return split_entity(entity, self.program, self.workspace.landing, session)

    def query(self, sql: str) -> list[tuple[Any, ...]]:
        with self.warehouse.connect() as session:
            return session.rows(sql)


def orders(path: str, **settings: Any) -> dict[str, Any]:
    """A table of order lines."""
    return {"entity": "order_lines", "path": path, "columns": ORDERS, **settings}


def new_shop(root: Path) -> Shop:
    shop = Shop(root)
    shop.workspace.state.mkdir(parents=True)
    Keyring.create(shop.workspace.keys)
    return shop
