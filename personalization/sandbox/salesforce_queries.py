"""Query activities of the Salesforce sandbox: SQL over a data extension into another one, run by SQLite.

Of SQL Server's language it knows what SQLite shares, `N'…'` and `[…]`. SQL Server's usual collation ignores case, and
what a tenant has is not documented: `ignores_case` is both ways to read it.
"""

from __future__ import annotations

import re
import sqlite3
import uuid
from collections.abc import Mapping
from typing import Any

from personalization.sandbox.answers import Answer
from personalization.sandbox.salesforce_data import DataExtensions, Refused
from personalization.sandbox.store import Store

PAGE = 25  # whatever is asked for
UPDATE_TYPES = {0: "Overwrite", 1: "Add/Update", 2: "Append"}
_SQLITE = {"Decimal": "real", "Number": "integer", "Boolean": "integer"}
_TOKENS = re.compile(r"N?'(?:[^']|'')*'|NVARCHAR\(\d+\)|\[(?:[^\]]|\]\])*\]|.", re.DOTALL)
_SOURCE = re.compile(r"\bFROM\s+\[((?:[^\]]|\]\])+)\]", re.IGNORECASE)


class Queries:
    """The query activities of one business unit."""

    def __init__(self, store: Store, data: DataExtensions, *, ignores_case: bool = True) -> None:
        self._store, self._data, self.ignores_case = store, data, ignores_case

    def page(self, query: Mapping[str, str]) -> Answer:
        number, size = int(query.get("$page", 1)), min(int(query.get("$pagesize", PAGE)), PAGE)
        found = list(self._store.all("queries").values())
        shown = found[(number - 1) * size : number * size]
        return Answer(200, {"count": len(found), "page": number, "pageSize": size, "items": shown})

    def create(self, body: Any) -> Answer:
        body = body if isinstance(body, dict) else {}
        missing = [
            name
            for name in ("name", "key", "queryText", "targetKey", "targetName")
            if not isinstance(body.get(name), str)
        ]
        if missing:
            raise Refused(400, f"Required fields are missing: {', '.join(missing)}", 10001)
        if not isinstance(body.get("categoryId"), int):
            raise Refused(400, "categoryId is required", 10001)
        if any(body["key"] == one["key"] for one in self._store.all("queries").values()):
            raise Refused(400, f"A query with the key {body['key']} exists", 10002)
        if self._data.by_key(body["targetKey"]) is None or body.get("targetUpdateTypeId") not in UPDATE_TYPES:
            raise Refused(400, "targetKey and targetUpdateTypeId don't fit", 10001)
        self._select(body["queryText"])  # Salesforce validates the text too
        number = str(uuid.uuid4())
        kept = {**body, "queryDefinitionId": number, "targetUpdateTypeName": UPDATE_TYPES[body["targetUpdateTypeId"]]}
        self._store.put("queries", number, kept)
        return Answer(201, kept)

    def change(self, number: str, body: Any) -> Answer:
        known = self._get(number)
        text = body.get("queryText", known["queryText"]) if isinstance(body, dict) else known["queryText"]
        self._select(text)
        self._store.put("queries", number, {**known, **body})
        return Answer(200, self._get(number))

    def start(self, number: str, body: Any) -> Answer:
        """Run at once, though Salesforce only queues it. With a body Salesforce says OK too, and runs nothing."""
        query = self._get(number)
        if body:
            return Answer(200, "OK")
        target = self._data.by_key(query["targetKey"])
        if target is None:
            raise Refused(400, "the target data extension is gone", 10003)
        rows = self._select(query["queryText"])
        if query["targetUpdateTypeId"] == 0:
            for key in list(self._store.all(f"rows {target['id']}")):
                self._store.delete(f"rows {target['id']}", key)
        for row in rows:
            self._data.upsert(target, row)
        return Answer(200, "OK")

    def _get(self, number: str) -> dict[str, Any]:
        found = self._store.get("queries", number)
        if found is None:
            raise Refused(404, "Query not found", 10003)
        return dict(found)

    def _select(self, text: str) -> list[dict[str, Any]]:
        """The rows a query selects. It is read only, and sees no table but the data extension it names."""
        source = _SOURCE.search(text)
        name = source[1].replace("]]", "]") if source else ""
        extensions = [one for one in self._store.all("extensions").values() if one["name"].lower() == name.lower()]
        if not extensions or not text.lstrip().upper().startswith("SELECT "):
            raise Refused(400, f"queryText: there is no data extension named '{name}' to select from", 10006)
        connection = sqlite3.connect(":memory:")
        connection.row_factory = sqlite3.Row
        self._fill(connection, extensions[0])
        connection.execute(f"pragma case_sensitive_like = {0 if self.ignores_case else 1}")
        connection.execute("pragma query_only = on")
        try:
            return [dict(row) for row in connection.execute(_as_sqlite(text))]
        except (sqlite3.Error, sqlite3.Warning) as error:
            raise Refused(400, f"queryText: {error}", 10006) from None
        finally:
            connection.close()

    def _fill(self, connection: sqlite3.Connection, extension: Mapping[str, Any]) -> None:
        collation = "nocase" if self.ignores_case else "binary"
        names = [one["name"] for one in extension["fields"]]
        columns = ", ".join(
            f"{_quoted(one['name'])} {_SQLITE.get(one['type'], 'text')} collate {collation}"
            for one in extension["fields"]
        )
        table = _quoted(extension["name"])
        connection.execute(f"create table {table} ({columns})")
        marks = ", ".join("?" * len(names))
        rows = [[row.get(name) for name in names] for row in self._store.all(f"rows {extension['id']}").values()]
        connection.executemany(f"insert into {table} values ({marks})", rows)  # noqa: S608


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _as_sqlite(text: str) -> str:
    """`N'…'` as `'…'`, `[…]` as `"…"`, `NVARCHAR(n)` as `TEXT`; nothing inside a text is touched."""

    def token(match: re.Match[str]) -> str:
        found = match[0]
        if found.startswith("N'"):
            return found[1:]
        if found.startswith("["):
            return _quoted(found[1:-1].replace("]]", "]"))
        return "TEXT" if found.startswith("NVARCHAR(") else found

    return _TOKENS.sub(token, text)
