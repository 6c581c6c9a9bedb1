"""From an authentic request to the inbox: its events, sealed, with the opt-outs and consent that are in them.

What is prepared here holds no plain text, and is written in one transaction: once it is committed, every opt-out in it
counts at the next cut of any export.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import Connection

from personalization.ledger import ConsentEvent, Keyring, Ledger
from personalization.ledger.inbox_event import CONFLICT, DUPLICATE, Arrival, Receipt
from personalization.program import Program
from personalization.program.models import WebhookSource
from personalization.webhooks import decode
from personalization.webhooks.request import WebhookRequest
from personalization.webhooks.senders import SENDERS
from personalization.webhooks.statements import Interpreter, Understood

_MAX_KEY = 200


@dataclass(frozen=True, slots=True)
class Prepared:
    """One event, ready to be written. `reason` is why it is a dead letter, when it is one."""

    arrival: Arrival
    understood: Understood = field(default_factory=Understood)
    reason: str | None = None


class Preparer:
    """Takes the requests of one source apart.

    Parameters
    ----------
    keys : Keyring
        Bodies are sealed, identifiers become tokens.
    """

    def __init__(self, program: Program, name: str, source: WebhookSource, keys: Keyring) -> None:
        self._name, self._keys = name, keys
        self._sender = SENDERS[source.sender]
        self._interpreter = Interpreter(program, name, source, keys)

    def prepare(self, request: WebhookRequest, received_at: datetime) -> list[Prepared]:
        """The events of an authentic request. One that can't be understood is prepared as a dead letter."""
        try:
            events = self._sender.events(request)
        except decode.Unreadable as problem:
            return [self._dead(request.body, self._sender.request_key(request), str(problem), received_at)]
        alone = len(events) == 1
        return [
            self._event(event, body, self._sender.request_key(request) if alone else None, received_at)
            for event, body in events
        ]

    def again(self, event_key: str, body: bytes, received_at: datetime) -> tuple[Understood, str | None]:
        """What an event that was kept says now: the program may have learnt to understand it. With what still fails."""
        try:
            event = self._sender.read(body)
            understood = self._interpreter.understand(event, event_key, self._sender.event_at(event), received_at)
        except decode.Unreadable as problem:
            return Understood(), str(problem)
        return understood, _reason(understood)

    def _event(
        self, event: dict[str, Any] | decode.Unreadable, body: bytes, request_key: str | None, received_at: datetime
    ) -> Prepared:
        if isinstance(event, decode.Unreadable):
            return self._dead(body, request_key, str(event), received_at)
        try:
            same = decode.canonical(event, self._sender.volatile)
            key = self._clean(request_key or self._sender.event_key(event)) or self._by_content(same)
            event_at = self._sender.event_at(event)
            understood = self._interpreter.understand(event, key, event_at, received_at)
            arrival = self._sealed(key, body, same, event_at, received_at)
        except decode.Unreadable as problem:
            return self._dead(body, request_key, str(problem), received_at)
        except Exception as error:  # a mistake of ours must not cost an event; its text could repeat the event's
            return self._dead(body, request_key, f"a mistake in this program: {type(error).__name__}", received_at)
        return Prepared(arrival, understood, _reason(understood))

    def _dead(self, body: bytes, request_key: str | None, reason: str, received_at: datetime) -> Prepared:
        key = self._clean(request_key) or self._by_content(body)
        return Prepared(self._sealed(key, body, body, None, received_at), reason=reason)

    def _sealed(self, key: str, body: bytes, same: bytes, event_at: datetime | None, received_at: datetime) -> Arrival:
        return Arrival.sealed(
            self._keys,
            source=self._name,
            event_key=key,
            body=body,
            event_at=event_at,
            received_at=received_at,
            same=same,
        )

    def _by_content(self, content: bytes) -> str:
        return f"content:{self._keys.digest(content)[:32]}"

    def _clean(self, key: str | None) -> str | None:
        """An id that every database takes: a long or unprintable one is replaced by its hash."""
        if not key:
            return None
        if len(key) <= _MAX_KEY and key.isprintable():
            return key
        return f"hash:{hashlib.sha256(key.encode('utf-8', 'backslashreplace')).hexdigest()[:32]}"


def record(ledger: Ledger, prepared: Sequence[Prepared], connection: Connection) -> list[Receipt]:
    """Write events to the inbox, and what they say to consent and suppressions, in one transaction.

    A repetition adds nothing. Of one that came again with other content only the opt-outs, bounces and complaints
    count: an opt-out must never be lost, and a grant must not come in by the back door.
    """
    receipts = ledger.inbox.receive([one.arrival for one in prepared], connection=connection)
    consent: list[ConsentEvent] = []
    for one, receipt in zip(prepared, receipts, strict=True):
        if receipt.state == DUPLICATE:
            continue
        first = receipt.state != CONFLICT
        consent += [event for event in one.understood.consent if first or event.opts_out]
        suppress(ledger, one.arrival.source, one.understood, connection)
        if one.reason and first:
            ledger.inbox.dead(receipt.seq, one.reason, connection=connection)
    if consent:
        ledger.consent.append(consent, connection=connection)
    return receipts


def suppress(ledger: Ledger, source: str, understood: Understood, connection: Connection) -> None:
    """Write the bounces and complaints of an event."""
    for suppression in understood.suppressions:
        ledger.suppressions.add(suppression.tokens, suppression.reason, source, suppression.at, connection=connection)


def _reason(understood: Understood) -> str | None:
    return "; ".join(dict.fromkeys(understood.problems)) or None
