"""The person behind a link: what they agreed to, chose and told us, and what we hold, as far as a page may show it."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property

from sqlalchemy import select

from personalization.ledger import ConsentState, Keyring, Ledger, normalise_email
from personalization.ledger.consent import Recorded
from personalization.ledger.consent_event import CONFIRM_BY, DOUBLE_OPT_IN_ID, ConsentEvent
from personalization.ledger.engine import one_of
from personalization.ledger.links import Link
from personalization.ledger.people import Identifiers, identifiers_of
from personalization.ledger.preferences import Choices
from personalization.ledger.schema import vault_items
from personalization.program import Program

HELD_FIELDS = ("email", "phone", "first_name", "last_name", "street")


@dataclass(frozen=True)
class Visitor:
    """One person as of one moment.

    Attributes
    ----------
    link : Link
        How they came.
    identifiers : Identifiers
        All their tokens.
    states : dict of str to ConsentState
        By purpose of the program.
    history : list of Recorded
        Every consent event of theirs, oldest first.
    addresses : list of str
        Their e-mail addresses in the clear, never shown so.
    held : list of (field, text)
        What the vault holds, masked.
    """

    link: Link
    identifiers: Identifiers
    states: dict[str, ConsentState]
    choices: Choices
    history: list[Recorded]
    addresses: list[str] = field(repr=False)
    held: list[tuple[str, str]] = field(repr=False)

    @property
    def address(self) -> str | None:
        """Their address, masked; None when we hold none or several."""
        return mask("email", self.addresses[0]) if len(self.addresses) == 1 else None

    @cached_property
    def waiting(self) -> dict[str, ConsentEvent]:
        """By purpose the newest grant that still waits for its confirmation and was not overtaken by an opt-out."""
        confirmed = {_step(each.event) for each in self.history if each.event.action == "confirm"}
        found: dict[str, ConsentEvent] = {}
        for each in self.history:
            event, state = each.event, self.states.get(each.event.purpose)
            overtaken = state and state.effective_at and event.effective_at <= state.effective_at
            if event.waits and _step(event) not in confirmed and not overtaken:
                found[event.purpose] = event
        return found

    @property
    def locale(self) -> str | None:
        """The language they used last."""
        said = (each.event.locale for each in reversed(self.history) if each.event.locale)
        return self.choices.locale or next(said, None)


def _step(event: ConsentEvent) -> tuple[str, str, str]:
    return event.purpose, event.subject_token, str((event.evidence or {}).get(DOUBLE_OPT_IN_ID))


def confirm_until(event: ConsentEvent) -> datetime:
    """Until when a grant that waits can be confirmed."""
    return datetime.fromisoformat((event.evidence or {})[CONFIRM_BY])


def look(ledger: Ledger, keys: Keyring, program: Program, link: Link) -> Visitor:
    """Read everything about the person behind a link."""
    with ledger.read() as snapshot:
        person = identifiers_of(snapshot, link.subject_token)
        states = ledger.consent.person(person.every, program.purposes, connection=snapshot)
        choices = ledger.preferences.person(person.every, connection=snapshot)
        history = ledger.consent.history(person.every, connection=snapshot)
        columns = vault_items.c
        query = select(columns.field, columns.value_token).where(
            one_of(snapshot, columns.subject, sorted(person.subjects | person.emails)),
            columns.field.in_(HELD_FIELDS),
        )
        tokens = sorted({(HELD_FIELDS.index(row.field), row.value_token) for row in snapshot.execute(query)})
    values = ledger.vault(keys).reveal([token for _, token in tokens])
    held = [(HELD_FIELDS[number], values[token]) for number, token in tokens if token in values]
    addresses = sorted({normalise_email(value) or value for name, value in held if name == "email"})
    shown = dict.fromkeys((name, mask(name, value)) for name, value in held)
    return Visitor(link, person, states, choices, history, addresses, list(shown))


def mask(name: str, value: str) -> str:
    """Enough of a value for its owner to know it again, and too little for anybody else to use it."""
    text = value.strip()
    if name == "email":
        local, at, domain = text.rpartition("@")
        return f"{local[:1] if len(local) > 1 else ''}•••{at}{domain}"
    if name == "phone":
        return f"•••{text[-2:] if len(text) > 4 else ''}"
    return f"{text[:1] if len(text) > 1 else ''}•••"
