"""A stand-in for HubSpot's API on this machine: contacts, properties, opt-outs by address, static lists.

It answers to `v3` (`v4` for opt-outs) and to versions named after a month. Differences from HubSpot: docs/export.md.
"""

from __future__ import annotations

import re
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from starlette.requests import Request

from personalization.sandbox.answers import Answer
from personalization.sandbox.hubspot_consent import SUBSCRIPTIONS, Consent
from personalization.sandbox.hubspot_contacts import Contacts
from personalization.sandbox.hubspot_events import EmailEvents
from personalization.sandbox.hubspot_lists import Lists
from personalization.sandbox.hubspot_problems import Refused, bad_input, not_found
from personalization.sandbox.hubspot_properties import Properties
from personalization.sandbox.store import Store
from personalization.sandbox.web import PlatformSandbox, json_body

REQUESTS, SECONDS = 190, 10.0
_MONTH = r"20\d\d-\d\d"
_PARTS = {
    "contacts": re.compile(rf"/crm/(?:v3/objects|objects/{_MONTH})/(?:contacts|0-1)(/.*)?"),
    "properties": re.compile(rf"/crm/(?:v3/properties|properties/{_MONTH})/(?:contacts|0-1)(/.*)?"),
    "lists": re.compile(rf"/crm/(?:v3/lists|lists/{_MONTH})(/.*)?"),
    "events": re.compile(r"/email/public/v1(/.*)?"),
    "consent": re.compile(rf"/communication-preferences/(?:v4|{_MONTH})(/.*)?"),
}


class HubspotSandbox(PlatformSandbox):
    """One account.

    Parameters
    ----------
    api_key : str
        The only token that is let in.
    list_id : str
        Not used: HubSpot's contacts are on no list.
    state : Path, optional
        File to keep the state in; None forgets it at the end.
    batch_seconds : float
        How long it takes until contacts show an opt-out in their properties.
    latency : float
        Seconds that every request takes at least.
    """

    def __init__(
        self,
        api_key: str,
        list_id: str,
        *,
        state: Path | None = None,
        batch_seconds: float = 0.2,
        latency: float = 0.0,
    ) -> None:
        super().__init__(Store(state), latency=latency)
        self._token = api_key
        self._begun: deque[float] = deque()
        self._consent = Consent(self.store, batch_seconds)
        self._properties = Properties(self.store, SUBSCRIPTIONS)
        self._contacts = Contacts(self.store, self._properties, self._consent.shown_on_contacts)
        self._lists = Lists(self.store, self._properties.all)
        self._events = EmailEvents(self.mailings)

    def recipients(self) -> list[str]:
        addresses = [one["properties"].get("email") for one in self._contacts.all.values()]
        return [address for address in addresses if address and not self._consent.left(address)]

    def campaign_id(self, number: int) -> str:
        return str(70_000_000 + number)

    def happened(self, event: dict[str, Any]) -> None:
        if event["kind"] in ("unsubscribed", "complained"):
            self._consent.leave(event["address"])

    def forget(self) -> None:
        super().forget()
        self._begun.clear()
        self._contacts.forget()

    def refuses(self, request: Request, path: str) -> Answer | None:
        if request.headers.get("authorization") != f"Bearer {self._token}":
            message = "Authentication credentials not found. This API supports OAuth 2.0 authentication"
            return Refused(401, "INVALID_AUTHENTICATION", message).answer
        now = time.monotonic()
        while self._begun and self._begun[0] <= now - SECONDS:
            self._begun.popleft()
        if len(self._begun) >= REQUESTS:
            message = "You have reached your ten_secondly_rolling limit."
            more = {"errorType": "RATE_LIMIT", "policyName": "TEN_SECONDLY_ROLLING"}
            return Refused(429, "RATE_LIMITS", message, **more).answer
        self._begun.append(now)
        return None

    async def answer(self, request: Request, path: str) -> Answer:
        try:
            body = await json_body(request)
        except ValueError:
            return bad_input("not JSON").answer
        handlers: dict[str, Callable[..., Answer]] = {
            "contacts": self._contacts.handle,
            "properties": lambda method, parts, query, body: self._properties.handle(method, parts, body),
            "lists": self._lists.handle,
            "consent": self._consent.handle,
            "events": self._events.handle,
        }
        try:
            for name, pattern in _PARTS.items():
                match = pattern.fullmatch(path)
                if match:
                    parts = [unquote(part) for part in (match.group(1) or "").split("/") if part]
                    with self.store.together():
                        return handlers[name](request.method, parts, request.query_params, body)
            raise not_found("resource")
        except Refused as refused:
            return refused.answer
