"""Opt-outs, hard bounces and complaints that platforms report, for the ledger. Nothing here can opt anybody in."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from sqlalchemy import Connection, func, select

from personalization.ledger import ConsentEvent, Keyring, Ledger
from personalization.ledger.engine import one_of
from personalization.ledger.export_schema import outbox
from personalization.ledger.schema import consent_events, suppressions
from personalization.program import Program
from personalization.stages.export.adapters.results import Event
from personalization.stages.export.results_landing import content_of
from personalization.webhooks.moments import not_ahead
from personalization.webhooks.sources import marketing_purposes
from personalization.webhooks.statements import Suppression, identifier_tokens, withdrawals

ERASED = "erased"
_ECHO = timedelta(minutes=10)
"""A state that changed so soon after we told the platform to change it is what we told it."""


@dataclass
class OptOuts:
    """What some events say about who may be mailed."""

    consent: list[ConsentEvent] = field(default_factory=list)
    suppressions: list[Suppression] = field(default_factory=list)


class OptOutReader:
    """Finds the opt-outs in the events of one destination."""

    def __init__(self, program: Program, ledger: Ledger, keys: Keyring, destination: str, title: str) -> None:
        self._program, self._ledger, self._keys = program, ledger, keys
        self._destination, self._title = destination, title
        self._purposes = marketing_purposes(program)

    def read(self, events: Sequence[Event], read_at: datetime) -> OptOuts:
        """Opt-outs whose time can't be read count from when they were read."""
        found = OptOuts()
        for event in events:
            if event.opt_out is None:
                continue
            tokens = identifier_tokens(self._keys, event.email, event.customer_id)
            at = not_ahead(event.occurred_at, read_at)
            if not tokens or (event.echo and self._is_echo(tokens, at)):
                continue
            if event.occurred_at is None and self._is_out(tokens):
                continue  # it would be a new one at every read
            if event.opt_out == "withdraw":
                key = self._keys.digest(content_of(event))[:32]
                found.consent += withdrawals(
                    self._program, self._purposes, tokens, key, at, source=self._destination, method=self._title
                )
            else:
                found.suppressions.append(Suppression(tuple(tokens), event.opt_out, at))
        return found

    def write(self, found: OptOuts, connection: Connection) -> int:
        """Record them. Returns how many were new."""
        new = 0
        for suppression in found.suppressions:
            added = self._ledger.suppressions.add(
                suppression.tokens, suppression.reason, self._destination, suppression.at, connection=connection
            )
            new += bool(added)
        if found.consent:
            ids = sorted({event.event_id for event in found.consent})
            query = select(consent_events.c.event_id).where(one_of(connection, consent_events.c.event_id, ids))
            known: set[str] = set(connection.execute(query).scalars())
            self._ledger.consent.append(found.consent, connection=connection)
            new += len({_statement(event_id) for event_id in ids if event_id not in known})
        return new

    def without_erased(self, events: Sequence[Event]) -> list[Event]:
        """The events but those of people who were erased: nothing of them comes back."""
        columns = suppressions.c
        query = select(columns.identifier_token).where(columns.reason == ERASED)
        with self._ledger.read() as connection:
            gone: set[str] = set(connection.execute(query).scalars())
        if not gone:
            return list(events)
        return [
            event for event in events if gone.isdisjoint(identifier_tokens(self._keys, event.email, event.customer_id))
        ]

    def _is_echo(self, tokens: Sequence[str], at: datetime) -> bool:
        """Whether a state says only what is known here: the person is out already, or it was us who said so there."""
        with self._ledger.read() as connection:
            known = connection.execute(
                select(suppressions.c.seq).where(one_of(connection, suppressions.c.identifier_token, tokens)).limit(1)
            ).first()
            told = connection.execute(
                select(func.max(outbox.c.changed_at)).where(
                    outbox.c.destination == self._destination,
                    outbox.c.operation == "retract",
                    outbox.c.state == "acked",
                    one_of(connection, outbox.c.address_token, tokens),
                )
            ).scalar()
        if known is not None or (told is not None and at <= told + _ECHO):
            return True
        return self._is_out(tokens)

    def _is_out(self, tokens: Sequence[str]) -> bool:
        states = self._ledger.consent.person(tokens, self._purposes)
        return all(state.state == "withdrawn" for state in states.values())


def _statement(event_id: str) -> str:
    """What the withdrawals of one opt-out have in common."""
    return ":".join(event_id.split(":")[:2])
