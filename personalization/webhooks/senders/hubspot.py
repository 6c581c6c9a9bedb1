"""HubSpot, signatures of version 3.

https://developers.hubspot.com/docs/apps/developer-platform/build-apps/authentication/request-validation:
`X-HubSpot-Signature-v3` is the base64 of HMAC-SHA256 over method, address, body and `X-HubSpot-Request-Timestamp`
(milliseconds), keyed with the app's client secret; requests older than five minutes are refused. The address is the
one HubSpot called, with certain escapes decoded: behind a proxy it is known from `serve.public_url` only. Bodies are
lists of up to 100 events; `eventId` alone is not promised to be unique, and `attemptNumber` counts the attempts.

An opt-out comes as a change of the property `hs_email_optout` of a contact, known by HubSpot's own id only: whether
that is the company's customer id is not ours to guess. Map it in `tables` as consent_events; until then such events
are dead letters, so that none is lost.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, ClassVar

from personalization.webhooks import decode
from personalization.webhooks.request import WebhookRequest
from personalization.webhooks.senders.base import Sender, Statement, at, joined, text
from personalization.webhooks.signatures import (
    from_unix,
    hmac_base64,
    require_one_of,
    require_recent,
    whole_number,
)

_DECODED = {
    "%3A": ":",
    "%2F": "/",
    "%3F": "?",
    "%40": "@",
    "%21": "!",
    "%24": "$",
    "%27": "'",
    "%28": "(",
    "%29": ")",
    "%2A": "*",
    "%2C": ",",
    "%3B": ";",
}


class HubSpot(Sender):
    name: ClassVar[str] = "hubspot"
    title: ClassVar[str] = "HubSpot"
    volatile: ClassVar[frozenset[str]] = frozenset({"attemptNumber"})
    setup: ClassVar[str] = (
        "in the app's settings enter the address as target URL and subscribe to what you map; put the app's client"
        " secret into the variable, and set serve.public_url in program.yaml"
    )

    def verify(self, request: WebhookRequest, keys: Sequence[bytes], now: datetime) -> None:
        timestamp = request.require("X-HubSpot-Request-Timestamp")
        require_recent(from_unix(whole_number(timestamp, "the time of signing") / 1000), now)
        decoded = request.url
        for escape, letter in _DECODED.items():
            decoded = decoded.replace(escape, letter).replace(escape.lower(), letter)
        expected = (
            hmac_base64(key, b"POST", url.encode(), request.body, timestamp.encode())
            for key in keys
            for url in {request.url, decoded}
        )
        require_one_of(expected, [request.require("X-HubSpot-Signature-v3")])

    def events(self, request: WebhookRequest) -> list[decode.Event]:
        return decode.json_objects(request.body)

    def event_key(self, event: dict[str, Any]) -> str | None:
        return joined(*(text(event, name) for name in ("subscriptionId", "eventId", "objectId", "occurredAt")))

    def event_at(self, event: dict[str, Any]) -> datetime | None:
        return at(event, "occurredAt")

    def statements(self, event: dict[str, Any]) -> list[Statement]:
        opted_out = event.get("propertyName") == "hs_email_optout" and text(event, "propertyValue") == "true"
        return [Statement("withdraw")] if opted_out else []
