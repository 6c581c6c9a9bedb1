"""Segment, destination Webhooks (Actions).

https://www.twilio.com/docs/segment/connections/destinations/catalog/actions-webhook: with a shared secret, requests
have `X-Signature`, the hex of HMAC-SHA1 over the body. There is no timestamp. One event a request, or a list when
batching is on. `messageId` identifies an event; `sentAt` and `receivedAt` may differ between repetitions. `userId`
is the company's own id.

Opt-outs, hard bounces and complaints follow the e-mail events specification ("Unsubscribed", "Email Bounced", "Email
Marked as Spam"), with the address in `context.traits.email`. It does not tell hard from soft bounces, so a bounce
suppresses only where `properties.bounce_type` or `properties.type` says `hard`.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, ClassVar

from personalization.webhooks import decode
from personalization.webhooks.mapping import Scalar
from personalization.webhooks.request import WebhookRequest
from personalization.webhooks.senders.base import Sender, Statement, at, mailing, text
from personalization.webhooks.signatures import hmac_hex, require_one_of

_NAMES = {
    "Email Delivered": "sent",
    "Email Opened": "opened",
    "Email Link Clicked": "clicked",
    "Email Bounced": "bounced",
    "Email Marked as Spam": "complained",
    "Unsubscribed": "unsubscribed",
}


class Segment(Sender):
    name: ClassVar[str] = "segment"
    title: ClassVar[str] = "Segment"
    volatile: ClassVar[frozenset[str]] = frozenset({"sentAt", "receivedAt"})
    setup: ClassVar[str] = "destination Webhooks (Actions): the address, and as shared secret the variable's value"

    def verify(self, request: WebhookRequest, keys: Sequence[bytes], now: datetime) -> None:
        expected = (hmac_hex(key, request.body, algorithm="sha1") for key in keys)
        require_one_of(expected, [request.require("X-Signature").lower()])

    def events(self, request: WebhookRequest) -> list[decode.Event]:
        return decode.json_objects(request.body, "batch")

    def event_key(self, event: dict[str, Any]) -> str | None:
        return text(event, "messageId")

    def event_at(self, event: dict[str, Any]) -> datetime | None:
        return at(event, "timestamp") or at(event, "originalTimestamp")

    def statements(self, event: dict[str, Any]) -> list[Statement]:
        name = _name(event)
        if name == "unsubscribed":
            return [Statement("withdraw", *_who(event))]
        if name == "complained":
            return [Statement("complained", *_who(event))]
        kind = text(event, "properties", "bounce_type") or text(event, "properties", "type")
        hard = name == "bounced" and str(kind).lower() == "hard"
        return [Statement("bounced", *_who(event))] if hard else []

    def email_events(self, event: dict[str, Any]) -> list[dict[str, Scalar]]:
        email, customer_id = _who(event)
        campaign_id = text(event, "properties", "campaign_id") or text(event, "properties", "email_id")
        return mailing(
            _name(event) if campaign_id else None,
            campaign_id=campaign_id,
            email=email,
            customer_id=customer_id,
            occurred_at=self.event_at(event),
            detail=text(event, "properties", "link_url"),
        )


def _name(event: dict[str, Any]) -> str | None:
    return _NAMES.get(str(event.get("event"))) if event.get("type") == "track" else None


def _who(event: dict[str, Any]) -> tuple[str | None, str | None]:
    """The e-mail address and the company's id of the person."""
    email = text(event, "context", "traits", "email") or text(event, "traits", "email")
    return email or text(event, "properties", "email"), text(event, "userId")
