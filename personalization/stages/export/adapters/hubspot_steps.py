"""Rows that go through several requests: whatever fails, each row has an outcome that is true."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

from personalization.ledger.outbox import Outcome
from personalization.stages.export.adapters.base import DestinationError, Lost, Postponed, Prepared, Sent
from personalization.stages.export.adapters.hubspot_crm import Crm

T = TypeVar("T")


class Steps:
    """Outcomes of rows that go through steps. Rows of a step that wrote before it failed are uncertain."""

    def __init__(self, rows: Sequence[Prepared], crm: Crm) -> None:
        self._rows, self._crm = rows, crm
        self._outcomes: dict[int, Outcome] = {}
        self._waits: list[float] = []
        self._refused: DestinationError | None = None
        self._why = ""

    @property
    def sent(self) -> Sent:
        """What came of the rows; those that no step reached are planned still."""
        outcomes = [
            self._outcomes.get(row.contact.id, Outcome(row.contact.id, "planned", self._why)) for row in self._rows
        ]
        return Sent(outcomes, retry_after=max(self._waits, default=None), refused=self._refused)

    def read(self, work: Callable[[], list[T]]) -> list[T] | None:
        """A step that changes nothing. None when it failed."""
        try:
            return work()
        except Postponed as postponed:
            self._waits.append(postponed.retry_after)
            self._why = postponed.reason
        except Lost as lost:
            self._refused = DestinationError(lost.reason, hint="the rest was not sent; run again when it is up")
        except DestinationError as refusal:
            self._refused = refusal
        return None

    def run(self, rows: Sequence[Prepared], work: Callable[[], list[Outcome]]) -> bool:
        """A step that writes these rows, unless an earlier one was told to stop. False when it failed."""
        if not rows:
            return True
        if self._refused or self._waits:
            return False
        before = self._crm.writes
        try:
            outcomes = work()
        except (Lost, Postponed, DestinationError) as problem:
            reason = problem.message if isinstance(problem, DestinationError) else problem.reason
            if isinstance(problem, DestinationError):
                self._refused = problem
            if isinstance(problem, Postponed):
                self._waits.append(problem.retry_after)
            arrived = isinstance(problem, Lost) or self._crm.writes > before
            outcomes = [Outcome(row.contact.id, "uncertain" if arrived else "planned", reason) for row in rows]
            self._outcomes |= {outcome.id: outcome for outcome in outcomes}
            return False
        self._outcomes |= {outcome.id: outcome for outcome in outcomes}
        return True
