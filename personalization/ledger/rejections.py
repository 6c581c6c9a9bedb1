"""Contacts that a destination refused: what it said, and when they are tried again.

A refusal that comes back every day costs a request every day and never ends. So the same contents that were refused
are tried again at once, then after 1, 2, 4, … days, at most every 28; other contents are tried at once.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, timedelta
from typing import TYPE_CHECKING, Any

import pyarrow as pa
from sqlalchemy import and_, func, insert, select

from personalization.ledger.export_schema import IS_REJECTED, export_retries, export_runs, outbox
from personalization.ledger.schema import now

if TYPE_CHECKING:
    from personalization.ledger.ledger import Ledger

LONGEST_WAIT = 28
WAITING = pa.schema([("address_token", pa.string()), ("row_hash", pa.string()), ("reason", pa.string())])


@dataclass(frozen=True)
class Rejection:
    """A contact whose contents a destination refused last.

    Attributes
    ----------
    tries : int
        How often exactly these contents were refused.
    last_day, due : date
        Day of the last try, and the first day on which it is tried again.
    reason : str
        The destination's own words, without identifiers.
    """

    customer_token: str
    address_token: str
    campaign: str | None
    row_hash: str
    tries: int
    run: int
    last_day: date
    due: date
    reason: str

    def to_dict(self) -> dict[str, Any]:
        """For people: without the address token and the hash, which say nothing to them."""
        return {
            "customer_token": self.customer_token,
            "campaign": self.campaign,
            "tries": self.tries,
            "run": self.run,
            "last_day": self.last_day.isoformat(),
            "due": self.due.isoformat(),
            "reason": self.reason,
        }


class Rejections:
    """What the destinations of a ledger refused and have not taken since."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger

    def of(self, destination: str) -> list[Rejection]:
        """Contacts whose last contents were refused, most tried first."""
        columns = outbox.c
        written = and_(columns.destination == destination, columns.operation.in_(("add", "change")))
        last = (
            select(columns.address_token, func.max(columns.id).label("id"))
            .where(
                written,
                columns.state.in_(("acked", "rejected", "uncertain")),
                columns.address_token.in_(select(columns.address_token).where(written, IS_REJECTED)),
            )
            .group_by(columns.address_token)
            .subquery()
        )
        forgiven = select(func.coalesce(func.max(export_retries.c.up_to_run), 0)).where(
            export_retries.c.destination == destination
        )
        with self._ledger.read() as connection:
            after: int = connection.execute(forgiven).scalar_one()
            refused = connection.execute(
                select(*columns, export_runs.c.as_of)
                .join_from(outbox, last, columns.id == last.c.id)
                .join(export_runs, export_runs.c.run == columns.run)
                .where(IS_REJECTED)
            ).all()
            tries: dict[tuple[str, str], int] = {
                (row.address_token, row.row_hash): row.tries
                for row in connection.execute(
                    select(columns.address_token, columns.row_hash, func.count().label("tries"))
                    .where(written, IS_REJECTED, columns.run > after)
                    .group_by(columns.address_token, columns.row_hash)
                )
            }
        found = [self._rejection(row, tries.get((row.address_token, row.row_hash), 0)) for row in refused]
        return sorted(found, key=lambda rejection: (-rejection.tries, rejection.customer_token))

    def waiting(self, destination: str, day: date) -> pa.Table:
        """Contents that are not to be tried on a day, with the reason for the books; of the schema WAITING."""
        rows = [
            {
                "address_token": rejection.address_token,
                "row_hash": rejection.row_hash,
                "reason": f"refused {rejection.tries} times, tried again on {rejection.due}: {rejection.reason}",
            }
            for rejection in self.of(destination)
            if rejection.due > day
        ]
        return pa.Table.from_pylist(rows, schema=WAITING)

    def retry(self, destination: str) -> int:
        """Let everything that was refused be tried by the next run. Returns how many contacts that are."""
        waiting = self.of(destination)
        if waiting:
            last = max(rejection.run for rejection in waiting)
            with self._ledger.begin() as connection:
                known = select(export_retries.c.up_to_run).where(
                    export_retries.c.destination == destination, export_retries.c.up_to_run == last
                )
                if connection.execute(known).first() is None:
                    values = {"destination": destination, "up_to_run": last, "recorded_at": now()}
                    connection.execute(insert(export_retries).values(**values))
        return len(waiting)

    def _rejection(self, row: Any, tries: int) -> Rejection:
        day = date.fromisoformat(row.as_of)
        wait = 0 if tries < 2 else min(2 ** (tries - 2), LONGEST_WAIT)
        return Rejection(
            customer_token=row.customer_token,
            address_token=row.address_token,
            campaign=row.campaign,
            row_hash=row.row_hash,
            tries=tries,
            run=row.run,
            last_day=day,
            due=day + timedelta(days=wait),
            reason=row.reason or "no reason given",
        )
