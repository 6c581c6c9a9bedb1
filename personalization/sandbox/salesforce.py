"""A stand-in for Marketing Cloud Engagement on this machine: tokens, data extensions, All Subscribers.

All three services answer at one address. Differences from Salesforce are listed in docs/export.md.
"""

from __future__ import annotations

import re
import time
import uuid
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from starlette.requests import Request

from personalization.sandbox.answers import Answer
from personalization.sandbox.salesforce_data import DataExtensions, Refused
from personalization.sandbox.salesforce_queries import Queries
from personalization.sandbox.salesforce_soap import Soap
from personalization.sandbox.salesforce_tracking import Tracking
from personalization.sandbox.store import Store
from personalization.sandbox.web import PlatformSandbox, json_body

TOKEN_SECONDS = 1080
MOST_AT_ONCE, PAGE_OF_RESULTS = 50, 50
_ROUTES = {
    name: re.compile(pattern, re.IGNORECASE)
    for name, pattern in {
        "extensions": r"/data/v1/customobjects",
        "extension": r"/data/v1/customobjects/([^/]+)",
        "fields": r"/data/v1/customobjects/([^/]+)/fields",
        "field": r"/data/v1/customobjects/([^/]+)/fields/([^/]+)",
        "add_fields": r"/data/v1/customobjectsasync/([^/]+)/fields",
        "later": r"/data/v1/async/dataextensions/key:([^/]+)/rows",
        "status": r"/data/v1/async/([^/]+)/status",
        "results": r"/data/v1/async/([^/]+)/results",
        "at_once": r"/hub/v1/dataevents/key:([^/]+)/rowset",
        "rows": r"/data/v1/customobjectdata/key/([^/]+)/rowset",
        "queries": r"/automation/v1/queries",
        "query": r"/automation/v1/queries/([^/]+)",
        "start_query": r"/automation/v1/queries/([^/]+)/actions/start",
        "delete_contacts": r"/contacts/v1/contacts/actions/delete",
    }.items()
}


class SalesforceSandbox(PlatformSandbox):
    """One tenant with one business unit.

    Parameters
    ----------
    api_key : str
        The client secret that is let in, with any client id.
    list_id : str
        Not used.
    state : Path, optional
        File to keep the state in; None forgets it at the end.
    batch_seconds : float
        How long a request for later takes.
    latency : float
        Seconds that every request takes at least.
    """

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
        self._secret, self._seconds = api_key, batch_seconds
        self._tokens: dict[str, float] = {}
        self._jobs: dict[str, dict[str, Any]] = {}
        self._data = DataExtensions(self.store)
        self._queries = Queries(self.store, self._data)
        self._soap = Soap(self.store, self._data, Tracking(self.mailings), self._lets_in)

    def recipients(self) -> list[str]:
        """Addresses of all rows, but of those who are not active in All Subscribers."""
        gone = {one["address"].lower() for one in self.store.all("subscribers").values() if one["status"] != "Active"}
        return [address for address in self._data.addresses() if address.lower() not in gone]

    def campaign_id(self, number: int) -> str:
        return str(4_000 + number)

    def happened(self, event: dict[str, Any]) -> None:
        address = event["address"]
        if event["kind"] in ("unsubscribed", "complained"):
            self.store.put("subscribers", address, {"key": address, "address": address, "status": "Unsubscribed"})
        elif event["kind"] == "bounced" and event["hard"]:
            self.store.put("subscribers", address, {"key": address, "address": address, "status": "Held"})

    def forget(self) -> None:
        super().forget()
        self._jobs.clear()
        self._tokens.clear()

    def refuses(self, request: Request, path: str) -> Answer | None:
        if path in ("/v2/token", "/Service.asmx"):
            return None
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        if scheme == "Bearer" and self._lets_in(token):
            return None
        return Refused(401, "Not Authorized", 0).answer

    async def answer(self, request: Request, path: str) -> Answer:
        if path == "/Service.asmx":
            with self.store.together():
                return self._soap.answer(await request.body())
        try:
            body = await json_body(request)
        except ValueError:
            return Refused(400, "The body is not JSON", 10001).answer
        if path == "/v2/token":
            return self._token(body, f"{request.url.scheme}://{request.url.netloc}/")
        self._work()
        try:
            for name, pattern in _ROUTES.items():
                match = pattern.fullmatch(path)
                if match:
                    with self.store.together():
                        return self._route(name, request, [unquote(part) for part in match.groups()], body)
        except Refused as refused:
            return refused.answer
        return Refused(404, "Not Found", 404).answer

    def _lets_in(self, token: str) -> bool:
        return self._tokens.get(token, 0.0) > time.time()

    def _token(self, body: Any, here: str) -> Answer:
        body = body if isinstance(body, dict) else {}
        if body.get("grant_type") != "client_credentials":
            return Answer(400, {"error": "unsupported_grant_type", "error_description": "Unsupported grant type."})
        if body.get("client_secret") != self._secret or not body.get("client_id"):
            said = "Invalid client ID. Use the client ID in Marketing Cloud Installed Packages."
            return Answer(401, {"error": "invalid_client", "error_description": said, "error_uri": ""})
        if not isinstance(body.get("account_id", 0), int):
            return Answer(400, {"error": "invalid_request", "error_description": "account_id must be a number."})
        token = uuid.uuid4().hex
        self._tokens[token] = time.time() + TOKEN_SECONDS
        shown = {"access_token": token, "token_type": "Bearer", "expires_in": TOKEN_SECONDS}
        shown |= {"scope": "data_extensions_read data_extensions_write list_and_subscribers_write"}
        return Answer(200, {**shown, "soap_instance_url": here, "rest_instance_url": here})

    def _route(self, name: str, request: Request, parts: list[str], body: Any) -> Answer:
        method, query = request.method, request.query_params
        match name, method:
            case "extensions", "GET":
                return self._data.search(query)
            case "extensions", "POST":
                return self._data.create(body)
            case "extension", "DELETE":
                return self._data.delete(parts[0])
            case "fields", "GET":
                return self._data.fields(parts[0])
            case "field", "DELETE":
                return self._data.delete_field(*parts)
            case "add_fields", "POST":
                return self._data.add_fields(parts[0], body)
            case "later", "PUT":
                return self._later(parts[0], body)
            case "status", "GET":
                return self._status(parts[0])
            case "results", "GET":
                return self._results(parts[0], int(query.get("$page", 1)))
            case "at_once", "POST":
                return self._at_once(parts[0], body)
            case "rows", "GET":
                return self._data.read(parts[0], query)
            case "queries", "GET":
                return self._queries.page(query)
            case "queries", "POST":
                return self._queries.create(body)
            case "query", "PATCH":
                return self._queries.change(parts[0], body)
            case "start_query", "POST":
                return self._queries.start(parts[0], body)
            case "delete_contacts", "POST":
                return self._delete_contacts(body)
        raise Refused(405, "Method Not Allowed", 405)

    def _at_once(self, key: str, body: Any) -> Answer:
        """All or nothing."""
        extension = self._data.by_key(key)
        if extension is None:
            raise Refused(404, f"Unable to find the data extension {key}", 10003)
        if not isinstance(body, list) or not 0 < len(body) <= MOST_AT_ONCE:
            raise Refused(400, f"A list of at most {MOST_AT_ONCE} rows is required", 10001)
        problems = []
        before = dict(self.store.all(f"rows {extension['id']}"))
        for one in body:
            try:
                self._data.upsert(extension, {**one.get("keys", {}), **one.get("values", {})})
            except Refused as refused:
                problems.append(refused.message)
        if problems:
            kind = f"rows {extension['id']}"
            for row_key in [key for key in self.store.all(kind) if key not in before]:
                self.store.delete(kind, row_key)
            for row_key, row in before.items():
                self.store.put(kind, row_key, row)
            raise Refused(400, f"Unable to save rows for data extension ID {extension['id']}", 10006, tuple(problems))
        return Answer(200, body)

    def _later(self, key: str, body: Any) -> Answer:
        number = str(uuid.uuid4())
        if self._data.by_key(key) is None:
            message = f"Failed to resolve the Custom Object from the provided ObjectReferenceIdentifier [Key: {key}]."
            said = {"resultType": "Operational", "resultClass": "Error", "resultCode": "CustomObjectNotFound"}
            return Answer(200, {"requestId": number, "resultMessages": [{**said, "message": message}]})
        items = body.get("items") if isinstance(body, dict) else None
        if not isinstance(items, list) or not items:
            raise Refused(400, "items are required", 10001)
        self._jobs[number] = {"key": key, "items": items, "due": time.monotonic() + self._seconds, "errors": None}
        return Answer(202, {"requestId": number, "resultMessages": []})

    def _work(self) -> None:
        """Write the rows of requests that are due, in the order in which they came."""
        for job in self._jobs.values():
            if job["errors"] is None and job["due"] <= time.monotonic():
                errors: list[str] = []
                job["errors"] = errors
                extension = self._data.by_key(job["key"])
                for item in job["items"]:
                    try:
                        self._data.upsert(extension or {"fields": [], "id": ""}, item)
                    except Refused as refused:
                        errors.append(refused.message)

    def _status(self, number: str) -> Answer:
        job = self._jobs.get(number)
        if job is None:
            return _unknown(number)
        done = job["errors"] is not None
        status = {
            "callDateTime": "2026-11-25T00:00:00.00",
            "completionDateTime": "2026-11-25T00:00:00.00" if done else None,
            "hasErrors": bool(job["errors"]),
            "pickupDateTime": None,
            "requestStatus": "Complete" if done else "Pending",
            "resultStatus": "Error" if job["errors"] else "OK",
            "requestId": number,
        }
        return Answer(200, {"status": status, "requestId": str(uuid.uuid4())})

    def _results(self, number: str, page: int) -> Answer:
        job = self._jobs.get(number)
        if job is None:
            return _unknown(number)
        items = [{"errorCode": "UnexpectedError", "message": one, "status": "Error"} for one in job["errors"] or []]
        shown = items[(page - 1) * PAGE_OF_RESULTS : page * PAGE_OF_RESULTS]
        body = {"page": page, "pageSize": PAGE_OF_RESULTS, "count": len(items), "items": shown}
        return Answer(200, {**body, "requestId": number})

    def _delete_contacts(self, body: Any) -> Answer:
        body = body if isinstance(body, dict) else {}
        keys = body.get("values")
        if not isinstance(keys, list) or body.get("DeleteOperationType") != "ContactAndAttributes":
            raise Refused(400, "values and DeleteOperationType are required", 10001)
        for key in keys:
            self.store.delete("subscribers", key)
        numbers = {name: str(uuid.uuid4()) for name in ("requestServiceMessageID", "serviceMessageID")}
        told = {"operationInitiated": True, "operationID": 1, "hasErrors": False, "resultMessages": []}
        return Answer(200, {**told, **numbers, "responseDateTime": "2026-11-25T00:00:00.00-06:00"})


def _unknown(number: str) -> Answer:
    message = f"Unable to locate an Async Request Status Record for the provided RequestId: {number}."
    said = {"resultType": "Operational", "resultClass": "Error", "resultCode": "AsyncRequestStatusNotFound"}
    return Answer(200, {"requestId": number, "resultMessages": [{"resultMessage": {**said, "message": message}}]})
