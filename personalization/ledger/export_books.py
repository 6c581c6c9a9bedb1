"""What came of the rows of an export run. Books must close: every row that was planned has exactly one end."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, func, select

from personalization.as_of import AsOf
from personalization.errors import LedgerError
from personalization.ledger.export_schema import acknowledged, export_runs, outbox

if TYPE_CHECKING:
    from personalization.ledger.ledger import Ledger


@dataclass(frozen=True)
class Books:
    """One export run in numbers; contacts are counted, never named.

    Attributes
    ----------
    planned : int
        Rows put into the outbox.
    acked, rejected, suppressed, invalid, uncertain, held : int
        How they ended. Suppressed rows were stopped by the last look at consent; invalid ones do not fit the
        destination; of uncertain ones nobody knows whether they arrived; held ones were not sent and will be.
    unchanged : int
        Contacts that needed nothing. Not part of `planned`.
    present : int
        Contacts at the destination that hold values of ours now.
    """

    run: int
    destination: str
    as_of: str
    state: str
    planned: int
    acked: int
    rejected: int
    suppressed: int
    invalid: int
    uncertain: int
    held: int
    unchanged: int
    present: int
    adds: int
    changes: int
    removes: int
    retractions: int
    plan_hash: str
    override: str | None
    problem: str | None

    @property
    def ended(self) -> int:
        return self.acked + self.rejected + self.suppressed + self.invalid + self.uncertain + self.held

    @property
    def closes(self) -> bool:
        return self.planned == self.ended

    @property
    def equation(self) -> str:
        """The books in one line."""
        return (
            f"{self.planned} planned = {self.acked} acked + {self.rejected} rejected + {self.suppressed} suppressed"
            f" + {self.invalid} invalid + {self.uncertain} uncertain + {self.held} held"
        )

    def to_dict(self) -> dict[str, Any]:
        return {**asdict(self), "closes": self.closes}


OPT_OUTS = "opt-outs"
"""In place of a plan's hash: the run only told the destination of opt-outs."""


class ExportBooks:
    """The books of all export runs of a ledger."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger

    def of(self, run: int) -> Books:
        """The books of one run. Raises `LedgerError` when there is no such run."""
        with self._ledger.read() as connection:
            return read_books(connection, run)

    def history(
        self, *, destination: str | None = None, as_of: AsOf | None = None, limit: int | None = None
    ) -> list[Books]:
        """Books of the runs so far, the newest first. Runs that only pushed opt-outs belong to no `as_of`."""
        query = select(export_runs.c.run).order_by(export_runs.c.run.desc()).limit(limit)
        if destination is not None:
            query = query.where(export_runs.c.destination == destination)
        if as_of is not None:
            query = query.where(export_runs.c.as_of == as_of.key, export_runs.c.plan_hash != OPT_OUTS)
        with self._ledger.read() as connection:
            runs: list[int] = list(connection.execute(query).scalars())
            return [read_books(connection, run) for run in runs]

    def adds_since(self, destination: str, first_day: AsOf) -> list[int]:
        """How many contacts each finished run from a day on was to add, of runs that added any."""
        columns = export_runs.c
        with self._ledger.read() as connection:
            found = connection.execute(
                select(columns.adds)
                .where(
                    columns.destination == destination,
                    columns.as_of >= first_day.key,
                    columns.state == "closed",
                    columns.adds > 0,
                )
                .order_by(columns.run)
            )
            return list(found.scalars())

    def reasons(self, run: int) -> list[tuple[str, str, int]]:
        """State, reason and number of the rows of a run that were not acked, most frequent first."""
        columns = outbox.c
        count = func.count().label("rows")
        with self._ledger.read() as connection:
            found: Any = connection.execute(
                select(columns.state, func.coalesce(columns.reason, ""), count)
                .where(columns.run == run, columns.state != "acked")
                .group_by(columns.state, columns.reason)
                .order_by(count.desc(), columns.state, columns.reason)
            )
            return [(state, reason, rows) for state, reason, rows in found]

    def ended_otherwise(self, run: int, limit: int | None = None) -> list[dict[str, Any]]:
        """The rows of a run that were not acked: customer token, operation, state, reason. No identifier."""
        columns = outbox.c
        names = ("customer_token", "campaign", "operation", "state", "reason", "attempt")
        with self._ledger.read() as connection:
            found = connection.execute(
                select(*(columns[name] for name in names))
                .where(columns.run == run, columns.state != "acked")
                .order_by(columns.id)
                .limit(limit)
            )
            return [dict(row._mapping) for row in found]


def read_books(connection: Connection, run: int) -> Books:
    """The books of a run as this connection sees them. Raises `LedgerError` when there is no such run."""
    head = connection.execute(select(export_runs).where(export_runs.c.run == run)).one_or_none()
    if head is None:
        raise LedgerError(f"the ledger knows no export run {run}")
    ends = select(outbox.c.state, func.count()).where(outbox.c.run == run).group_by(outbox.c.state)
    rows: Any = connection.execute(ends)
    count = Counter(dict(rows.all())) + Counter(json.loads(head.removed or "{}"))
    present = connection.execute(
        select(func.count())
        .select_from(acknowledged)
        .where(acknowledged.c.destination == head.destination, acknowledged.c.state == "present")
    ).scalar_one()
    return Books(
        run=head.run,
        destination=head.destination,
        as_of=head.as_of,
        state=head.state,
        planned=head.planned,
        acked=count["acked"],
        rejected=count["rejected"],
        suppressed=count["suppressed"],
        invalid=count["invalid"],
        uncertain=count["uncertain"],
        held=count["held"],
        unchanged=head.unchanged,
        present=present,
        adds=head.adds,
        changes=head.changes,
        removes=head.removes,
        retractions=head.retractions,
        plan_hash=head.plan_hash,
        override=head.override,
        problem=head.problem,
    )
