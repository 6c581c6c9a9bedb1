"""Sending a batch row by row: one outcome for each, whatever happens on the way."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from personalization.ledger.outbox import Outcome
from personalization.stages.export.adapters.base import DestinationError, Lost, Postponed, Sent

_Row = TypeVar("_Row")
_Result = TypeVar("_Result")

UNKNOWN_FORM = (LookupError, TypeError, ValueError, AttributeError, ArithmeticError)
"""What reading an answer raises when it is not what the API answers."""


def unknown_form(error: Exception) -> str:
    """In words, with the place in the source and without anything of the answer."""
    ours = [frame for frame in traceback.extract_tb(error.__traceback__) if "adapters" in frame.filename]
    place = f" at {Path(ours[-1].filename).name}:{ours[-1].lineno}" if ours else ""
    return (
        f"an answer is not in the form that the API has ({type(error).__name__}{place}): another server may have "
        "answered in its place, see `base_url`"
    )


@dataclass
class Sending:
    """What has come of a batch so far. Rows may be attempted from several threads."""

    outcomes: list[Outcome] = field(default_factory=list)
    waits: list[float] = field(default_factory=list)
    refused: DestinationError | None = None

    def attempt(self, row_id: int, work: Callable[[], Outcome]) -> Outcome:
        """Do something for one row; a failure on the way becomes its outcome."""
        try:
            return work()
        except Postponed as postponed:
            self.waits.append(postponed.retry_after)
            return Outcome(row_id, "planned", postponed.reason)
        except Lost as lost:
            return Outcome(row_id, "uncertain", lost.reason)
        except DestinationError as refusal:
            self.refused = refusal
            return Outcome(row_id, "planned", refusal.message)
        except UNKNOWN_FORM as error:  # what this one answer means is looked up later; it holds up no other row
            return Outcome(row_id, "uncertain", unknown_form(error))

    def sent(self, receipt: str | None = None) -> Sent:
        return Sent(self.outcomes, receipt, max(self.waits, default=None), self.refused)


def in_parallel(work: Callable[[_Row], _Result], rows: Sequence[_Row], connections: int) -> list[_Result]:
    """The results in the order of the rows."""
    if not rows:
        return []
    with ThreadPoolExecutor(max_workers=min(connections, len(rows))) as pool:
        return list(pool.map(work, rows))
