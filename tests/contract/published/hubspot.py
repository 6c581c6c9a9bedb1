"""HubSpot, version 2026-03.

Written after its published OpenAPI documents (HubSpot-public-api-spec-collection: CRM contacts, properties, lists;
communication preferences) and, for email events, developers.hubspot.com, legacy, Email Analytics v1.
"""

from __future__ import annotations

import re

from tests.contract.published.shapes import ANY, NOTHING, WHOLE, Call

SPECS = "HubSpot-public-api-spec-collection, 2026-03, "
EVENTS = "https://developers.hubspot.com/docs/api-reference/legacy/email-analytics-v1/guide"
ERROR = {"category": str, "correlationId": str, "message": str, "*": ANY}
TEXTS, TEXTS_OR_NULL = {"*": str}, {"*": (str, None)}
STANDARD_ERROR = {
    "category": str,
    "context": {"*": [str]},
    "errors": [WHOLE],
    "links": TEXTS,
    "message": str,
    "status": str,
}
TIMES = {"completedAt": str, "startedAt": str, "status": ("CANCELED", "COMPLETE", "PENDING", "PROCESSING")}
PROBLEMS = {"numErrors?": int, "errors?": [STANDARD_ERROR]}
OBJECT = {"id": str, "archived": bool, "createdAt": str, "updatedAt": str, "objectWriteTraceId?": str}
READ = {**TIMES, "results": [{**OBJECT, "properties": TEXTS_OR_NULL}]}
UPSERTED = {**TIMES, "results": [{**OBJECT, "properties": TEXTS, "new": bool}]}
INPUT = {"id": str, "properties": TEXTS, "objectWriteTraceId?": str}
PROPERTY = {
    "name": str,
    "label": str,
    "type": str,
    "fieldType": str,
    "groupName": str,
    "description": str,
    "options": [WHOLE],
}
GROUP = {"name": str, "label": str, "displayOrder": int, "archived": bool}
CONTACT_LIST = {
    "listId": str,
    "listVersion": int,
    "name": str,
    "processingStatus": str,
    "processingType": str,
    "*": ANY,
}
STATE = ("NOT_SPECIFIED", "SUBSCRIBED", "UNSUBSCRIBED")
WRITTEN = {
    "channel": "EMAIL",
    "statusState": "UNSUBSCRIBED",
    "subscriptionId": int,
    "legalBasis?": str,
    "legalBasisExplanation?": str,
}
STATUS = {
    "channel": "EMAIL",
    "source": str,
    "status": STATE,
    "subscriberIdString": str,
    "subscriptionId": int,
    "timestamp": str,
    "subscriptionName?": str,
    "legalBasis?": str,
    "setStatusSuccessReason?": str,
}
WIDE = {
    "channel": "EMAIL",
    "status": STATE,
    "subscriberIdString": str,
    "timestamp": str,
    "wideStatusType": str,
    "*": ANY,
}
DEFINITION = {
    "id": str,
    "name": str,
    "description": str,
    "isActive": bool,
    "isDefault": bool,
    "isInternal": bool,
    "*": ANY,
}
FILTER = {
    "filterType": "PROPERTY",
    "property": str,
    "operation": {"operationType": str, "operator": str, "includeObjectsWithNoValueSet": bool, "*": ANY},
}
AND = {"filterBranchType": "AND", "filterBranchOperator": "AND", "filterBranches": [NOTHING], "filters": [FILTER]}
BRANCH = {"filterBranchType": "OR", "filterBranchOperator": "OR", "filterBranches": [AND], "filters": [NOTHING]}
CONTACTS, PROPERTIES = "/crm/objects/2026-03/contacts", "/crm/properties/2026-03/contacts"
LISTS, STATUSES = "/crm/lists/2026-03", "/communication-preferences/2026-03/statuses"


def batch(what: str, body: object, answer: dict[str, object]) -> Call:
    answers = {200: answer, 207: {**answer, **PROBLEMS}}
    return Call(f"POST {CONTACTS}/batch/{what}", f"{SPECS}contacts", body=body, answers=answers)


CALLS = [
    batch("upsert", {"inputs": [{**INPUT, "idProperty": str}]}, UPSERTED),
    batch("update", {"inputs": [INPUT]}, READ),
    batch(
        "read",
        {"inputs": [{"id": str}], "properties": [str], "propertiesWithHistory": [str], "idProperty?": str},
        READ,
    ),
    Call(
        f"GET {CONTACTS}",
        f"{SPECS}contacts",
        query={"limit": r"\d{1,2}|100", "after": r".+", "properties": r".+"},
        answers={200: {"results": [{**OBJECT, "properties": TEXTS_OR_NULL}], "paging?": {"next": WHOLE}}},
    ),
    Call(
        f"POST {CONTACTS}/gdpr-delete",
        f"{SPECS}contacts",
        body={"objectId": str, "idProperty?": str},
        answers={204: NOTHING},
    ),
    Call(f"GET {PROPERTIES}", f"{SPECS}properties", answers={200: {"results": [{**PROPERTY, "*": ANY}]}}),
    Call(
        f"POST {PROPERTIES}",
        f"{SPECS}properties",
        body={
            "name": re.compile("[a-z][a-z0-9_]*"),
            "label": str,
            "groupName": str,
            "type": ("string", "number", "date"),
            "fieldType": ("text", "number", "date"),
            "hasUniqueValue?": bool,
        },
        answers={201: {**PROPERTY, "*": ANY}},
    ),
    Call(f"GET {PROPERTIES}/groups", f"{SPECS}properties", answers={200: {"results": [GROUP]}}),
    Call(f"GET {PROPERTIES}/{{name}}", f"{SPECS}properties", answers={200: {**PROPERTY, "*": ANY}}),
    Call(f"POST {PROPERTIES}/groups", f"{SPECS}properties", body={"name": str, "label": str}, answers={201: GROUP}),
    Call(
        f"POST {LISTS}",
        f"{SPECS}lists",
        body={"name": str, "objectTypeId": "0-1", "processingType": ("MANUAL", "DYNAMIC"), "filterBranch?": BRANCH},
        answers={200: {"list": CONTACT_LIST}},
    ),
    Call(
        f"GET {LISTS}/object-type-id/{{type}}/name/{{name}}",
        f"{SPECS}lists",
        query={"includeFilters": "true"},
        answers={200: {"list": CONTACT_LIST}},
    ),
    Call(
        f"POST {LISTS}/search",
        f"{SPECS}lists",
        body={"query?": str, "processingTypes?": [str], "count?": int, "offset?": int},
        answers={200: {"lists": [CONTACT_LIST], "offset": int, "hasMore": bool, "total": int}},
    ),
    Call(
        f"PUT {LISTS}/{{id}}/memberships/add-and-remove",
        f"{SPECS}lists",
        body={"recordIdsToAdd": [str], "recordIdsToRemove": [str]},
        answers={200: {"recordsIdsAdded": [str], "recordIdsRemoved": [str], "recordIdsMissing": [str]}},
    ),
    Call(
        "GET /communication-preferences/2026-03/definitions",
        f"{SPECS}communication preferences",
        answers={200: {**TIMES, "results": [DEFINITION]}},
    ),
    Call(
        f"POST {STATUSES}/batch/write",
        f"{SPECS}communication preferences",
        body={"inputs": [{**WRITTEN, "subscriberIdString": str}]},
        answers={200: {**TIMES, "results": [STATUS], **PROBLEMS}},
    ),
    Call(
        f"GET {STATUSES}/{{address}}",
        f"{SPECS}communication preferences",
        query={"channel": "EMAIL"},
        answers={200: {**TIMES, "results": [STATUS]}},
    ),
    Call(
        f"GET {STATUSES}/{{address}}/unsubscribe-all",
        f"{SPECS}communication preferences",
        query={"channel": "EMAIL"},
        answers={200: {**TIMES, "results": [WIDE]}},
    ),
    Call(
        "GET /email/public/v1/events",
        EVENTS,
        query={"startTimestamp": r"\d{13}", "endTimestamp": r"\d{13}", "limit": r"\d{1,3}|1000", "offset": r".+"},
        answers={
            200: {
                "events": [{"id": str, "created": int, "type": str, "recipient": str, "portalId": int, "*": ANY}],
                "hasMore": bool,
                "*": ANY,
            }
        },
    ),
    Call(
        "GET /email/public/v1/campaigns/{id}",
        EVENTS,
        query={"appId": r"\d+"},
        answers={200: {"id": int, "name": str, "appId": int, "subject": str, "*": ANY}},
    ),
]
