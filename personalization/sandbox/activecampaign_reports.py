"""Campaigns of the ActiveCampaign sandbox: totals as API v3 shows them, people as the older API does."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import timedelta, timezone
from typing import Any

from personalization.sandbox.activecampaign_account import Account
from personalization.sandbox.mailings import Mailings, utc

_ZONE = timezone(timedelta(hours=-6))
_PAGE = 20


class Reports:
    """What became of campaigns."""

    def __init__(self, mailings: Mailings, account: Account) -> None:
        self._mailings, self._account = mailings, account

    def campaigns(self) -> list[dict[str, Any]]:
        """Newest first."""
        found = [self._campaign(campaign) for campaign in self._mailings.campaigns.values()]
        return sorted(found, key=lambda campaign: str(campaign["sdate"]), reverse=True)

    def call(self, query: Mapping[str, str]) -> dict[str, Any]:
        """An `api_action` of the older API: entries under their numbers, 20 a page where it knows pages."""
        name, campaign = query.get("api_action", ""), query.get("campaignid", "")
        if name not in _CALLS or campaign not in self._mailings.campaigns:
            return {"result_code": 0, "result_message": "Failed: You are not authorized", "result_output": "json"}
        entries = _CALLS[name](self, campaign)
        if name == "campaign_report_bounce_list":
            page = int(query.get("page", 1))
            entries = entries[(page - 1) * _PAGE : page * _PAGE]
        if not entries:
            return {"result_code": 0, "result_message": "Failed: Nothing is returned", "result_output": "json"}
        numbered = {str(number): entry for number, entry in enumerate(entries)}
        return {**numbered, "result_code": 1, "result_message": "Success: Something is returned"}

    def _campaign(self, campaign: Mapping[str, Any]) -> dict[str, Any]:
        events = self._mailings.events(campaign["id"])

        def count(kind: str, hard: bool | None = None) -> str:
            return str(sum(event["kind"] == kind and hard in (None, event["hard"]) for event in events))

        return {
            "id": campaign["id"],
            "type": "single",
            "name": campaign["name"],
            "status": "5",
            "sdate": utc(campaign["sent_at"]).astimezone(_ZONE).isoformat(),
            "send_amt": count("sent"),
            "total_amt": count("sent"),
            "opens": count("opened"),
            "linkclicks": count("clicked"),
            "hardbounces": count("bounced", True),
            "softbounces": count("bounced", False),
            "unsubscribes": count("unsubscribed"),
            "forwards": "0",
            "links": {},
        }

    def _opens(self, campaign: str) -> list[dict[str, Any]]:
        return [self._who(event) for event in self._mailings.events(campaign, "opened")]

    def _clicks(self, campaign: str) -> list[dict[str, Any]]:
        links: dict[str, list[dict[str, Any]]] = {}
        for event in self._mailings.events(campaign, "clicked"):
            links.setdefault(event["url"], []).append({**self._who(event), "times": "1"})
        return [
            {"id": str(n), "name": "", "link": link, "a_unique": "1", "a_total": str(len(people)), "info": people}
            for n, (link, people) in enumerate(links.items(), 1)
        ]

    def _bounces(self, campaign: str) -> list[dict[str, Any]]:
        return [
            {
                **self._who(event),
                "id": str(event["id"]),
                "campaignid": campaign,
                "type": "hard" if event["hard"] else "soft",
                "code": "5.1.1" if event["hard"] else "4.2.2",
                "descript": "Bad destination mailbox address",
            }
            for event in self._mailings.events(campaign, "bounced")
        ]

    def _left(self, campaign: str) -> list[dict[str, Any]]:
        return [self._who(event) for event in self._mailings.events(campaign, "unsubscribed")]

    def _who(self, event: Mapping[str, Any]) -> dict[str, Any]:
        """`tstamp` without a zone, in the account's."""
        contact = self._account.find(event["address"])
        at = utc(event["at"]).astimezone(_ZONE).replace(tzinfo=None)
        key = contact["id"] if contact else "0"
        return {"subscriberid": key, "email": event["address"], "tstamp": at.isoformat(sep=" ", timespec="seconds")}


_CALLS: dict[str, Callable[[Reports, str], list[dict[str, Any]]]] = {
    "campaign_report_open_list": Reports._opens,
    "campaign_report_link_list": Reports._clicks,
    "campaign_report_bounce_list": Reports._bounces,
    "campaign_report_unsubscription_list": Reports._left,
}
