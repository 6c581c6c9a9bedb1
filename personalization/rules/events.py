"""The events that rules can speak of: those every program has, and the shape of those a program declares."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

Summed = Literal["amount", "quantity"]


@dataclass(frozen=True)
class Property:
    """By what an event can be narrowed.

    Attributes
    ----------
    column : str
        The column, of the customer-day rollup and of single events.
    upper : bool
        Compare in upper case, as source files disagree about it.
    total : str or None
        The value on the rollup's rows to read when a rule does not narrow by this property; None reads all rows.
    by_day : bool
        Whether the rollup has it; else single events are read.
    """

    column: str
    upper: bool = False
    total: str | None = None
    by_day: bool = True


@dataclass(frozen=True)
class Event:
    """Something customers do. `past` is its verb for descriptions, `measures` the columns that can be summed.

    `distinct` says that several rows of single events are one event when they share `event_id` (lines of an order).
    """

    past: str
    noun: str
    properties: Mapping[str, Property]
    measures: tuple[Summed, ...] = ()
    distinct: bool = False


# A purchase has one row a day for each department, which together count an order once per department; and one row
# with an empty department for the whole day. A rule that names no department must read only the latter.
_PURCHASE = {
    "department": Property("department", upper=True, total=""),
    "category": Property("category", upper=True, by_day=False),
    "product": Property("product_id", by_day=False),
}
_CAMPAIGN = {"campaign_id": Property("campaign_id"), "detail": Property("detail", by_day=False)}
OWN_PROPERTIES: Mapping[str, Property] = {
    "department": Property("department", upper=True, by_day=False),
    "category": Property("category", upper=True, by_day=False),
    "product": Property("product_id", by_day=False),
    "detail": Property("detail", by_day=False),
}
"""What a program's own events can be narrowed by, as far as it says that they have it."""

EVENTS: Mapping[str, Event] = {
    "purchase": Event("bought something", "purchases", _PURCHASE, ("amount", "quantity"), distinct=True),
    "mailing": Event("was mailed", "mailings", _CAMPAIGN),
    "open": Event("opened a mail", "opens", _CAMPAIGN),
    "click": Event("clicked in a mail", "clicks", _CAMPAIGN),
    "conversion": Event("responded to a campaign", "conversions", _CAMPAIGN),
    "bounce": Event("had a mail bounce", "bounces", _CAMPAIGN),
    "unsubscribe": Event("unsubscribed", "unsubscribes", _CAMPAIGN),
    "complaint": Event("complained about a mail", "complaints", _CAMPAIGN),
}


def event_of(name: str) -> Event:
    """An event by its name; one that only a program knows gets plain words and all properties."""
    return EVENTS.get(name) or Event(f"did '{name}'", f"'{name}' events", OWN_PROPERTIES, ("amount", "quantity"))
