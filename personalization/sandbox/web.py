"""What all sandboxes share: one account behind HTTP, its log of requests, and the faults that a test scripts.

A platform's sandbox says how it lets in, what it answers, and how it says no; this module does the rest.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import BaseRoute, Route

from personalization.sandbox.answers import Answer
from personalization.sandbox.connections import abort_connection
from personalization.sandbox.faults import Fault, Faults
from personalization.sandbox.mailings import Mailings, utc
from personalization.sandbox.store import Store

_EVERY = ["GET", "POST", "PUT", "PATCH", "DELETE"]
_MAX_LOG = 10_000
_MAX_REMEMBERED = 100


class PlatformSandbox:
    """A platform's server. Subclasses set `api`, and say what is let in and answered.

    Parameters
    ----------
    store : Store
        What the account holds.
    latency : float
        Seconds that every request takes at least.
    """

    api = ""
    """The path that all of the platform's own paths begin with."""
    max_simultaneous: int | None = None
    """Requests that the platform works on at once for an account."""

    def __init__(self, store: Store, *, latency: float = 0.0) -> None:
        self.store = store
        self.faults = Faults()
        self.mailings = Mailings(store)
        self._latency = latency
        self._under_way = 0
        self._log: list[dict[str, Any]] = []
        self._answered: dict[str, Answer] = {}

    def refuses(self, request: Request, path: str) -> Answer | None:
        """The answer to a request that is not let in: no key, a wrong one, too many requests; None lets it in."""
        raise NotImplementedError

    async def answer(self, request: Request, path: str) -> Answer:
        """What the platform answers to a request that was let in. `path` is the part below `api`."""
        raise NotImplementedError

    def too_many(self) -> Answer:
        """The answer when more than `max_simultaneous` requests are under way."""
        return Answer(429, {"message": "Too many requests"})

    def start(self) -> None:
        """Begin to work on what takes time. Called once, inside the server's event loop."""

    def forget(self) -> None:
        """Empty the account."""
        self.store.clear()

    def recipients(self) -> list[str]:
        """Addresses that the platform would mail."""
        raise NotImplementedError

    def campaign_id(self, number: int) -> str:
        """The platform's id of its campaign with a number."""
        return str(number)

    def happened(self, event: dict[str, Any]) -> None:
        """What an event of a mailing changes at the platform's contacts."""

    def further_routes(self) -> list[BaseRoute]:
        """Addresses outside the API, such as a storage of results."""
        return []

    def error_type(self) -> str:
        """The content type of JSON answers with a status of 400 or more."""
        return "application/json"

    def app(self) -> Starlette:
        @asynccontextmanager
        async def lifespan(app: Starlette) -> AsyncIterator[None]:
            self.start()
            yield

        return Starlette(
            lifespan=lifespan,
            routes=[
                Route("/_sandbox/faults", self._script_faults, methods=["POST", "DELETE"]),
                Route("/_sandbox/state", self._forget, methods=["DELETE"]),
                Route("/_sandbox/campaigns", self._send_campaign, methods=["POST"]),
                Route("/_sandbox/campaigns/events", self._show_events),
                Route("/_sandbox/campaigns/{campaign}/events", self._let_happen, methods=["POST"]),
                Route("/_sandbox/requests", self._show_requests, methods=["GET", "DELETE"]),
                *self.further_routes(),
                Route(self.api + "/{path:path}", self._api, methods=_EVERY),
            ],
        )

    def response(self, answer: Answer) -> Response:
        if answer.body is None:
            return Response(status_code=answer.status, headers=answer.headers)
        if isinstance(answer.body, bytes):
            return Response(answer.body, answer.status, headers=answer.headers)
        kind = self.error_type() if answer.status >= 400 else "application/json"
        return JSONResponse(answer.body, answer.status, headers=answer.headers, media_type=f"{kind}; charset=utf-8")

    async def _api(self, request: Request) -> Response:
        path = request.url.path.removeprefix(self.api)
        entry = {"method": request.method, "path": path, "status": 0, "at": round(time.time(), 3)}
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
        if self.max_simultaneous and self._under_way > self.max_simultaneous:
            return self.response(self.too_many())
        refusal = self.refuses(request, path)
        if refusal:
            return self.response(refusal)
        if fault:
            return await _FAULTY[fault.kind](self, request, path, fault)
        answer = await self.answer(request, path)
        if request.method == "GET":
            self._remember(request, answer)
        return self.response(answer)

    def _remember(self, request: Request, answer: Answer) -> None:
        """What reads were answered last: for reads that don't see yet what changed since."""
        key = str(request.url)
        self._answered.pop(key, None)
        self._answered[key] = answer
        if len(self._answered) > _MAX_REMEMBERED:
            del self._answered[next(iter(self._answered))]

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
        self.forget()
        self._log.clear()
        self._answered.clear()
        return Response(status_code=204)

    async def _send_campaign(self, request: Request) -> Response:
        """`name`; optional: `addresses` (default: everybody active), `sent_at`, `seed`, `rates`."""
        asked = await request.json()
        number = len(self.mailings.campaigns) + 1
        campaign = self.campaign_id(number)
        sent_at = utc(asked["sent_at"]) if asked.get("sent_at") else datetime.now(UTC)
        addresses = asked.get("addresses")
        with self.store.together():
            happened = self.mailings.send(
                campaign,
                asked["name"],
                self.recipients() if addresses is None else addresses,
                sent_at,
                seed=asked.get("seed", 1),
                rates=asked.get("rates"),
            )
            for event in happened:
                self.happened(event)
        counts = Counter(event["kind"] for event in happened)
        return JSONResponse({"id": campaign, "name": asked["name"], "events": counts})

    async def _show_events(self, request: Request) -> Response:
        return JSONResponse({"events": self.mailings.events()})

    async def _let_happen(self, request: Request) -> Response:
        """`events`: each with `address`, `kind`, `at`, and what belongs to the kind."""
        try:
            with self.store.together():
                happened = self.mailings.happen(request.path_params["campaign"], (await request.json())["events"])
                for event in happened:
                    self.happened(event)
        except (KeyError, ValueError) as error:
            return JSONResponse({"error": str(error)}, 400)
        return JSONResponse({"events": len(happened)})

    async def _show_requests(self, request: Request) -> Response:
        if request.method == "DELETE":
            self._log.clear()
            return Response(status_code=204)
        return JSONResponse({"count": len(self._log), "requests": self._log})

    async def _fault_status(self, request: Request, path: str, fault: Fault) -> Response:
        return self.response(Answer(fault.status, fault.body, fault.headers))

    async def _fault_html(self, request: Request, path: str, fault: Fault) -> Response:
        text = fault.body or "Down for maintenance"
        return HTMLResponse(f"<!DOCTYPE html><html><body><h1>{text}</h1></body></html>", fault.status, fault.headers)

    async def _fault_truncated(self, request: Request, path: str, fault: Fault) -> Response:
        return _Truncated(await self.answer(request, path))

    async def _fault_stale(self, request: Request, path: str, fault: Fault) -> Response:
        known = self._answered.get(str(request.url))
        return self.response(known or await self.answer(request, path))

    async def _fault_reset(self, request: Request, path: str, fault: Fault) -> Response:
        abort_connection(request.scope)
        raise ClientDisconnect

    async def _fault_reset_after(self, request: Request, path: str, fault: Fault) -> Response:
        await self.answer(request, path)
        abort_connection(request.scope)
        raise ClientDisconnect

    async def _fault_hang_after(self, request: Request, path: str, fault: Fault) -> Response:
        answer = await self.answer(request, path)
        await asyncio.sleep(fault.seconds)
        return self.response(answer)

    async def _fault_slow(self, request: Request, path: str, fault: Fault) -> Response:
        await asyncio.sleep(fault.seconds)
        return self.response(await self.answer(request, path))

    async def _fault_twice(self, request: Request, path: str, fault: Fault) -> Response:
        await self.answer(request, path)
        return self.response(await self.answer(request, path))


async def json_body(request: Request) -> Any:
    """The parsed body, None when there is none. Raises `ValueError` when it is not JSON."""
    raw = await request.body()
    return json.loads(raw) if raw else None


_Faulty = Callable[[PlatformSandbox, Request, str, Fault], Awaitable[Response]]
_FAULTY: dict[str, _Faulty] = {
    "status": PlatformSandbox._fault_status,
    "html": PlatformSandbox._fault_html,
    "truncated": PlatformSandbox._fault_truncated,
    "reset": PlatformSandbox._fault_reset,
    "reset_after": PlatformSandbox._fault_reset_after,
    "hang_after": PlatformSandbox._fault_hang_after,
    "slow": PlatformSandbox._fault_slow,
    "twice": PlatformSandbox._fault_twice,
    "stale": PlatformSandbox._fault_stale,
}


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
