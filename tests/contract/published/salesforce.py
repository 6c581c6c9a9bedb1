"""Marketing Cloud Engagement by REST, after developer.salesforce.com; query activities after third parties' notes.

What its SOAP service takes is in the WSDL: the sandbox refuses whatever is not as that says
(personalization/sandbox/salesforce_wsdl.py).
"""

from __future__ import annotations

from tests.contract.published.shapes import ANY, NOTHING, WHOLE, Call

GUIDE = "https://developer.salesforce.com/docs/marketing/marketing-cloud/guide/"
REFERENCES = "https://developer.salesforce.com/docs/marketing/marketing-cloud/references/"
THIRD = "https://gortonington.com/how-to-interact-with-query-activities-via-rest-api/"
ERROR = (
    {"message": str, "errorcode": int, "documentation": str, "additionalErrors?": [WHOLE]},
    {"error": str, "*": ANY},
)
CELL = (str, None)
FLAGS = (
    "isNullable",
    "isPrimaryKey",
    "isTemplateField",
    "isInheritable",
    "isOverridable",
    "isHidden",
    "isReadOnly",
    "mustOverride",
)
COLUMN = {
    "name": str,
    "type": ("Text", "EmailAddress", "Decimal", "Date", "Boolean"),
    "description": str,
    "ordinal": int,
    "length?": int,
    "scale?": int,
    **dict.fromkeys(FLAGS, bool),
}
EXTENSION = {"id": str, "key": str, "name": str, "*": ANY}
MADE = {
    "name": str,
    "key": str,
    "description": str,
    "categoryId": int,
    "isActive": bool,
    "isSendable": bool,
    "isTestable": bool,
    "fields": [COLUMN],
}
SEARCHED = {"$search": r".+", "$page": r"\d+", "$pagesize": r"\d+"}
PAGE = {"count": int, "page": int, "pageSize": int, "*": ANY}
QUERY = {"queryDefinitionId": str, "name": str, "key": str, "queryText": str, "targetKey": str, "*": ANY}

CALLS = [
    Call(
        "POST /v2/token",
        f"{GUIDE}access-token-s2s.html",
        body={"grant_type": "client_credentials", "client_id": str, "client_secret": str, "account_id?": int},
        answers={
            200: {
                "access_token": str,
                "token_type": "Bearer",
                "expires_in": int,
                "scope": str,
                "soap_instance_url": str,
                "rest_instance_url": str,
            }
        },
    ),
    Call(
        "POST /hub/v1/dataevents/key:{key}/rowset",
        f"{REFERENCES}mc-data_extension_rows_sync?meta=upsertRowSet",
        body=[{"keys": {"*": str}, "values": {"*": CELL}}],
        answers={200: [{"keys": {"*": str}, "values": {"*": CELL}}]},
    ),
    Call(
        "PUT /data/v1/async/dataextensions/key:{key}/rows",
        f"{REFERENCES}mc_rest_data_extensions/updateDataExtensionIDAsync.html",
        body={"items": [{"*": CELL}]},
        answers={202: {"requestId": str, "resultMessages": [WHOLE]}},
    ),
    Call(
        "GET /data/v1/async/{request}/status",
        f"{GUIDE}getStatusDataExtensionAsync.html",
        answers={
            200: {
                "status": {
                    "callDateTime": str,
                    "completionDateTime": (str, None),
                    "pickupDateTime": (str, None),
                    "hasErrors": bool,
                    "requestStatus": ("Pending", "Complete", "Completed", "Error"),
                    "resultStatus": str,
                    "requestId": str,
                },
                "requestId": str,
            }
        },
    ),
    Call(
        "GET /data/v1/customobjectdata/key/{key}/rowset",
        f"{REFERENCES}mc-custom_objects",
        query={"$filter": r"\w+ eq '.*'", "$page": r"\d+", "$pageSize": r"\d{1,3}|1\d\d\d|2[0-4]\d\d|2500"},
        answers={200: {"items": [{"keys": {"*": str}, "values": {"*": str}}], **PAGE}},
    ),
    Call(
        "GET /data/v1/customobjects",
        f"{REFERENCES}mc-custom_objects",
        query=SEARCHED,
        answers={200: {"items": [EXTENSION], **PAGE}},
    ),
    Call("POST /data/v1/customobjects", f"{REFERENCES}mc-custom_objects", body=MADE, answers={201: EXTENSION}),
    Call(
        "GET /data/v1/customobjects/{id}/fields",
        f"{REFERENCES}mc-custom_objects",
        answers={200: {"id": str, "fields": [WHOLE]}},
    ),
    Call(
        "POST /contacts/v1/contacts/actions/delete",
        f"{GUIDE}DeleteByContactKeys.html",
        body={"values": [str], "DeleteOperationType": "ContactAndAttributes"},
        query={"type": "keys"},
        answers={
            200: {
                "operationInitiated": bool,
                "operationID": int,
                "hasErrors": bool,
                "resultMessages": [WHOLE],
                "*": ANY,
            }
        },
    ),
    Call(
        "GET /automation/v1/queries",
        THIRD,
        query={"$page": r"\d+", "$pagesize": r"\d+"},
        answers={200: {"items": [QUERY], **PAGE}},
    ),
    Call(
        "POST /automation/v1/queries",
        THIRD,
        body={
            "name": str,
            "key": str,
            "description": str,
            "queryText": str,
            "targetName": str,
            "targetKey": str,
            "targetId": str,
            "targetUpdateTypeId": 0,
            "targetUpdateTypeName": "Overwrite",
            "categoryId": int,
        },
        answers={201: QUERY},
    ),
    Call("POST /automation/v1/queries/{id}/actions/start", THIRD, body=NOTHING, answers={200: "OK"}),
    Call("POST /Service.asmx", "etframework.wsdl", body=ANY, answers={200: ANY, 500: ANY}),
]
