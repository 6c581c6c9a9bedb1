"""Segments in Marketing Cloud: for each a data extension, and a query activity that overwrites it.

Filters can't be made by the API; query activities can, at /automation/v1/queries: that is not in Salesforce's own
documents, third parties describe and use it (gortonington.com; the tools mcdev, sfmc-devtools-vscode and mcecli, whose
notes on a live account say that pages hold 25 at most, that a query needs a folder, and that it is started without a
body). A query runs when it is started: by every export that sent something, and by an automation that somebody puts it
into.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from personalization.program.models import SalesforceDestination
from personalization.rules.native import Native
from personalization.rules.native.sql import bracketed
from personalization.stages.export.adapters.base import DestinationError
from personalization.stages.export.adapters.http import Answer, Http
from personalization.stages.export.adapters.native import Brought
from personalization.stages.export.adapters.salesforce_shapes import EXTERNAL_ID, Column, words
from personalization.stages.export.adapters.salesforce_soap import Soap

PREFIX = "personalization_"  # names of data extensions take no colon
LONGEST_KEY = 36
PAGE = 100
QUERIES = "/automation/v1/queries"
FOLDERS = "queryactivity"


class SalesforceSegments:
    """See `NativeSegments`."""

    def __init__(self, http: Http, soap: Soap, destination: SalesforceDestination) -> None:
        self._http, self._soap, self._destination = http, soap, destination

    def bring(self, wanted: Sequence[Native]) -> Brought:
        """See `NativeSegments.bring`. Every query is started, so that the data extensions are up to date."""
        source = self._extension(self._destination.data_extension)
        if source is None:
            raise DestinationError(
                f"Salesforce has no data extension '{self._destination.data_extension}'",
                hint="if it was made just now, try again in half a minute: Salesforce's search shows it late",
            )
        queries = self._queries()
        made = []
        for native in wanted:
            key = key_of(native.segment)
            target = self._extension(key)
            if target is None:
                target = self._make_extension(key, native)
                made.append(f"data extension '{key}'")
            text = self._select(str(source["name"]), str(native.content))
            known = queries.get(key)
            if known is None:
                known = self._make_query(key, native, target, text)
                made.append(f"query activity '{key}'")
            elif known.get("queryText") != text:
                path = f"{QUERIES}/{known['queryDefinitionId']}"
                self._expect(self._http.call("PATCH", path, body={"queryText": text}), f"change the query '{key}'")
                made.append(f"query activity '{key}' changed")
            start = f"{QUERIES}/{known['queryDefinitionId']}/actions/start"
            answer = self._http.call("POST", start)
            if not answer.ok:
                raise DestinationError(f"Salesforce would not start the query '{key}': {self._said(answer)}")
        ours = {key_of(native.segment) for native in wanted}
        notes = [
            f"the query activity '{key}' at Salesforce is not in `native_segments` any more: it was left as it is, "
            "delete it there with its data extension when nothing uses them"
            for key in queries
            if key.startswith(PREFIX) and key not in ours
        ]
        return Brought(made, notes)

    def _select(self, source: str, condition: str) -> str:
        columns = f"{bracketed(self._destination.address_column)}, {bracketed(EXTERNAL_ID)}"
        return f"SELECT {columns} FROM {bracketed(source)} WHERE {condition}"  # noqa: S608  (compiled by us)

    def _extension(self, key: str) -> dict[str, Any] | None:
        found = self._items("/data/v1/customobjects", {"$search": key}, "search data extensions")
        return next((one for one in found if str(one.get("key", "")).lower() == key.lower()), None)

    def _make_extension(self, key: str, native: Native) -> dict[str, Any]:
        address = self._destination.address_column
        if self._destination.category_id is None:
            raise DestinationError(
                f"Salesforce has no data extension '{key}' for the members of the segment '{native.segment}'",
                hint=f"make one in Contact Builder with that external key and the columns {address} (EmailAddress, "
                f"primary key) and {EXTERNAL_ID} (Text 64), or set `category_id` to the folder in which to make it",
            )
        columns = [Column(address, "address", 254), Column(EXTERNAL_ID, "text", 64)]
        body = {
            "name": key,
            "key": key,
            "description": f"Members of the segment {native.segment}; written by Personalization",
            "categoryId": self._destination.category_id,
            "isActive": True,
            "isSendable": False,
            "isTestable": False,
            "fields": [column.body(number) for number, column in enumerate(columns)],
        }
        answer = self._http.call("POST", "/data/v1/customobjects", body=body, repeatable=False)
        return dict(self._expect(answer, f"make the data extension '{key}'").body)

    def _make_query(self, key: str, native: Native, target: dict[str, Any], text: str) -> dict[str, Any]:
        body = {
            "name": key,
            "key": key,
            "description": f"Members of the segment {native.segment}; written by Personalization",
            "queryText": text,
            "targetName": target["name"],
            "targetKey": key,
            "targetId": target["id"],
            "targetUpdateTypeId": 0,
            "targetUpdateTypeName": "Overwrite",
            "categoryId": self._folder(),
        }
        answer = self._http.call("POST", QUERIES, body=body, repeatable=False)
        return dict(self._expect(answer, f"make the query activity '{key}'").body)

    def _folder(self) -> int:
        """The folder that queries are in: the first one, which every business unit has, or else any."""
        found = list(self._soap.rows("DataFolder", ("ID", "CustomerKey"), [("ContentType", "equals", FOLDERS)]))
        found.sort(key=lambda one: one["CustomerKey"] != f"{FOLDERS}_default")
        if not found:
            raise DestinationError(
                "Salesforce shows no folder for query activities",
                hint="the package needs the scope automations_read; or make a query in Automation Studio once",
            )
        return int(found[0]["ID"])

    def _queries(self) -> dict[str, dict[str, Any]]:
        return {str(one["key"]): one for one in self._items(QUERIES, {}, "list its query activities")}

    def _items(self, path: str, query: Mapping[str, str], what: str) -> Iterator[dict[str, Any]]:
        """All items of a list, however many Salesforce puts on a page."""
        page = seen = 0
        while True:
            page += 1
            asked: dict[str, str | int] = {**query, "$page": page, "$pagesize": PAGE}
            answer = self._expect(self._http.call("GET", path, query=asked), what)
            items = answer.body.get("items") or []
            yield from items
            seen += len(items)
            if not items or seen >= int(answer.body.get("count") or 0):
                return

    def _expect(self, answer: Answer, what: str) -> Answer:
        if not answer.ok or not isinstance(answer.body, dict):
            raise DestinationError(f"Salesforce would not {what}: {self._said(answer)}")
        return answer

    def _said(self, answer: Answer) -> str:
        return self._http.redact(words(answer.body))


def key_of(segment: str) -> str:
    """External key and name of a segment's data extension and query: at most 36 characters."""
    key = f"{PREFIX}{segment}"
    return key if len(key) <= LONGEST_KEY else f"{PREFIX}{hashlib.sha256(segment.encode()).hexdigest()[:20]}"
