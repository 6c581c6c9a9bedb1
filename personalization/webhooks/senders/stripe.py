"""Stripe.

https://docs.stripe.com/webhooks#verify-manually: `Stripe-Signature: t=<unix>,v1=<hex>` (several v1 while a secret is
being changed), HMAC-SHA256 of `t.body` with the endpoint's secret as it is written (`whsec_…`, not decoded), five
minutes. Events have an `id` and `created`, come in any order, more than once, and are retried for up to three days;
`pending_webhooks` differs between attempts. Stripe reports no opt-outs: everything is mapped in `tables`.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, ClassVar

from personalization.webhooks.request import WebhookRequest
from personalization.webhooks.senders.base import Sender, at, text
from personalization.webhooks.signatures import (
    from_unix,
    hmac_hex,
    require_one_of,
    require_recent,
    timestamped_pairs,
)


class Stripe(Sender):
    name: ClassVar[str] = "stripe"
    title: ClassVar[str] = "Stripe"
    volatile: ClassVar[frozenset[str]] = frozenset({"pending_webhooks"})
    setup: ClassVar[str] = "Developers, Webhooks: add the address; put its signing secret (whsec_…) into the variable"

    def verify(self, request: WebhookRequest, keys: Sequence[bytes], now: datetime) -> None:
        timestamp, given = timestamped_pairs(request.require("Stripe-Signature"))
        require_recent(from_unix(timestamp), now)
        require_one_of((hmac_hex(key, f"{timestamp}.".encode(), request.body) for key in keys), given)

    def event_key(self, event: dict[str, Any]) -> str | None:
        return text(event, "id")

    def event_at(self, event: dict[str, Any]) -> datetime | None:
        return at(event, "created")
