"""Email events of the HubSpot sandbox: newest first, behind a token; and the e-mail campaigns they belong to."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from personalization.sandbox.answers import Answer
from personalization.sandbox.hubspot_consent import SUBSCRIPTIONS
from personalization.sandbox.hubspot_problems import Refused, bad_input, not_found
from personalization.sandbox.mailings import Mailings, utc

_MOST = 1000
_APP = 113
_TYPES = {
    "sent": ("SENT", "PROCESSED", "DELIVERED"),
    "opened": ("OPEN",),
    "clicked": ("CLICK",),
    "bounced": ("BOUNCE",),
    "complained": ("SPAMREPORT",),
    "unsubscribed": ("STATUSCHANGE",),
}


class EmailEvents:
    """`/email/public/v1/…` of one account."""

    def __init__(self, mailings: Mailings) -> None:
        self._mailings = mailings

    def handle(self, method: str, parts: list[str], query: Mapping[str, str], body: Any) -> Answer:
        if method != "GET":
            raise Refused(405, "METHOD_NOT_ALLOWED", "Method not allowed")
        if parts == ["events"]:
            return self._page(query)
        if len(parts) == 2 and parts[0] == "campaigns":
            campaign = self._mailings.campaigns.get(parts[1])
            if campaign is None:
                raise not_found("campaign")
            sent = _millis(campaign["sent_at"])
            shown = {"id": int(campaign["id"]), "appId": _APP, "appName": "Batch", "name": campaign["name"]}
            return Answer(200, {**shown, "subject": campaign["name"], "lastProcessingStartedAt": sent})
        raise not_found("resource")

    def _page(self, query: Mapping[str, str]) -> Answer:
        try:
            first, last = int(query.get("startTimestamp", 0)), int(query.get("endTimestamp", 2**62))
            limit, offset = int(query.get("limit", 10)), int(query.get("offset", "at-0").removeprefix("at-"))
        except ValueError:
            raise bad_input("startTimestamp, endTimestamp, limit and offset") from None
        if not 1 <= limit <= _MOST:
            raise bad_input(f"limit must be between 1 and {_MOST}")
        found = [shown for event in self._mailings.events() for shown in _shown(event)]
        found = [shown for shown in found if first <= shown["created"] <= last]
        found.sort(key=lambda shown: (-shown["created"], shown["id"]))
        page, end = found[offset : offset + limit], offset + limit
        more = end < len(found)
        return Answer(200, {"events": page, "hasMore": more, "offset": f"at-{end}" if more else None})


def _shown(event: Mapping[str, Any]) -> list[dict[str, Any]]:
    common = {
        "created": _millis(event["at"]),
        "recipient": event["address"],
        "portalId": 1,
        "appId": _APP,
        "appName": "Batch",
        "emailCampaignId": int(event["campaign"]),
    }
    more: dict[str, Any] = {}
    if event["kind"] == "opened":
        more = {"filteredEvent": event["machine"], "duration": 100, "userAgent": "Mozilla/5.0"}
    elif event["kind"] == "clicked":
        more = {"filteredEvent": False, "url": event["url"]}
    elif event["kind"] == "bounced":
        category, status = ("UNKNOWN_USER", "5.1.1") if event["hard"] else ("MAILBOX_FULL", "4.2.2")
        more = {"category": category, "status": status, "response": "550"}
    elif event["kind"] == "unsubscribed":
        left = [{"id": number, "status": "UNSUBSCRIBED"} for number in SUBSCRIPTIONS]
        more = {"source": "SOURCE_RECIPIENT", "subscriptions": left, "portalSubscriptionStatus": "UNSUBSCRIBED"}
    return [
        {**common, **more, "type": kind, "id": f"{event['id']:08d}-{number}"}
        for number, kind in enumerate(_TYPES[event["kind"]])
    ]


def _millis(text: str) -> int:
    return int(utc(text).timestamp() * 1000)
