"""SOAP of the Salesforce sandbox: subscribers are created, updated and retrieved; rows are deleted.

Requests must be as the WSDL says. Answers are in the form of those that the SDK of Accenture keeps for its tests
(sfmc-sdk, test/resources/soap.js).
"""

from __future__ import annotations

import uuid
from collections.abc import Callable
from typing import Any
from xml.etree import ElementTree
from xml.etree.ElementTree import Element
from xml.sax.saxutils import escape

from personalization.sandbox.answers import Answer
from personalization.sandbox.salesforce_data import DataExtensions
from personalization.sandbox.salesforce_tracking import Tracking
from personalization.sandbox.salesforce_wsdl import PARTNER, misfit
from personalization.sandbox.store import Store

PAGE, MOST = 2500, 50
STATUSES = ("Active", "Bounced", "Held", "Unsubscribed")
_TAG = PARTNER
_NO_KEYS = '<PartnerKey xsi:nil="true" /><ObjectID xsi:nil="true" />'
_SECURITY = "http://docs.oasis-open.org/wss/2004/01/oasis-200401-wss-wssecurity-secext-1.0.xsd"


_WHO = "SubscriberKey SendID EventDate EventType BatchID TriggeredSendDefinitionObjectID"
_RETRIEVABLE = {
    kind: set(names.split())
    for kind, names in {
        "Subscriber": "SubscriberKey EmailAddress Status UnsubscribedDate CreatedDate EmailTypePreference",
        "SentEvent": f"{_WHO} ListID",
        "OpenEvent": _WHO,
        "ClickEvent": f"{_WHO} URL",
        "BounceEvent": f"{_WHO} BounceType BounceCategory",
        "UnsubEvent": f"{_WHO} IsMasterUnsubscribed",
        "SubscriberStatusEvent": "SubscriberKey CurrentStatus PreviousStatus ReasonUnsub CreatedDate",
        "Send": "ID EmailName Subject FromName SentDate Status",
        "DataFolder": "ID Name CustomerKey ContentType Description",
    }.items()
}
_FOLDERS = [
    {"ID": str(4700 + number), "CustomerKey": f"{kind}_default", "Name": name, "ContentType": kind}
    for number, (kind, name) in enumerate((("dataextension", "Data Extensions"), ("queryactivity", "Query")))
]


class Soap:
    """The SOAP service of one business unit.

    Parameters
    ----------
    lets_in : callable
        Whether a token is valid.
    """

    def __init__(self, store: Store, data: DataExtensions, tracking: Tracking, lets_in: Callable[[str], bool]) -> None:
        self._store, self._data, self._tracking, self._lets_in = store, data, tracking, lets_in
        self._left: dict[str, tuple[str, list[dict[str, Any]]]] = {}

    def answer(self, raw: bytes) -> Answer:
        try:
            envelope = ElementTree.fromstring(raw)
        except ElementTree.ParseError:
            return _fault("Bad Request")
        token = envelope.find(".//{http://exacttarget.com}fueloauth")
        if token is None or not self._lets_in(token.text or ""):
            return _fault("Token Expired", f'<faultcode xmlns:q0="{_SECURITY}">q0:Security</faultcode>')
        handlers = {"CreateRequest": self._create, "DeleteRequest": self._delete, "RetrieveRequestMsg": self._retrieve}
        for name, handler in handlers.items():
            request = envelope.find(f".//{_TAG}{name}")
            if request is not None:
                problem = misfit(request)
                return _fault(problem) if problem else _envelope(handler(request))
        return _fault("Unknown request")

    def _create(self, request: Element) -> str:
        adds = _text(request, "SaveAction") == "UpdateAdd"
        results = []
        for place, one in enumerate(request.findall(f"{_TAG}Objects")):
            key, address = _text(one, "SubscriberKey"), _text(one, "EmailAddress")
            status, problem = _text(one, "Status") or "Active", None
            known = self._store.get("subscribers", key)
            if place >= MOST:
                problem = ("Too many objects", 1)
            elif "@" not in address or " " in address:
                problem = ("InvalidEmailAddress", 12002)
            elif status not in STATUSES:
                problem = ("Invalid status", 12003)
            elif known and not adds:
                problem = ("The subscriber is already on the list", 12014)
            else:
                self._store.put("subscribers", key, {"key": key, "address": address, "status": status})
            shown = f"<EmailAddress>{escape(address)}</EmailAddress><SubscriberKey>{escape(key)}</SubscriberKey>"
            more = f'<NewID>0</NewID><Object xsi:type="Subscriber">{_NO_KEYS}{shown}</Object>'
            results.append(_result(place, problem, "Updated Subscriber." if known else "Created Subscriber.", more))
        return _response("CreateResponse", results)

    def _delete(self, request: Element) -> str:
        results = []
        for place, one in enumerate(request.findall(f"{_TAG}Objects")):
            keys = {_text(key, "Name"): _text(key, "Value") for key in one.findall(f".//{_TAG}Key")}
            gone = self._data.delete_row(_text(one, "CustomerKey"), keys)
            problem = None if gone else ("Row not found", 68001)
            more = f'<Object xsi:type="DataExtensionObject">{_NO_KEYS}</Object>'
            results.append(_result(place, problem, "Deleted DataExtensionObject", more))
        return _response("DeleteResponse", results)

    def _retrieve(self, request: Element) -> str:
        continued = _text(request, "ContinueRequest")
        kind = _text(request, "ObjectType")
        if continued:
            kind, found = self._left.pop(continued, ("", []))
        else:
            asked = [one.text for one in request.findall(f".//{_TAG}Properties")]
            unknown = [str(name) for name in asked if name not in _RETRIEVABLE.get(kind, asked)]
            if unknown:
                named = ", ".join(unknown)
                told = f"Error: The Request Property(s) {named} do not match with the fields of {kind} retrieve"
                return _retrieved(told, str(uuid.uuid4()), "")
            rows = self._rows(kind, request)
            if rows is None:
                told = f"Error: Unable to find a handler for object type: {kind}. Object types are case-sensitive"
                return _retrieved(told, str(uuid.uuid4()), "")
            found = [{name: value for name, value in row.items() if name in asked} for row in rows]
        number = str(uuid.uuid4())
        if len(found) > PAGE:
            self._left[number] = (kind, found[PAGE:])
        shown = "".join(
            f'<Results xsi:type="{kind}">{_NO_KEYS}'
            f"{''.join(f'<{n}>{escape(v)}</{n}>' for n, v in one.items())}</Results>"
            for one in found[:PAGE]
        )
        return _retrieved("MoreDataAvailable" if number in self._left else "OK", number, shown)

    def _rows(self, kind: str, request: Element) -> list[dict[str, str]] | None:
        if kind == "Subscriber":
            return self._subscribers(request)
        conditions = _conditions(request)
        if kind == "DataFolder":
            return [one for one in _FOLDERS if all(one[name] == value for name, _, value in conditions)]
        return self._tracking.retrieve(kind, conditions)

    def _subscribers(self, request: Element) -> list[dict[str, str]]:
        names = {"EmailAddress": "address", "SubscriberKey": "key"}
        asked = names.get(_text(request, "Property"), "address")
        values = {(value.text or "").lower() for value in request.findall(f".//{_TAG}Value")}
        return [
            {"EmailAddress": one["address"], "SubscriberKey": one["key"], "Status": one["status"]}
            for one in self._store.all("subscribers").values()
            if one[asked].lower() in values
        ]


def _conditions(request: Element) -> list[tuple[str, str, str]]:
    """The simple parts of a filter; only ANDs are understood."""
    names = [part.text or "" for part in request.findall(f".//{_TAG}Property")]
    operators = [part.text or "" for part in request.findall(f".//{_TAG}SimpleOperator")]
    values = [part.text or "" for part in request.iter() if part.tag in (f"{_TAG}Value", f"{_TAG}DateValue")]
    return list(zip(names, operators, values, strict=True))


def _retrieved(overall: str, number: str, shown: str) -> str:
    return (
        f'<RetrieveResponseMsg xmlns="http://exacttarget.com/wsdl/partnerAPI"><OverallStatus>{escape(overall)}'
        f"</OverallStatus><RequestID>{number}</RequestID>{shown}</RetrieveResponseMsg>"
    )


def _result(place: int, problem: tuple[str, int] | None, message: str, more: str) -> tuple[bool, str]:
    code = "Error" if problem else "OK"
    said = escape(problem[0] if problem else message)
    error = f"<ErrorCode>{problem[1]}</ErrorCode>" if problem else ""
    return problem is None, (
        f"<Results><StatusCode>{code}</StatusCode><StatusMessage>{said}</StatusMessage>"
        f"<OrdinalID>{place}</OrdinalID>{error}{more}</Results>"
    )


def _response(name: str, results: list[tuple[bool, str]]) -> str:
    fine = {one for one, _ in results}
    overall = "OK" if fine == {True} else "Has Errors" if fine == {True, False} else "Error"
    body = "".join(text for _, text in results)
    return (
        f'<{name} xmlns="http://exacttarget.com/wsdl/partnerAPI">{body}<RequestID>{uuid.uuid4()}</RequestID>'
        f"<OverallStatus>{overall}</OverallStatus></{name}>"
    )


def _envelope(body: str, status: int = 200) -> Answer:
    text = (
        '<?xml version="1.0" encoding="utf-8"?><soap:Envelope '
        'xmlns:soap="http://schemas.xmlsoap.org/soap/envelope/" '
        f'xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance"><soap:Body>{body}</soap:Body></soap:Envelope>'
    )
    return Answer(status, text.encode(), {"Content-Type": "text/xml; charset=utf-8"})


def _fault(words: str, code: str = "<faultcode>soap:Client</faultcode>") -> Answer:
    return _envelope(f"<soap:Fault>{code}<faultstring>{escape(words)}</faultstring></soap:Fault>", 500)


def _text(element: Element, name: str) -> str:
    found = element.find(f".//{_TAG}{name}")
    return (found.text or "").strip() if found is not None else ""
