"""The only writer of webhook events: one thread that commits what waits as a group, and answers after the commit.

One commit for many requests costs hardly more than one for one, so the more come at once, the more are written at once.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

from personalization.errors import LedgerError
from personalization.ledger import Ledger
from personalization.ledger.inbox_event import Receipt
from personalization.ledger.token_key import TokenKeyReplaced
from personalization.webhooks.receipt import Prepared, record

GROUP = 512
"""Requests in one commit at most, so that none of them waits for long."""

MAX_WAITING = 4_096
"""Requests that may wait; beyond, the sender is asked to come again."""

log = logging.getLogger(__name__)


class Busy(Exception):
    """It can't be written now: nothing was kept, and the sender must send it again."""


@dataclass(slots=True)
class _Waiting:
    prepared: Sequence[Prepared]
    answer: asyncio.Future[list[Receipt]]
    loop: asyncio.AbstractEventLoop


class Writer:
    """Writes to the inbox of a ledger in a thread of its own.

    Parameters
    ----------
    ledger : Ledger
        Opened for this writer, with a short wait for other writers: a sender waits no longer than a few seconds.
    max_waiting : int
        How many requests may wait before further ones are turned away.
    """

    def __init__(self, ledger: Ledger, *, max_waiting: int = MAX_WAITING) -> None:
        self._ledger, self._max_waiting = ledger, max_waiting
        self._queue: deque[_Waiting] = deque()
        self._wake = threading.Condition()
        self._closing = False
        self._thread = threading.Thread(target=self._run, name="inbox writer", daemon=True)
        self.problem: str | None = None
        """Why the last commit failed, None when it did not."""

    def start(self) -> None:
        self._thread.start()

    @property
    def waiting(self) -> int:
        """How many requests wait to be written."""
        return len(self._queue)

    @property
    def running(self) -> bool:
        return self._thread.is_alive()

    async def write(self, prepared: Sequence[Prepared]) -> list[Receipt]:
        """Keep events. When this returns they are on the disk, with the opt-outs in them.

        Raises
        ------
        Busy
            Too many wait already, the ledger is locked, its disk is full, or it can't be reached.
        """
        loop = asyncio.get_running_loop()
        waiting = _Waiting(prepared, loop.create_future(), loop)
        with self._wake:
            if self._closing or len(self._queue) >= self._max_waiting:
                raise Busy
            self._queue.append(waiting)
            self._wake.notify()
        return await waiting.answer

    def close(self) -> None:
        """Write what waits, then stop. Later requests are turned away."""
        with self._wake:
            self._closing = True
            self._wake.notify()
        if self._thread.is_alive():
            self._thread.join()

    def _run(self) -> None:
        while group := self._next():
            try:
                self._commit(group)
            except Exception:  # a thread that died would leave every sender without an answer
                log.error("inbox writer: a group could not be answered")

    def _next(self) -> list[_Waiting]:
        """What waits, as one group; an empty list once the writer is closed and nothing waits any more."""
        with self._wake:
            while not self._queue and not self._closing:
                self._wake.wait()
            return [self._queue.popleft() for _ in range(min(GROUP, len(self._queue)))]

    def _commit(self, group: list[_Waiting]) -> None:
        try:
            receipts = self._write([one for waiting in group for one in waiting.prepared])
        except Exception as error:
            if _is_outage(error):
                self._failed(str(getattr(error, "message", error)))
                with self._wake:  # those behind would fail alike, and each would have waited for its turn to do so
                    group += self._queue
                    self._queue.clear()
            elif len(group) > 1:
                for waiting in group:  # one of them must not take the others with it
                    self._commit([waiting])
                return
            else:  # its text could hold something of an event, so only its kind is told
                self._failed(f"an unexpected {type(error.__cause__ or error).__name__}")
            _answer([(waiting, Busy()) for waiting in group])
            return
        if self.problem:
            log.warning("inbox: events are written again")
        self.problem = None
        answers: list[tuple[_Waiting, list[Receipt] | Busy]] = []
        position = 0
        for waiting in group:
            answers.append((waiting, receipts[position : position + len(waiting.prepared)]))
            position += len(waiting.prepared)
        _answer(answers)

    def _write(self, prepared: list[Prepared]) -> list[Receipt]:
        with self._ledger.begin() as connection:
            return record(self._ledger, prepared, connection)

    def _failed(self, problem: str) -> None:
        if self.problem != problem:  # once for each state, not for each group
            log.error("inbox: events can't be written and senders are asked to come again: %s", problem)
        self.problem = problem


def _is_outage(error: Exception) -> bool:
    """Whether nothing can be written at all: locked, full, unreachable. Otherwise it may be for what was written."""
    if isinstance(error, TokenKeyReplaced):
        return True
    return isinstance(error, LedgerError) and type(error.__cause__).__name__ in ("OperationalError", "InterfaceError")


def _answer(answers: list[tuple[_Waiting, list[Receipt] | Busy]]) -> None:
    """Answer requests, one call into each event loop."""
    by_loop: dict[asyncio.AbstractEventLoop, list[tuple[_Waiting, list[Receipt] | Busy]]] = {}
    for waiting, outcome in answers:
        by_loop.setdefault(waiting.loop, []).append((waiting, outcome))
    for loop, outcomes in by_loop.items():
        try:
            loop.call_soon_threadsafe(_resolve, outcomes)
        except RuntimeError:  # the loop is closed: whoever asked is gone
            continue


def _resolve(outcomes: list[tuple[_Waiting, list[Receipt] | Busy]]) -> None:
    for waiting, outcome in outcomes:
        if waiting.answer.done():
            continue  # the request was given up; what it sent is kept all the same
        if isinstance(outcome, Busy):
            waiting.answer.set_exception(outcome)
        else:
            waiting.answer.set_result(outcome)
