"""Customer.io reporting webhooks.

https://docs.customer.io/integrations/api/webhooks/: `X-CIO-Signature` is the hex of HMAC-SHA256 over
`v0:<X-CIO-Timestamp>:<body>`; `event_id` identifies an event, `object_type` and `metric` say what it is, `timestamp`
(Unix seconds) when. An answer is awaited for 4 seconds, retries go on for seven days, and later events wait meanwhile.
`data.customer_id` and `data.identifiers.id` are the company's own id. The five-minute window is ours: theirs is not
documented. A bounce is reported once delivery has failed for good, and the address is then suppressed there as well;
that temporary failures never come as `bounced` could not be confirmed.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, ClassVar

from personalization.webhooks.mapping import Scalar
from personalization.webhooks.request import WebhookRequest
from personalization.webhooks.senders.base import Sender, Statement, at, mailing, text
from personalization.webhooks.signatures import (
    from_unix,
    hmac_hex,
    require_one_of,
    require_recent,
    whole_number,
)

_NAMES = {
    "sent": "sent",
    "opened": "opened",
    "clicked": "clicked",
    "converted": "converted",
    "bounced": "bounced",
    "spammed": "complained",
    "unsubscribed": "unsubscribed",
}


class CustomerIo(Sender):
    name: ClassVar[str] = "customerio"
    title: ClassVar[str] = "Customer.io"
    setup: ClassVar[str] = (
        "Integrations, Reporting Webhooks: enter the address, choose the events; put the signing key into the variable"
    )

    def verify(self, request: WebhookRequest, keys: Sequence[bytes], now: datetime) -> None:
        timestamp = request.require("X-CIO-Timestamp")
        require_recent(from_unix(whole_number(timestamp, "the time of signing")), now)
        signed = f"v0:{timestamp}:".encode()
        expected = (hmac_hex(key, signed, request.body) for key in keys)
        require_one_of(expected, [request.require("X-CIO-Signature").lower()])

    def event_key(self, event: dict[str, Any]) -> str | None:
        return text(event, "event_id")

    def event_at(self, event: dict[str, Any]) -> datetime | None:
        return at(event, "timestamp")

    def statements(self, event: dict[str, Any]) -> list[Statement]:
        kind, metric = event.get("object_type"), event.get("metric")
        if metric == "unsubscribed" and kind in ("email", "customer"):
            return [Statement("withdraw", *_who(event))]
        if kind == "email" and metric in ("bounced", "spammed"):
            return [Statement("bounced" if metric == "bounced" else "complained", *_who(event))]
        return []

    def email_events(self, event: dict[str, Any]) -> list[dict[str, Scalar]]:
        if event.get("object_type") != "email":
            return []
        email, customer_id = _who(event)
        ids = (text(event, "data", name) for name in ("broadcast_id", "newsletter_id", "campaign_id"))
        return mailing(
            _NAMES.get(str(event.get("metric"))),
            campaign_id=next((found for found in ids if found), None),
            email=email,
            customer_id=customer_id,
            occurred_at=self.event_at(event),
            detail=text(event, "data", "href"),
        )


def _who(event: dict[str, Any]) -> tuple[str | None, str | None]:
    """The e-mail address and the company's id of the person."""
    email = next(
        (
            found
            for found in (
                text(event, "data", "recipient"),
                text(event, "data", "email_address"),
                text(event, "data", "identifiers", "email"),
            )
            if found
        ),
        None,
    )
    return email, text(event, "data", "customer_id") or text(event, "data", "identifiers", "id")
