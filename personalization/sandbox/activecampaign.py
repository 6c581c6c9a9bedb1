"""A stand-in for the ActiveCampaign API v3 on this machine: stateful, strict, and faulty when a test asks for it.

Built from the published OpenAPI documents (bulk import, contacts, fields, lists) and the page on rate limits.
Differences, and what those documents leave open, are listed in docs/export.md.
"""

from __future__ import annotations

import re
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any

from starlette.datastructures import QueryParams
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from personalization.sandbox.activecampaign_account import Account, Refused
from personalization.sandbox.activecampaign_import import Imports
from personalization.sandbox.activecampaign_reports import Reports
from personalization.sandbox.answers import Answer
from personalization.sandbox.store import Store
from personalization.sandbox.web import PlatformSandbox, json_body

PER_SECOND, RETRY_AFTER = 5, 1
_PAGE, _LARGEST_PAGE = 20, 100


class ActiveCampaignSandbox(PlatformSandbox):
    """The server's state and its routes.

    Parameters
    ----------
    api_key : str
        The only token that is let in, in the header `Api-Token`.
    list_id : str
        Name of the only list, whose number is 1.
    state : Path, optional
        File to keep the state in; None forgets it at the end.
    batch_seconds : float
        How long imports wait in the queue.
    latency : float
        Seconds that every request takes at least.
    """

    api = "/api/3"

    def __init__(
        self,
        api_key: str,
        list_id: str,
        *,
        state: Path | None = None,
        batch_seconds: float = 0.2,
        latency: float = 0.0,
    ) -> None:
        super().__init__(Store(state), latency=latency)
        self._api_key = api_key
        self.account = Account(self.store, list_id)
        self.reports = Reports(self.mailings, self.account)
        self.imports = Imports(self.account, self.store, self.faults, batch_seconds)
        self._per_second = PER_SECOND
        self._begun: deque[float] = deque()

    def start(self) -> None:
        self.imports.start()

    def forget(self) -> None:
        super().forget()
        self.account.begin()

    def further_routes(self) -> list[BaseRoute]:
        """The older API; for tests, limits that are lifted (they would wait), and what imports start."""
        return [
            Route("/_sandbox/limits", self._set_limits, methods=["PUT"]),
            Route("/_sandbox/automations", self._show_automations),
            Route("/admin/api.php", self._older_api, methods=["GET"]),
        ]

    def recipients(self) -> list[str]:
        return [one["email"] for one in self.account.contacts.values() if one["lists"].get("1") == "1"]

    def happened(self, event: dict[str, Any]) -> None:
        if event["kind"] in ("unsubscribed", "complained"):
            self.account.leave(event["address"], "2", event["at"])
        elif event["kind"] == "bounced" and event["hard"]:
            self.account.leave(event["address"], "3", event["at"])

    def refuses(self, request: Request, path: str) -> Answer | None:
        if request.headers.get("api-token") != self._api_key:
            return Answer(403, {"message": "You do not have permission to access this API: check the Api-Token."})
        now = time.monotonic()
        while self._begun and self._begun[0] <= now - 1:
            self._begun.popleft()
        headers = {"RateLimit-Limit": str(self._per_second)}
        if len(self._begun) >= self._per_second:
            headers |= {"RateLimit-Remaining": "0", "Retry-After": str(RETRY_AFTER)}
            return Answer(429, {"message": "Too Many Requests"}, headers)
        self._begun.append(now)
        return None

    async def answer(self, request: Request, path: str) -> Answer:
        try:
            body = await json_body(request)
        except ValueError:
            return Answer(400, {"message": "The request body is not valid JSON"})
        if path == "/import/bulk_import" and request.method == "POST":
            return self.imports.submit(body, len(await request.body()))
        allowed = False
        for verb, pattern, handler in _ROUTES:
            match = pattern.fullmatch(path)
            allowed = allowed or bool(match)
            if match and verb == request.method:
                try:
                    with self.store.together():
                        return handler(self, match.groups(), request.query_params, body or {})
                except Refused as refused:
                    return refused.answer
        return Answer(405, {"message": "Method Not Allowed"}) if allowed else Answer(404, {"message": "Not Found"})

    def list_import(self, keys: tuple[str, ...], query: QueryParams, body: Any) -> Answer:
        return self.imports.overview()

    def import_info(self, keys: tuple[str, ...], query: QueryParams, body: Any) -> Answer:
        return self.imports.info(query.get("batchId", ""))

    def show_list(self, keys: tuple[str, ...], query: QueryParams, body: Any) -> Answer:
        if keys[0] not in self.account.lists:
            raise Refused(404, f"No Result found for _List with id {keys[0]}")
        return Answer(200, {"list": self.account.lists[keys[0]]})

    def delete_list(self, keys: tuple[str, ...], query: QueryParams, body: Any) -> Answer:
        self.account.delete_list(keys[0])
        return Answer(200, {})

    def show_fields(self, keys: tuple[str, ...], query: QueryParams, body: Any) -> Answer:
        shown = self.account.shown_fields()
        return Answer(200, {**shown, "fields": _page(shown["fields"], query)})

    def add_field(self, keys: tuple[str, ...], query: QueryParams, body: Any) -> Answer:
        return Answer(201, self.account.add_field(body.get("field") or {}))

    def delete_field(self, keys: tuple[str, ...], query: QueryParams, body: Any) -> Answer:
        self.account.delete_field(keys[0])
        return Answer(200, {})

    def relate_field(self, keys: tuple[str, ...], query: QueryParams, body: Any) -> Answer:
        return Answer(201, {"fieldRel": self.account.relate(body.get("fieldRel") or {})})

    def sync(self, keys: tuple[str, ...], query: QueryParams, body: Any) -> Answer:
        given = body.get("contact") or {}
        contact, _ = self.account.upsert(given.get("email"), given.get("fieldValues") or [])
        return Answer(201, self._with_values(contact))  # the only status of the published document, new or not

    def list_campaigns(self, keys: tuple[str, ...], query: QueryParams, body: Any) -> Answer:
        found = self.reports.campaigns()
        return Answer(200, {"campaigns": _page(found, query), "meta": {"total": str(len(found))}})

    def list_contacts(self, keys: tuple[str, ...], query: QueryParams, body: Any) -> Answer:
        found = list(self.account.contacts.values())
        if query.get("email"):
            one = self.account.find(query["email"])
            found = [one] if one else []
        ids = query.getlist("ids[]")
        if ids:
            found = [contact for contact in found if contact["id"] in ids]
        if query.get("id_greater"):
            found = [contact for contact in found if int(contact["id"]) > int(query["id_greater"])]
        status = query.get("status", "-1")
        if query.get("listid"):
            on_list = query["listid"]
            found = [contact for contact in found if contact["lists"].get(on_list, "") in _statuses(status)]
        elif status != "-1":
            found = [contact for contact in found if status in contact["lists"].values()]
        if query.get("filters[updated_after]"):
            since = query["filters[updated_after]"]
            found = [contact for contact in found if str(contact.get("udate") or contact["cdate"]) >= since]
        found.sort(key=lambda contact: int(contact["id"]))
        page = _page(found, query)
        answer: dict[str, Any] = {"scoreValues": [], "contacts": [self.account.shown(contact) for contact in page]}
        if "fieldValues" in query.get("include", "").split(","):
            answer["fieldValues"] = [value for contact in page for value in self.account.shown_values(contact)]
        if "contactLists" in query.get("include", "").split(","):
            answer["contactLists"] = [entry for contact in page for entry in self.account.shown_lists(contact)]
        return Answer(200, {**answer, "meta": {"total": str(len(found))}})

    def show_contact(self, keys: tuple[str, ...], query: QueryParams, body: Any) -> Answer:
        contact = self.account.contact(keys[0])
        return Answer(200, {**self._with_values(contact), "contactLists": self.account.shown_lists(contact)})

    def change_contact(self, keys: tuple[str, ...], query: QueryParams, body: Any) -> Answer:
        contact = self.account.contact(keys[0])
        changed = self.account.write(contact, (body.get("contact") or {}).get("fieldValues") or [])
        return Answer(200, self._with_values(changed))

    def delete_contact(self, keys: tuple[str, ...], query: QueryParams, body: Any) -> Answer:
        self.account.delete(keys[0])
        return Answer(200, {})

    def set_list(self, keys: tuple[str, ...], query: QueryParams, body: Any) -> Answer:
        given = body.get("contactList") or {}
        wanted = (str(given.get(name, "")) for name in ("contact", "list", "status"))
        return Answer(200, {"contacts": [], "contactList": self.account.set_list(*wanted)})

    def _with_values(self, contact: dict[str, Any]) -> dict[str, Any]:
        return {"fieldValues": self.account.shown_values(contact), "contact": self.account.shown(contact)}

    async def _older_api(self, request: Request) -> Response:
        """Answers 200 whatever it has to say."""
        fault = self.faults.next(request.method, request.url.path)
        if fault:
            return self.response(Answer(fault.status, fault.body, fault.headers))
        refusal = self.refuses(request, request.url.path)
        return self.response(refusal or Answer(200, self.reports.call(request.query_params)))

    async def _show_automations(self, request: Request) -> Response:
        return JSONResponse({"contacts": self.imports.starting_automations()})

    async def _set_limits(self, request: Request) -> Response:
        limits = await request.json()
        self._per_second = int(limits.get("per_second", PER_SECOND))
        self.imports.per_minute = int(limits.get("imports_per_minute", 100))
        return JSONResponse(limits)


def _statuses(status: str) -> tuple[str, ...]:
    return ("0", "1", "2", "3") if status == "-1" else (status,)


def _page(rows: list[Any], query: QueryParams) -> list[Any]:
    offset = int(query.get("offset", 0))
    return rows[offset : offset + min(int(query.get("limit", _PAGE)), _LARGEST_PAGE)]


_Handler = Callable[[ActiveCampaignSandbox, tuple[str, ...], QueryParams, Any], Answer]
_S = ActiveCampaignSandbox
_ROUTES: tuple[tuple[str, re.Pattern[str], _Handler], ...] = tuple(
    (verb, re.compile(pattern), handler)
    for verb, pattern, handler in (
        ("GET", r"/import/bulk_import", _S.list_import),
        ("GET", r"/import/info", _S.import_info),
        ("GET", r"/lists/(\d+)", _S.show_list),
        ("DELETE", r"/lists/(\d+)", _S.delete_list),
        ("GET", r"/fields", _S.show_fields),
        ("POST", r"/fields", _S.add_field),
        ("DELETE", r"/fields/(\d+)", _S.delete_field),
        ("POST", r"/fieldRels", _S.relate_field),
        ("POST", r"/contact/sync", _S.sync),
        ("GET", r"/campaigns", _S.list_campaigns),
        ("GET", r"/contacts", _S.list_contacts),
        ("GET", r"/contacts/(\d+)", _S.show_contact),
        ("PUT", r"/contacts/(\d+)", _S.change_contact),
        ("DELETE", r"/contacts/(\d+)", _S.delete_contact),
        ("POST", r"/contactLists", _S.set_list),
    )
)
