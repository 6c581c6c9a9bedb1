"""Opt-outs on their way to the platforms: which of them each destination has been told, and how long that took."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from sqlalchemy import Connection, func, insert, select, update

from personalization.ledger.consent_event import OPT_OUT
from personalization.ledger.engine import one_of
from personalization.ledger.export_schema import IS_RETRACTION, outbox
from personalization.ledger.news import Position
from personalization.ledger.pushes_schema import opt_out_pushes, progress
from personalization.ledger.schema import consent_events, now, suppressions

if TYPE_CHECKING:
    from personalization.ledger.ledger import Ledger


@dataclass(frozen=True, slots=True)
class Push:
    """One opt-out that a destination acknowledged."""

    destination: str
    opted_out_at: datetime
    pushed_at: datetime

    @property
    def seconds(self) -> float:
        return (self.pushed_at - self.opted_out_at).total_seconds()


class Pushes:
    """What destinations have been told of opt-outs. See `Ledger.pushes`."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger

    def told(self, destination: str) -> Position:
        """Up to where a destination has been told every opt-out."""
        return Position(
            self.progress(f"told:{destination}:suppressions"), self.progress(f"told:{destination}:consents")
        )

    def note_told(self, destination: str, position: Position) -> None:
        """Note that a destination has been told every opt-out up to a position."""
        self.advance(f"told:{destination}:suppressions", position.suppressions)
        self.advance(f"told:{destination}:consents", position.consents)

    def waiting(self, destination: str) -> bool:
        """Whether there is an opt-out that a destination may not have been told."""
        told = self.told(destination)
        suppressed = select(suppressions.c.seq).where(suppressions.c.seq > told.suppressions)
        withdrawn = select(consent_events.c.seq).where(
            consent_events.c.seq > told.consents, consent_events.c.action.in_(OPT_OUT)
        )
        with self._ledger.read() as connection:
            return any(connection.execute(query.limit(1)).first() is not None for query in (suppressed, withdrawn))

    def note_acknowledged(self, run: int, person: Callable[[str, str], Iterable[str]]) -> list[Push]:
        """Record how long the opt-outs took that an export run brought to its destination; each once.

        Parameters
        ----------
        person : callable
            From customer and address token to all identifiers of the person.
        """
        columns = outbox.c
        new = (
            select(columns.id, columns.destination, columns.customer_token, columns.address_token, columns.changed_at)
            .where(columns.run == run, IS_RETRACTION, columns.state == "acked")
            .where(columns.id.not_in(select(opt_out_pushes.c.outbox_id)))
        )
        pushes = []
        with self._ledger.begin() as connection:
            for row in connection.execute(new).all():
                said = _last_opt_out(connection, [*person(row.customer_token, row.address_token)])
                if said is None:
                    continue
                connection.execute(
                    insert(opt_out_pushes).values(
                        outbox_id=row.id, destination=row.destination, opted_out_at=said, pushed_at=row.changed_at
                    )
                )
                pushes.append(Push(row.destination, said, row.changed_at))
        return pushes

    def since(self, moment: datetime, destination: str | None = None) -> list[Push]:
        """The opt-outs acknowledged from a moment on, the first one first."""
        columns = opt_out_pushes.c
        query = select(columns.destination, columns.opted_out_at, columns.pushed_at).where(columns.pushed_at >= moment)
        if destination is not None:
            query = query.where(columns.destination == destination)
        with self._ledger.read() as connection:
            found = connection.execute(query.order_by(columns.pushed_at, columns.outbox_id))
            return [Push(row.destination, row.opted_out_at, row.pushed_at) for row in found]

    def progress(self, name: str) -> int:
        """A number that only grows; 0 when nobody noted it yet."""
        with self._ledger.read() as connection:
            return connection.execute(select(progress.c.seq).where(progress.c.name == name)).scalar() or 0

    def advance(self, name: str, seq: int) -> None:
        """Note a number unless a larger one is noted."""
        if self.progress(name) >= seq:
            return
        with self._ledger.begin() as connection:
            values = {"seq": seq, "changed_at": now()}
            known = connection.execute(select(progress.c.seq).where(progress.c.name == name)).scalar()
            if known is None:
                connection.execute(insert(progress).values(name=name, **values))
            elif known < seq:
                connection.execute(update(progress).where(progress.c.name == name).values(**values))


def _last_opt_out(connection: Connection, tokens: list[str]) -> datetime | None:
    """When the last opt-out on any of some identifiers was on the ledger's disk."""
    suppressed = select(func.max(suppressions.c.recorded_at)).where(
        one_of(connection, suppressions.c.identifier_token, tokens)
    )
    withdrawn = select(func.max(consent_events.c.recorded_at)).where(
        consent_events.c.action.in_(OPT_OUT), one_of(connection, consent_events.c.subject_token, tokens)
    )
    moments = [connection.execute(query).scalar() for query in (suppressed, withdrawn)]
    return max((moment for moment in moments if moment is not None), default=None)
