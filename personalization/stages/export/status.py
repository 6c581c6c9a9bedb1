"""How a destination stands: its last run, what is open, uncertain or refused, who works on it."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

from sqlalchemy import func, select

from personalization.ledger.export_books import Books, ExportBooks
from personalization.ledger.export_schema import IS_UNCERTAIN, acknowledged, leases, outbox
from personalization.ledger.rejections import Rejections
from personalization.ledger.schema import now
from personalization.ledger.traffic import Circuit

if TYPE_CHECKING:
    from personalization.runtime import Runtime


@dataclass(frozen=True)
class Status:
    """One destination.

    Attributes
    ----------
    last : Books or None
        Of the newest run.
    present, removed, retracted : int
        Contacts it acknowledged: with values of ours, with cleared fields, opted out.
    uncertain : int
        Rows of which nobody knows whether they arrived; the next run looks.
    refused : int
        Contacts it refused and has not taken since.
    working : str or None
        The process that exports to it now.
    circuit : str or None
        Why nothing is asked of it for a while, and until when; or how often it failed in a row.
    requests_today, requests_this_year : int
        Of its account, as far as counted here.
    """

    destination: str
    platform: str
    last: Books | None
    present: int
    removed: int
    retracted: int
    uncertain: int
    refused: int
    working: str | None
    circuit: str | None
    requests_today: int
    requests_this_year: int

    def to_dict(self) -> dict[str, Any]:
        return {**asdict(self), "last": self.last.to_dict() if self.last else None}


def status_of(runtime: Runtime, name: str) -> Status:
    """How a destination stands. It is not asked: this is what the ledger knows."""
    destination = runtime.program.destinations[name]
    today = now().astimezone(ZoneInfo(runtime.program.settings.timezone)).date()
    requests_today, this_year = runtime.ledger.traffic.requests(destination.limits.account or name, today)
    history = ExportBooks(runtime.ledger).history(destination=name, limit=1)
    known, rows, held = acknowledged.c, outbox.c, leases.c
    with runtime.ledger.read() as connection:
        states: dict[str, int] = {
            row[0]: row[1]
            for row in connection.execute(
                select(known.state, func.count()).where(known.destination == name).group_by(known.state)
            )
        }
        uncertain: int = connection.execute(
            select(func.count()).where(rows.destination == name, IS_UNCERTAIN, rows.resolved_run.is_(None))
        ).scalar_one()
        working = connection.execute(
            select(held.process).where(held.resource == f"export:{name}", held.expires_at > now())
        ).scalar()
    return Status(
        destination=name,
        platform=destination.platform,
        last=history[0] if history else None,
        present=states.get("present", 0),
        removed=states.get("removed", 0),
        retracted=states.get("retracted", 0),
        uncertain=uncertain,
        refused=len(Rejections(runtime.ledger).of(name)),
        working=working,
        circuit=_in_words(runtime.ledger.traffic.circuit(name)),
        requests_today=requests_today,
        requests_this_year=this_year,
    )


def _in_words(circuit: Circuit) -> str | None:
    if not circuit.failures:
        return None
    when = f"left alone until {circuit.retry_at:%Y-%m-%d %H:%M:%S} UTC" if circuit.retry_at else "still asked"
    return f"failed {circuit.failures} times in a row ({circuit.reason}), {when}"
