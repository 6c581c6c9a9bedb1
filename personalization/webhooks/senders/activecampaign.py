"""ActiveCampaign.

https://developers.activecampaign.com/page/webhooks: form posts with `type`, `date_time`, `contact[…]`, `list`,
`campaign[…]`; "at least once" and never retried, so what is not answered with 2xx is lost; an answer of 410 switches
the webhook off. Nothing is signed: the secret in the address is all that tells them from others. `date_time` carries
the account's offset in the examples seen; without one it is taken as UTC, which could not be confirmed. There is no
event id: repetitions are told by their content. The key of the bounce kind (`bounce[type]`) could not be confirmed
either, so a bounce suppresses only where it says `hard`.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, ClassVar

from personalization.webhooks import decode
from personalization.webhooks.mapping import Scalar
from personalization.webhooks.request import WebhookRequest
from personalization.webhooks.senders.base import FORM, Sender, Statement, at, mailing, text

_NAMES = {
    "sent": "sent",
    "open": "opened",
    "click": "clicked",
    "bounce": "bounced",
    "unsubscribe": "unsubscribed",
}


class ActiveCampaign(Sender):
    name: ClassVar[str] = "activecampaign"
    title: ClassVar[str] = "ActiveCampaign"
    content_types: ClassVar[tuple[str, ...]] = (FORM,)
    signs: ClassVar[bool] = False
    needs_url_secret: ClassVar[bool] = True
    setup: ClassVar[str] = "Settings, Developer, Manage webhooks: enter the address; choose Unsubscribes and Bounces"

    def verify(self, request: WebhookRequest, keys: Sequence[bytes], now: datetime) -> None:
        """Nothing to check: the secret in the address was checked before."""

    def read(self, body: bytes) -> dict[str, Any]:
        return decode.form(body)

    def event_at(self, event: dict[str, Any]) -> datetime | None:
        return at(event, "date_time")

    def statements(self, event: dict[str, Any]) -> list[Statement]:
        email = text(event, "contact", "email")
        if event.get("type") == "unsubscribe":
            return [Statement("withdraw", email)]
        if event.get("type") == "bounce" and str(text(event, "bounce", "type")).lower() == "hard":
            return [Statement("bounced", email)]
        return []

    def email_events(self, event: dict[str, Any]) -> list[dict[str, Scalar]]:
        campaign_id = text(event, "campaign", "id")
        return mailing(
            _NAMES.get(str(event.get("type"))) if campaign_id else None,
            campaign_id=campaign_id,
            email=text(event, "contact", "email"),
            occurred_at=self.event_at(event),
            detail=text(event, "bounce", "type"),
        )
