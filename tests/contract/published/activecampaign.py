"""ActiveCampaign API v3, after its published OpenAPI documents (bulk import, contacts, fields, lists, campaigns); the
pages are https://developers.activecampaign.com/reference/ and the name. Reports by person: the older API.
"""

from __future__ import annotations

from tests.contract.published.shapes import ANY, DIGITS, WHOLE, Call

PAGES = "https://developers.activecampaign.com/reference/"
ERROR = ({"message": str, "*": ANY}, {"errors": [{"title": str, "*": ANY}]})
VALUE = {"field": DIGITS, "value": str}
SHOWN_VALUE = {"contact": DIGITS, "field": DIGITS, "value": (str, None), "id": DIGITS, "owner": DIGITS}
CONTACT = {"id": DIGITS, "email": str, "cdate": str, "udate": str, "links": WHOLE, "*": ANY}
WITH_VALUES = {"contact": CONTACT, "fieldValues": [SHOWN_VALUE]}
ON_LIST = {"contact": DIGITS, "list": DIGITS, "status": DIGITS, "id": DIGITS, "*": ANY}
FIELD = {
    "id": DIGITS,
    "title": str,
    "type": str,
    "perstag": str,
    "options": [ANY],
    "relations": [str],
    "links": WHOLE,
    "*": ANY,
}
RELATION = {"field": DIGITS, "relid": DIGITS, "dorder": DIGITS, "cdate": str, "links": [ANY], "id": DIGITS}
PAGED = {"limit": r"\d{1,2}|100", "offset": r"\d+"}

CALLS = [
    Call(
        "POST /api/3/import/bulk_import",
        f"{PAGES}bulk-import-contacts",
        body={
            "contacts": [
                {"email": str, "fields?": [{"id": int, "value": str}], "subscribe?": [{"listid": DIGITS}]},
            ],
            "exclude_automations?": bool,
        },
        answers={
            200: {"Success": int, "queued_contacts": int, "batchId": str, "message": str},
            400: {"success": int, "message": str, "failureReasons": [(str, {"contact": int, "failureReason": str})]},
        },
    ),
    Call(
        "GET /api/3/import/bulk_import",
        f"{PAGES}bulk-import-status-list",
        answers={
            200: {
                name: [{"forDate": str, "batches": DIGITS, "contacts": DIGITS}]
                for name in ("outstanding", "recentlyCompleted")
            }
        },
    ),
    Call(
        "GET /api/3/import/info",
        f"{PAGES}bulk-import-status-info",
        query={"batchId": r"[0-9a-f-]{36}"},
        answers={200: {"status": str, "success": [DIGITS], "failure": [str]}},
    ),
    Call(
        "POST /api/3/contact/sync",
        f"{PAGES}sync-a-contacts-data",
        body={"contact": {"email": str, "fieldValues?": [VALUE]}},
        answers={201: WITH_VALUES},
    ),
    Call(
        "GET /api/3/contacts",
        f"{PAGES}list-all-contacts",
        query={
            **PAGED,
            "email": r".+@.+",
            "ids[]": r"\d+",
            "id_greater": r"\d+",
            "listid": r"\d+",
            "status": r"-1|[0-3]",
            "filters[updated_after]": r"\d{4}-\d\d-\d\d",
            "orders[id]": "asc|desc",
            "include": "fieldValues|contactLists",
        },
        answers={200: {"scoreValues": [ANY], "contacts": [CONTACT], "meta": {"total": DIGITS}, "*": ANY}},
    ),
    Call(
        "GET /api/3/contacts/{id}",
        f"{PAGES}get-contact",
        answers={200: {**WITH_VALUES, "contactLists": [ON_LIST], "*": ANY}},
    ),
    Call(
        "PUT /api/3/contacts/{id}",
        f"{PAGES}update-a-contact-new",
        body={"contact": {"fieldValues": [VALUE]}},
        answers={200: WITH_VALUES},
    ),
    Call("DELETE /api/3/contacts/{id}", f"{PAGES}delete-contact", answers={200: {}}),
    Call(
        "POST /api/3/contactLists",
        f"{PAGES}update-list-status-for-contact",
        body={"contactList": {"list": DIGITS, "contact": DIGITS, "status": "2"}},
        answers={200: {"contacts": [ANY], "contactList": {**ON_LIST, "status": int}}},
    ),
    Call(
        "GET /api/3/fields",
        f"{PAGES}retrieve-fields",
        query=PAGED,
        answers={200: {"fieldOptions": [ANY], "fieldRels": [RELATION], "fields": [FIELD], "meta": {"total": DIGITS}}},
    ),
    Call(
        "POST /api/3/fields",
        f"{PAGES}create-a-contact-custom-field",
        body={"field": {"title": str, "type": ("text", "number", "date"), "perstag?": str, "visible?": bool}},
        answers={201: {"fieldOptions": [ANY], "fieldRels": [ANY], "fields": [FIELD], "meta": {"total": DIGITS}}},
    ),
    Call(
        "POST /api/3/fieldRels",
        f"{PAGES}create-a-custom-field-relationship-to-lists",
        body={"fieldRel": {"field": int, "relid": int}},
        answers={201: {"fieldRel": {"field": int, "relid": int, "cdate": str, "links": [ANY], "id": DIGITS}}},
    ),
    Call(
        "GET /api/3/lists/{id}",
        f"{PAGES}retrieve-a-list",
        answers={200: {"list": {"id": DIGITS, "name": str, "stringid": str, "cdate": str, "links": WHOLE, "*": ANY}}},
    ),
    Call(
        "GET /api/3/campaigns",
        f"{PAGES}list-all-campaigns",
        query={**PAGED, "orders[sdate]": "ASC|DESC"},
        answers={
            200: {
                "campaigns": [
                    {
                        "id": DIGITS,
                        "name": str,
                        "sdate": (str, None),
                        "send_amt": DIGITS,
                        "opens": DIGITS,
                        "linkclicks": DIGITS,
                        "hardbounces": DIGITS,
                        "softbounces": DIGITS,
                        "unsubscribes": DIGITS,
                        "*": ANY,
                    }
                ],
                "meta": {"total": DIGITS},
            }
        },
    ),
    Call(
        "GET /admin/api.php",
        "https://www.activecampaign.com/api/example.php?call=campaign_report_open_list and the like",
        query={
            "api_action": "campaign_report_(open|link|bounce|unsubscription)_list",
            "api_output": "json",
            "campaignid": r"\d+",
            "page": r"\d+",
        },
        answers={200: {"result_code": int, "result_message": str, "*": ANY}},
    ),
]
