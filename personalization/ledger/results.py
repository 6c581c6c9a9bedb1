"""How far the results of each destination have been read, and what came of it. The rows themselves are in landing."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, insert, select, update

from personalization.ledger.results_schema import results_progress
from personalization.ledger.schema import now

if TYPE_CHECKING:
    from personalization.ledger.ledger import Ledger


@dataclass(frozen=True)
class ResultsProgress:
    """How far one kind of results of one destination has been read.

    Attributes
    ----------
    cursor : dict
        Where the next read begins, in the words of the platform's reader; empty before the first one.
    batches, rows, rejected, opt_outs : int
        Since the first read: files that landed, their rows, those of them that can't be used, and new opt-outs.
    completed_at : datetime, optional
        When it was last read to its end.
    problem : str, optional
        Why the last read ended before it.
    """

    destination: str
    kind: str
    cursor: dict[str, Any]
    batches: int = 0
    rows: int = 0
    rejected: int = 0
    opt_outs: int = 0
    completed_at: datetime | None = None
    problem: str | None = None


class Results:
    """What has been read of results. See `Ledger.results`."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger

    def progress(self, destination: str, kind: str) -> ResultsProgress:
        """How far a kind was read; all zero when it never was."""
        found = [each for each in self.all(destination) if each.kind == kind]
        return found[0] if found else ResultsProgress(destination, kind, {})

    def all(self, destination: str | None = None) -> list[ResultsProgress]:
        """Everything that was read so far, by destination and kind."""
        columns = results_progress.c
        query = select(results_progress).order_by(columns.destination, columns.kind)
        if destination is not None:
            query = query.where(columns.destination == destination)
        with self._ledger.read() as connection:
            return [
                ResultsProgress(
                    row.destination,
                    row.kind,
                    json.loads(row.cursor),
                    row.batches,
                    row.rows,
                    row.rejected,
                    row.opt_outs,
                    row.completed_at,
                    row.problem,
                )
                for row in connection.execute(query)
            ]

    def advance(
        self,
        connection: Connection,
        destination: str,
        kind: str,
        cursor: Mapping[str, Any],
        *,
        batches: int = 0,
        rows: int = 0,
        rejected: int = 0,
        opt_outs: int = 0,
    ) -> None:
        """Move on to a cursor, in the transaction that writes the opt-outs which were read before it."""
        columns = results_progress.c
        which = (columns.destination == destination, columns.kind == kind)
        added = {"batches": batches, "rows": rows, "rejected": rejected, "opt_outs": opt_outs}
        values: dict[str, Any] = {"cursor": json.dumps(cursor, sort_keys=True), "changed_at": now()}
        if connection.execute(select(columns.kind).where(*which)).first() is None:
            key = {"destination": destination, "kind": kind}
            connection.execute(insert(results_progress).values(**key, **values, **added))
        else:
            sums = {name: columns[name] + number for name, number in added.items()}
            connection.execute(update(results_progress).where(*which).values(**values, **sums))

    def note_end(self, destination: str, kind: str, problem: str | None = None) -> None:
        """Note that a kind was read to its end, or why it was not."""
        columns = results_progress.c
        values: dict[str, Any] = {"problem": problem, "changed_at": now()}
        if problem is None:
            values["completed_at"] = now()
        with self._ledger.begin() as connection:
            which = (columns.destination == destination, columns.kind == kind)
            if connection.execute(select(columns.kind).where(*which)).first() is None:
                self.advance(connection, destination, kind, {})
            connection.execute(update(results_progress).where(*which).values(**values))
