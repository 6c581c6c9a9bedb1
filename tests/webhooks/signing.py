"""Signs requests as each sender does, written from the senders' own descriptions and not from our verifiers."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import format_datetime
from typing import Any
from urllib.parse import quote_plus

from personalization.webhooks.request import WebhookRequest

NOW = datetime(2026, 6, 1, 12, tzinfo=UTC)
URL = "https://mail.example.com/webhooks/hooks"
STANDARD_SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
SECRET = "a-secret-of-thirty-two-letters-0"
OTHER_SECRET = "another-secret-of-thirty-two-lett"
URL_SECRET = "0123456789abcdef0123456789abcdef"

Headers = list[tuple[str, str]]


@dataclass(frozen=True)
class Signer:
    """How one sender signs, and an event of it with what we must understand in it."""

    sender: str
    sign: Callable[[bytes, str, datetime], Headers]
    body: bytes
    secret: str = SECRET
    other: str = OTHER_SECRET
    timestamped: bool = True
    content_type: str = "application/json"
    signed_headers: tuple[str, ...] = ()

    def request(self, body: bytes | None = None, secret: str | None = None, at: datetime = NOW) -> WebhookRequest:
        body = self.body if body is None else body
        headers = self.sign(body, self.secret if secret is None else secret, at)
        return request(body, headers)


def request(body: bytes, headers: Headers) -> WebhookRequest:
    return WebhookRequest(body, [(name.lower().encode(), value.encode()) for name, value in headers], URL)


def _hex(secret: str, content: bytes, algorithm: str = "sha256") -> str:
    return hmac.new(secret.encode(), content, algorithm).hexdigest()


def _base64(secret: bytes, content: bytes) -> str:
    return base64.b64encode(hmac.new(secret, content, hashlib.sha256).digest()).decode()


def _seconds(at: datetime) -> str:
    return str(int(at.timestamp()))


def sign_standard(body: bytes, secret: str, at: datetime, event_id: str = "msg_1") -> Headers:
    key = base64.b64decode(secret.removeprefix("whsec_"))
    signature = _base64(key, f"{event_id}.{_seconds(at)}.".encode() + body)
    return [("webhook-id", event_id), ("webhook-timestamp", _seconds(at)), ("webhook-signature", f"v1,{signature}")]


def sign_mailchimp(body: bytes, secret: str, at: datetime) -> Headers:
    signature = _hex(secret, f"{_seconds(at)}.".encode() + body)
    return [("X-Mailchimp-Signature", f"t={_seconds(at)},v1={signature}")]


def sign_hubspot(body: bytes, secret: str, at: datetime, url: str = URL) -> Headers:
    timestamp = str(int(at.timestamp() * 1000))
    signature = _base64(secret.encode(), b"POST" + url.encode() + body + timestamp.encode())
    return [("X-HubSpot-Signature-v3", signature), ("X-HubSpot-Request-Timestamp", timestamp)]


def sign_salesforce(body: bytes, secret: str, at: datetime) -> Headers:
    return [("x-sfmc-ens-signature", _base64(secret.encode(), body))]


def sign_klaviyo(body: bytes, secret: str, at: datetime) -> Headers:
    timestamp = format_datetime(at, usegmt=True)
    return [("Klaviyo-Signature", _hex(secret, body + timestamp.encode())), ("Klaviyo-Timestamp", timestamp)]


def sign_customerio(body: bytes, secret: str, at: datetime) -> Headers:
    signature = _hex(secret, f"v0:{_seconds(at)}:".encode() + body)
    return [("X-CIO-Signature", signature), ("X-CIO-Timestamp", _seconds(at))]


def sign_shopify(body: bytes, secret: str, at: datetime) -> Headers:
    return [("X-Shopify-Hmac-SHA256", _base64(secret.encode(), body)), ("X-Shopify-Topic", "orders/create")]


def sign_stripe(body: bytes, secret: str, at: datetime) -> Headers:
    signature = _hex(secret, f"{_seconds(at)}.".encode() + body)
    return [("Stripe-Signature", f"t={_seconds(at)},v1={signature},v0=ignored")]


def sign_segment(body: bytes, secret: str, at: datetime) -> Headers:
    return [("X-Signature", _hex(secret, body, "sha1"))]


def form(fields: dict[str, str]) -> bytes:
    return "&".join(f"{quote_plus(name)}={quote_plus(value)}" for name, value in fields.items()).encode()


def _json(value: Any) -> bytes:
    return json.dumps(value).encode()


SIGNERS: dict[str, Signer] = {
    signer.sender: signer
    for signer in (
        Signer(
            "standard",
            sign_standard,
            _json({"type": "order.placed", "timestamp": "2026-06-01T11:59:00Z", "data": {"id": "o1"}}),
            STANDARD_SECRET,
            "whsec_" + base64.b64encode(b"x" * 32).decode(),
            signed_headers=("webhook-id", "webhook-timestamp"),
        ),
        Signer(
            "mailchimp",
            sign_mailchimp,
            form(
                {
                    "type": "unsubscribe",
                    "fired_at": "2026-06-01 11:59:00",
                    "data[email]": "Ann@Example.com",
                    "data[reason]": "manual",
                    "data[list_id]": "a6b5da1054",
                    "data[merges][FNAME]": "Ann",
                }
            ),
            content_type="application/x-www-form-urlencoded",
        ),
        Signer(
            "hubspot",
            sign_hubspot,
            _json(
                [
                    {
                        "eventId": 1,
                        "subscriptionId": 7,
                        "objectId": 512,
                        "occurredAt": 1780315140000,
                        "subscriptionType": "contact.propertyChange",
                        "propertyName": "hs_email_optout",
                        "propertyValue": "true",
                        "attemptNumber": 0,
                    }
                ]
            ),
            signed_headers=("x-hubspot-request-timestamp",),
        ),
        Signer(
            "salesforce",
            sign_salesforce,
            _json(
                [
                    {
                        "eventCategoryType": "EngagementEvents.EmailUnsubscribe",
                        "timestampUTC": 1780315140000,
                        "composite": {"jobId": "1722201"},
                        "info": {"to": "ann@example.com", "unsubscribeDate": 1780293540000},
                    }
                ]
            ),
            timestamped=False,
        ),
        Signer(
            "klaviyo",
            sign_klaviyo,
            _json(
                {
                    "meta": {"klaviyo_webhook_id": "01KP"},
                    "data": [
                        {
                            "topic": "event:klaviyo.unsubscribed_from_email_marketing",
                            "external_id": "73WCCK7JKtE",
                            "payload": {
                                "data": {
                                    "attributes": {
                                        "timestamp": 1780315140,
                                        "event_properties": {"email_address": "ann@example.com"},
                                    }
                                }
                            },
                        }
                    ],
                }
            ),
            signed_headers=("klaviyo-timestamp",),
        ),
        Signer(
            "customerio",
            sign_customerio,
            _json(
                {
                    "event_id": "01E4C4CT6YDC7Y5M7FE1GWWPQJ",
                    "object_type": "customer",
                    "metric": "unsubscribed",
                    "timestamp": 1780315140,
                    "data": {"customer_id": "42", "identifiers": {"id": "42", "email": "ann@example.com"}},
                }
            ),
            signed_headers=("x-cio-timestamp",),
        ),
        Signer(
            "shopify",
            sign_shopify,
            _json(
                {
                    "customer_id": 207119551,
                    "email_address": "ann@example.com",
                    "email_marketing_consent": {
                        "state": "unsubscribed",
                        "consent_updated_at": "2026-06-01T07:59:00-04:00",
                    },
                }
            ),
            timestamped=False,
        ),
        Signer(
            "stripe",
            sign_stripe,
            _json({"id": "evt_1", "created": 1780315140, "type": "charge.succeeded", "pending_webhooks": 2}),
        ),
        Signer(
            "segment",
            sign_segment,
            _json(
                [
                    {
                        "messageId": "ajs-1",
                        "type": "track",
                        "event": "Unsubscribed",
                        "userId": "42",
                        "timestamp": "2026-06-01T11:59:00.000Z",
                        "context": {"traits": {"email": "ann@example.com"}},
                        "sentAt": "2026-06-01T11:59:01.000Z",
                    }
                ]
            ),
            timestamped=False,
        ),
    )
}

ACTIVECAMPAIGN = form(
    {
        "type": "unsubscribe",
        "date_time": "2026-06-01T06:59:00-05:00",
        "contact[email]": "ann@example.com",
        "contact[id]": "7",
        "list": "0",
    }
)
