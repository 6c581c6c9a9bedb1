"""Mailings of a sandbox: it sends a campaign, and what a seeded chance lets happen is what the platform reports.

Not part of any platform's API: `POST /_sandbox/campaigns` sends one, `POST /_sandbox/campaigns/{id}/events` lets
something happen later. How the platform tells of it, and what it does to contacts, each sandbox says itself.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from personalization.sandbox.store import Store

KINDS = ("sent", "opened", "clicked", "bounced", "unsubscribed", "complained")

RATES = {
    "hard": 0.01,
    "soft": 0.01,
    "opened": 0.35,
    "machine": 0.3,
    "clicked": 0.25,
    "unsubscribed": 0.02,
    "complained": 0.005,
}
"""Chances: `machine` of an open to be a mail program's, `clicked` of a person who opened, `unsubscribed` likewise."""

LINKS = ("https://shop.example/offers", "https://shop.example/new")


class Mailings:
    """Campaigns that were sent, and everything that happened to their mails, in the order it became known."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def send(
        self,
        campaign_id: str,
        name: str,
        addresses: Sequence[str],
        sent_at: datetime,
        *,
        seed: int = 1,
        rates: Mapping[str, float] | None = None,
    ) -> list[dict[str, Any]]:
        """Send a campaign. Returns what happened: the same for the same seed and addresses."""
        self._store.put("campaigns", campaign_id, {"id": campaign_id, "name": name, "sent_at": sent_at.isoformat()})
        chances = {**RATES, **(rates or {})}
        happened: list[dict[str, Any]] = []
        for address in sorted(addresses):
            happened += _fate(random.Random(f"{seed}:{name}:{address}"), address, sent_at, chances)
        return self.happen(campaign_id, happened)

    def happen(self, campaign_id: str, events: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        """Let something happen to mails of a campaign. Returns the events with their numbers."""
        known = self._store.all("mail_events")
        kept = []
        for event in events:
            if event["kind"] not in KINDS:
                raise ValueError(f"kind: one of {', '.join(KINDS)}")
            number = len(known) + 1
            kept.append({"machine": False, "hard": False, **event, "id": number, "campaign": campaign_id})
            self._store.put("mail_events", str(number), kept[-1])
        return kept

    @property
    def campaigns(self) -> dict[str, dict[str, Any]]:
        """By id, the first sent first."""
        return self._store.all("campaigns")

    def events(self, campaign_id: str | None = None, kind: str | None = None) -> list[dict[str, Any]]:
        """Events of a campaign, or of a kind."""
        return [
            event
            for event in self._store.all("mail_events").values()
            if campaign_id in (None, event["campaign"]) and kind in (None, event["kind"])
        ]


def _fate(chance: random.Random, address: str, sent_at: datetime, chances: Mapping[str, float]) -> list[dict[str, Any]]:
    """What becomes of one mail."""

    def event(kind: str, after: float, **more: Any) -> dict[str, Any]:
        at = sent_at + timedelta(seconds=round(after))
        return {"kind": kind, "address": address, "at": at.isoformat(), **more}

    happened = [event("sent", 0)]
    drawn = chance.random()
    if drawn < chances["hard"] + chances["soft"]:
        hard = drawn < chances["hard"]
        return [*happened, event("bounced", chance.uniform(5, 300), hard=hard, reason="mailbox full" * (not hard))]
    if chance.random() < chances["opened"]:
        machine = chance.random() < chances["machine"]
        opened = chance.uniform(30, 86_400)
        happened.append(event("opened", opened, machine=machine))
        if not machine and chance.random() < chances["clicked"]:
            happened.append(event("clicked", opened + chance.uniform(5, 120), url=chance.choice(LINKS)))
        if not machine and chance.random() < chances["unsubscribed"]:
            happened.append(event("unsubscribed", opened + chance.uniform(5, 300), reason="too many"))
    if chance.random() < chances["complained"]:
        happened.append(event("complained", chance.uniform(60, 86_400)))
    return happened


def utc(text: str) -> datetime:
    """A moment of an event or a query, in UTC."""
    moment = datetime.fromisoformat(text.replace("Z", "+00:00").replace(" ", "+"))
    return moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)
