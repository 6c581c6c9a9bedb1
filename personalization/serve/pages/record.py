"""Writes down what a person decided on a page: durable when it returns, one transaction a request."""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from personalization.ledger import ConsentEvent, ConsentState, Keyring, Ledger
from personalization.ledger.consent_declared import declared_event
from personalization.ledger.preferences import FREQUENCY, TOPIC, PreferenceEvent
from personalization.program import Program
from personalization.program.consent_check import is_for_marketing
from personalization.serve.pages.visitor import Visitor

SOURCE = "pages"
PREFERENCE_PAGE, ONE_CLICK, CONFIRM_PAGE, GPC = (
    "preference page",
    "one-click unsubscribe",
    "confirmation page",
    "global privacy control",
)
SOLD = ("sale", "share.third_party")


@dataclass(frozen=True)
class Decision:
    """What a person wants to be different; what they left as it was is absent.

    Attributes
    ----------
    purposes : dict of str to bool
        By purpose, whether they agree.
    objects : bool
        The refusals among them object to marketing as such (GDPR 21(2)), not only to one purpose.
    topics : dict of str to bool
    frequency : str, optional
    """

    purposes: Mapping[str, bool] = field(default_factory=dict)
    objects: bool = False
    topics: Mapping[str, bool] = field(default_factory=dict)
    frequency: str | None = None


@dataclass(frozen=True)
class Circumstances:
    """When and how something was said, for the proof."""

    at: datetime
    method: str
    locale: str
    evidence: Mapping[str, Any]


class Recorder:
    """Makes events of decisions and appends them to the ledger."""

    def __init__(self, ledger: Ledger, keys: Keyring, program: Program) -> None:
        self._ledger, self._keys, self._program = ledger, keys, program

    @property
    def marketing(self) -> list[str]:
        """The purposes that a person leaves by unsubscribing."""
        return [
            name
            for name, purpose in self._program.purposes.items()
            if purpose.channel == "email" and is_for_marketing(name, purpose)
        ]

    def record(self, visitor: Visitor, decision: Decision, how: Circumstances) -> Decision:
        """Write a decision down. Returns the part of it that was a change; what was so already adds nothing."""
        person = visitor.identifiers.every
        with self._ledger.begin() as connection:  # looked at again: nobody else can write until the end of the block
            states = self._ledger.consent.person(person, decision.purposes, connection=connection)
            purposes = {name: yes for name, yes in decision.purposes.items() if self._changes(name, yes, states[name])}
            known = self._ledger.preferences.person(person, connection=connection)
            topics = {name: yes for name, yes in decision.topics.items() if known.topics.get(name) is not yes}
            frequency = None if decision.frequency == known.frequency else decision.frequency
            changed = Decision(purposes, decision.objects, topics, frequency)
            self._ledger.consent.append(self._consent(visitor, changed, states, how), connection=connection)
            self._ledger.preferences.append(_choices(visitor, changed, how), connection=connection)
        return changed

    def opt_out_of_sale(self, visitor: Visitor, how: Circumstances) -> bool:
        """What `Sec-GPC: 1` asks for (CCPA regulations, section 7025). Returns whether anything was new."""
        sold = [name for name in SOLD if name in self._program.purposes and visitor.states[name].state != "withdrawn"]
        if not sold:
            return False
        return bool(self.record(visitor, Decision(dict.fromkeys(sold, False)), how).purposes)

    def confirm(self, grant: ConsentEvent, how: Circumstances) -> None:
        """The second step of a double opt-in, for the person who was shown what the grant was about."""
        link = (grant.evidence or {})["double_opt_in_id"]
        event = declared_event(
            grant.purpose,
            self._program.purposes[grant.purpose],
            event_id=f"{SOURCE}:confirm:{link}:{grant.subject_token}",
            subject_token=grant.subject_token,
            action="confirm",
            effective_at=how.at,
            source=SOURCE,
            method=how.method,
            notice_version=_notice_version(self._program, grant.purpose),
            locale=how.locale,
            double_opt_in_id=link,
            evidence=how.evidence,
        )
        with self._ledger.begin() as connection:
            done = self._ledger.consent.history([grant.subject_token], connection=connection)
            if event.event_id not in {each.event.event_id for each in done}:
                self._ledger.consent.append([event], connection=connection)

    def _changes(self, purpose: str, agrees: bool, state: ConsentState) -> bool:
        """Whether saying so makes a difference. A refusal is kept also when nothing was agreed to: it stands against
        whatever older agreement may still arrive."""
        if not agrees:
            return state.state != "withdrawn"
        if self._program.purposes[purpose].needs_grant:
            return not state.granted
        return state.state == "withdrawn"

    def _consent(
        self, visitor: Visitor, decision: Decision, states: Mapping[str, ConsentState], how: Circumstances
    ) -> Iterator[ConsentEvent]:
        own = visitor.link.subject_token
        everywhere = [own, *sorted((visitor.identifiers.subjects | visitor.identifiers.emails) - {own})]
        everywhere += [self._keys.suppression_token(address) for address in visitor.addresses]
        for purpose, agrees in decision.purposes.items():
            at, declared = how.at, self._program.purposes[purpose]
            opted_in_at = states[purpose].effective_at
            if not agrees and opted_in_at:
                at = max(at, opted_in_at)  # an agreement from a clock that is ahead must not outlive a refusal
            action = "grant" if agrees else "object" if decision.objects or not declared.needs_grant else "withdraw"
            said = secrets.token_hex(8)
            # a refusal holds for every identifier, also for whoever has the address next or was erased
            for number, token in enumerate([own] if agrees else dict.fromkeys(everywhere)):
                yield declared_event(
                    purpose,
                    declared,
                    event_id=f"{SOURCE}:{said}" + (f":{number}" if number else ""),
                    subject_token=token,
                    action=action,
                    effective_at=at,
                    source=SOURCE,
                    method=how.method,
                    notice_version=_notice_version(self._program, purpose),
                    locale=how.locale,
                    double_opt_in_id=said,
                    evidence=how.evidence,
                )


def _notice_version(program: Program, purpose: str) -> str | None:
    """The notice that pages show now."""
    notices = program.purposes[purpose].notices
    return notices[-1].version if notices else None


def _choices(visitor: Visitor, decision: Decision, how: Circumstances) -> Iterable[PreferenceEvent]:
    chosen = [(TOPIC, name, str(yes).lower()) for name, yes in decision.topics.items()]
    if decision.frequency is not None:
        chosen.append((FREQUENCY, "", decision.frequency))
    said = secrets.token_hex(8)
    for number, (kind, name, value) in enumerate(chosen):
        yield PreferenceEvent(
            event_id=f"{SOURCE}:{said}:{number}",
            subject_token=visitor.link.subject_token,
            kind=kind,
            name=name,
            value=value,
            effective_at=how.at,
            source=SOURCE,
            method=how.method,
            locale=how.locale,
        )
