"""Data extensions of the Salesforce sandbox: columns, rows, and which values they take."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from datetime import date, datetime
from decimal import Decimal, InvalidOperation
from typing import Any

from personalization.sandbox.answers import Answer
from personalization.sandbox.store import Store

TYPES = ("Text", "EmailAddress", "Decimal", "Number", "Date", "Boolean")
PAGE = 2500


class Refused(Exception):
    """A request, or a row, that is not taken."""

    def __init__(self, status: int, message: str, code: int = 10000, more: tuple[str, ...] = ()) -> None:
        super().__init__(message)
        self.status, self.message, self.code, self.more = status, message, code, more

    @property
    def answer(self) -> Answer:
        body: dict[str, Any] = {"message": self.message, "errorcode": self.code, "documentation": ""}
        if self.more:
            body["additionalErrors"] = [{"message": one, "errorcode": self.code} for one in self.more]
        return Answer(self.status, body)


class DataExtensions:
    """All data extensions of one business unit."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def by_key(self, key: str) -> dict[str, Any] | None:
        found = [one for one in self._store.all("extensions").values() if one["key"].lower() == key.lower()]
        return found[0] if found else None

    def search(self, query: Mapping[str, str]) -> Answer:
        wanted = query.get("$search")
        if not wanted:
            raise Refused(400, "$search is required", 30000)
        shown = [
            {name: value for name, value in one.items() if name != "fields"} | {"fieldCount": len(one["fields"])}
            for one in self._store.all("extensions").values()
            if wanted.lower() in f"{one['name']} {one['key']}".lower()
        ]
        return Answer(200, {"count": len(shown), "page": 1, "pageSize": 100, "links": {}, "items": shown})

    def create(self, body: Any) -> Answer:
        body = body if isinstance(body, dict) else {}
        missing = [name for name in ("name", "key", "categoryId", "fields") if not body.get(name)]
        if missing:
            raise Refused(400, f"Required fields are missing: {', '.join(missing)}", 10001)
        if self.by_key(body["key"]):
            raise Refused(400, f"A data extension with the key {body['key']} exists", 10002)
        for one in body["fields"]:
            _check_field(one)
        number = str(uuid.uuid4())
        self._store.put("extensions", number, {"rowCount": 0, **body, "id": number})
        return Answer(201, self._store.get("extensions", number))

    def fields(self, number: str) -> Answer:
        return Answer(200, {"id": number, "fields": self._get(number)["fields"]})

    def add_fields(self, number: str, body: Any) -> Answer:
        """At once, though the API says it takes a while."""
        found = self._get(number)
        new = body.get("fields") if isinstance(body, dict) else None
        if not new:
            raise Refused(400, "fields are required", 10001)
        for one in new:
            _check_field(one)
            if any(known["name"].lower() == one["name"].lower() for known in found["fields"]):
                raise Refused(400, f"The column {one['name']} exists", 10002)
        self._store.put("extensions", number, {**found, "fields": [*found["fields"], *new]})
        return Answer(202, {"requestId": str(uuid.uuid4())})

    def delete_field(self, number: str, name: str) -> Answer:
        """What somebody does in Contact Builder; the API has no such call."""
        found = self._get(number)
        self._store.put("extensions", number, {**found, "fields": [f for f in found["fields"] if f["name"] != name]})
        for key, row in list(self._store.all(f"rows {number}").items()):
            self._store.put(f"rows {number}", key, {n: v for n, v in row.items() if n != name})
        return Answer(204)

    def delete(self, number: str) -> Answer:
        self._get(number)
        self._store.delete("extensions", number)
        for key in list(self._store.all(f"rows {number}")):
            self._store.delete(f"rows {number}", key)
        return Answer(202, {})

    def upsert(self, extension: Mapping[str, Any], values: Mapping[str, Any]) -> dict[str, Any]:
        """One row, with the values it has then. Raises `Refused` when it does not fit."""
        fields = {one["name"].lower(): one for one in extension["fields"]}
        unknown = [name for name in values if name.lower() not in fields]
        if unknown:
            raise Refused(400, f"The column(s) {', '.join(unknown)} do not exist", 10006)
        kept = {fields[name.lower()]["name"]: _kept(fields[name.lower()], value) for name, value in values.items()}
        keys = [one["name"] for one in extension["fields"] if one["isPrimaryKey"]]
        if not keys or any(not kept.get(name) for name in keys):
            raise Refused(400, f"Primary key {', '.join(keys)} is required", 10001)
        kind, key = f"rows {extension['id']}", " ".join(str(kept[name]).lower() for name in keys)
        row = {**(self._store.get(kind, key) or {}), **kept}
        empty = [o["name"] for o in extension["fields"] if not o["isNullable"] and row.get(o["name"]) in (None, "")]
        if empty:
            raise Refused(400, f"A value is required for {', '.join(empty)}", 10001)
        self._store.put(kind, key, row)
        return row

    def read(self, key: str, query: Mapping[str, str]) -> Answer:
        """Rows as the rowset call shows them: names in lower case, everything as text."""
        extension = self.by_key(key)
        if extension is None:
            raise Refused(404, f"Data extension cannot be retrieved for key {key}", 10003)
        rows = list(self._store.all(f"rows {extension['id']}").values())
        asked = query.get("$filter")
        if asked:
            name, _, value = asked.partition(" eq ")
            value = value.strip().removeprefix("'").removesuffix("'").replace("''", "'")
            rows = [row for row in rows if _shown(_cell(row, name)).lower() == value.lower()]
        page, size = int(query.get("$page", 1)), min(int(query.get("$pageSize", 50)), PAGE)
        keys = {one["name"] for one in extension["fields"] if one["isPrimaryKey"]}
        items = [
            {
                "keys": {n.lower(): _shown(v) for n, v in row.items() if n in keys},
                "values": {
                    one["name"].lower(): _shown(row.get(one["name"]))
                    for one in extension["fields"]
                    if one["name"] not in keys
                },
            }
            for row in rows[(page - 1) * size : page * size]
        ]
        body = {"links": {}, "requestToken": str(uuid.uuid4()), "customObjectKey": key, "page": page}
        return Answer(200, {**body, "pageSize": size, "count": len(rows), "items": items})

    def addresses(self) -> list[str]:
        """The addresses in all data extensions, each once."""
        found: dict[str, None] = {}
        for extension in self._store.all("extensions").values():
            columns = [one["name"] for one in extension["fields"] if one["type"] == "EmailAddress"]
            for row in self._store.all(f"rows {extension['id']}").values():
                found |= dict.fromkeys(str(row[name]) for name in columns if row.get(name))
        return list(found)

    def delete_row(self, key: str, values: Mapping[str, str]) -> bool:
        extension = self.by_key(key)
        kind = f"rows {extension['id']}" if extension else ""
        for row_key, row in list(self._store.all(kind).items()) if kind else ():
            if all(_shown(_cell(row, name)).lower() == value.lower() for name, value in values.items()):
                self._store.delete(kind, row_key)
                return True
        return False

    def _get(self, number: str) -> dict[str, Any]:
        found = self._store.get("extensions", number)
        if found is None:
            raise Refused(404, "Data extension not found", 10003)
        return dict(found)


def _check_field(one: Any) -> None:
    for name in ("name", "type", "ordinal", "isNullable", "isPrimaryKey", "isHidden", "isReadOnly", "mustOverride"):
        if not isinstance(one, dict) or name not in one:
            raise Refused(400, f"field property {name} is required", 10001)
    if one["type"] not in TYPES:
        raise Refused(400, f"{one['type']} is no type of columns", 10001)
    if one["type"] in ("Text", "EmailAddress", "Decimal") and not one.get("length"):
        raise Refused(400, f"length is required for {one['name']}", 10001)


def _kept(one: Mapping[str, Any], value: Any) -> Any:
    name, kind = one["name"], one["type"]
    if value is None or (value == "" and kind in ("Text", "EmailAddress")):
        return value
    text = str(value)
    try:
        if kind in ("Text", "EmailAddress") and len(text) > int(one.get("length") or 4000):
            raise ValueError(f"{len(text)} characters")
        if kind == "EmailAddress" and ("@" not in text or " " in text):
            raise ValueError("no address")
        if kind == "Decimal":
            return str(Decimal(text))
        if kind == "Number":
            return int(text)
        if kind == "Date":
            return date.fromisoformat(text[:10]).isoformat()
        if kind == "Boolean":
            return {"true": True, "1": True, "false": False, "0": False}[text.lower()]
    except (ValueError, InvalidOperation, KeyError):
        raise Refused(400, f"The value {text[:100]} does not fit the column {name} ({kind})", 10006) from None
    return text


def _shown(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, str) and len(value) == 10 and value[4:5] == "-" and value[7:8] == "-":
        return f"{datetime.fromisoformat(value):%m/%d/%Y} 12:00:00 AM".lstrip("0")
    return str(value)


def _cell(row: Mapping[str, Any], name: str) -> Any:
    return next((value for known, value in row.items() if known.lower() == name.strip().lower()), None)
