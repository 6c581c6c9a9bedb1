"""Standard Webhooks, and Svix, which uses the same scheme under header names of its own.

Specification: https://github.com/standard-webhooks/standard-webhooks (spec/standard-webhooks.md). Signed is
`id.timestamp.body` with HMAC-SHA256; `webhook-signature` holds one or more `v1,<base64>`, several while a secret is
being changed. The id is the same at each attempt, the timestamp is of the attempt.

Verified here and not with the library `standardwebhooks`: that one raises other errors than it documents on malformed
signatures and bodies, and takes timestamps with a fraction. It is what our tests compare with.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, ClassVar

from personalization.webhooks.request import NotAuthentic, WebhookRequest
from personalization.webhooks.senders.base import Sender, at
from personalization.webhooks.signatures import (
    from_base64,
    from_unix,
    hmac_base64,
    require_one_of,
    require_recent,
    whole_number,
)

_PREFIX = "whsec_"
_MIN_KEY, _MAX_KEY = 24, 64


class StandardWebhooks(Sender):
    name: ClassVar[str] = "standard"
    title: ClassVar[str] = "Standard Webhooks"
    setup: ClassVar[str] = "enter the address as an endpoint; put its signing secret (whsec_…) into the variable"

    def key(self, secret: str) -> bytes:
        try:
            key = from_base64(secret.removeprefix(_PREFIX))
        except ValueError:
            raise ValueError("is not base64 (with or without 'whsec_' before it)") from None
        if not _MIN_KEY <= len(key) <= _MAX_KEY:
            raise ValueError(f"holds {len(key)} bytes; Standard Webhooks needs {_MIN_KEY} to {_MAX_KEY}")
        return key

    def verify(self, request: WebhookRequest, keys: Sequence[bytes], now: datetime) -> None:
        event_id, timestamp, signatures = (_header(request, name) for name in ("id", "timestamp", "signature"))
        if "." in event_id:
            raise NotAuthentic("the event id has a dot in it")
        require_recent(from_unix(whole_number(timestamp, "the time of signing")), now)
        signed = f"{event_id}.{timestamp}.".encode()
        given = [entry[3:] for entry in signatures.split() if entry.startswith("v1,")]
        require_one_of((hmac_base64(key, signed, request.body) for key in keys), given)

    def request_key(self, request: WebhookRequest) -> str | None:
        return _header(request, "id")

    def event_at(self, event: dict[str, Any]) -> datetime | None:
        return at(event, "timestamp")


def _header(request: WebhookRequest, name: str) -> str:
    found = request.find(f"webhook-{name}") or request.find(f"svix-{name}")
    return found or request.require(f"webhook-{name}")  # which says what is missing
