"""Mailchimp audience webhooks.

Guide: https://mailchimp.com/developer/marketing/guides/sync-audience-data-webhooks/. Form posts with `type`,
`fired_at` and `data[…]`; the address is checked with a GET when it is entered; an answer is awaited for 10 seconds.
A secret in the address is what Mailchimp itself advises.

Newer accounts can also sign: `X-Mailchimp-Signature: t=<unix>,v1=<hex>`, HMAC-SHA256 of `t.body` with the secret that
is shown once when the webhook is made. Sources disagree on whether every account has it, so it is checked when (and
only when) `secrets` are given; the secret in the address is always needed. `fired_at` names no zone; that it is UTC
could not be confirmed. `cleaned` with the reason `hard` is a bounce for good, with `abuse` a complaint; so is an
unsubscribe with the reason `abuse`.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, ClassVar

from personalization.webhooks import decode
from personalization.webhooks.mapping import Scalar
from personalization.webhooks.request import WebhookRequest
from personalization.webhooks.senders.base import FORM, Sender, Statement, at, mailing, text
from personalization.webhooks.signatures import (
    from_unix,
    hmac_hex,
    require_one_of,
    require_recent,
    timestamped_pairs,
)


class Mailchimp(Sender):
    name: ClassVar[str] = "mailchimp"
    title: ClassVar[str] = "Mailchimp"
    content_types: ClassVar[tuple[str, ...]] = (FORM,)
    signs: ClassVar[bool] = False
    needs_url_secret: ClassVar[bool] = True
    answers_get: ClassVar[bool] = True
    setup: ClassVar[str] = (
        "Audience, Settings, Webhooks: enter the address; choose unsubscribes and cleaned emails, and untick the API as"
        " a source, so that our own changes do not come back"
    )

    def verify(self, request: WebhookRequest, keys: Sequence[bytes], now: datetime) -> None:
        if not keys:
            return  # the secret in the address was checked before
        timestamp, given = timestamped_pairs(request.require("X-Mailchimp-Signature"))
        require_recent(from_unix(timestamp), now)
        require_one_of((hmac_hex(key, f"{timestamp}.".encode(), request.body) for key in keys), given)

    def read(self, body: bytes) -> dict[str, Any]:
        return decode.form(body)

    def event_at(self, event: dict[str, Any]) -> datetime | None:
        return at(event, "fired_at")

    def statements(self, event: dict[str, Any]) -> list[Statement]:
        kind, reason, email = event.get("type"), text(event, "data", "reason"), text(event, "data", "email")
        if kind == "unsubscribe":
            complaint = [Statement("complained", email)] if reason == "abuse" else []
            return [Statement("withdraw", email), *complaint]
        if kind == "cleaned":
            return [Statement("complained" if reason == "abuse" else "bounced", email)]
        return []

    def email_events(self, event: dict[str, Any]) -> list[dict[str, Scalar]]:
        kind, reason = event.get("type"), text(event, "data", "reason")
        names = {"unsubscribe": "unsubscribed", "cleaned": "complained" if reason == "abuse" else "bounced"}
        campaign_id = text(event, "data", "campaign_id")
        name = names.get(str(kind)) if campaign_id else None
        return mailing(
            name,
            campaign_id=campaign_id,
            email=text(event, "data", "email"),
            occurred_at=self.event_at(event),
            detail=reason,
        )
