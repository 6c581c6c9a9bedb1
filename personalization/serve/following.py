"""Goes on when the token key is replaced: ledger and keys are opened again, and nothing made under the old one is kept.

What was opened before refuses to write from the moment of the change. Who asks in between is asked to come again.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from starlette.concurrency import run_in_threadpool
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from personalization.errors import PersonalizationError
from personalization.ledger import Ledger
from personalization.serve.writer import Writer

if TYPE_CHECKING:
    from personalization.runtime import Runtime

RETRY_AFTER_SECONDS = 5

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Opened:
    """What answers requests under one token key: the ledger and the writer of webhooks, and all routes."""

    runtime: Runtime
    ledger: Ledger
    writer: Writer
    answers: ASGIApp

    @property
    def is_outdated(self) -> bool:
        """Whether one of its ledgers found another token key."""
        return self.ledger.replaced or self.runtime.ledger.replaced


class Following:
    """Answers by what is opened now, and opens anew when the token key was replaced.

    Parameters
    ----------
    opened : Opened
    open_again : callable
        Opens everything for a `Runtime`.
    """

    def __init__(self, opened: Opened, open_again: Callable[[Runtime], Opened]) -> None:
        self._now, self._open_again = opened, open_again
        self._opening = asyncio.Lock()

    def start(self) -> None:
        self._now.writer.start()

    def close(self) -> None:
        """Write what waits, then stop."""
        self._now.writer.close()
        self._now.ledger.close()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self._now.is_outdated:
            try:
                await self._follow()
            except PersonalizationError as problem:
                log.error("the token key was replaced, and the ledger can't be opened again: %s", problem.message)
                headers = {"Retry-After": str(RETRY_AFTER_SECONDS)}
                response = JSONResponse({"error": "come again"}, status_code=503, headers=headers)
                await response(scope, receive, send)
                return
        await self._now.answers(scope, receive, send)

    async def _follow(self) -> None:
        async with self._opening:
            before = self._now
            if not before.is_outdated:  # another request was quicker
                return
            self._now = await run_in_threadpool(self._open, before.runtime)
            log.warning("the token key was replaced: the ledger is open under '%s'", self._now.ledger.token_key)
        await run_in_threadpool(_close, before)

    def _open(self, runtime: Runtime) -> Opened:
        opened = self._open_again(runtime.anew())
        opened.writer.start()
        return opened


def _close(opened: Opened) -> None:
    opened.writer.close()  # whoever waits in it is asked to come again
    opened.ledger.close()
