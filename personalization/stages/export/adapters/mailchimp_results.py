"""What Mailchimp reports about mailings to one list: reports of campaigns, and members who left.

https://mailchimp.com/developer/marketing/api/reports/ and the pages below it: sent-to, email-activity (bounces and
clicks), open-details (opens, with `is_proxy_open` for those of mail programs that fetch pictures by themselves),
unsubscribed, abuse-reports; https://mailchimp.com/developer/marketing/api/list-members/list-members-info/.

One request tells the totals of all campaigns; what did not change is not asked for. Lists are paged by offset, and
read again from the beginning when their total changed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from datetime import datetime, timedelta
from typing import Any

from personalization.program.models import MailchimpDestination
from personalization.stages.export.adapters.http import Http
from personalization.stages.export.adapters.mailchimp_shapes import words
from personalization.stages.export.adapters.results import Campaign, Event, OptOut, Page, Window, body_of
from personalization.webhooks.moments import moment

PAGE = 1000
_SETTLING = timedelta(minutes=10)

CAMPAIGNS, MEMBERS = "campaigns", "members"


class MailchimpResults:
    """Reads the reports of campaigns that were sent to the destination's list."""

    kinds = (CAMPAIGNS, MEMBERS)
    title = "Mailchimp"

    def __init__(self, destination: MailchimpDestination, http: Http) -> None:
        self._list_id, self._http = destination.list_id, http

    def read(self, kind: str, cursor: Mapping[str, Any], window: Window) -> Iterator[Page]:
        """See `ResultsReader.read`."""
        return self._campaigns(cursor, window) if kind == CAMPAIGNS else self._members(cursor, window)

    def _campaigns(self, cursor: Mapping[str, Any], window: Window) -> Iterator[Page]:
        """Cursor: by campaign what its report said when it was last read to its end, and when that was."""
        known: dict[str, Any] = dict(cursor)
        watched: dict[str, Any] = {}
        query = {"since_send_time": window.first.isoformat(timespec="seconds")}
        for reports in self._pages("/reports", "reports", query):
            for report in reports:
                if report.get("list_id") != self._list_id:
                    continue
                campaign = str(report["id"])
                before, totals = known.get(campaign, {}), _totals(report)
                watched[campaign] = {"totals": totals, "read_at": window.now.isoformat()}
                if before.get("totals") == totals:
                    watched[campaign] = before
                    continue
                sent_at = moment(report.get("send_time"))
                named = [Campaign(campaign, str(report.get("campaign_title") or campaign), sent_at)]
                for events in self._campaign(campaign, report, before, window):
                    yield Page(known, events, named)
                    named = []
                known = {**known, campaign: watched[campaign]}
                yield Page(known, campaigns=named)
        yield Page(watched)

    def _campaign(
        self, campaign: str, report: Mapping[str, Any], before: Mapping[str, Any], window: Window
    ) -> Iterator[list[Event]]:
        """The events of one campaign, of the parts whose totals changed."""
        old, new, path = before.get("totals", {}), _totals(report), f"/reports/{campaign}"
        send_time = moment(report.get("send_time"))
        since = {}
        if "read_at" in before:
            start = datetime.fromisoformat(before["read_at"]) - window.overlap
            since = {"since": start.isoformat(timespec="seconds")}

        def sent(entry: Mapping[str, Any]) -> list[Event]:
            return [self._event("sent", campaign, entry, send_time)]

        def opened(entry: Mapping[str, Any]) -> list[Event]:
            return [
                self._event("machine_opened" if one.get("is_proxy_open") else "opened", campaign, entry, _at(one))
                for one in entry.get("opens", ())
            ]

        def acted(entry: Mapping[str, Any]) -> list[Event]:
            return [event for one in entry.get("activity", ()) for event in self._activity(campaign, entry, one)]

        def left(entry: Mapping[str, Any]) -> list[Event]:
            return [
                self._event(
                    "unsubscribed", campaign, entry, _at(entry), detail=_text(entry.get("reason")), opt_out="withdraw"
                )
            ]

        def complained(entry: Mapping[str, Any]) -> list[Event]:
            return [self._event("complained", campaign, entry, moment(entry.get("date")), opt_out="complained")]

        parts: list[tuple[str, str, str, Mapping[str, str], Callable[[Mapping[str, Any]], list[Event]]]] = [
            ("sent", "sent-to", "sent_to", {}, sent),
            ("opened", "open-details", "members", since, opened),
            ("acted", "email-activity", "emails", since, acted),
            ("left", "unsubscribed", "unsubscribes", {}, left),
            ("complained", "abuse-reports", "abuse_reports", {}, complained),
        ]
        # opt-outs first: they matter even when the rest is cut short
        for total, page, key, query, events in sorted(parts, key=lambda part: part[0] not in ("left", "complained")):
            if old.get(total) == new[total] or not any(new[total]):
                continue
            for entries in self._pages(f"{path}/{page}", key, query):
                yield [event for entry in entries for event in events(entry)]

    def _activity(self, campaign: str, entry: Mapping[str, Any], one: Mapping[str, Any]) -> list[Event]:
        """A click or bounce; opens are read where Mailchimp says which of them are a machine's."""
        action = one.get("action")
        if action == "click":
            return [self._event("clicked", campaign, entry, _at(one), detail=_text(one.get("url")))]
        if action == "bounce":
            hard = one.get("type") == "hard"
            return [
                self._event(
                    "bounced",
                    campaign,
                    entry,
                    _at(one),
                    detail=_text(one.get("type")),
                    opt_out="bounced" if hard else None,
                )
            ]
        return []

    def _members(self, cursor: Mapping[str, Any], window: Window) -> Iterator[Page]:
        """Whoever left the list or was cleaned from it since the last time, by whatever way."""
        since = datetime.fromisoformat(cursor["until"]) - _SETTLING if "until" in cursor else window.first
        moments = since.isoformat(timespec="seconds")
        path = f"/lists/{self._list_id}/members"
        fields = "members.email_address,members.status,members.last_changed,members.unsubscribe_reason"
        ways: tuple[tuple[OptOut, dict[str, str]], ...] = (
            ("withdraw", {"status": "unsubscribed", "unsubscribed_since": moments}),
            ("bounced", {"status": "cleaned", "since_last_changed": moments}),
        )
        for opt_out, which in ways:
            query = {"fields": fields, **which}
            for members in self._pages(path, "members", query):
                yield Page(
                    dict(cursor),
                    [
                        Event(
                            "",
                            None,
                            email=_text(member.get("email_address")),
                            occurred_at=moment(member.get("last_changed")),
                            opt_out=opt_out,
                            echo=True,
                        )
                        for member in members
                    ],
                )
        yield Page({"until": window.now.isoformat()})

    def _pages(self, path: str, key: str, query: Mapping[str, str]) -> Iterator[list[dict[str, Any]]]:
        offset = 0
        while True:
            answer = self._http.call("GET", path, query={"count": PAGE, "offset": offset, **query})
            body = body_of(answer, f"Mailchimp's {key}", "" if answer.ok else self._http.redact(words(answer)))
            entries: list[dict[str, Any]] = body[key]
            if entries:
                yield entries
            if len(entries) < PAGE:
                return
            offset += PAGE

    def _event(self, kind: str, campaign: str, entry: Mapping[str, Any], at: datetime | None, **settings: Any) -> Event:
        return Event(kind, campaign, email=_text(entry.get("email_address")), occurred_at=at, **settings)


def _totals(report: Mapping[str, Any]) -> dict[str, list[int]]:
    """What a report counts, by the part that lists it: a part is read again when its numbers changed."""
    bounces, opens, clicks = (report.get(name) or {} for name in ("bounces", "opens", "clicks"))
    acted = [clicks.get("clicks_total"), bounces.get("hard_bounces"), bounces.get("soft_bounces")]
    acted.append(bounces.get("syntax_errors"))
    totals = {
        "sent": [report.get("emails_sent")],
        "opened": [opens.get("opens_total")],
        "acted": acted,
        "left": [report.get("unsubscribed")],
        "complained": [report.get("abuse_reports")],
    }
    return {name: [int(number or 0) for number in numbers] for name, numbers in totals.items()}


def _at(entry: Mapping[str, Any]) -> datetime | None:
    return moment(entry.get("timestamp"))


def _text(value: Any) -> str | None:
    return str(value).strip() or None if value is not None else None
