"""Rows of one data extension: written at once or later, and read back."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any
from urllib.parse import quote

from personalization.stages.export.adapters.base import DestinationError, Lost
from personalization.stages.export.adapters.http import Answer, Http
from personalization.stages.export.adapters.salesforce_shapes import Row, messages, words

AT_ONCE = 50  # rows of a synchronous call (Data Extension Rows, synchronous: best practice)
LATER = 2_000  # rows of an asynchronous one: Salesforce documents no limit; a third party says 5.9 MB
PAGE = 2_500
# the table of the status call says Completed, its example Complete; whatever else it says is not the end
_DONE = ("Complete", "Completed", "Error")


class DataExtension:
    """One data extension by its external key.

    Parameters
    ----------
    key : str
        External key.
    column : str
        Its primary key, the address.
    """

    def __init__(self, http: Http, key: str, column: str) -> None:
        self._http, self._name, self._column = http, key, column
        self._key = f"key:{quote(key, safe='')}"
        self._read_path = f"/data/v1/customobjectdata/key/{quote(key, safe='')}/rowset"

    def write(self, rows: Sequence[tuple[str, Row]], deadline: float) -> list[str | None]:
        """Upsert at most 50 rows. Returns for each why it was refused, None when the answer shows it.

        One row that does not fit makes Salesforce refuse the request; so halves of it are sent again.
        """
        if not rows:
            return []
        body = [{"keys": {self._column: key}, "values": dict(row.values)} for key, row in rows]
        answer = self._http.call("POST", f"/hub/v1/dataevents/{self._key}/rowset", body=body, deadline=deadline)
        if answer.ok and isinstance(answer.body, list):
            shown = {str(value).lower() for entry in answer.body for value in (entry.get("keys") or {}).values()}
            return [None if key.lower() in shown else "Salesforce's answer does not mention it" for key, _ in rows]
        if answer.ok:
            raise Lost(f"Salesforce answered a rowset with something else: {self._http.redact(words(answer.body))}")
        if answer.status == 404:
            raise DestinationError(f"Salesforce has no data extension with the external key '{self._name}' (any more)")
        if len(rows) == 1:
            return [self._http.redact(words(answer.body))]
        middle = len(rows) // 2
        return [*self.write(rows[:middle], deadline), *self.write(rows[middle:], deadline)]

    def write_later(self, rows: Sequence[tuple[str, Row]], deadline: float) -> str:
        """Upsert many rows. Returns the id of the request, which is not repeated when its answer is lost."""
        items = [{self._column: key, **row.values} for key, row in rows]
        path = f"/data/v1/async/dataextensions/{self._key}/rows"
        answer = self._http.call("PUT", path, body={"items": items}, repeatable=False, deadline=deadline)
        # a data extension that is not there is told in a 200
        if not answer.ok or messages(answer.body) or not answer.body.get("requestId"):
            raise DestinationError(f"Salesforce would not take rows: {self._http.redact(words(answer.body))}")
        return str(answer.body["requestId"])

    def state(self, request: str) -> bool | None:
        """Of a request for later: True when all went well, False when something failed, None while it is under way.

        Raises `Lost` when Salesforce does not know the request (any more).
        """
        answer = self._http.call("GET", f"/data/v1/async/{quote(request, safe='')}/status")
        status = (answer.body or {}).get("status") if answer.ok else None
        if not isinstance(status, dict):
            raise Lost(f"Salesforce does not know the request {request}: {self._http.redact(words(answer.body))}")
        if status.get("requestStatus") not in _DONE:
            return None
        return status["requestStatus"] != "Error" and not status.get("hasErrors")

    def objections(self, request: str) -> list[str]:
        """What failed in a request for later. The results are about rows, but do not say which."""
        found: list[str] = []
        page = 1
        while True:
            path = f"/data/v1/async/{quote(request, safe='')}/results"
            answer = self._http.call("GET", path, query={"$page": page, "$pagesize": PAGE})
            body = answer.body if answer.ok and isinstance(answer.body, dict) else {}
            items = body.get("items") or []
            found += [str(one.get("message")) for one in items if one.get("status") == "Error" and one.get("message")]
            if not items or page * int(body.get("pageSize") or PAGE) >= int(body.get("count") or 0):
                return [self._http.redact(one) for one in dict.fromkeys(found)]
            page += 1

    def read(self, keys: Sequence[str]) -> dict[str, dict[str, str]]:
        """Rows by lower-case key, each value by lower-case column. Few are asked for one by one."""
        if len(keys) > AT_ONCE:
            asked = {key.lower() for key in keys}
            return {key: row for page in self.pages() for key, row in page.items() if key in asked}
        found: dict[str, dict[str, str]] = {}
        for key in keys:
            query: dict[str, str | int] = {"$filter": f"{self._column} eq '{key.replace(chr(39), chr(39) * 2)}'"}
            found |= self._rows(self._page(self._read_path, query))
        return found

    def pages(self) -> Iterator[dict[str, dict[str, str]]]:
        """All rows, page by page."""
        page = 1
        while True:
            answer = self._page(self._read_path, {"$page": page, "$pageSize": PAGE})
            yield self._rows(answer)
            size = int(answer.body.get("pageSize") or PAGE)
            if not answer.body.get("items") or page * size >= int(answer.body.get("count") or 0):
                return
            page += 1

    def _page(self, path: str, query: Mapping[str, str | int]) -> Answer:
        answer = self._http.call("GET", path, query=query)
        if not answer.ok or not isinstance(answer.body, dict):
            said = self._http.redact(words(answer.body))
            raise DestinationError(f"Salesforce would not show rows of '{self._name}': {said}")
        if "items" not in answer.body and "count" not in answer.body:  # no rows, and something else, are not the same
            raise Lost(f"Salesforce did not show rows of '{self._name}', but something else")
        return answer

    def _rows(self, answer: Answer) -> dict[str, dict[str, str]]:
        found = {}
        for item in answer.body.get("items") or []:
            cells: dict[str, Any] = {**(item.get("keys") or {}), **(item.get("values") or {})}
            row = {name.lower(): "" if value is None else str(value) for name, value in cells.items()}
            found[row.get(self._column.lower(), "").lower()] = row
        return found
