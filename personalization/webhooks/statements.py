"""Opt-outs, consent, bounces and complaints in an event, as rows for the ledger.

Withdrawals are recorded for every identifier that the event names, and for an address also under the token whose key
is never replaced, so that they outlive erasure and bind people who are not known yet. A grant is recorded for one
identifier, as it is when it comes from a file.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, tzinfo
from typing import Any
from zoneinfo import ZoneInfo

from personalization.ledger import ConsentEvent, Keyring, normalise_email, normalise_id
from personalization.ledger.consent_declared import declared_event
from personalization.ledger.consent_event import ACTIONS, OPT_OUT
from personalization.program import Program
from personalization.program.models import WebhookSource, WebhookTable
from personalization.webhooks.mapping import MappingError, Scalar, as_text, records
from personalization.webhooks.moments import moment, not_ahead
from personalization.webhooks.senders import SENDERS, Statement
from personalization.webhooks.sources import purposes_withdrawn


@dataclass(frozen=True, slots=True)
class Suppression:
    """Identifiers that must not be mailed any more; `reason` is bounced or complained."""

    tokens: tuple[str, ...]
    reason: str
    at: datetime


@dataclass(slots=True)
class Understood:
    """What an event says about whether people may be mailed, and what in it could not be understood."""

    consent: list[ConsentEvent] = field(default_factory=list)
    suppressions: list[Suppression] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)


class Interpreter:
    """Understands the events of one source.

    Parameters
    ----------
    program : Program
        For its purposes, notices, time zone.
    name, source
        The source, of which the tables that fill consent_events are used here; others are applied later.
    keys : Keyring
        Identifiers become tokens; nothing leaves here in the clear.
    """

    def __init__(self, program: Program, name: str, source: WebhookSource, keys: Keyring) -> None:
        self._program, self._name, self._keys = program, name, keys
        self._sender = SENDERS[source.sender]
        self._purposes = purposes_withdrawn(program, source)
        self._tables = {key: table for key, table in source.tables.items() if table.entity == "consent_events"}
        self._zone: tzinfo = ZoneInfo(program.settings.timezone)

    def understand(
        self, event: dict[str, Any], event_key: str, event_at: datetime | None, received_at: datetime
    ) -> Understood:
        """What an event says. Never raises for what is in the event: see `Understood.problems`."""
        found = Understood()
        event_at = not_ahead(event_at, received_at)
        for name, table in self._tables.items():
            self._mapped(found, f"{self._name}.{name}", table, event, event_key, event_at, received_at)
        for statement in self._sender.statements(event):
            self._stated(found, statement, event_key, event_at)
        return found

    def _stated(self, found: Understood, statement: Statement, event_key: str, at: datetime) -> None:
        tokens = self._tokens(statement.email, statement.customer_id)
        if not tokens:
            if statement.kind == "withdraw" and any(event.opts_out for event in found.consent):
                return  # a table of the program says whom it is about
            found.problems.append(f"{_WORDS[statement.kind]} of nobody we could know: no e-mail address or customer id")
            return
        if statement.kind != "withdraw":
            found.suppressions.append(Suppression(tuple(tokens), statement.kind, at))
            return
        found.consent += withdrawals(
            self._program, self._purposes, tokens, event_key, at, source=self._name, method=self._sender.title
        )

    def _mapped(
        self,
        found: Understood,
        label: str,
        table: WebhookTable,
        event: dict[str, Any],
        event_key: str,
        event_at: datetime,
        received_at: datetime,
    ) -> None:
        try:
            rows = records(table, event)
        except MappingError as problem:
            found.problems.append(f"{label}: {problem}")
            return
        for number, row in enumerate(rows):
            try:
                own_id = f"{event_key}:{number}" if number else event_key
                found.consent += self._consent(found, label, row, own_id, event_at, received_at)
            except _Unusable as problem:
                found.problems.append(f"{label}: {problem}")

    def _consent(
        self,
        found: Understood,
        label: str,
        row: dict[str, Scalar],
        own_id: str,
        event_at: datetime,
        received_at: datetime,
    ) -> Iterator[ConsentEvent]:
        """The consent events of one mapped row. An opt-out whose time can't be read counts all the same."""
        action, purpose = as_text(row.get("action")).strip().lower(), as_text(row.get("purpose")).strip()
        if action not in ACTIONS:
            raise _Unusable(f"action: none of {', '.join(sorted(ACTIONS))}")
        if purpose not in self._program.purposes:
            raise _Unusable("purpose: none of program/consent.yaml")
        email, customer_id = (_given(row, name) for name in ("email", "customer_id"))
        tokens = self._tokens(email, customer_id)
        if not tokens:
            raise _Unusable("neither a customer id nor a valid e-mail address")
        at = event_at
        if row.get("effective_at") not in (None, ""):
            written = moment(row["effective_at"], self._zone, self._program.settings.slash_dates)
            if written is None:
                problem = "effective_at: not a date or time that can be read"
                if action not in OPT_OUT:
                    raise _Unusable(problem)
                found.problems.append(f"{label}: {problem}")
            else:
                at = not_ahead(written, received_at)
        event_id, gpp = f"{label}:{_given(row, 'event_id') or own_id}", _given(row, "gpp_string")
        for index, token in enumerate(tokens if action in OPT_OUT else tokens[:1]):
            yield declared_event(
                purpose,
                self._program.purposes[purpose],
                event_id=f"{event_id}#{index + 1}" if index else event_id,
                subject_token=token,
                action=action,
                effective_at=at,
                source=label,
                method=_given(row, "method"),
                notice_version=_given(row, "notice_version"),
                locale=_given(row, "locale"),
                double_opt_in_id=_given(row, "double_opt_in_id"),
                evidence={"gpp_string": gpp} if gpp else None,
            )

    def _tokens(self, email: str | None, customer_id: str | None) -> list[str]:
        return identifier_tokens(self._keys, email, customer_id)


def identifier_tokens(keys: Keyring, email: str | None, customer_id: str | None) -> list[str]:
    """Tokens of identifiers under which an opt-out is written, the customer's first; none for what is not valid."""
    tokens = []
    customer = normalise_id(customer_id) if customer_id else None
    if customer:
        tokens.append(keys.token("customer", customer))
    address = normalise_email(email) if email else None
    if address:
        tokens += [keys.token("email", address), keys.suppression_token(address)]
    return tokens


def withdrawals(
    program: Program,
    purposes: Sequence[str],
    tokens: Sequence[str],
    event_key: str,
    at: datetime,
    *,
    source: str,
    method: str,
) -> list[ConsentEvent]:
    """What one opt-out of one person withdraws: each purpose, under each identifier."""
    return [
        declared_event(
            purpose,
            program.purposes[purpose],
            event_id=f"{source}:{event_key}:{purpose}" + (f":{index + 1}" if index else ""),
            subject_token=token,
            action="withdraw",
            effective_at=at,
            source=source,
            method=method,
        )
        for purpose in purposes
        for index, token in enumerate(tokens)
    ]


_WORDS = {"withdraw": "an opt-out", "bounced": "a bounce", "complained": "a complaint"}


class _Unusable(Exception):
    """A mapped row that is no consent event; the text says why and names no value."""


def _given(row: dict[str, Scalar], name: str) -> str | None:
    return as_text(row.get(name)).strip() or None
