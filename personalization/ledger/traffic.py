"""What the ledger remembers of requests to platforms: how many a day, and which platform failed again and again.

Both outlive the process: a day's allowance is not spent twice, and a platform that is down is left alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import TYPE_CHECKING

from sqlalchemy import delete, func, select, update

from personalization.ledger.export_schema import export_circuits, export_requests

if TYPE_CHECKING:
    from personalization.ledger.ledger import Ledger

FIRST_WAIT, LONGEST_WAIT = timedelta(seconds=30), timedelta(minutes=15)


@dataclass(frozen=True, slots=True)
class Circuit:
    """How a destination's requests fared lately.

    Attributes
    ----------
    failures : int
        Requests in a row that got no answer, or an answer that says that the platform is broken.
    retry_at : datetime or None
        When the next request may be tried; None while the circuit is closed and all may.
    reason : str
        Of the last failure, without identifiers.
    """

    failures: int = 0
    retry_at: datetime | None = None
    reason: str = ""

    @property
    def is_open(self) -> bool:
        return self.retry_at is not None


class Traffic:
    """Requests to platforms. See `Ledger.traffic`."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger

    def take(self, account: str, day: date, wanted: int, *, per_day: int | None, per_year: int | None) -> int:
        """Count requests that are about to be made. Returns how many of them are still allowed."""
        columns = export_requests.c
        with self._ledger.begin() as connection:
            today = (columns.account == account, columns.day == day.isoformat())
            used: int = connection.execute(select(columns.requests).where(*today)).scalar() or 0
            allowed = wanted if per_day is None else min(wanted, per_day - used)
            if per_year is not None:
                year = columns.day.startswith(f"{day.year}-")
                spent: int = connection.execute(
                    select(func.coalesce(func.sum(columns.requests), 0)).where(columns.account == account, year)
                ).scalar_one()
                allowed = min(allowed, per_year - spent)
            if allowed <= 0:
                return 0
            if used:
                connection.execute(update(export_requests).where(*today).values(requests=used + allowed))
            else:
                values = {"account": account, "day": day.isoformat(), "requests": allowed}
                connection.execute(export_requests.insert().values(**values))
        return allowed

    def requests(self, account: str, day: date) -> tuple[int, int]:
        """How many requests were counted on a day, and in its year up to then."""
        columns = export_requests.c
        this_year = columns.day.between(f"{day.year}-01-01", day.isoformat())
        query = select(columns.day, columns.requests).where(columns.account == account, this_year)
        with self._ledger.read() as connection:
            rows: dict[str, int] = {row.day: row.requests for row in connection.execute(query)}
        return rows.get(day.isoformat(), 0), sum(rows.values())

    def circuit(self, destination: str) -> Circuit:
        """The circuit of a destination; closed, without failures, when nothing is known."""
        columns = export_circuits.c
        query = select(columns.failures, columns.retry_at, columns.reason).where(columns.destination == destination)
        with self._ledger.read() as connection:
            row = connection.execute(query).one_or_none()
        return Circuit() if row is None else Circuit(row.failures, row.retry_at, row.reason)

    def failed(self, destination: str, reason: str, at: datetime, threshold: int) -> Circuit:
        """Note a failure. From `threshold` failures in a row on the circuit is open, longer with each further one."""
        with self._ledger.begin() as connection:
            columns = export_circuits.c
            known = connection.execute(select(columns.failures).where(columns.destination == destination)).scalar()
            failures = (known or 0) + 1
            wait = FIRST_WAIT * 2 ** min(max(failures - threshold, 0), 10)
            retry_at = at + min(wait, LONGEST_WAIT) if failures >= threshold else None
            values = {"failures": failures, "retry_at": retry_at, "reason": reason, "changed_at": at}
            if known is None:
                connection.execute(export_circuits.insert().values(destination=destination, **values))
            else:
                connection.execute(update(export_circuits).where(columns.destination == destination).values(**values))
        return Circuit(failures, retry_at, reason)

    def answered(self, destination: str) -> Circuit:
        """The platform answered: the circuit is closed."""
        with self._ledger.begin() as connection:
            connection.execute(delete(export_circuits).where(export_circuits.c.destination == destination))
        return Circuit()
