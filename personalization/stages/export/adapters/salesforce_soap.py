"""All Subscribers, by SOAP: there is no REST call for the status of a subscriber.

Whoever is `Unsubscribed` in All Subscribers gets no commercial mail from the account, whatever data extension is sent
to. `Unsubscribed` is the only status that is ever written here.

Elements stand in the order of the service's WSDL (etframework.wsdl), whose types are sequences, and what it demands is
there: `Options` of a create and of a delete, also when it is empty, and `ObjectType` of a retrieve that goes on.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from xml.etree.ElementTree import Element
from xml.sax.saxutils import escape

from personalization.stages.export.adapters.base import DestinationError
from personalization.stages.export.adapters.http import Http, TokenRefused
from personalization.stages.export.adapters.salesforce_token import KEY_HINT, Token

MOST, MOST_READ = 50, 200  # objects of a synchronous call (API Limits and Guidelines); values of a filter: our choice
PATH = "/Service.asmx"
_PARTNER = "http://exacttarget.com/wsdl/partnerAPI"
_TAG = f"{{{_PARTNER}}}"
_ADD_OR_UPDATE = (
    "<Options><SaveOptions><SaveOption><PropertyName>*</PropertyName><SaveAction>UpdateAdd</SaveAction>"
    "</SaveOption></SaveOptions></Options>"
)


Row = dict[str, str]
"""Values by property."""


@dataclass(frozen=True)
class Subscriber:
    """One entry of All Subscribers. An address may have several, under different keys."""

    key: str = field(repr=False)
    address: str = field(repr=False)
    status: str

    @property
    def reachable(self) -> bool:
        return self.status.lower() in ("active", "bounced")


class Soap:
    """SOAP calls of one business unit."""

    def __init__(self, http: Http, token: Token) -> None:
        self._http, self._token = http, token

    def subscribers(self, addresses: Sequence[str]) -> list[Subscriber]:
        """Every entry of All Subscribers with one of these addresses."""
        found = []
        for first in range(0, len(addresses), MOST_READ):
            values = "".join(f"<Value>{escape(address)}</Value>" for address in addresses[first : first + MOST_READ])
            operator = "IN" if len(addresses[first : first + MOST_READ]) > 1 else "equals"
            query = (
                "<Properties>SubscriberKey</Properties><Properties>EmailAddress</Properties>"
                "<Properties>Status</Properties>"
                '<Filter xsi:type="SimpleFilterPart"><Property>EmailAddress</Property>'
                f"<SimpleOperator>{operator}</SimpleOperator>{values}</Filter>"
            )
            for page in self._retrieve("Subscriber", query):
                found += [
                    Subscriber(_text(one, "SubscriberKey"), _text(one, "EmailAddress"), _text(one, "Status"))
                    for one in page
                ]
        return found

    def rows(self, kind: str, properties: Sequence[str], conditions: Sequence[tuple[str, str, str]]) -> Iterator[Row]:
        """Objects of a kind, as texts by property, for which one or two conditions (property, operator, value) hold."""
        parts = [
            f"<Property>{escape(name)}</Property><SimpleOperator>{operator}</SimpleOperator>"
            f"<{_value_tag(name)}>{escape(value)}</{_value_tag(name)}>"
            for name, operator, value in conditions
        ]
        if len(parts) == 1:
            where = f'<Filter xsi:type="SimpleFilterPart">{parts[0]}</Filter>'
        else:
            where = (
                '<Filter xsi:type="ComplexFilterPart">'
                f'<LeftOperand xsi:type="SimpleFilterPart">{parts[0]}</LeftOperand><LogicalOperator>AND'
                f'</LogicalOperator><RightOperand xsi:type="SimpleFilterPart">{parts[1]}</RightOperand></Filter>'
            )
        shown = "".join(f"<Properties>{escape(name)}</Properties>" for name in properties)
        for page in self._retrieve(kind, f"{shown}{where}"):
            for one in page:
                yield {**{name: _child(one, name) for name in properties}, **_extension(one)}

    def addresses(self, keys: Sequence[str]) -> dict[str, str]:
        """Addresses in All Subscribers by subscriber key."""
        found: dict[str, str] = {}
        for first in range(0, len(keys), MOST_READ):
            chunk = keys[first : first + MOST_READ]
            values = "".join(f"<Value>{escape(key)}</Value>" for key in chunk)
            query = (
                "<Properties>SubscriberKey</Properties><Properties>EmailAddress</Properties>"
                '<Filter xsi:type="SimpleFilterPart"><Property>SubscriberKey</Property>'
                f"<SimpleOperator>{'IN' if len(chunk) > 1 else 'equals'}</SimpleOperator>{values}</Filter>"
            )
            for page in self._retrieve("Subscriber", query):
                found |= {_text(one, "SubscriberKey"): _text(one, "EmailAddress") for one in page}
        return found

    def opt_out(self, addresses: Sequence[str]) -> dict[str, str | None]:
        """Opt addresses out, under every key they have. Returns by address why it failed, None when it did not.

        An address that All Subscribers does not know yet is entered there, opted out: else the next send to a data
        extension with it would enter it as active.
        """
        keys: dict[str, list[str]] = {address: [] for address in addresses}
        by_lower = {address.lower(): address for address in addresses}
        for one in self.subscribers(addresses):
            if one.address.lower() in by_lower:
                keys[by_lower[one.address.lower()]].append(one.key)
        pairs = [(key, address) for address in addresses for key in keys[address] or [address]]
        problems: dict[str, str | None] = dict.fromkeys(addresses)
        for first in range(0, len(pairs), MOST):
            chunk = pairs[first : first + MOST]
            objects = "".join(
                f'<Objects xsi:type="Subscriber"><EmailAddress>{escape(address)}</EmailAddress>'
                f"<SubscriberKey>{escape(key)}</SubscriberKey><Status>Unsubscribed</Status></Objects>"
                for key, address in chunk
            )
            results = self._results("Create", f"<CreateRequest>{_ADD_OR_UPDATE}{objects}</CreateRequest>", len(chunk))
            for (_, address), problem in zip(chunk, results, strict=True):
                problems[address] = problems[address] or problem
        return problems

    def delete_rows(self, data_extension: str, column: str, addresses: Sequence[str]) -> int:
        """Delete rows of a data extension by their key. Returns how many there were."""
        deleted = 0
        for first in range(0, len(addresses), MOST):
            chunk = addresses[first : first + MOST]
            objects = "".join(
                f'<Objects xsi:type="DataExtensionObject"><CustomerKey>{escape(data_extension)}</CustomerKey><Keys>'
                f"<Key><Name>{escape(column)}</Name><Value>{escape(address)}</Value></Key></Keys></Objects>"
                for address in chunk
            )
            results = self._results("Delete", f"<DeleteRequest><Options/>{objects}</DeleteRequest>", len(chunk))
            deleted += sum(problem is None for problem in results)
        return deleted

    def _retrieve(self, kind: str, query: str) -> Iterator[list[Element]]:
        """Objects of a kind, page by page."""
        of_kind = f"<ObjectType>{escape(kind)}</ObjectType>"
        while True:
            body = f"<RetrieveRequest>{of_kind}{query}</RetrieveRequest>"
            answer = self._call("Retrieve", f'<RetrieveRequestMsg xmlns="{_PARTNER}">{body}</RetrieveRequestMsg>')
            overall = _text(answer, "OverallStatus")
            if overall not in ("OK", "MoreDataAvailable"):
                raise DestinationError(f"Salesforce would not show {kind}: {self._http.redact(overall)}")
            yield answer.findall(f".//{_TAG}Results")
            if overall == "OK":
                return
            query = f"<ContinueRequest>{escape(_text(answer, 'RequestID'))}</ContinueRequest>"

    def _results(self, action: str, request: str, count: int) -> list[str | None]:
        """What became of each object, by its place in the request: None, or why it failed."""
        request = request.replace("Request>", f'Request xmlns="{_PARTNER}">', 1)
        answer = self._call(action, request)
        problems: list[str | None] = ["Salesforce's answer does not mention it"] * count
        for place, result in enumerate(answer.findall(f".//{_TAG}Results")):
            ordinal = int(_text(result, "OrdinalID") or place)
            said = self._http.redact(f"{_text(result, 'StatusMessage')} ({_text(result, 'ErrorCode')})")
            if 0 <= ordinal < count:
                problems[ordinal] = None if _text(result, "StatusCode") == "OK" else said
        return problems

    def _call(self, action: str, request: str) -> Element:
        def envelope() -> str:
            return (
                '<s:Envelope xmlns:s="http://schemas.xmlsoap.org/soap/envelope/" '
                'xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance"><s:Header>'
                f'<fueloauth xmlns="http://exacttarget.com">{escape(self._token.current())}</fueloauth></s:Header>'
                f"<s:Body>{request}</s:Body></s:Envelope>"
            )

        try:
            answer = self._http.call("POST", PATH, soap=(action, envelope()))
        except TokenRefused:
            if not self._token.renew():
                raise
            answer = self._http.call("POST", PATH, soap=(action, envelope()))
        found: Element = answer.body
        return found


def special(status: int, body: Any) -> Exception | None:
    """SOAP faults come with status 500, also for a token that is not valid any more."""
    fault = body.find(".//faultstring") if isinstance(body, Element) else None
    said = (fault.text or "") if fault is not None else ""
    if "token expired" in said.lower() or "login failed" in said.lower() or status == 401:
        return TokenRefused("Salesforce refused the token", hint=KEY_HINT)
    return None


def _text(element: Element, name: str) -> str:
    found = element.find(f".//{_TAG}{name}")
    return (found.text or "").strip() if found is not None else ""


def _child(element: Element, name: str) -> str:
    """A property of the object itself: what is in it, such as its Client, has an ID too."""
    return (element.findtext(f"{_TAG}{name}") or "").strip()


def _value_tag(name: str) -> str:
    return "DateValue" if name.endswith("Date") else "Value"


def _extension(element: Element) -> Row:
    """The properties of an object that comes as names and values."""
    pairs = element.findall(f".//{_TAG}Property")
    return {_text(pair, "Name"): _text(pair, "Value") for pair in pairs if _text(pair, "Name")}


def by_address(subscribers: Sequence[Subscriber]) -> Mapping[str, list[Subscriber]]:
    """Subscribers by lower-case address."""
    found: dict[str, list[Subscriber]] = {}
    for one in subscribers:
        found.setdefault(one.address.lower(), []).append(one)
    return found
