"""HubSpot's contacts: read, updated and created in batches, with the outcome of each input."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from personalization.stages.export.adapters.base import DestinationError
from personalization.stages.export.adapters.http import Http
from personalization.stages.export.adapters.hubspot_shapes import MOST, Paths, Record, Refusal, ids_of, trace_of, words


@dataclass(frozen=True)
class Input:
    """One contact of a batch that writes. `trace` comes back with what happened to it."""

    trace: str
    id: str
    properties: Mapping[str, str] = field(repr=False)


Verdict = Record | Refusal | None
"""What happened to an input: it was written, it was refused, or HubSpot does not say."""


class Crm:
    """Contacts of one account.

    Parameters
    ----------
    id_property : str
        Our unique property: which customer a contact is.

    Attributes
    ----------
    writes : int
        Answers to requests that write, so far.
    """

    def __init__(self, http: Http, paths: Paths, id_property: str) -> None:
        self._http, self._path, self._id_property = http, paths.contacts, id_property
        self.writes = 0

    def read(self, ids: Sequence[str], properties: Sequence[str], id_property: str | None = None) -> list[Record]:
        """The contacts there are among these, at most 100. Who is not there is left out."""
        if not ids:
            return []
        body: dict[str, Any] = {
            "properties": list(properties),
            "propertiesWithHistory": [],
            "inputs": [{"id": one} for one in dict.fromkeys(ids)],
        }
        if id_property:
            body["idProperty"] = id_property
        answer = self._http.call("POST", f"{self._path}/batch/read", body=body)
        if not answer.ok:
            raise DestinationError(f"HubSpot would not show contacts: {self._http.redact(words(answer.body))}")
        return [_record(result) for result in answer.body["results"]]

    def update(self, inputs: Sequence[Input], deadline: float) -> dict[str, Verdict]:
        """Change contacts by record id. Never creates one."""
        items = [{"id": one.id, "properties": dict(one.properties), "objectWriteTraceId": one.trace} for one in inputs]
        return self._write("update", items, deadline)

    def upsert(self, inputs: Sequence[Input], deadline: float) -> dict[str, Verdict]:
        """Create contacts by our unique property, so that creating twice is creating once."""
        items = [
            {
                "id": one.id,
                "idProperty": self._id_property,
                "properties": dict(one.properties),
                "objectWriteTraceId": one.trace,
            }
            for one in inputs
        ]
        return self._write("upsert", items, deadline)

    def pages(self, properties: Sequence[str]) -> Iterator[list[Record]]:
        """All contacts, 100 at a time."""
        after: str | None = None
        while True:
            query: dict[str, str | int] = {"limit": MOST, "properties": ",".join(properties)}
            if after:
                query["after"] = after
            answer = self._http.call("GET", self._path, query=query)
            if not answer.ok:
                raise DestinationError(f"HubSpot would not list contacts: {self._http.redact(words(answer.body))}")
            yield [_record(result) for result in answer.body["results"]]
            after = ((answer.body.get("paging") or {}).get("next") or {}).get("after")
            if not after:
                return

    def delete_for_good(self, record: Record) -> bool:
        """Delete a contact for the GDPR: it can't be restored. False when it was gone already."""
        answer = self._http.call("POST", f"{self._path}/gdpr-delete", body={"objectId": record.id})
        if not answer.ok and answer.status != 404:
            raise DestinationError(f"HubSpot would not delete a contact: {self._http.redact(words(answer.body))}")
        return answer.ok

    def _write(self, what: str, items: list[dict[str, Any]], deadline: float) -> dict[str, Verdict]:
        """One batch. When HubSpot refuses it as a whole, halves of it, until what is wrong stands alone."""
        if not items:
            return {}
        answer = self._http.call("POST", f"{self._path}/batch/{what}", body={"inputs": items}, deadline=deadline)
        self.writes += answer.ok
        if answer.ok:
            return self._verdicts(items, answer.body if isinstance(answer.body, dict) else {})
        if len(items) == 1:
            return {items[0]["objectWriteTraceId"]: Refusal.of(answer.body)}
        middle = len(items) // 2
        return {**self._write(what, items[:middle], deadline), **self._write(what, items[middle:], deadline)}

    def _verdicts(self, items: list[dict[str, Any]], body: Mapping[str, Any]) -> dict[str, Verdict]:
        """Match results and errors to inputs: by trace id, else by the id that was sent."""
        by_id = {item["id"]: item["objectWriteTraceId"] for item in items}
        verdicts: dict[str, Verdict] = dict.fromkeys(by_id.values())
        unclear = None
        for error in body.get("errors") or []:
            traces = [trace_of(error)] if trace_of(error) else [by_id.get(one) for one in ids_of(error)]
            if not any(traces):
                unclear = error
            verdicts |= {trace: Refusal.of(error) for trace in traces if trace in verdicts}
        for result in body.get("results") or []:
            record = _record(result)
            ours = record.properties.get(self._id_property) or ""
            trace = result.get("objectWriteTraceId") or by_id.get(record.id) or by_id.get(ours)
            if trace in verdicts:
                verdicts[trace] = record
        if unclear:  # HubSpot is done, and says that something failed but not what
            verdicts = {trace: verdict or Refusal.of(unclear) for trace, verdict in verdicts.items()}
        return verdicts


def _record(result: Mapping[str, Any]) -> Record:
    return Record(str(result["id"]), result.get("properties") or {})
