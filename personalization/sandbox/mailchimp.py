"""A stand-in for the Mailchimp Marketing API 3.0 on this machine: stateful, strict, and faulty when a test asks for it.

It keeps one account with one list and nothing in it. Differences from Mailchimp are listed in docs/export.md.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Route

from personalization.sandbox.answers import Answer, Problem
from personalization.sandbox.connections import abort_connection
from personalization.sandbox.faults import Fault, Faults
from personalization.sandbox.mailchimp_account import Account
from personalization.sandbox.mailchimp_batches import Batches
from personalization.sandbox.store import Store

MAX_SIMULTANEOUS = 10
_API = "/3.0"
_MAX_LOG = 10_000


class MailchimpSandbox:
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

    def __init__(
        self,
        api_key: str,
        list_id: str,
        *,
        state: Path | None = None,
        batch_seconds: float = 0.2,
        latency: float = 0.0,
    ) -> None:
        self.faults = Faults()
        self.account = Account(Store(state), list_id)
        self.batches = Batches(self.account, self.faults, batch_seconds)
        self._api_key, self._latency = api_key, latency
        self._under_way = 0
        self._log: list[dict[str, Any]] = []

    def app(self) -> Starlette:
        @asynccontextmanager
        async def lifespan(app: Starlette) -> AsyncIterator[None]:
            self.batches.start()
            yield

        every = ["GET", "POST", "PUT", "PATCH", "DELETE"]
        return Starlette(
            lifespan=lifespan,
            routes=[
                Route("/_sandbox/faults", self._script_faults, methods=["POST", "DELETE"]),
                Route("/_sandbox/state", self._forget, methods=["DELETE"]),
                Route("/_sandbox/requests", self._show_requests, methods=["GET", "DELETE"]),
                Route("/_results/{signature}/{name}", self._results),
                Route(_API + "/{path:path}", self._api, methods=every),
            ],
        )

    async def _api(self, request: Request) -> Response:
        path = request.url.path.removeprefix(_API)
        entry = {"method": request.method, "path": path, "status": 0}
        self._log.append(entry)
        del self._log[:-_MAX_LOG]
        self._under_way += 1
        try:
            response = await self._guarded(request, path)
        finally:
            self._under_way -= 1
        entry["status"] = response.status_code
        return response

    async def _guarded(self, request: Request, path: str) -> Response:
        fault = self.faults.next(request.method, path)
        if self._latency:
            await asyncio.sleep(self._latency)
        if self._under_way > MAX_SIMULTANEOUS:
            detail = f"You have exceeded the limit of {MAX_SIMULTANEOUS} simultaneous connections."
            return _response(Problem(429, "Too Many Requests", detail).answer)
        if not self._let_in(request):
            detail = "Your API key may be invalid, or you've attempted to access the wrong datacenter."
            return _response(Problem(401, "API Key Invalid", detail).answer)
        if fault:
            return await _FAULTY[fault.kind](self, request, path, fault)
        return _response(await self._answer(request, path))

    async def _answer(self, request: Request, path: str) -> Answer:
        raw = await request.body()
        body = None
        if raw:
            try:
                body = json.loads(raw)
            except ValueError:
                return Problem(400, "JSON Parse Error", "We encountered an unspecified JSON parsing error.").answer
        parts = path.strip("/").split("/")
        if parts[0] == "batches":
            return self._batch_answer(request, parts[1:], body)
        return self.account.handle(request.method, path, request.query_params, body)

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

    async def _script_faults(self, request: Request) -> Response:
        if request.method == "DELETE":
            self.faults.clear()
            return Response(status_code=204)
        try:
            self.faults.script(Fault(**await request.json()))
        except (TypeError, ValueError) as error:
            return JSONResponse({"error": str(error)}, 400)
        return Response(status_code=204)

    async def _forget(self, request: Request) -> Response:
        self.faults.clear()
        self.account.store.clear()
        self._log.clear()
        return Response(status_code=204)

    async def _show_requests(self, request: Request) -> Response:
        if request.method == "DELETE":
            self._log.clear()
            return Response(status_code=204)
        return JSONResponse({"count": len(self._log), "requests": self._log})

    async def _fault_status(self, request: Request, path: str, fault: Fault) -> Response:
        return _response(Answer(fault.status, fault.body, fault.headers))

    async def _fault_html(self, request: Request, path: str, fault: Fault) -> Response:
        page = "<!DOCTYPE html><html><body><h1>Down for maintenance</h1></body></html>"
        return HTMLResponse(page, fault.status, fault.headers)

    async def _fault_truncated(self, request: Request, path: str, fault: Fault) -> Response:
        return _Truncated(await self._answer(request, path))

    async def _fault_reset(self, request: Request, path: str, fault: Fault) -> Response:
        abort_connection(request.scope)
        raise ClientDisconnect

    async def _fault_reset_after(self, request: Request, path: str, fault: Fault) -> Response:
        await self._answer(request, path)
        abort_connection(request.scope)
        raise ClientDisconnect

    async def _fault_hang_after(self, request: Request, path: str, fault: Fault) -> Response:
        answer = await self._answer(request, path)
        await asyncio.sleep(fault.seconds)
        return _response(answer)

    async def _fault_slow(self, request: Request, path: str, fault: Fault) -> Response:
        await asyncio.sleep(fault.seconds)
        return _response(await self._answer(request, path))

    async def _fault_twice(self, request: Request, path: str, fault: Fault) -> Response:
        await self._answer(request, path)
        return _response(await self._answer(request, path))


_Faulty = Callable[[MailchimpSandbox, Request, str, Fault], Awaitable[Response]]
_FAULTY: dict[str, _Faulty] = {
    "status": MailchimpSandbox._fault_status,
    "html": MailchimpSandbox._fault_html,
    "truncated": MailchimpSandbox._fault_truncated,
    "reset": MailchimpSandbox._fault_reset,
    "reset_after": MailchimpSandbox._fault_reset_after,
    "hang_after": MailchimpSandbox._fault_hang_after,
    "slow": MailchimpSandbox._fault_slow,
    "twice": MailchimpSandbox._fault_twice,
}


def _response(answer: Answer) -> Response:
    if answer.body is None:
        return Response(status_code=answer.status, headers=answer.headers)
    kind = "application/problem+json" if answer.status >= 400 else "application/json"
    return JSONResponse(answer.body, answer.status, headers=answer.headers, media_type=f"{kind}; charset=utf-8")


class _Truncated(Response):
    """Promises the whole answer and breaks off in the middle."""

    def __init__(self, answer: Answer) -> None:
        super().__init__(json.dumps(answer.body), answer.status, media_type="application/json")

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        half = bytes(self.body)[: len(self.body) // 2]
        await send({"type": "http.response.body", "body": half, "more_body": True})
        await asyncio.sleep(0.05)  # what was sent reaches the client before the connection breaks
        abort_connection(scope)
