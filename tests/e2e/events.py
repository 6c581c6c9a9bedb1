"""Events of the small workspace's shop, put into its inbox as the receiver does."""

from __future__ import annotations

import json
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Any

from personalization.ledger.inbox_event import Arrival
from personalization.runtime import Runtime

RECEIVED = datetime(2017, 12, 3, 12, tzinfo=UTC)


def order(number: str, customer: str, at: str, *lines: tuple[str, float, str]) -> dict[str, Any]:
    """An order of lines (product, quantity, amount)."""
    return {
        "type": "order.paid",
        "data": {
            "id": number,
            "customer": customer,
            "at": at,
            "lines": [{"sku": sku, "quantity": quantity, "amount": amount} for sku, quantity, amount in lines],
        },
    }


def customer(number: str, **values: Any) -> dict[str, Any]:
    return {"type": "customer.updated", "data": {"id": number, **values}}


def product(sku: str, **values: Any) -> dict[str, Any]:
    return {"type": "product.updated", "data": {"sku": sku, **values}}


def mail(campaign: str, customer: str, at: str) -> dict[str, Any]:
    return {"type": "mail.sent", "data": {"campaign": campaign, "customer": customer, "at": at}}


def arrival(
    runtime: Runtime, event: dict[str, Any] | bytes, key: str, at: datetime | None = None, source: str = "shop"
) -> Arrival:
    body = event if isinstance(event, bytes) else json.dumps(event).encode()
    return Arrival.sealed(
        runtime.keys, source=source, event_key=key, body=body, received_at=RECEIVED, event_at=at or RECEIVED
    )


def receive(runtime: Runtime, events: Iterable[dict[str, Any] | bytes], prefix: str = "e") -> list[int]:
    """Put events into the inbox, one second after another. Returns their numbers."""
    start = runtime.ledger.inbox.last_seq()
    arrivals = [
        arrival(runtime, event, f"{prefix}{start + number}", RECEIVED - timedelta(hours=1) + timedelta(seconds=number))
        for number, event in enumerate(events, 1)
    ]
    return [receipt.seq for receipt in runtime.ledger.inbox.receive(arrivals)]
