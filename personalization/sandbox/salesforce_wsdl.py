"""What Marketing Cloud's WSDL demands of SOAP requests: the elements of a type, their order, and which must be there.

Source: etframework.wsdl, whose types are all sequences. Only what this sandbox takes; `!` marks what is demanded.
"""

from __future__ import annotations

from xml.etree.ElementTree import Element

PARTNER = "{http://exacttarget.com/wsdl/partnerAPI}"
_TYPE = "{http://www.w3.org/2001/XMLSchema-instance}type"
_OBJECT = (
    "Client PartnerKey PartnerProperties CreatedDate ModifiedDate ID ObjectID CustomerKey Owner CorrelationID "
    "ObjectState"
)
_SEQUENCES = {
    name: text.split()
    for name, text in {
        "CreateRequest": "Options! Objects!",
        "DeleteRequest": "Options! Objects!",
        "RetrieveRequestMsg": "RetrieveRequest!",
        "RetrieveRequest": "ClientIDs ObjectType! Properties Filter RespondTo PartnerProperties ContinueRequest "
        "QueryAllAccounts RetrieveAllSinceLastBatch RepeatLastResult Retrieves Options",
        "SaveOption": "PropertyName! SaveAction!",
        "SimpleFilterPart": "Property! SimpleOperator! Value DateValue",
        "ComplexFilterPart": "LeftOperand! LogicalOperator! RightOperand AdditionalOperands",
        "Subscriber": f"{_OBJECT} EmailAddress Attributes SubscriberKey UnsubscribedDate Status",
        "DataExtensionObject": f"{_OBJECT} Type Properties Name Keys",
        "Key": "Name! Value!",
    }.items()
}


def misfit(request: Element) -> str | None:
    """What in a request is not as the WSDL says; None when all is."""
    for element in request.iter():
        name = element.get(_TYPE, element.tag.removeprefix(PARTNER)).rpartition(":")[2]
        sequence = _SEQUENCES.get(name)
        if sequence is None:
            continue
        places = {one.rstrip("!"): place for place, one in enumerate(sequence)}
        children = [child.tag.removeprefix(PARTNER) for child in element]
        unknown = [child for child in children if child not in places]
        if unknown:
            return f"{name} has no element {unknown[0]}"
        order = [places[child] for child in children]
        if order != sorted(order):
            return f"elements of {name} are not in order: {', '.join(children)}"
        missing = [one[:-1] for one in sequence if one.endswith("!") and one[:-1] not in children]
        if missing:
            return f"{name} lacks {missing[0]}"
    return None
