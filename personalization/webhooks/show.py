"""An event for a person to look at: what shape it has, and only when asked for, what it says."""

from __future__ import annotations

from typing import Any

from personalization.webhooks.decode import named

_PLAIN_KEYS = frozenset(
    {
        "type",
        "event",
        "metric",
        "object_type",
        "topic",
        "action",
        "eventCategoryType",
        "subscriptionType",
        "propertyName",
        "callbackId",
        "timestamp",
        "timestampUTC",
        "fired_at",
        "date_time",
        "occurredAt",
        "created",
        "created_at",
        "updated_at",
        "reason",
    }
)
"""Keys of which senders' documentation says that no identifier is in them."""

_LONGEST = 60


def masked(value: Any, key: str = "") -> Any:
    """The event with each value replaced by what kind of value it is; kinds of events and times stay readable."""
    if isinstance(value, dict):
        return {name: masked(inner, name) for name, inner in value.items()}
    if isinstance(value, list):
        return [masked(inner) for inner in value]
    if value is None or isinstance(value, bool) or (key in _PLAIN_KEYS and _harmless(value)):
        return value
    return f"({named(value)} of {len(value)})" if isinstance(value, str) else f"({named(value)})"


def _harmless(value: Any) -> bool:
    return not isinstance(value, str) or (len(value) <= _LONGEST and "@" not in value)
