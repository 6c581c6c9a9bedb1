"""Requests to an ActiveCampaign account: setup, one contact, imports. The rows of a batch are the adapter's."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from requests import PreparedRequest
from requests.auth import AuthBase

from personalization.program.models import ActiveCampaignDestination
from personalization.stages.export.adapters.activecampaign_shapes import (
    EXTERNAL_ID,
    FIELD_TYPES,
    words,
)
from personalization.stages.export.adapters.base import Clock, DestinationError, Postponed
from personalization.stages.export.adapters.http import Answer, Http, Pace
from personalization.stages.export.adapters.traffic import Traffic

CONNECTIONS = 5
IMPORTS_A_MINUTE = 100
PAGE = 100
KEY_HINT = "check the token and the URL: ActiveCampaign, Settings, Developer; then the variables that hold them"


class _Token(AuthBase):
    """`Api-Token` in each request, and no login from elsewhere (such as .netrc)."""

    def __init__(self, token: str) -> None:
        self._token = token

    def __call__(self, request: PreparedRequest) -> PreparedRequest:
        request.headers["Api-Token"] = self._token
        return request


@dataclass(frozen=True)
class Job:
    """What became of a bulk import: contacts' ids that it wrote, addresses that it could not write."""

    done: bool
    completed: bool
    success: list[str]
    failure: set[str] = field(repr=False)


class Calls:
    """An account with the destination's list.

    Parameters
    ----------
    destination : ActiveCampaignDestination
    name : str
        Of the destination, for messages.
    base_url : str
        The account's URL, with or without /api/3.
    api_token : str
    traffic : Traffic, optional
        What every request has to pass.
    clock : Clock, optional
    """

    def __init__(
        self,
        destination: ActiveCampaignDestination,
        name: str,
        *,
        base_url: str,
        api_token: str,
        traffic: Traffic | None = None,
        clock: Clock | None = None,
    ) -> None:
        self._destination, self._name = destination, name
        # evenly, and 4 % below the limit: requests do not arrive as evenly as they leave
        pace = Pace(1, 1.04 / destination.requests_per_second)
        self.http = Http(
            "ActiveCampaign",
            base_url.rstrip("/").removesuffix("/api/3") + "/api/3",
            auth=_Token(api_token),
            connections=CONNECTIONS,
            key_hint=KEY_HINT,
            secrets=[api_token],
            pace=pace,
            traffic=traffic,
            clock=clock,
        )
        # campaign reports by person are in the older API only, at the same account and under the same limit
        self.reports = Http(
            "ActiveCampaign",
            base_url.rstrip("/").removesuffix("/api/3") + "/admin",
            auth=_Token(api_token),
            connections=CONNECTIONS,
            key_hint=KEY_HINT,
            secrets=[api_token],
            pace=pace,
            traffic=traffic,
            clock=clock,
        )
        self._imports = Pace(IMPORTS_A_MINUTE, 61.0)
        self._ids: dict[str, str] = {}

    @property
    def ids(self) -> dict[str, str]:
        """Ids of our custom fields by personalization tag."""
        if not self._ids:
            self._ids = {name: found["id"] for name, found in self._fields().items() if name in self._wanted()}
        return self._ids

    def setup(self, known_fields: frozenset[str]) -> list[str]:
        """See `Adapter.setup`. Two requests when nothing is missing."""
        list_id = self._destination.list_id
        answer = self.http.call("GET", f"/lists/{list_id}")
        if answer.status == 404:
            raise DestinationError(
                f"ActiveCampaign has no list {list_id}, or the token's user may not see it",
                hint="`list_id` is the number in the list's address: Contacts, Lists",
            )
        self.expect(answer, "show the list")
        existing, made = self._fields(), []
        for name, kind in self._wanted().items():
            known = existing.get(name)
            if known is None:
                if name in known_fields:
                    raise DestinationError(
                        f"the custom field {name} was deleted at ActiveCampaign, and with it all contacts' values",
                        hint=f"take it out of destinations.yaml, or run `personalization export setup {self._name}`: "
                        "it makes the field again and lets the next run send all contacts",
                    )
                known = self._make(name, kind)
                made.append(f"custom field {name} ({kind})")
            elif known["type"] not in (kind, "text"):
                raise DestinationError(
                    f"the custom field {name} at ActiveCampaign has the type {known['type']}, destinations.yaml says "
                    f"{kind}",
                    hint="change one of them, or give the field another name in destinations.yaml",
                )
            if not known["lists"] & {"0", str(list_id)}:
                body = {"fieldRel": {"field": int(known["id"]), "relid": list_id}}
                answer = self.http.call("POST", "/fieldRels", body=body, repeatable=False)
                self.expect(answer, f"put {name} on the list")
            self._ids[name] = known["id"]
        return made

    def find(self, address: str, deadline: float | None = None) -> str | None:
        """The id of a contact, or None when there is none."""
        query: dict[str, str | int] = {"email": address, "status": -1, "limit": 1}
        answer = self.http.call("GET", "/contacts", query=query, deadline=deadline)
        found = self.expect(answer, "look for a contact").body["contacts"]
        return str(found[0]["id"]) if found and str(found[0]["email"]).lower() == address else None

    def show(self, key: str) -> dict[str, Any] | None:
        """A contact with its lists and field values, or None when it is gone."""
        answer = self.http.call("GET", f"/contacts/{key}")
        return None if answer.status == 404 else dict(self.expect(answer, "show a contact").body)

    def unsubscribe(self, key: str, deadline: float) -> Answer:
        # texts, as in the published schema; 2 is unsubscribed
        body = {"contactList": {"contact": key, "list": str(self._destination.list_id), "status": "2"}}
        return self.http.call("POST", "/contactLists", body=body, deadline=deadline)

    def start_import(self, contacts: Sequence[dict[str, Any]], deadline: float) -> Answer:
        """Queue contacts: an answer with a `batchId`, or a 400 that says which contacts are wrong."""
        self._imports.wait(self.http.clock)
        body: dict[str, Any] = {"contacts": list(contacts)}
        if not self._destination.automations:
            body["exclude_automations"] = True
        answer = self.http.call("POST", "/import/bulk_import", body=body, repeatable=False, deadline=deadline)
        if answer.status == 400 and "rate limit" in words(answer).lower():
            raise Postponed("ActiveCampaign takes 100 imports a minute", 60.0)
        return answer

    def job(self, key: str) -> Job:
        """How far an import is. A name that is not known (any more) counts as one that came to nothing."""
        answer = self.http.call("GET", "/import/info", query={"batchId": key})
        if not answer.ok:
            return Job(True, False, [], set())
        status = str(answer.body.get("status", "")).lower()
        failure = {str(address).lower() for address in answer.body.get("failure") or []}
        success = [str(number) for number in answer.body.get("success") or []]
        return Job(status in ("completed", "failed", "interrupted"), status == "completed", success, failure)

    def importing(self) -> bool:
        """Whether any import of the account is unfinished, ours or not: they are not named."""
        answer = self.expect(self.http.call("GET", "/import/bulk_import"), "show its imports")
        return bool(answer.body.get("outstanding"))

    def addresses(self, ids: Sequence[str]) -> set[str]:
        """Addresses of contacts by id."""
        found = set()
        for begin in range(0, len(ids), PAGE):
            query = {"ids[]": list(ids[begin : begin + PAGE]), "status": -1, "limit": PAGE}
            answer = self.expect(self.http.call("GET", "/contacts", query=query), "show contacts")  # type: ignore[arg-type]
            found |= {str(contact["email"]).lower() for contact in answer.body["contacts"]}
        return found

    def on_list(self, status: int, *, with_values: bool = False) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
        """Contacts of the list by status (-1: any), each with the answer that it came in."""
        last = 0
        while True:
            query: dict[str, str | int] = {
                "listid": self._destination.list_id,
                "status": status,
                "id_greater": last,
                "orders[id]": "asc",
                "limit": PAGE,
            }
            if with_values:
                query["include"] = "fieldValues"
            answer = self.expect(self.http.call("GET", "/contacts", query=query), "show the list's contacts")
            for contact in answer.body["contacts"]:
                yield contact, answer.body
                last = max(last, int(contact["id"]))
            if len(answer.body["contacts"]) < PAGE:
                return

    def expect(self, answer: Answer, what: str) -> Answer:
        if not answer.ok or not isinstance(answer.body, dict):
            raise DestinationError(f"ActiveCampaign would not {what}: {self.http.redact(words(answer))}")
        return answer

    def _wanted(self) -> dict[str, str]:
        return {mapped.name: FIELD_TYPES[mapped.type] for mapped in self._destination.fields} | {EXTERNAL_ID: "text"}

    def _fields(self) -> dict[str, dict[str, Any]]:
        """All custom fields by personalization tag: id, type, and the lists that they are on."""
        found: dict[str, dict[str, Any]] = {}
        offset = 0
        while True:
            query: dict[str, str | int] = {"limit": PAGE, "offset": offset}
            body = self.expect(self.http.call("GET", "/fields", query=query), "show its custom fields").body
            lists: dict[str, set[str]] = {}
            for relation in body.get("fieldRels") or []:
                lists.setdefault(str(relation["field"]), set()).add(str(relation["relid"]))
            for shown in body["fields"]:
                key = str(shown["id"])
                found[str(shown["perstag"])] = {"id": key, "type": shown["type"], "lists": lists.get(key, set())}
            if len(body["fields"]) < PAGE:
                return found
            offset += PAGE

    def _make(self, name: str, kind: str) -> dict[str, Any]:
        body = {"field": {"type": kind, "title": name, "perstag": name, "visible": True}}
        answer = self.http.call("POST", "/fields", body=body, repeatable=False)
        existing = {} if answer.ok else self._fields()
        if name in existing:  # somebody else made it meanwhile
            return existing[name]
        self.expect(answer, f"add {name}")
        # `fields` in the published document, as in a list; others show `field`
        shown = [answer.body["field"]] if answer.body.get("field") else answer.body.get("fields") or []
        made = [entry for entry in shown if entry.get("perstag") == name] or [self._fields().get(name) or {}]
        if "id" not in made[0]:
            raise DestinationError(f"ActiveCampaign took the custom field {name}, but does not show it")
        return {"id": str(made[0]["id"]), "type": kind, "lists": set()}
