"""A stand-in for the Mailchimp Marketing API 3.0 on this machine: stateful, strict, and faulty when a test asks for it.

It keeps one account with one list and nothing in it. Differences from Mailchimp are listed in docs/export.md.
"""

from __future__ import annotations

import base64
import binascii
from dataclasses import replace
from pathlib import Path
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from personalization.sandbox.answers import Answer, Problem
from personalization.sandbox.mailchimp_account import Account
from personalization.sandbox.mailchimp_batches import Batches
from personalization.sandbox.mailchimp_partial import partial
from personalization.sandbox.store import Store
from personalization.sandbox.web import PlatformSandbox, json_body


class MailchimpSandbox(PlatformSandbox):
    """The server's state and its routes.

    Parameters
    ----------
    api_key, list_id : str
        The only key that is let in, and the only list.
    state : Path, optional
        File to keep the state in; None forgets it at the end.
    batch_seconds : float
        How long batches queue; Mailchimp's take seconds to hours.
    latency : float
        Seconds that every request takes at least.
    """

    api = "/3.0"
    max_simultaneous = 10

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
        self.account = Account(self.store, list_id)
        self.batches = Batches(self.account, self.faults, batch_seconds)
        self._api_key = api_key

    def start(self) -> None:
        self.batches.start()

    def further_routes(self) -> list[BaseRoute]:
        return [Route("/_results/{signature}/{name}", self._results)]

    def recipients(self) -> list[str]:
        return [m["email_address"] for m in self.account.members.all.values() if m["status"] == "subscribed"]

    def campaign_id(self, number: int) -> str:
        return f"{number:010x}"

    def happened(self, event: dict[str, Any]) -> None:
        if event["kind"] in ("unsubscribed", "complained"):
            self.account.members.leave(event["address"], "unsubscribed", event["at"])
        elif event["kind"] == "bounced" and event["hard"]:
            self.account.members.leave(event["address"], "cleaned", event["at"])

    def error_type(self) -> str:
        return "application/problem+json"

    def too_many(self) -> Answer:
        detail = f"You have exceeded the limit of {self.max_simultaneous} simultaneous connections."
        return Problem(429, "Too Many Requests", detail).answer

    def refuses(self, request: Request, path: str) -> Answer | None:
        if self._let_in(request):
            return None
        detail = "Your API key may be invalid, or you've attempted to access the wrong datacenter."
        return Problem(401, "API Key Invalid", detail).answer

    async def answer(self, request: Request, path: str) -> Answer:
        try:
            body = await json_body(request)
        except ValueError:
            return Problem(400, "JSON Parse Error", "We encountered an unspecified JSON parsing error.").answer
        parts = path.strip("/").split("/")
        if parts[0] == "batches":
            answer = self._batch_answer(request, parts[1:], body)
        else:
            answer = self.account.handle(request.method, path, request.query_params, body)
        if request.method == "GET" and answer.status == 200:
            return replace(answer, body=partial(answer.body, request.query_params))
        return answer

    def _batch_answer(self, request: Request, parts: list[str], body: Any) -> Answer:
        base = f"{request.url.scheme}://{request.url.netloc}"
        if not parts and request.method == "POST":
            return self.batches.submit(body)
        if not parts and request.method == "GET":
            query = request.query_params
            return self.batches.page(int(query.get("count", 10)), int(query.get("offset", 0)))
        if len(parts) == 1 and request.method == "GET":
            return self.batches.get(parts[0], base)
        if len(parts) == 1 and request.method == "DELETE":
            return self.batches.delete(parts[0])
        return Problem(404, "Resource Not Found", "The requested resource could not be found.").answer

    def _let_in(self, request: Request) -> bool:
        """HTTP Basic with any user name and the key as password, or the key as bearer token."""
        scheme, _, value = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer":
            return value == self._api_key
        try:
            return base64.b64decode(value, validate=True).decode().partition(":")[2] == self._api_key
        except (binascii.Error, UnicodeDecodeError):
            return False

    async def _results(self, request: Request) -> Response:
        """The storage behind signed URLs is another service: it refuses requests that also carry credentials."""
        if "authorization" in request.headers:
            return Response("<Error><Code>InvalidArgument</Code></Error>", 400, media_type="application/xml")
        content = self.batches.results(request.path_params["signature"])
        if content is None:
            return Response("<Error><Code>AccessDenied</Code></Error>", 403, media_type="application/xml")
        return Response(content, media_type="application/gzip")
