"""Tracking events of the Salesforce sandbox, as SOAP retrieves them. Times are in US Central without a zone."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta, timezone
from typing import Any

from personalization.sandbox.mailings import Mailings, utc

SERVER_TIME = timezone(timedelta(hours=-6))
_KINDS = {
    "SentEvent": "sent",
    "OpenEvent": "opened",
    "ClickEvent": "clicked",
    "BounceEvent": "bounced",
    "UnsubEvent": "unsubscribed",
}


class Tracking:
    """What became of sends."""

    def __init__(self, mailings: Mailings) -> None:
        self._mailings = mailings

    def retrieve(self, kind: str, conditions: list[tuple[str, str, str]]) -> list[dict[str, str]] | None:
        """Objects for which every condition (property, operator, value) holds; None for kinds that there are not."""
        rows = self._rows(kind)
        if rows is None:
            return None
        return [row for row in rows if all(_holds(row, *condition) for condition in conditions)]

    def _rows(self, kind: str) -> list[dict[str, str]] | None:
        if kind == "Send":
            return [
                {"ID": one["id"], "EmailName": one["name"], "Status": "Complete", "SentDate": _text(one["sent_at"])}
                for one in self._mailings.campaigns.values()
            ]
        if kind == "SubscriberStatusEvent":
            return [row for event in self._mailings.events() if (row := _status(event))]
        if kind not in _KINDS:
            return None
        return [_shown(kind, event) for event in self._mailings.events(kind=_KINDS[kind])]


def _shown(kind: str, event: Mapping[str, Any]) -> dict[str, str]:
    """In the order of the WSDL."""
    type_of = {"UnsubEvent": "Unsubscribe", "BounceEvent": "HardBounce" if event.get("hard") else "SoftBounce"}
    row = {"SendID": event["campaign"], "SubscriberKey": event["address"], "EventDate": _text(event["at"])}
    row |= {"EventType": type_of.get(kind, kind.removesuffix("Event")), "BatchID": "1"}
    if kind == "ClickEvent":
        row["URL"] = event["url"]
    if kind == "BounceEvent":
        row["SMTPCode"] = "550" if event["hard"] else "452"
        row |= {"BounceCategory": "Hard bounce" if event["hard"] else "Soft bounce", "BounceType": "immediate"}
    return row


def _status(event: Mapping[str, Any]) -> dict[str, str] | None:
    if event["kind"] not in ("unsubscribed", "complained"):
        return None
    domain = event["address"].partition("@")[2]
    reason = f"Spam complaint from {domain}" if event["kind"] == "complained" else "Clicked unsubscribe"
    row = {"SubscriberKey": event["address"], "CurrentStatus": "Unsub", "PreviousStatus": "Normal"}
    return {**row, "ReasonUnsub": reason, "CreatedDate": _text(event["at"])}


def _holds(row: Mapping[str, str], name: str, operator: str, value: str) -> bool:
    if operator == "greaterThanOrEqual":
        return row[name] >= value
    if operator == "lessThan":
        return row[name] < value
    return operator == "equals" and row[name] == value


def _text(moment: str) -> str:
    return utc(moment).astimezone(SERVER_TIME).replace(tzinfo=None).isoformat(timespec="milliseconds")
