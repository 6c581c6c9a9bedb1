"""What HubSpot reports about mailings: the email events of the account, of every e-mail that it sent.

https://developers.hubspot.com/docs/api-reference/legacy/email-analytics-v1/guide (HubSpot files it under legacy; no
newer API tells of single recipients). Events come newest first, 1,000 at a time, behind a token. `filteredEvent` marks
what HubSpot takes for the work of a machine. The scope `content` is needed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

from personalization.program.models import HubspotDestination
from personalization.stages.export.adapters.base import DestinationError
from personalization.stages.export.adapters.http import Answer, Http
from personalization.stages.export.adapters.hubspot_shapes import words
from personalization.stages.export.adapters.results import Campaign, Event, OptOut, Page, Window, body_of
from personalization.webhooks.moments import moment

PAGE = 1000
EVENTS_PATH, CAMPAIGNS_PATH = "/email/public/v1/events", "/email/public/v1/campaigns"
_MOST_NAMES = 2_000
_PLAIN = {"SENT": "sent", "CLICK": "clicked", "BOUNCE": "bounced", "SPAMREPORT": "complained"}
# the address is gone; other bounces say something about this mail or this moment
_GONE = ("UNKNOWN_USER",)


class HubspotResults:
    """Reads the email events of one account."""

    kinds = ("events",)
    title = "HubSpot"

    def __init__(self, destination: HubspotDestination, http: Http) -> None:
        self._subscriptions = set(destination.subscription_ids)
        self._http = http

    def read(self, kind: str, cursor: Mapping[str, Any], window: Window) -> Iterator[Page]:
        """See `ResultsReader.read`.

        Cursor: `until`, up to where everything was read; `named`, campaigns whose names are known; and inside of a
        span, where events come newest first, `since`, `to` and `offset`.
        """
        named: list[str] = list(cursor.get("named", ()))
        until = cursor.get("until")
        since, to = window.since(until).isoformat(), window.now.isoformat()
        offset = None
        if "offset" in cursor:  # a span that was begun is finished first
            since, to, offset = cursor["since"], cursor["to"], cursor["offset"]
        while True:
            answer = self._events(since, to, offset)
            if offset and not answer.ok and answer.status < 500:
                offset = None  # the token is not taken any more: the span begins again
                continue
            body = body_of(answer, "HubSpot's email events", "" if answer.ok else self._said(answer))
            events = [event for one in body["events"] for event in self._event(one)]
            new = {event.campaign_id for event in events if event.campaign_id} - set(named)
            campaigns = [found for key in sorted(new) if (found := self._campaign(key, body["events"]))]
            named = [*named, *sorted(new)][-_MOST_NAMES:]
            done: dict[str, Any] = {"named": named}
            if body.get("hasMore") and body.get("offset"):
                offset = str(body["offset"])
                begun = {"until": until} if until else {}
                yield Page({**done, **begun, "since": since, "to": to, "offset": offset}, events, campaigns)
                continue
            yield Page({**done, "until": to}, events, campaigns)
            if to == window.now.isoformat():
                return
            until, since, to, offset = to, window.since(to).isoformat(), window.now.isoformat(), None

    def _events(self, since: str, to: str, offset: str | None) -> Answer:
        query: dict[str, str | int] = {"startTimestamp": _millis(since), "endTimestamp": _millis(to), "limit": PAGE}
        if offset:
            query["offset"] = offset
        answer = self._http.call("GET", EVENTS_PATH, query=query)
        if answer.status == 404:
            raise DestinationError("HubSpot has no email events API for this account")
        return answer

    def _event(self, one: Mapping[str, Any]) -> list[Event]:
        """An event, or none when it is of a kind that tells nothing about a mailing."""
        kind, at = str(one.get("type")), moment(one.get("created"))
        campaign = _id(one.get("emailCampaignId"))
        known: dict[str, Any] = {
            "email": one.get("recipient"),
            "occurred_at": at,
            "id": f"{one.get('created')}:{one.get('id')}",
        }
        if kind == "STATUSCHANGE":
            if not self._opts_out(one):
                return []
            by_recipient = one.get("source") == "SOURCE_RECIPIENT"
            name = "unsubscribed" if campaign else ""
            return [Event(name, campaign, **known, opt_out="withdraw", echo=not by_recipient)]
        if kind == "OPEN":
            return [Event("machine_opened" if one.get("filteredEvent") else "opened", campaign, **known)]
        if kind not in _PLAIN or (kind == "CLICK" and one.get("filteredEvent")):
            return []
        opt_out: OptOut | None = None
        if kind == "SPAMREPORT":
            opt_out = "complained"
        if kind == "BOUNCE" and _is_gone(one):
            opt_out = "bounced"
        detail = {"CLICK": one.get("url"), "BOUNCE": one.get("category") or one.get("status")}.get(kind)
        return [Event(_PLAIN[kind], campaign, **known, detail=str(detail) if detail else None, opt_out=opt_out)]

    def _opts_out(self, one: Mapping[str, Any]) -> bool:
        """Whether a change of status leaves everything, or one of the destination's subscriptions."""
        if one.get("portalSubscriptionStatus") == "UNSUBSCRIBED":
            return True
        return any(
            entry.get("status") == "UNSUBSCRIBED" and entry.get("id") in self._subscriptions
            for entry in one.get("subscriptions") or ()
            if isinstance(entry, dict)
        )

    def _campaign(self, key: str, events: list[dict[str, Any]]) -> Campaign | None:
        """The name of a campaign; None when HubSpot does not know it (any more)."""
        mine = [one for one in events if _id(one.get("emailCampaignId")) == key]
        query = {"appId": mine[0]["appId"]} if mine and mine[0].get("appId") else {}
        answer = self._http.call("GET", f"{CAMPAIGNS_PATH}/{key}", query=query)
        if not answer.ok:
            return None
        sent = moment(answer.body.get("lastProcessingStartedAt")) or moment(min(one["created"] for one in mine))
        return Campaign(key, str(answer.body.get("name") or answer.body.get("subject") or key), sent)

    def _said(self, answer: Answer) -> str:
        return self._http.redact(words(answer.body))


def _is_gone(one: Mapping[str, Any]) -> bool:
    category = one.get("category")
    return category in _GONE if category else str(one.get("status", "")).startswith("5.1.")


def _id(value: Any) -> str | None:
    return str(value) if value else None


def _millis(text: str) -> int:
    return int(datetime.fromisoformat(text).astimezone(UTC).timestamp() * 1000)
