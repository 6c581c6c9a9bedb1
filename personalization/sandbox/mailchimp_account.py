"""One Mailchimp account with one list: which method and path does what, for requests and for operations in a batch."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import unquote

from personalization.sandbox.answers import Answer, Problem, invalid, not_found
from personalization.sandbox.mailchimp_fields import MergeFields
from personalization.sandbox.mailchimp_members import STATUSES, Members
from personalization.sandbox.mailchimp_reports import Reports
from personalization.sandbox.mailchimp_segments import Segments
from personalization.sandbox.mailings import Mailings, utc
from personalization.sandbox.store import Store

MAX_COUNT = 1000

Query = Mapping[str, str]
Handler = Callable[["Account", tuple[str, ...], Query, Any], Answer]


class Account:
    """What the API keys of one account can see and do."""

    def __init__(self, store: Store, list_id: str) -> None:
        self.store = store
        self.list_id = list_id
        self.fields = MergeFields(store, list_id)
        self.members = Members(store, list_id, self.fields)
        self.reports = Reports(Mailings(store), list_id)
        self.segments = Segments(store, list_id, self.fields, lambda: self.members.all, self.members.tag)

    def handle(self, method: str, path: str, query: Query, body: Any) -> Answer:
        """Answer one call. `path` is the part below /3.0, `body` the parsed JSON or None."""
        allowed = []
        for verb, pattern, handler in _ROUTES:
            match = pattern.fullmatch(path)
            if match and verb == method:
                try:
                    with self.store.together():
                        return handler(self, tuple(unquote(part) for part in match.groups()), query, body)
                except Problem as problem:
                    return problem.answer
            if match:
                allowed.append(verb)
        if allowed:
            return Problem(
                405,
                "Method Not Allowed",
                "The requested method and resource are not compatible. See the Allow header for this resource's "
                "available methods.",
            ).answer
        return not_found().answer


def _ping(account: Account, parts: tuple[str, ...], query: Query, body: Any) -> Answer:
    return Answer(200, {"health_status": "Everything's Chimpy!"})


def _show_list(account: Account, parts: tuple[str, ...], query: Query, body: Any) -> Answer:
    _check_list(account, parts)
    count = dict.fromkeys((*STATUSES, "archived"), 0)
    for member in account.members.all.values():
        count[member["status"]] += 1
    stats = {
        "member_count": count["subscribed"],
        "unsubscribe_count": count["unsubscribed"],
        "cleaned_count": count["cleaned"],
        "merge_field_count": len(account.fields.by_tag),
    }
    return Answer(200, {"id": account.list_id, "name": "Sandbox", "double_optin": False, "stats": stats})


def _bulk(account: Account, parts: tuple[str, ...], query: Query, body: Any) -> Answer:
    _check_list(account, parts)
    return Answer(200, account.members.bulk(_object(body)))


def _list_members(account: Account, parts: tuple[str, ...], query: Query, body: Any) -> Answer:
    _check_list(account, parts)
    wanted = query.get("status")
    if "unsubscribed_since" in query and wanted != "unsubscribed":
        raise invalid("unsubscribed_since can only be used with the status unsubscribed.", [])
    found = [
        member
        for member in account.members.all.values()
        if (member["status"] == wanted if wanted else member["status"] != "archived")
        and _not_before(member["last_changed"], query.get("since_last_changed"))
        and _not_before(member.get("unsubscribed_at") or member["last_changed"], query.get("unsubscribed_since"))
    ]
    shown = [account.members.shown(member) for member in _page(found, query)]
    return Answer(200, {"members": shown, "list_id": account.list_id, "total_items": len(found)})


def _list_reports(account: Account, parts: tuple[str, ...], query: Query, body: Any) -> Answer:
    found = account.reports.all(query)
    return Answer(200, {"reports": _page(found, query), "total_items": len(found)})


def _show_report(account: Account, parts: tuple[str, ...], query: Query, body: Any) -> Answer:
    return Answer(200, account.reports.one(parts[0]))


def _report_part(account: Account, parts: tuple[str, ...], query: Query, body: Any) -> Answer:
    key, found = account.reports.part(parts[0], parts[1], query)
    return Answer(200, {key: _page(found, query), "campaign_id": parts[0], "total_items": len(found)})


def _add_member(account: Account, parts: tuple[str, ...], query: Query, body: Any) -> Answer:
    _check_list(account, parts)
    address = str(_object(body).get("email_address", ""))
    try:
        account.members.get(address)
    except Problem:
        return Answer(200, account.members.upsert(address, body, skip_required=_skips(query)))
    raise Problem(
        400, "Member Exists", f"{address} is already a list member. Use PUT to insert or update list members."
    )


def _get_member(account: Account, parts: tuple[str, ...], query: Query, body: Any) -> Answer:
    return Answer(200, account.members.get(_member(account, parts)))


def _put_member(account: Account, parts: tuple[str, ...], query: Query, body: Any) -> Answer:
    return Answer(200, account.members.upsert(_member(account, parts), _object(body), skip_required=_skips(query)))


def _patch_member(account: Account, parts: tuple[str, ...], query: Query, body: Any) -> Answer:
    return Answer(200, account.members.change(_member(account, parts), _object(body), skip_required=_skips(query)))


def _archive_member(account: Account, parts: tuple[str, ...], query: Query, body: Any) -> Answer:
    account.members.archive(_member(account, parts))
    return Answer(204)


def _delete_member(account: Account, parts: tuple[str, ...], query: Query, body: Any) -> Answer:
    account.members.delete_permanently(_member(account, parts))
    return Answer(204)


def _activity_feed(account: Account, parts: tuple[str, ...], query: Query, body: Any) -> Answer:
    member = account.members.get(_member(account, parts))
    found = account.reports.of_member(member["email_address"], member["timestamp_opt"])
    shown = {"activity": _page(found, query), "email_id": member["id"], "list_id": account.list_id}
    return Answer(200, {**shown, "total_items": len(found)})


def _show_tags(account: Account, parts: tuple[str, ...], query: Query, body: Any) -> Answer:
    tags = account.members.get(_member(account, parts))["tags"]
    return Answer(200, {"tags": _page(tags, query), "total_items": len(tags)})


def _set_tags(account: Account, parts: tuple[str, ...], query: Query, body: Any) -> Answer:
    account.members.tag(_member(account, parts), _object(body))
    return Answer(204)


def _list_fields(account: Account, parts: tuple[str, ...], query: Query, body: Any) -> Answer:
    _check_list(account, parts)
    fields = list(account.fields.by_tag.values())
    return Answer(200, {"merge_fields": _page(fields, query), "list_id": account.list_id, "total_items": len(fields)})


def _add_field(account: Account, parts: tuple[str, ...], query: Query, body: Any) -> Answer:
    _check_list(account, parts)
    return Answer(200, account.fields.create(_object(body)))


def _delete_field(account: Account, parts: tuple[str, ...], query: Query, body: Any) -> Answer:
    _check_list(account, parts)
    account.members.lose_field(account.fields.delete(parts[1]))
    return Answer(204)


def _list_segments(account: Account, parts: tuple[str, ...], query: Query, body: Any) -> Answer:
    _check_list(account, parts)
    found = account.segments.all()
    return Answer(200, {"segments": _page(found, query), "list_id": account.list_id, "total_items": len(found)})


def _add_segment(account: Account, parts: tuple[str, ...], query: Query, body: Any) -> Answer:
    _check_list(account, parts)
    return Answer(200, account.segments.create(_object(body)))


def _get_segment(account: Account, parts: tuple[str, ...], query: Query, body: Any) -> Answer:
    return Answer(200, account.segments.shown(account.segments.get(_member(account, parts))))


def _patch_segment(account: Account, parts: tuple[str, ...], query: Query, body: Any) -> Answer:
    return Answer(200, account.segments.change(_member(account, parts), _object(body)))


def _batch_segment(account: Account, parts: tuple[str, ...], query: Query, body: Any) -> Answer:
    changed = account.segments.batch(_member(account, parts), _object(body))
    for name in ("members_added", "members_removed"):
        changed[name] = [account.members.shown(member) for member in changed[name]]
    return Answer(200, changed)


def _delete_segment(account: Account, parts: tuple[str, ...], query: Query, body: Any) -> Answer:
    account.segments.delete(_member(account, parts))
    return Answer(204)


def _segment_members(account: Account, parts: tuple[str, ...], query: Query, body: Any) -> Answer:
    further = {
        "unsubscribed": "include_unsubscribed",
        "cleaned": "include_cleaned",
        "transactional": "include_transactional",
    }
    statuses = {"subscribed", *(status for status, flag in further.items() if query.get(flag) == "true")}
    found = account.segments.members(_member(account, parts), statuses)
    shown = [account.members.shown(member) for member in _page(found, query)]
    return Answer(200, {"members": shown, "total_items": len(found)})


_ROUTES: list[tuple[str, re.Pattern[str], Handler]] = [
    (method, re.compile(pattern.replace("{}", "([^/]+)")), handler)
    for method, pattern, handler in (
        ("GET", "/ping", _ping),
        ("GET", "/lists/{}", _show_list),
        ("POST", "/lists/{}", _bulk),
        ("GET", "/lists/{}/members", _list_members),
        ("POST", "/lists/{}/members", _add_member),
        ("GET", "/lists/{}/members/{}", _get_member),
        ("PUT", "/lists/{}/members/{}", _put_member),
        ("PATCH", "/lists/{}/members/{}", _patch_member),
        ("DELETE", "/lists/{}/members/{}", _archive_member),
        ("POST", "/lists/{}/members/{}/actions/delete-permanent", _delete_member),
        ("GET", "/lists/{}/members/{}/activity-feed", _activity_feed),
        ("GET", "/lists/{}/members/{}/tags", _show_tags),
        ("POST", "/lists/{}/members/{}/tags", _set_tags),
        ("GET", "/lists/{}/merge-fields", _list_fields),
        ("POST", "/lists/{}/merge-fields", _add_field),
        ("DELETE", "/lists/{}/merge-fields/{}", _delete_field),
        ("GET", "/reports", _list_reports),
        ("GET", "/reports/{}", _show_report),
        ("GET", "/reports/{}/{}", _report_part),
        ("GET", "/lists/{}/segments", _list_segments),
        ("POST", "/lists/{}/segments", _add_segment),
        ("GET", "/lists/{}/segments/{}", _get_segment),
        ("POST", "/lists/{}/segments/{}", _batch_segment),
        ("PATCH", "/lists/{}/segments/{}", _patch_segment),
        ("DELETE", "/lists/{}/segments/{}", _delete_segment),
        ("GET", "/lists/{}/segments/{}/members", _segment_members),
    )
]


def _not_before(moment: str, since: str | None) -> bool:
    try:
        return since is None or utc(moment) >= utc(since)
    except ValueError:
        raise invalid("Dates must be in ISO 8601.", []) from None


def _check_list(account: Account, parts: tuple[str, ...]) -> None:
    if parts[0] != account.list_id:
        raise not_found()


def _member(account: Account, parts: tuple[str, ...]) -> str:
    _check_list(account, parts)
    return parts[1]


def _object(body: Any) -> dict[str, Any]:
    if not isinstance(body, dict):
        raise Problem(400, "JSON Parse Error", "We encountered an unspecified JSON parsing error.")
    return body


def _skips(query: Query) -> bool:
    return query.get("skip_merge_validation", "").lower() == "true"


def _page(items: list[Any], query: Query) -> list[Any]:
    """The page asked for: 10 items unless `count` says otherwise, at most 1,000."""
    try:
        count, offset = int(query.get("count", 10)), int(query.get("offset", 0))
    except ValueError:
        raise invalid("count and offset must be whole numbers.", []) from None
    if not 0 <= count <= MAX_COUNT or offset < 0:
        raise invalid(f"count must be at most {MAX_COUNT}.", [("count", f"Maximum value is {MAX_COUNT}")])
    return items[offset : offset + count]
