"""What the ledger has learnt since somebody looked last: whom a withdrawal, grant or suppression concerns."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import Connection, func, select

from personalization.ledger.consent_chain import chain_state
from personalization.ledger.schema import consent_events, suppressions


@dataclass(frozen=True)
class Position:
    """How far somebody has read: up to these numbers of the suppressions and of the chain of consent events."""

    suppressions: int = 0
    consents: int = 0


def position(connection: Connection) -> Position:
    """Where the ledger is now."""
    last: int = connection.execute(select(func.coalesce(func.max(suppressions.c.seq), 0))).scalar_one()
    return Position(last, chain_state(connection).seq)


def identifiers_since(connection: Connection, since: Position) -> set[str]:
    """The identifier tokens that anything was written about after a position."""
    suppressed = select(suppressions.c.identifier_token).where(suppressions.c.seq > since.suppressions)
    said = select(consent_events.c.subject_token).where(consent_events.c.seq > since.consents)
    return {*connection.execute(suppressed).scalars(), *connection.execute(said).scalars()}
