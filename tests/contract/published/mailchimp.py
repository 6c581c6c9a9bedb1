"""Mailchimp Marketing API 3.0.

Written after its published OpenAPI document and the official SDKs made from it (mailchimp-marketing-typescript-sdk);
https://mailchimp.com/developer/marketing/api/ has a page for each call.
"""

from __future__ import annotations

import re

from tests.contract.published.shapes import ANY, NOTHING, WHOLE, Call

API = "https://mailchimp.com/developer/marketing/api/"
ERROR = {
    "type": str,
    "title": str,
    "status": int,
    "detail": str,
    "instance": str,
    "errors?": [{"field": str, "message": str}],
}
STATUS = ("subscribed", "unsubscribed", "cleaned", "pending", "transactional")
VALUES = {"*": (str, float)}
MEMBER = {
    "id": str,
    "email_address": str,
    "status": (*STATUS, "archived"),
    "merge_fields": VALUES,
    "list_id": str,
    "*": ANY,
}
BATCH = {
    "id": str,
    "status": ("pending", "preprocessing", "started", "finalizing", "finished"),
    "total_operations": int,
    "finished_operations": int,
    "errored_operations": int,
    "submitted_at": str,
    "completed_at": str,
    "response_body_url": str,
    "*": ANY,
}
FIELD = {
    "merge_id": int,
    "tag": str,
    "name": str,
    "type": str,
    "required": bool,
    "public": bool,
    "list_id": str,
    "*": ANY,
}
CONDITION = {"condition_type": ("TextMerge", "DateMerge"), "field": str, "op": str, "value?": str}
OPTIONS = {"match": ("any", "all"), "conditions": [CONDITION]}
SEGMENT = {"id": int, "name": str, "type": ("saved", "static", "fuzzy"), "list_id": str, "*": ANY}
PAGED = {"count": r"\d{1,3}|1000", "offset": r"\d+", "fields": r".+", "exclude_fields": r".+"}
TOTAL = {"total_items": int, "*": ANY}
MOMENT = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\+00:00"
HASH = "/lists/{list_id}/members/{subscriber_hash}"


def report(page: str, key: str, entry: dict[str, object], **query: str) -> Call:
    answers = {200: {key: [{"email_address": str, "list_id": str, **entry, "*": ANY}], **TOTAL}}
    return Call(f"GET /reports/{{id}}/{page}", f"{API}reports/", query=PAGED | query, answers=answers)


CALLS = [
    Call(
        "PUT " + HASH,
        f"{API}list-members/add-or-update-list-member/",
        body={"email_address": str, "status_if_new": STATUS, "merge_fields?": VALUES},
        answers={200: MEMBER},
    ),
    Call(
        "PATCH " + HASH,
        f"{API}list-members/update-list-member/",
        body={"status?": ("unsubscribed", "cleaned"), "merge_fields?": VALUES},
        answers={200: MEMBER},
    ),
    Call("GET " + HASH, f"{API}list-members/get-member-info/", query=PAGED, answers={200: MEMBER}),
    Call(
        f"GET {HASH}/activity-feed",
        f"{API}list-member-activity-feed/view-recent-activity/",
        query=PAGED,
        answers={200: {"activity": [WHOLE], "email_id": str, "list_id": str, **TOTAL}},
    ),
    Call(
        f"POST {HASH}/actions/delete-permanent",
        f"{API}list-members/delete-list-member/",
        answers={204: NOTHING},
    ),
    Call(
        "GET /lists/{list_id}/members",
        f"{API}list-members/list-members-info/",
        query={**PAGED, "status": "|".join(STATUS), "unsubscribed_since": MOMENT, "since_last_changed": MOMENT},
        answers={200: {"members": [{"email_address": str, "status": STATUS, "*": ANY}], "*": ANY}},
    ),
    Call(
        "GET /lists/{list_id}",
        f"{API}lists/get-list-info/",
        answers={200: {"id": str, "name": str, "stats": WHOLE, "*": ANY}},
    ),
    Call(
        "GET /lists/{list_id}/merge-fields",
        f"{API}list-merges/list-merge-fields/",
        query=PAGED,
        answers={200: {"merge_fields": [FIELD], **TOTAL}},
    ),
    Call(
        "POST /lists/{list_id}/merge-fields",
        f"{API}list-merges/add-merge-field/",
        body={"name": str, "type": ("text", "number", "date"), "tag?": re.compile("[A-Z0-9_]{1,10}"), "public?": bool},
        answers={200: FIELD},
    ),
    Call(
        "GET /lists/{list_id}/segments",
        f"{API}list-segments/list-segments/",
        query=PAGED,
        answers={200: {"segments": [SEGMENT], **TOTAL}},
    ),
    Call(
        "POST /lists/{list_id}/segments",
        f"{API}list-segments/add-segment/",
        body={"name": str, "options?": OPTIONS, "static_segment?": [str]},
        answers={200: SEGMENT},
    ),
    Call(
        "GET /lists/{list_id}/segments/{segment_id}/members",
        f"{API}list-segment-members/list-members-in-segment/",
        query={**PAGED, **{f"include_{kind}": "true|false" for kind in ("unsubscribed", "cleaned", "transactional")}},
        answers={200: {"members": [{"email_address": str}]}},
    ),
    Call(
        "POST /lists/{list_id}/segments/{segment_id}",
        f"{API}list-segments/batch-add-or-remove-members/",
        body={"members_to_add?": [str], "members_to_remove?": [str]},
        answers={
            200: {
                "members_added": [MEMBER],
                "members_removed": [MEMBER],
                "errors": [{"email_addresses": [str], "error": str}],
                "total_added": int,
                "total_removed": int,
                "error_count": int,
            }
        },
    ),
    Call(
        "POST /batches",
        f"{API}batch-operations/start-batch-operation/",
        body={"operations": [{"method": ("PUT", "PATCH"), "path": str, "body": str, "operation_id": str}]},
        answers={200: BATCH},
    ),
    Call("GET /batches/{batch_id}", f"{API}batch-operations/get-batch-operation-status/", answers={200: BATCH}),
    Call(
        "GET /batches",
        f"{API}batch-operations/list-batch-requests/",
        query=PAGED,
        answers={200: {"batches": [WHOLE], "*": ANY}},
    ),
    Call(
        "GET /reports",
        f"{API}reports/list-campaign-reports/",
        query={**PAGED, "since_send_time": MOMENT},
        answers={
            200: {
                "reports": [
                    {
                        "id": str,
                        "campaign_title": str,
                        "list_id": str,
                        "emails_sent": int,
                        "abuse_reports": int,
                        "unsubscribed": int,
                        "send_time": str,
                        "bounces": {"hard_bounces": int, "soft_bounces": int, "syntax_errors": int},
                        "opens": {"opens_total": int, "unique_opens": int, "*": ANY},
                        "clicks": {"clicks_total": int, "*": ANY},
                        "*": ANY,
                    }
                ],
                **TOTAL,
            }
        },
    ),
    report("sent-to", "sent_to", {"status": ("sent", "hard", "soft")}),
    report("open-details", "members", {"opens": [{"timestamp": str, "is_proxy_open": bool}]}, since=MOMENT),
    report("email-activity", "emails", {"activity": [{"action": str, "timestamp": str, "*": ANY}]}, since=MOMENT),
    report("unsubscribed", "unsubscribes", {"timestamp": str, "reason": str}),
    report("abuse-reports", "abuse_reports", {"id": int, "date": str}),
]
