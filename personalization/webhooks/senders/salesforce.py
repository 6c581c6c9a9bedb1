"""Salesforce Marketing Cloud Engagement, Event Notification Service (ENS).

https://developer.salesforce.com/docs/marketing/marketing-cloud/guide/ens-notification-signing.html:
`x-sfmc-ens-signature` is the base64 of HMAC-SHA256 over the body with the callback's signature key, which is shown
only when the callback is made. That the key is used as it is written, not base64-decoded, is what working receivers
do; the guide does not say it. There is no timestamp: repetitions are told by their content. Bodies are lists of up to
1,000 events, delivered at least once, answered within seconds; `compositeId` is deprecated, so it is not an id here.

When a callback is made, ENS posts `{"callbackId", "verificationKey"}` without a signature and expects 200. Only the
secret in the address tells that this is ours, so it is needed; the two values are kept in the inbox for
`POST /platform/v1/ens-verify` (`personalization inbox show`). As long as no signature key is set nothing else is
accepted.

Event payloads: https://developer.salesforce.com/docs/marketing/marketing-cloud/guide/ens-supported-events.html.
`info.subscriberKey` is the company's own key; where it is an e-mail address it is taken as one. `timestampUTC` says
when; `info.unsubscribeDate` is six hours earlier in the guide's own example (the account's local time, it seems), and
an opt-out dated too early could lose against a consent given before it.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, ClassVar

from personalization.webhooks import decode
from personalization.webhooks.mapping import Scalar
from personalization.webhooks.request import NotAuthentic, WebhookRequest
from personalization.webhooks.senders.base import Sender, Statement, at, mailing, text
from personalization.webhooks.signatures import hmac_base64, require_one_of

_HEADER = "x-sfmc-ens-signature"
_HANDSHAKE = {"callbackId", "verificationKey"}
_NAMES = {
    "TransactionalSendEvents.EmailSent": "sent",
    "TransactionalSendEvents.EmailBounced": "bounced",
    "EngagementEvents.EmailOpen": "opened",
    "EngagementEvents.EmailClick": "clicked",
    "EngagementEvents.EmailUnsubscribe": "unsubscribed",
}


class Salesforce(Sender):
    name: ClassVar[str] = "salesforce"
    title: ClassVar[str] = "Salesforce Marketing Cloud"
    signs: ClassVar[bool] = False
    needs_url_secret: ClassVar[bool] = True
    setup: ClassVar[str] = (
        "make a callback with the address; send what `personalization inbox show --reveal` tells of its handshake to"
        " /platform/v1/ens-verify; put the callback's signature key into the variable and start again"
    )

    def verify(self, request: WebhookRequest, keys: Sequence[bytes], now: datetime) -> None:
        given = request.find(_HEADER)
        if given is None:
            _require_handshake(request)
            return
        require_one_of((hmac_base64(key, request.body) for key in keys), [given])

    def events(self, request: WebhookRequest) -> list[decode.Event]:
        return decode.json_objects(request.body)

    def event_key(self, event: dict[str, Any]) -> str | None:
        return f"handshake:{event['callbackId']}" if set(event) == _HANDSHAKE else None

    def event_at(self, event: dict[str, Any]) -> datetime | None:
        return at(event, "timestampUTC")

    def statements(self, event: dict[str, Any]) -> list[Statement]:
        kind = event.get("eventCategoryType")
        if kind == "EngagementEvents.EmailUnsubscribe":
            return [Statement("withdraw", *_who(event))]
        if kind == "TransactionalSendEvents.EmailBounced" and str(text(event, "info", "bounceCode")).upper() == "HARD":
            return [Statement("bounced", *_who(event))]
        return []

    def email_events(self, event: dict[str, Any]) -> list[dict[str, Scalar]]:
        email, customer_id = _who(event)
        return mailing(
            _NAMES.get(str(event.get("eventCategoryType"))),
            campaign_id=text(event, "composite", "jobId"),
            email=email,
            customer_id=customer_id,
            occurred_at=self.event_at(event),
            detail=text(event, "info", "bounceCode") or text(event, "info", "unsubscribeMethod"),
        )


def _who(event: dict[str, Any]) -> tuple[str | None, str | None]:
    """The e-mail address and the company's key of the person."""
    email, key = text(event, "info", "to"), text(event, "info", "subscriberKey")
    if key and "@" in key:
        return email or key, None
    return email, key


def _require_handshake(request: WebhookRequest) -> None:
    try:
        body = decode.json_object(request.body)
    except decode.Unreadable:
        body = {}
    if set(body) != _HANDSHAKE or not all(isinstance(value, str) and value for value in body.values()):
        raise NotAuthentic(f"the header {_HEADER} is missing")
