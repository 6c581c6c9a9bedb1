"""Keeps requests below a platform's rate."""

from __future__ import annotations

import threading
from collections import deque

from personalization.stages.export.adapters.base import Clock


class Pace:
    """Keeps requests below a platform's rate: at most `requests` in any `seconds`, however many threads ask.

    Parameters
    ----------
    requests : int
    seconds : float
    """

    def __init__(self, requests: int, seconds: float) -> None:
        self._seconds = seconds
        self._begun: deque[float] = deque(maxlen=requests)
        self._lock = threading.Lock()

    def wait(self, clock: Clock, until: float | None = None) -> bool:
        """Return when the next request may begin: True; or at once when that is not before `until`: False.

        A place in the line is taken only by who waits for it.
        """
        with self._lock:
            now = clock.monotonic()
            begin = now
            if len(self._begun) == self._begun.maxlen:
                begin = max(now, self._begun[0] + self._seconds)
            if until is not None and begin >= until:
                return False
            self._begun.append(begin)
        if begin > now:
            clock.sleep(begin - now)
        return True
