"""Reports of the Mailchimp sandbox: what became of campaigns, campaign by campaign and person by person."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from typing import Any

from personalization.sandbox.answers import not_found
from personalization.sandbox.mailings import Mailings, utc

Query = Mapping[str, str]


class Reports:
    """The reports of one account with one list."""

    def __init__(self, mailings: Mailings, list_id: str) -> None:
        self._mailings, self._list_id = mailings, list_id

    def all(self, query: Query) -> list[dict[str, Any]]:
        """GET /reports; `since_send_time` leaves out earlier campaigns."""
        since = query.get("since_send_time")
        found = list(self._mailings.campaigns.values())
        if since:
            found = [campaign for campaign in found if utc(campaign["sent_at"]) >= utc(since)]
        return [self._report(campaign) for campaign in found]

    def one(self, campaign_id: str) -> dict[str, Any]:
        if campaign_id not in self._mailings.campaigns:
            raise not_found()
        return self._report(self._mailings.campaigns[campaign_id])

    def part(self, campaign_id: str, name: str, query: Query) -> tuple[str, list[dict[str, Any]]]:
        """The entries of one page of a report, and the name of their list."""
        self.one(campaign_id)
        if name not in _PARTS:
            raise not_found()
        key, make = _PARTS[name]
        return key, make(self, campaign_id, query)

    def of_member(self, address: str, signed_up: str) -> list[dict[str, Any]]:
        """The activity feed of a member, newest first.

        https://mailchimp.com/developer/marketing/api/list-member-activity-feed/view-recent-activity/
        """
        found = [_feed(event) for event in self._mailings.events() if event["address"].lower() == address.lower()]
        for entry in found:
            entry["campaign_title"] = self._mailings.campaigns[entry["campaign_id"]]["name"]
        if signed_up:
            found.append({"activity_type": "generic_signup", "created_at_timestamp": signed_up})
        return sorted(found, key=lambda entry: str(entry["created_at_timestamp"]), reverse=True)

    def _report(self, campaign: Mapping[str, Any]) -> dict[str, Any]:
        def count(kind: str, **wanted: Any) -> int:
            events = self._mailings.events(campaign["id"], kind)
            return sum(all(event[name] == value for name, value in wanted.items()) for event in events)

        opens = self._mailings.events(campaign["id"], "opened")
        return {
            "id": campaign["id"],
            "campaign_title": campaign["name"],
            "type": "regular",
            "list_id": self._list_id,
            "list_is_active": True,
            "subject_line": campaign["name"],
            "emails_sent": count("sent"),
            "abuse_reports": count("complained"),
            "unsubscribed": count("unsubscribed"),
            "send_time": campaign["sent_at"],
            "bounces": {
                "hard_bounces": count("bounced", hard=True),
                "soft_bounces": count("bounced", hard=False),
                "syntax_errors": 0,
            },
            "opens": {
                "opens_total": len(opens),
                "unique_opens": len({event["address"] for event in opens}),
                "proxy_excluded_opens": count("opened", machine=False),
            },
            "clicks": {"clicks_total": count("clicked")},
        }

    def _sent_to(self, campaign_id: str, query: Query) -> list[dict[str, Any]]:
        bounced = {event["address"]: event for event in self._mailings.events(campaign_id, "bounced")}
        return [
            {
                **self._who(campaign_id, event["address"]),
                "status": _status(bounced.get(event["address"])),
                "open_count": 0,
                "gmt_offset": 0,
            }
            for event in self._mailings.events(campaign_id, "sent")
        ]

    def _open_details(self, campaign_id: str, query: Query) -> list[dict[str, Any]]:
        members = self._grouped(campaign_id, ("opened",), query)
        return [
            {
                **self._who(campaign_id, address),
                "contact_status": "A",
                "opens_count": len(events),
                "proxy_excluded_opens_count": sum(not event["machine"] for event in events),
                "opens": [{"timestamp": event["at"], "is_proxy_open": event["machine"]} for event in events],
            }
            for address, events in members.items()
        ]

    def _email_activity(self, campaign_id: str, query: Query) -> list[dict[str, Any]]:
        """Every recipient, also one of whom there is nothing to tell; with `since` only those there is."""
        found = self._grouped(campaign_id, ("opened", "clicked", "bounced"), query)
        if "since" not in query:
            found = {event["address"]: [] for event in self._mailings.events(campaign_id, "sent")} | found
        return [
            {**self._who(campaign_id, address), "activity": [_activity(event) for event in events]}
            for address, events in found.items()
        ]

    def _unsubscribed(self, campaign_id: str, query: Query) -> list[dict[str, Any]]:
        return [
            {
                **self._who(campaign_id, event["address"]),
                "timestamp": event["at"],
                "reason": event.get("reason") or "None given",
            }
            for event in self._mailings.events(campaign_id, "unsubscribed")
        ]

    def _abuse_reports(self, campaign_id: str, query: Query) -> list[dict[str, Any]]:
        return [
            {**self._who(campaign_id, event["address"]), "id": event["id"], "date": event["at"]}
            for event in self._mailings.events(campaign_id, "complained")
        ]

    def _grouped(self, campaign_id: str, kinds: tuple[str, ...], query: Query) -> dict[str, list[dict[str, Any]]]:
        found: dict[str, list[dict[str, Any]]] = {}
        for event in self._mailings.events(campaign_id):
            late = "since" not in query or utc(event["at"]) >= utc(query["since"])
            if event["kind"] in kinds and late:
                found.setdefault(event["address"], []).append(event)
        return found

    def _who(self, campaign_id: str, address: str) -> dict[str, Any]:
        return {
            "campaign_id": campaign_id,
            "list_id": self._list_id,
            "list_is_active": True,
            "email_id": hashlib.md5(address.lower().encode(), usedforsecurity=False).hexdigest(),
            "email_address": address,
            "merge_fields": {},
            "vip": False,
        }


def _status(bounce: Mapping[str, Any] | None) -> str:
    if bounce is None:
        return "sent"
    return "hard" if bounce["hard"] else "soft"


def _activity(event: Mapping[str, Any]) -> dict[str, Any]:
    if event["kind"] == "clicked":
        return {"action": "click", "timestamp": event["at"], "url": event["url"], "ip": "192.0.2.1"}
    if event["kind"] == "bounced":
        return {"action": "bounce", "type": "hard" if event["hard"] else "soft", "timestamp": event["at"]}
    return {"action": "open", "timestamp": event["at"], "ip": "192.0.2.1"}


def _feed(event: Mapping[str, Any]) -> dict[str, Any]:
    kinds = {"opened": "open", "clicked": "click", "bounced": "bounce", "unsubscribed": "unsub", "complained": "abuse"}
    entry = {"activity_type": kinds.get(event["kind"], event["kind"]), "created_at_timestamp": event["at"]}
    if event["kind"] == "clicked":
        entry["link_clicked"] = event["url"]
    if event["kind"] == "bounced":
        entry["bounce_type"] = "hard" if event["hard"] else "soft"
    if event["kind"] == "unsubscribed":
        entry |= {"is_admin_unsubscribed": False, "unsubscribe_reason": event.get("reason") or "None given"}
    return {**entry, "campaign_id": event["campaign"]}


_PARTS: dict[str, tuple[str, Callable[[Reports, str, Query], list[dict[str, Any]]]]] = {
    "sent-to": ("sent_to", Reports._sent_to),
    "open-details": ("members", Reports._open_details),
    "email-activity": ("emails", Reports._email_activity),
    "unsubscribed": ("unsubscribes", Reports._unsubscribed),
    "abuse-reports": ("abuse_reports", Reports._abuse_reports),
}
