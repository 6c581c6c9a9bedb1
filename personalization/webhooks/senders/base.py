"""What is asked of each sender: is a request its own, which events are in it, and which of them are opt-outs."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, ClassVar, Literal

from personalization.webhooks import decode
from personalization.webhooks.mapping import Scalar, as_text
from personalization.webhooks.moments import moment
from personalization.webhooks.request import WebhookRequest

JSON, FORM = "application/json", "application/x-www-form-urlencoded"
MIN_SECRET = 16


@dataclass(frozen=True, slots=True)
class Statement:
    """What an event says about whether a person may be mailed.

    Attributes
    ----------
    kind : str
        `withdraw` (an unsubscribe), `bounced` (for good) or `complained` (marked as spam).
    email, customer_id : str, optional
        Whom it is about. A customer id only where the sender keeps the company's own, never the sender's id.
    """

    kind: Literal["withdraw", "bounced", "complained"]
    email: str | None = None
    customer_id: str | None = None


class Sender(ABC):
    """One sender. Holds nothing: a source's secrets are given with each call."""

    name: ClassVar[str]
    title: ClassVar[str]
    content_types: ClassVar[tuple[str, ...]] = (JSON,)
    signs: ClassVar[bool] = True
    """Whether a signing secret is needed."""
    needs_url_secret: ClassVar[bool] = False
    answers_get: ClassVar[bool] = False
    """Whether it checks the address with a GET before it sends anything."""
    volatile: ClassVar[frozenset[str]] = frozenset()
    """Keys of an event that differ between repetitions of the same event."""
    setup: ClassVar[str]
    """What to do at the sender, in one line."""

    def key(self, secret: str) -> bytes:
        """The bytes to sign with.

        Raises
        ------
        ValueError
            With what is wrong with the secret; the text does not show it.
        """
        if len(secret) < MIN_SECRET:
            raise ValueError(f"is {len(secret)} characters long; at least {MIN_SECRET} are needed")
        return secret.encode()

    @abstractmethod
    def verify(self, request: WebhookRequest, keys: Sequence[bytes], now: datetime) -> None:
        """Check that the request was signed with one of the keys, lately. Raises `NotAuthentic`."""

    def events(self, request: WebhookRequest) -> list[decode.Event]:
        """The events of an authentic request, each with the bytes to keep of it. Raises `decode.Unreadable`."""
        return [(self.read(request.body), request.body)]

    def read(self, body: bytes) -> dict[str, Any]:
        """An event from the bytes that were kept of it. Raises `decode.Unreadable`."""
        return decode.json_object(body)

    def request_key(self, request: WebhookRequest) -> str | None:
        """The id that the request itself gives to its one event, where it does so in what is signed."""
        return None

    def event_key(self, event: dict[str, Any]) -> str | None:
        """The sender's id of an event, the same at each repetition; None when it gives none."""
        return None

    @abstractmethod
    def event_at(self, event: dict[str, Any]) -> datetime | None:
        """When it happened, in the sender's words."""

    def statements(self, event: dict[str, Any]) -> list[Statement]:
        """Opt-outs, hard bounces and complaints that the sender is known to report in this way."""
        return []

    def email_events(self, event: dict[str, Any]) -> list[dict[str, Scalar]]:
        """What it reports about mailings: campaign_id, customer_id, email, event, occurred_at (UTC), detail."""
        return []


def pick(event: dict[str, Any], *path: str) -> Any:
    """What is at a path of nested objects, None when it ends early."""
    value: Any = event
    for part in path:
        if not isinstance(value, dict):
            return None
        value = value.get(part)
    return value


def text(event: dict[str, Any], *path: str) -> str | None:
    """A text or number at a path, as text; None for anything else and for an empty text."""
    value = pick(event, *path)
    return (as_text(value).strip() or None) if isinstance(value, str | int | decode.Decimal) else None


def at(event: dict[str, Any], *path: str) -> datetime | None:
    """A moment at a path; where it names no zone it is UTC."""
    return moment(pick(event, *path))


def joined(*parts: str | None) -> str | None:
    """Parts of an id as one, None when one is missing."""
    present = [part for part in parts if part]
    return ":".join(present) if len(present) == len(parts) else None


def mailing(
    name: str | None,
    *,
    campaign_id: str | None,
    occurred_at: datetime | None,
    email: str | None = None,
    customer_id: str | None = None,
    detail: str | None = None,
) -> list[dict[str, Scalar]]:
    """One row of email_events, or none when the event has no name of ours."""
    if name is None:
        return []
    return [
        {
            "campaign_id": campaign_id,
            "customer_id": customer_id,
            "email": email,
            "event": name,
            "occurred_at": None if occurred_at is None else occurred_at.isoformat(),
            "detail": detail,
        }
    ]
