"""What ActiveCampaign reports about campaigns: campaign by campaign, of the people who did something.

Totals: `GET /campaigns` of API v3. People: the older API, https://www.activecampaign.com/api/example.php?call=
campaign_report_open_list, …_link_list, …_bounce_list, …_unsubscription_list. Opt-outs of the list by whatever way:
`GET /contacts?include=contactLists&filters[updated_after]`
(https://community.activecampaign.com/t/retrieve-opt-ins-opt-outs-or-bounces-since-a-specific-date/17698).
Nobody is named as having been sent a campaign, no complaint is told apart from an unsubscribe, and opens by machines
are not marked. The older API's `tstamp` names no zone; where `tstamp_iso` is missing it is taken to have that of the
campaign's own times in v3.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, tzinfo
from typing import Any

from personalization.program.models import ActiveCampaignDestination
from personalization.stages.export.adapters.activecampaign_calls import Calls
from personalization.stages.export.adapters.activecampaign_shapes import UNSUBSCRIBED
from personalization.stages.export.adapters.base import DestinationError
from personalization.stages.export.adapters.results import Campaign, Event, Page, Window
from personalization.webhooks.moments import moment

PAGE = 100
_MOST_PAGES = 10_000
_PARTS = {
    # opt-outs first: they matter even when the rest is cut short
    "campaign_report_unsubscription_list": ("unsubscribes",),
    "campaign_report_bounce_list": ("hardbounces", "softbounces"),
    "campaign_report_open_list": ("opens",),
    "campaign_report_link_list": ("linkclicks",),
}
_BOUNCED = "3"


class ActiveCampaignResults:
    """Reads the campaigns of an account, and who left the destination's list."""

    kinds = ("campaigns", "contacts")
    title = "ActiveCampaign"

    def __init__(self, destination: ActiveCampaignDestination, calls: Calls) -> None:
        self._list_id, self._calls = str(destination.list_id), calls

    def read(self, kind: str, cursor: Mapping[str, Any], window: Window) -> Iterator[Page]:
        """See `ResultsReader.read`."""
        return self._campaigns(cursor, window) if kind == "campaigns" else self._contacts(cursor, window)

    def _campaigns(self, cursor: Mapping[str, Any], window: Window) -> Iterator[Page]:
        """Cursor: by campaign the totals of which everything was read."""
        known, watched = dict(cursor), {}
        for campaign in self._sent_since(window.first):
            key = str(campaign["id"])
            totals = {name: int(campaign.get(name) or 0) for names in _PARTS.values() for name in names}
            before = known.get(key, {})
            watched[key] = totals
            if before == totals:
                continue
            sent_at = moment(campaign.get("sdate"))
            zone = _zone(campaign.get("sdate"))
            named = [Campaign(key, str(campaign.get("name") or key), sent_at)]
            for call, names in _PARTS.items():
                if any(totals[name] != before.get(name, 0) for name in names):
                    for entries in self._report(call, key):
                        yield Page(known, [event for one in entries for event in _events(call, key, one, zone)], named)
                        named = []
            known = {**known, key: totals}
            yield Page(known, campaigns=named)
        yield Page(watched)

    def _sent_since(self, first: datetime) -> Iterator[dict[str, Any]]:
        """Campaigns that were sent, the newest first."""
        offset = 0
        while True:
            query: dict[str, str | int] = {"orders[sdate]": "DESC", "limit": PAGE, "offset": offset}
            answer = self._calls.expect(self._calls.http.call("GET", "/campaigns", query=query), "show its campaigns")
            found = answer.body["campaigns"]
            for campaign in found:
                sent_at = moment(campaign.get("sdate"))
                if sent_at is None or not int(campaign.get("send_amt") or 0):
                    continue
                if sent_at < first:
                    return
                yield campaign
            if len(found) < PAGE:
                return
            offset += PAGE

    def _report(self, call: str, campaign: str) -> Iterator[list[dict[str, Any]]]:
        """Pages of a report. A call that knows no pages gives the same one again, and then that was all."""
        before: list[dict[str, Any]] = []
        for page in range(1, _MOST_PAGES):
            query: dict[str, str | int] = {"api_action": call, "api_output": "json", "campaignid": campaign}
            answer = self._calls.reports.call("GET", "/api.php", query={**query, "page": page})
            body = self._calls.expect(answer, f"show {call}").body
            entries = [body[key] for key in sorted((k for k in body if k.isdigit()), key=int)]
            if not entries and str(body.get("result_code")) != "1" and "nothing" not in _said(body):
                raise DestinationError(f"ActiveCampaign would not show {call}: {self._calls.http.redact(_said(body))}")
            if not entries or entries == before:
                return
            yield entries
            before = entries

    def _contacts(self, cursor: Mapping[str, Any], window: Window) -> Iterator[Page]:
        """Whoever left the list or bounced since the last time. The filter may know days only: a day is read again."""
        since = datetime.fromisoformat(cursor["until"]) if "until" in cursor else window.first
        last = 0
        while True:
            query: dict[str, str | int] = {
                "include": "contactLists",
                "filters[updated_after]": since.date().isoformat(),
                "listid": self._list_id,
                "status": -1,
                "id_greater": last,
                "orders[id]": "asc",
                "limit": PAGE,
            }
            body = self._calls.expect(self._calls.http.call("GET", "/contacts", query=query), "show contacts").body
            addresses = {str(contact["id"]): contact.get("email") for contact in body["contacts"]}
            events = [
                Event(
                    "",
                    None,
                    email=addresses.get(str(entry.get("contact"))),
                    occurred_at=moment(entry.get("udate")),
                    opt_out="bounced" if str(entry.get("status")) == _BOUNCED else "withdraw",
                    echo=True,
                )
                for entry in body.get("contactLists") or ()
                if str(entry.get("list")) == self._list_id and str(entry.get("status")) in (str(UNSUBSCRIBED), _BOUNCED)
            ]
            last = max([last, *(int(key) for key in addresses)])
            yield Page(dict(cursor), events)
            if len(addresses) < PAGE:
                break
        yield Page({"until": window.now.isoformat()})


def _events(call: str, campaign: str, one: Mapping[str, Any], zone: tzinfo) -> list[Event]:
    """The events of one entry of a report."""
    if call == "campaign_report_link_list":
        people = one.get("info") or []
        people = people.values() if isinstance(people, dict) else people
        link = str(one.get("link") or "") or None
        if link == "open":
            return []  # the picture that counts opens
        return [Event("clicked", campaign, email=p.get("email"), occurred_at=_at(p, zone), detail=link) for p in people]
    known: dict[str, Any] = {"email": one.get("email"), "occurred_at": _at(one, zone)}
    if call == "campaign_report_open_list":
        return [Event("opened", campaign, **known)]
    if call == "campaign_report_bounce_list":
        hard = str(one.get("type")).lower() == "hard"
        detail = f"{one.get('type')} {one.get('code') or ''}".strip()
        return [Event("bounced", campaign, **known, detail=detail, opt_out="bounced" if hard else None)]
    return [Event("unsubscribed", campaign, **known, opt_out="withdraw")]


def _at(one: Mapping[str, Any], zone: tzinfo) -> datetime | None:
    return moment(one.get("tstamp_iso") or None) or moment(one.get("tstamp"), zone)


def _zone(text: Any) -> tzinfo:
    """The zone of a time as ActiveCampaign writes it; UTC when it names none."""
    try:
        return datetime.fromisoformat(str(text)).tzinfo or UTC
    except ValueError:
        return UTC


def _said(body: Mapping[str, Any]) -> str:
    return str(body.get("result_message") or "").lower()
