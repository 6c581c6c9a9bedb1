"""What a sandbox remembers: documents by kind and id, in memory, and in a SQLite file when its state must survive."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any


class Store:
    """Documents in the order they were first put.

    Parameters
    ----------
    path : Path, optional
        SQLite file to read at the start and to write through to; None keeps everything in memory only.
    """

    def __init__(self, path: Path | None = None) -> None:
        self._documents: dict[str, dict[str, Any]] = {}
        self._file: sqlite3.Connection | None = None
        self._depth = 0
        if path is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = sqlite3.connect(path, isolation_level=None)
            self._file.execute("pragma journal_mode = wal")
            self._file.execute(
                "create table if not exists documents "
                "(kind text, id text, document text not null, primary key (kind, id)) strict"
            )
            for kind, key, document in self._file.execute("select kind, id, document from documents order by rowid"):
                self._documents.setdefault(kind, {})[key] = json.loads(document)

    def all(self, kind: str) -> dict[str, Any]:
        """All documents of a kind by id. Change them with `put` and `delete` only."""
        return self._documents.setdefault(kind, {})

    def get(self, kind: str, key: str) -> Any:
        return self.all(kind).get(key)

    def put(self, kind: str, key: str, document: Any) -> None:
        self.all(kind)[key] = document
        if self._file:
            self._file.execute(
                "insert into documents values (?, ?, ?) on conflict do update set document = excluded.document",
                (kind, key, json.dumps(document)),
            )

    def delete(self, kind: str, key: str) -> None:
        self.all(kind).pop(key, None)
        if self._file:
            self._file.execute("delete from documents where kind = ? and id = ?", (kind, key))

    def clear(self) -> None:
        self._documents.clear()
        if self._file:
            self._file.execute("delete from documents")

    @contextmanager
    def together(self) -> Iterator[None]:
        """Changes inside the block reach the file in one transaction."""
        outermost = self._file is not None and self._depth == 0
        self._depth += 1
        if outermost:
            assert self._file is not None
            self._file.execute("begin")
        try:
            yield
        finally:
            self._depth -= 1
            if outermost:
                assert self._file is not None
                self._file.execute("commit")
