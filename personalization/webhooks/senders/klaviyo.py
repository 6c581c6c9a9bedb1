"""Klaviyo system webhooks.

https://developers.klaviyo.com/en/docs/working_with_system_webhooks: `Klaviyo-Signature` is the hex of HMAC-SHA256 over
the body followed by the header `Klaviyo-Timestamp`, with the webhook's secret (at least 16 characters); only accounts
with Advanced KDP and app partners have them. Up to 1,000 events come as the list `data`, with `external_id`, `topic`
and `payload`.

The header's format is not documented; HTTP dates and ISO 8601 were seen, and HTTP dates that were hours off. The body,
which is signed as well, has `meta.timestamp`: a request counts as recent when one of the two is.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, ClassVar

from personalization.webhooks import decode
from personalization.webhooks.mapping import Scalar
from personalization.webhooks.moments import moment
from personalization.webhooks.request import NotAuthentic, WebhookRequest
from personalization.webhooks.senders.base import Sender, Statement, at, joined, mailing, pick, text
from personalization.webhooks.signatures import hmac_hex, require_one_of, require_recent

_TOPICS = {
    "email_delivered": "sent",
    "opened_email": "opened",
    "clicked_email": "clicked",
    "bounced_email": "bounced",
    "marked_email_as_spam": "complained",
    "unsubscribed_from_email_marketing": "unsubscribed",
    "unsubscribed": "unsubscribed",
}


class Klaviyo(Sender):
    name: ClassVar[str] = "klaviyo"
    title: ClassVar[str] = "Klaviyo"
    setup: ClassVar[str] = (
        "make a webhook by the Webhooks API with the address and a secret of your own; put it into the variable"
    )

    def verify(self, request: WebhookRequest, keys: Sequence[bytes], now: datetime) -> None:
        timestamp = request.require("Klaviyo-Timestamp")
        expected = (hmac_hex(key, request.body, timestamp.encode()) for key in keys)
        require_one_of(expected, [request.require("Klaviyo-Signature").lower()])
        times = [found for found in (_header_time(timestamp), _body_time(request.body)) if found is not None]
        if not times:
            raise NotAuthentic("neither header nor body says when it was signed")
        require_recent(min(times, key=lambda found: abs(found - now)), now)

    def events(self, request: WebhookRequest) -> list[decode.Event]:
        return decode.json_objects(request.body, "data")

    def event_key(self, event: dict[str, Any]) -> str | None:
        return joined(text(event, "topic"), text(event, "external_id"))

    def event_at(self, event: dict[str, Any]) -> datetime | None:
        attributes = pick(event, "payload", "data", "attributes")
        return (at(attributes, "datetime") or at(attributes, "timestamp")) if isinstance(attributes, dict) else None

    def statements(self, event: dict[str, Any]) -> list[Statement]:
        name, email = _name(event), _email(event)
        if name == "unsubscribed":
            return [Statement("withdraw", email)]
        if name == "complained":
            return [Statement("complained", email)]
        hard = str(text(_properties(event), "Bounce Type")).lower() == "hard"
        return [Statement("bounced", email)] if name == "bounced" and hard else []

    def email_events(self, event: dict[str, Any]) -> list[dict[str, Scalar]]:
        campaign_id = text(_properties(event), "$message") or text(_properties(event), "Campaign Name")
        return mailing(
            _name(event) if campaign_id else None,
            campaign_id=campaign_id,
            email=_email(event),
            occurred_at=self.event_at(event),
        )


def _name(event: dict[str, Any]) -> str | None:
    return _TOPICS.get(str(event.get("topic")).removeprefix("event:klaviyo."))


def _properties(event: dict[str, Any]) -> dict[str, Any]:
    found = pick(event, "payload", "data", "attributes", "event_properties")
    return found if isinstance(found, dict) else {}


def _email(event: dict[str, Any]) -> str | None:
    properties = _properties(event)
    return text(properties, "email_address") or text(properties, "Recipient Email Address")


def _header_time(timestamp: str) -> datetime | None:
    try:
        found = parsedate_to_datetime(timestamp)
    except (ValueError, TypeError):
        return moment(timestamp)
    return found if found.tzinfo else found.replace(tzinfo=UTC)


def _body_time(body: bytes) -> datetime | None:
    try:
        return at(decode.json_object(body), "meta", "timestamp")
    except decode.Unreadable:
        return None
