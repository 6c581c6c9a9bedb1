"""The gate in front of every request to a platform: allowances of a second, a day and a year, and a circuit breaker.

A circuit opens when requests fail again and again. Then nothing is asked of the platform for a while; after that one
request is let through, alone. When it is answered, all are; when not, the wait is twice as long.
"""

from __future__ import annotations

import threading
from datetime import date, tzinfo
from typing import TYPE_CHECKING

from personalization.program.models import RateLimits
from personalization.stages.export.adapters.base import Clock, DestinationError, Postponed
from personalization.stages.export.adapters.pace import Pace

if TYPE_CHECKING:
    from personalization.ledger import Ledger

_MOST_AT_ONCE = 50


class AllowanceUsedUp(DestinationError):
    """No more requests are allowed today, or this year. What was not sent is held, and the next run goes on."""


class CircuitOpen(Postponed):
    """The platform failed again and again, and is left alone for a while. A run that is under way waits for its end."""


class Traffic:
    """Asked before each request of a destination, and told what came of it. For any number of threads.

    Parameters
    ----------
    destination : str
    limits : RateLimits
        Of destinations.yaml.
    ledger : Ledger
        Keeps count over processes.
    timezone : tzinfo
        In which a day begins.
    urgent : bool
        For opt-outs: a request is always tried, even when the circuit is open.
    """

    def __init__(
        self, destination: str, limits: RateLimits, ledger: Ledger, timezone: tzinfo, *, urgent: bool = False
    ) -> None:
        self._name, self._limits, self._timezone, self._urgent = destination, limits, timezone, urgent
        self._account = limits.account or destination
        self._ledger = ledger.traffic
        self._lock = threading.Lock()
        self._circuit = self._ledger.circuit(destination)
        self._probing = False
        self._left = 0
        self._day: date | None = None
        self._pace = Pace(1, 1 / limits.per_second) if limits.per_second else None
        most = limits.per_day or _MOST_AT_ONCE * 200
        self._at_once = max(1, min(_MOST_AT_ONCE, most // 200))  # what a crash can lose of a day's allowance

    @property
    def connections(self) -> int | None:
        """Requests that may be under way at the same time, when the program says so."""
        return self._limits.connections

    def before(self, clock: Clock) -> None:
        """Return when a request may be made. Raises `CircuitOpen` or `AllowanceUsedUp` when none may."""
        with self._lock:
            self._through_the_circuit(clock)
            self._count(clock)
        if self._pace:
            self._pace.wait(clock)

    def answered(self) -> None:
        """The platform gave an answer, whatever it was."""
        if not self._circuit.failures:
            return
        with self._lock:
            self._circuit, self._probing = self._ledger.answered(self._name), False

    def failed(self, reason: str, clock: Clock) -> None:
        """No connection, no whole answer, or one that says that the platform is broken."""
        with self._lock:
            self._circuit = self._ledger.failed(self._name, reason, clock.now(), self._limits.failures)
            self._probing = False

    def undecided(self) -> None:
        """The platform asked to come back: neither an answer nor a failure."""
        self._probing = False

    def _through_the_circuit(self, clock: Clock) -> None:
        circuit = self._circuit
        if circuit.retry_at is None:
            return
        if self._probing or (clock.now() < circuit.retry_at and not self._urgent):
            raise CircuitOpen(
                f"'{self._name}' failed {circuit.failures} times in a row, last: {circuit.reason}. Nothing is asked of "
                f"it until {circuit.retry_at:%Y-%m-%d %H:%M:%S} UTC, then one request is tried",
                max(1.0, (circuit.retry_at - clock.now()).total_seconds()),
            )
        self._probing = True

    def _count(self, clock: Clock) -> None:
        day = clock.now().astimezone(self._timezone).date()
        if not self._left or day != self._day:
            per_day, per_year = self._limits.per_day, self._limits.per_year
            self._left = self._ledger.take(self._account, day, self._at_once, per_day=per_day, per_year=per_year)
            self._day = day
        if not self._left:
            self._probing = False
            today, year = self._ledger.requests(self._account, day)
            which = f"today's {today:,}" if today >= (self._limits.per_day or today + 1) else f"this year's {year:,}"
            raise AllowanceUsedUp(
                f"{which} requests to '{self._account}' are used up",
                hint="what was not sent is held; a run after midnight goes on. The allowance is `limits` in "
                "destinations.yaml",
            )
        self._left -= 1
