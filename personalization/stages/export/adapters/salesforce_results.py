"""What Marketing Cloud Engagement reports about sends: tracking events by SOAP, a day at a time.

https://developer.salesforce.com/docs/marketing/marketing-cloud/guide/sentevent.html and the pages of OpenEvent,
ClickEvent, BounceEvent, UnsubEvent, SubscriberStatusEvent (complaints: its reason is then "Spam complaint from …") and
Send. Times without a zone are the server's: US Central without daylight saving, as the documents say of data views;
that it holds for SOAP too could not be confirmed. Opens by machines are not marked.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

from personalization.stages.export.adapters.results import Campaign, Event, OptOut, Page, Window
from personalization.stages.export.adapters.salesforce_soap import Row, Soap
from personalization.webhooks.moments import moment

SERVER_TIME = timezone(timedelta(hours=-6))
SLICE = timedelta(days=1)
_WHO = ("SubscriberKey", "SendID", "EventDate")
_EVENTS = {
    "unsubscribed": ("UnsubEvent", _WHO),
    # no property that is not used: one that can't be retrieved would refuse the whole
    "bounced": ("BounceEvent", (*_WHO, "BounceCategory")),
    "sent": ("SentEvent", _WHO),
    "opened": ("OpenEvent", _WHO),
    "clicked": ("ClickEvent", (*_WHO, "URL")),
}
_STATUS = ("SubscriberKey", "CurrentStatus", "PreviousStatus", "ReasonUnsub", "CreatedDate")


class SalesforceResults:
    """Reads the tracking events of one business unit."""

    # what matters most first; events before the states that they lead to, so that a bounce is no unsubscribe
    kinds = ("unsubscribed", "bounced", "statuses", "sent", "opened", "clicked", "sends")
    title = "Salesforce Marketing Cloud"

    def __init__(self, soap: Soap) -> None:
        self._soap = soap
        self._addresses: dict[str, str] = {}

    def read(self, kind: str, cursor: Mapping[str, Any], window: Window) -> Iterator[Page]:
        """See `ResultsReader.read`. Cursor: `until`, the end of the last day (or part of one) that was read."""
        begin = window.since(cursor.get("until"))
        if kind == "sends":
            yield Page({"until": window.now.isoformat()}, campaigns=self._sends(begin, window.now))
            return
        while begin < window.now:
            end = min(begin + SLICE, window.now)
            done = {"until": end.isoformat()}
            rows = list(self._rows(kind, begin, end))
            self._look_up(rows)
            make = self._status if kind == "statuses" else self._event
            yield Page(done, [event for row in rows if (event := make(kind, row))])
            begin = end

    def _rows(self, kind: str, begin: datetime, end: datetime) -> Iterator[Row]:
        if kind == "statuses":
            return self._soap.rows("SubscriberStatusEvent", _STATUS, _between("CreatedDate", begin, end))
        name, properties = _EVENTS[kind]
        return self._soap.rows(name, properties, _between("EventDate", begin, end))

    def _sends(self, begin: datetime, end: datetime) -> list[Campaign]:
        """There are few. With two conditions the live account of mcecli's notes showed no `Send` at all: so one."""
        rows = self._soap.rows("Send", ("ID", "EmailName", "SentDate"), _between("SentDate", begin, end)[:1])
        found = [Campaign(row["ID"], row["EmailName"], moment(row["SentDate"], SERVER_TIME)) for row in rows]
        return [one for one in found if one.sent_at is None or one.sent_at < end]

    def _event(self, kind: str, row: Row) -> Event:
        opt_out: OptOut | None = None
        if kind == "unsubscribed":
            opt_out = "withdraw"
        if kind == "bounced" and row["BounceCategory"].lower().startswith("hard"):
            opt_out = "bounced"
        send = row["SendID"] if row["SendID"] not in ("", "0") else None
        return Event(
            "" if kind == "unsubscribed" and send is None else kind,
            send,
            **self._who(row["SubscriberKey"]),
            occurred_at=moment(row["EventDate"], SERVER_TIME),
            detail=row.get("URL") or row.get("BounceCategory") or None,
            opt_out=opt_out,
            echo=send is None,  # without a send it was entered by hand, or by us
        )

    def _status(self, kind: str, row: Row) -> Event | None:
        """Somebody's status in All Subscribers changed: by a complaint, too many bounces, or an unsubscribe."""
        said: dict[str, OptOut] = {"held": "bounced", "unsub": "withdraw", "unsubscribed": "withdraw"}
        opt_out = said.get(row["CurrentStatus"].lower())
        if opt_out is None:
            return None
        complaint = opt_out == "withdraw" and row["ReasonUnsub"].lower().startswith("spam complaint")
        return Event(
            "",
            None,
            **self._who(row["SubscriberKey"]),
            occurred_at=moment(row["CreatedDate"], SERVER_TIME),
            opt_out="complained" if complaint else opt_out,
            echo=not complaint,
        )

    def _look_up(self, rows: list[Row]) -> None:
        """Find the addresses of keys that are none themselves."""
        keys = {row["SubscriberKey"] for row in rows}
        missing = sorted(key for key in keys if key and "@" not in key and key not in self._addresses)
        self._addresses |= self._soap.addresses(missing)

    def _who(self, key: str) -> dict[str, str | None]:
        """A key is an address, or its address is looked up; of a subscriber who is gone only the key is left."""
        if "@" in key:
            return {"email": key}
        address = self._addresses.get(key)
        return {"email": address} if address else {"customer_id": key or None}


def _between(name: str, begin: datetime, end: datetime) -> list[tuple[str, str, str]]:
    def text(at: datetime) -> str:
        return at.astimezone(SERVER_TIME).replace(tzinfo=None).isoformat(timespec="milliseconds")

    return [(name, "greaterThanOrEqual", text(begin.astimezone(UTC))), (name, "lessThan", text(end))]
