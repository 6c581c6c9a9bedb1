"""The data extension before rows are sent: is it there, with all columns, and of the right types?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from personalization.program.models import SalesforceDestination
from personalization.stages.export.adapters.base import DestinationError
from personalization.stages.export.adapters.http import Answer, Http
from personalization.stages.export.adapters.salesforce_shapes import Column, columns, words

_LOOKS, _PAUSE = 20, 3.0  # columns are added asynchronously: looked for this often, this many seconds apart


class Setup:
    """Checks a data extension, and makes what is missing where the API is documented to."""

    def __init__(self, destination: SalesforceDestination, name: str, http: Http) -> None:
        self._destination, self._name, self._http = destination, name, http
        self._columns = columns(destination)

    def run(self, known: frozenset[str]) -> list[str]:
        """See `Adapter.setup`."""
        found = self._find()
        if found is None:
            return self._make_all(known)
        existing = self._fields(found)
        for column in self._columns:
            problem = column.problem(existing[column.name.lower()]) if column.name.lower() in existing else None
            if problem:
                raise DestinationError(
                    f"the column {column.name} of the data extension '{self._key}' {problem}",
                    hint="change it in Salesforce: Contact Builder, Data Extensions; or change destinations.yaml",
                )
        self._check_others(existing)
        missing = [column for column in self._columns if column.name.lower() not in existing]
        lost = [column.name for column in missing if column.name in known]
        if lost:
            raise DestinationError(
                f"the column {', '.join(lost)} was deleted from the data extension '{self._key}', and with it the "
                "values of all contacts",
                hint=f"take it out of destinations.yaml, or run `personalization export setup {self._name}`: it makes "
                "the column again and lets the next run send all contacts",
            )
        return self._add(found, missing, len(existing)) if missing else []

    @property
    def _key(self) -> str:
        return self._destination.data_extension

    def _find(self) -> str | None:
        """The id of the data extension with our external key; searching looks at names and descriptions too."""
        page = 1
        while True:
            query: dict[str, str | int] = {"$search": self._key, "$page": page, "$pagesize": 100}
            answer = self._expect(self._http.call("GET", "/data/v1/customobjects", query=query), "search")
            items = answer.body["items"] if "count" not in answer.body else answer.body.get("items") or []
            for item in items:
                if str(item.get("key", "")).lower() == self._key.lower():
                    return str(item["id"])
            if not items or page * int(answer.body.get("pageSize") or 100) >= int(answer.body.get("count") or 0):
                return None
            page += 1

    def _make_all(self, known: frozenset[str]) -> list[str]:
        needed = "; ".join(column.words for column in self._columns)
        if known:
            raise DestinationError(
                f"the data extension '{self._key}' was deleted in Salesforce, and with it the values of all contacts",
                hint=f"restore it, or run `personalization export setup {self._name}` (with `category_id`, or after "
                f"you made it again): the next run sends all contacts. Columns: {needed}",
            )
        if self._destination.category_id is None:
            raise DestinationError(
                f"Salesforce has no data extension with the external key '{self._key}' in this business unit",
                hint="make one in Contact Builder, Data Extensions, used for sending, with these columns, or set "
                f"`category_id` to the folder in which to make it. {needed}",
            )
        body = {
            "name": self._key,
            "key": self._key,
            "description": "Written by Personalization",
            "categoryId": self._destination.category_id,
            "isActive": True,
            "isSendable": False,
            "isTestable": False,
            "fields": [column.body(number) for number, column in enumerate(self._columns)],
        }
        made = self._http.call("POST", "/data/v1/customobjects", body=body, repeatable=False)
        if not made.ok and self._find() is not None:  # somebody else made it meanwhile: Salesforce has each key once
            return self.run(known)
        if made.ok and str(made.body["key"]).lower() != self._key.lower():
            raise DestinationError(f"Salesforce made another data extension than '{self._key}'")
        self._expect(made, f"make the data extension '{self._key}' ({needed})")
        names = ", ".join(column.name for column in self._columns)
        return [
            f"data extension '{self._key}' with the columns {names}; mark it as used for sending in Contact Builder, "
            f"with {self._destination.address_column} related to the subscriber key"
        ]

    def _add(self, found: str, missing: Sequence[Column], there: int) -> list[str]:
        """Add columns, which takes a while, and wait until they are there."""
        body = {"fields": [column.body(there + number) for number, column in enumerate(missing)]}
        path = f"/data/v1/customobjectsasync/{found}/fields"
        answer = self._http.call("POST", path, body=body, repeatable=False)
        needed = "; ".join(column.words for column in missing)
        for _ in range(_LOOKS if answer.ok else 1):  # refused, they may have been added by somebody else meanwhile
            if all(column.name.lower() in self._fields(found) for column in missing):
                return [f"column {column.name} ({column.kind})" for column in missing]
            if not answer.ok:
                break
            self._http.clock.sleep(_PAUSE)
        said = "" if answer.ok else f": {self._http.redact(words(answer.body))}"
        raise DestinationError(
            f"Salesforce did not add columns to the data extension '{self._key}'{said}",
            hint=f"add them in Contact Builder, Data Extensions: {needed}",
        )

    def _fields(self, found: str) -> dict[str, Mapping[str, Any]]:
        answer = self._expect(self._http.call("GET", f"/data/v1/customobjects/{found}/fields"), "show columns")
        return {str(one["name"]).lower(): one for one in answer.body.get("fields") or []}

    def _check_others(self, existing: Mapping[str, Mapping[str, Any]]) -> None:
        """A column that is not ours and demands a value would refuse every new row."""
        ours = {column.name.lower() for column in self._columns}
        for name, one in existing.items():
            demanded = one.get("isPrimaryKey") or (one.get("isNullable") is False and not one.get("defaultValue"))
            if name not in ours and demanded:
                raise DestinationError(
                    f"the column {one['name']} of the data extension '{self._key}' demands a value, and "
                    "destinations.yaml has none for it",
                    hint="make it nullable and no primary key, give it a default, or map a field to it",
                )

    def _expect(self, answer: Answer, what: str) -> Answer:
        if not answer.ok or not isinstance(answer.body, dict):
            raise DestinationError(f"Salesforce would not {what}: {self._http.redact(words(answer.body))}")
        return answer
