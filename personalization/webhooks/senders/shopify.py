"""Shopify.

https://shopify.dev/docs/apps/build/webhooks/verify-deliveries: `X-Shopify-Hmac-SHA256` is the base64 of HMAC-SHA256
over the body with the app's client secret. An answer is awaited for 5 seconds; failed deliveries are tried again
eight times in four hours. Only the body is signed: neither the topic nor an id of the delivery, and no time. So an
event is identified by its content, which a captured request can't change, and a source should get one topic only.

An e-mail opt-out comes with the topic `customers_email_marketing_consent/update`
(`email_marketing_consent.state: unsubscribed`, `email_address`); the names of these two fields are from memory and
could not be confirmed. Orders are mapped in `tables`, with `records: line_items`.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, ClassVar

from personalization.webhooks.request import WebhookRequest
from personalization.webhooks.senders.base import Sender, Statement, at, text
from personalization.webhooks.signatures import hmac_base64, require_one_of


class Shopify(Sender):
    name: ClassVar[str] = "shopify"
    title: ClassVar[str] = "Shopify"
    setup: ClassVar[str] = (
        "Settings, Notifications, Webhooks (or the app's subscriptions): the address, JSON, one topic; put the signing"
        " key (or the app's client secret) into the variable"
    )

    def verify(self, request: WebhookRequest, keys: Sequence[bytes], now: datetime) -> None:
        given = request.require("X-Shopify-Hmac-SHA256")
        require_one_of((hmac_base64(key, request.body) for key in keys), [given])

    def event_at(self, event: dict[str, Any]) -> datetime | None:
        return (
            at(event, "email_marketing_consent", "consent_updated_at")
            or at(event, "updated_at")
            or at(event, "created_at")
        )

    def statements(self, event: dict[str, Any]) -> list[Statement]:
        if text(event, "email_marketing_consent", "state") != "unsubscribed":
            return []
        return [Statement("withdraw", text(event, "email_address") or text(event, "email"))]
