"""What a listmonk server tells of campaigns: bounces, opt-outs, and who viewed or clicked last when.

Read from listmonk's source (v6): `GET /bounces`, `GET /campaigns`, `GET /subscribers` with an expression over
`campaign_views` and `link_clicks`, and `GET /subscribers/{id}/activity`, which gives for each campaign and link the
last moment only: of several views between two reads one is known. listmonk keeps no record of who was sent a campaign
(https://github.com/knadh/listmonk/issues/934), and views belong to people only where individual tracking is switched
on (Settings, Privacy). Opens by machines are not marked. Permissions: bounces:get, campaigns:get_all, and those that
the export needs.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from personalization.stages.export.adapters.listmonk_server import Server
from personalization.stages.export.adapters.results import Campaign, Event, OptOut, Page, Window
from personalization.webhooks.moments import moment

PAGE = 50
IDS = 5_000
_SETTLING = timedelta(minutes=10)
_BOUNCES: dict[str, OptOut] = {"hard": "bounced", "complaint": "complained"}


class ListmonkResults:
    """Reads one list of one server."""

    # what matters most first; bounces before the states that they lead to, so that a bounce is no unsubscribe
    kinds = ("bounces", "opt_outs", "campaigns", "activity")
    title = "listmonk"

    def __init__(self, server: Server) -> None:
        self._server = server

    def read(self, kind: str, cursor: Mapping[str, Any], window: Window) -> Iterator[Page]:
        """See `ResultsReader.read`. Cursor of each kind: `until`, up to when it was read."""
        readers = {
            "opt_outs": self._opt_outs,
            "bounces": self._bounces,
            "campaigns": self._campaigns,
            "activity": self._activity,
        }
        return readers[kind](cursor, window)

    def _opt_outs(self, cursor: Mapping[str, Any], window: Window) -> Iterator[Page]:
        """Whoever left the list, or was blocklisted, since the last time."""
        since = datetime.fromisoformat(cursor["until"]) - _SETTLING if "until" in cursor else window.first
        list_id = self._server.list_id
        # the status in the expression too: version 2 does not know the parameter, and would show everybody
        left = f"subscriber_lists.status = 'unsubscribed' AND subscriber_lists.updated_at >= '{_text(since)}'"
        blocked = f"subscribers.status = 'blocklisted' AND subscribers.updated_at >= '{_text(since)}'"
        ways: list[tuple[str, dict[str, str | int]]] = [
            (left, {"list_id": list_id, "subscription_status": "unsubscribed"}),
            (blocked, {"list_id": list_id}),
        ]
        for expression, more in ways:
            for found in self._subscribers(expression, more):
                yield Page(dict(cursor), [_left(one, list_id) for one in found])
        yield Page({"until": window.now.isoformat()})

    def _bounces(self, cursor: Mapping[str, Any], window: Window) -> Iterator[Page]:
        """Newest first, so the cursor moves when the last one was read."""
        since = window.since(cursor.get("until"))
        for found in self._pages("/bounces", {"order_by": "created_at", "order": "desc"}, "show bounces"):
            late = [one for one in found if (moment(one.get("created_at")) or window.now) >= since]
            yield Page(dict(cursor), [_bounce(one) for one in late])
            if len(late) < len(found):
                break
        yield Page({"until": window.now.isoformat()})

    def _campaigns(self, cursor: Mapping[str, Any], window: Window) -> Iterator[Page]:
        query = {"order_by": "created_at", "order": "desc", "no_body": "true"}
        for found in self._pages("/campaigns", query, "show its campaigns"):
            sent = [one for one in found if one.get("started_at")]
            yield Page(dict(cursor), campaigns=[_campaign(one) for one in sent])
            if all((moment(one.get("created_at")) or window.now) < window.first for one in found):
                break
        yield Page({"until": window.now.isoformat()})

    def _activity(self, cursor: Mapping[str, Any], window: Window) -> Iterator[Page]:
        """Whoever viewed or clicked since the last time, one by one."""
        since = window.since(cursor.get("until"))
        seen = " OR ".join(
            f"EXISTS (SELECT 1 FROM {table} seen WHERE seen.subscriber_id = subscribers.id"  # noqa: S608
            f" AND seen.created_at >= '{_text(since)}')"
            for table in ("campaign_views", "link_clicks")
        )
        for found in self._subscribers(f"({seen})", {"list_id": self._server.list_id}):
            events: list[Event] = []
            for one in found:
                answer = self._server.http.call("GET", f"/subscribers/{int(one['id'])}/activity")
                if answer.status in (404, 405):
                    return  # before version 6 nothing tells when somebody viewed or clicked
                data = self._server.expect(answer, "show what subscribers did").body["data"]
                events += [event for event in _seen(one, data) if (event.occurred_at or window.now) >= since]
            yield Page(dict(cursor), events)
        yield Page({"until": window.now.isoformat()})

    def _subscribers(self, expression: str, query: Mapping[str, str | int]) -> Iterator[list[dict[str, Any]]]:
        """Subscribers for whom an expression holds, some thousand numbers at a time: pages end at 50."""
        newest = self._query({**query, "query": expression, "order_by": "id", "order": "desc", "per_page": 1})
        last = int(newest[0]["id"]) if newest else 0
        for begin in range(0, last, IDS):
            span = f"({expression}) AND subscribers.id > {begin} AND subscribers.id <= {begin + IDS}"
            found = self._query({**query, "query": span, "order": "asc", "per_page": "all"})
            if found:
                yield found

    def _query(self, query: Mapping[str, str | int]) -> list[dict[str, Any]]:
        answer = self._server.http.call("GET", "/subscribers", query=query)
        return list(self._server.expect(answer, "show subscribers").body["data"]["results"] or [])

    def _pages(self, path: str, query: Mapping[str, str], what: str) -> Iterator[list[dict[str, Any]]]:
        page, read = 1, 0
        while True:
            asked: dict[str, str | int] = {**query, "page": page, "per_page": PAGE}
            data = self._server.expect(self._server.http.call("GET", path, query=asked), what).body["data"]
            found = data["results"] or []
            if found:
                yield found
            read += len(found)
            if not found or read >= int(data.get("total") or 0):
                return
            page += 1


def _left(one: Mapping[str, Any], list_id: int) -> Event:
    mine = [entry for entry in one.get("lists") or () if entry.get("id") == list_id]
    changed = mine[0].get("subscription_updated_at") if mine else one.get("updated_at")
    return Event("", None, email=one.get("email"), occurred_at=moment(changed), opt_out="withdraw", echo=True)


def _bounce(one: Mapping[str, Any]) -> Event:
    campaign, kind = one.get("campaign") or {}, str(one.get("type"))
    key = str(campaign["id"]) if campaign.get("id") else None
    name = "complained" if kind == "complaint" else "bounced"
    return Event(
        name if key else "",
        key,
        email=one.get("email"),
        occurred_at=moment(one.get("created_at")),
        detail=kind,
        id=str(one.get("id")),
        opt_out=_BOUNCES.get(kind),
    )


def _campaign(one: Mapping[str, Any]) -> Campaign:
    return Campaign(str(one["id"]), str(one.get("name") or one["id"]), moment(one.get("started_at")))


def _seen(subscriber: Mapping[str, Any], data: Mapping[str, Any]) -> Iterator[Event]:
    email = subscriber.get("email")
    for view in data.get("campaign_views") or ():
        if view.get("id"):
            yield Event("opened", str(view["id"]), email=email, occurred_at=moment(view.get("last_viewed_at")))
    for click in data.get("link_clicks") or ():
        if click.get("campaign_id"):
            at = moment(click.get("last_clicked_at"))
            yield Event("clicked", str(click["campaign_id"]), email=email, occurred_at=at, detail=click.get("url"))


def _text(at: datetime) -> str:
    return at.astimezone(UTC).isoformat(timespec="seconds")
