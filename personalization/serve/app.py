"""The web application: webhooks, a check of health, and the pages for people."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Mount, Route, Router

from personalization.errors import LedgerError
from personalization.ledger import Ledger
from personalization.serve.body import MAX_BODY, READ_SECONDS
from personalization.serve.following import Following, Opened
from personalization.serve.receiver import Receiver
from personalization.serve.writer import MAX_WAITING, Writer
from personalization.webhooks.sources import load_endpoints

if TYPE_CHECKING:
    from personalization.runtime import Runtime

LOCK_SECONDS = 2.0
"""How long a commit waits for another writer. Senders give up after three seconds at the earliest."""


def utc_now() -> datetime:
    return datetime.now(UTC)


def create_app(
    runtime: Runtime,
    *,
    clock: Callable[[], datetime] = utc_now,
    max_body: int = MAX_BODY,
    max_waiting: int = MAX_WAITING,
    lock_seconds: float = LOCK_SECONDS,
    read_seconds: float = READ_SECONDS,
) -> Starlette:
    """Everything that `personalization serve` serves, for one process.

    Parameters
    ----------
    runtime : Runtime
        Program, keys and ledger.
    clock : callable
        Wall time; another one for tests of replay windows.
    max_body : int
        Bytes a webhook may have.
    max_waiting : int
        Requests that may wait for the writer.
    lock_seconds : float
        How long a commit waits for another process that writes to the ledger.
    read_seconds : float
        Within what time a body must have come.

    Raises
    ------
    ProgramError
        A webhook source has a mistake, or a secret that is missing, empty or too short.
    KeyFileError, LedgerError
        Keys or ledger can't be opened, or don't belong together.
    """
    endpoints = load_endpoints(runtime.program)

    def opened(runtime: Runtime) -> Opened:
        ledger = Ledger.open(runtime.workspace.ledger_url, wait_seconds=lock_seconds)
        try:
            ledger.vault(runtime.keys)  # refuses keys of another ledger: their tokens would match nobody
        except BaseException:
            ledger.close()
            raise
        writer = Writer(ledger, max_waiting=max_waiting)
        receiver = Receiver(
            runtime.program, endpoints, runtime.keys, writer, clock=clock, max_body=max_body, read_seconds=read_seconds
        )
        routes: list[BaseRoute] = [
            Route("/health", _health(ledger, writer)),
            *receiver.routes(),
            *_page_routes(runtime),
        ]
        return Opened(runtime, ledger, writer, Router(routes))

    following = Following(opened(runtime), opened)

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        following.start()
        try:
            yield
        finally:
            await run_in_threadpool(following.close)

    return Starlette(routes=[Mount("/", following)], lifespan=lifespan)


def _health(ledger: Ledger, writer: Writer) -> Callable[[Request], Awaitable[Response]]:
    async def health(_: Request) -> Response:
        try:
            await run_in_threadpool(ledger.inbox.last_seq)
        except LedgerError:
            return JSONResponse({"status": "the ledger can't be read"}, status_code=503)
        if not writer.running or writer.problem:
            return JSONResponse({"status": "events can't be written"}, status_code=503)
        return JSONResponse({"status": "ok", "waiting": writer.waiting})

    return health


def _page_routes(runtime: Runtime) -> list[Route]:
    """The preference page and its like, where they are installed."""
    if importlib.util.find_spec("personalization.serve.pages") is None:
        return []
    routes: list[Route] = importlib.import_module("personalization.serve.pages").routes(runtime)
    return routes
