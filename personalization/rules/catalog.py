"""What rules may speak of: profile fields, events and their properties, segments. Static, so `check` needs no data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from personalization.errors import DataError
from personalization.rules.events import EVENTS as EVENTS
from personalization.rules.events import OWN_PROPERTIES, Event, Property
from personalization.rules.node import Type

if TYPE_CHECKING:
    from personalization.program import Program
    from personalization.program.models import OwnEvent
    from personalization.warehouse import Session


@dataclass(frozen=True)
class Field:
    """A profile column. `values`, when given, are all values it can have; `share` says that it lies between 0 and 1."""

    type: Type
    title: str
    values: tuple[str, ...] | None = None
    share: bool = False


STAGES = ("prospect", "new", "active", "at_risk", "lapsed", "lost")
"""Never bought; bought within 28 days and known no longer than that; within 28, 84 and 365 days; longer ago."""

FIELDS: Mapping[str, Field] = {
    # purchases; NULL for customers without any
    "recency_days": Field("number", "days since the last purchase"),
    "tenure_days": Field("number", "days since the customer is known"),
    "orders_7d": Field("number", "orders in the last 7 days"),
    "orders_28d": Field("number", "orders in the last 28 days"),
    "orders_84d": Field("number", "orders in the last 84 days"),
    "orders_total": Field("number", "orders ever"),
    "spend_28d": Field("number", "money spent in the last 28 days"),
    "spend_84d": Field("number", "money spent in the last 84 days"),
    "spend_total": Field("number", "money spent ever"),
    "average_order_value_84d": Field("number", "average order value of the last 84 days"),
    "items_84d": Field("number", "items bought in the last 84 days"),
    "mean_gap_days_84d": Field("number", "usual days between orders, over the last 84 days"),
    "recency_to_gap": Field("number", "days since the last purchase divided by the usual gap"),
    "active_weeks_12w": Field("number", "weeks with a purchase, of the last 12"),
    "spend_trend": Field("number", "money spent in the last 28 days divided by that of the 28 days before"),
    "discount_share_84d": Field("number", "share of discounts in the last 84 days"),
    "coupon_share_84d": Field("number", "share of coupon discounts in the last 84 days"),
    "departments_84d": Field("number", "different departments bought from in the last 84 days"),
    "top_department_84d": Field("text", "department with the highest spend in the last 84 days"),
    "top_department_share_84d": Field("number", "share of spend in the top department, last 84 days"),
    "produce_share_84d": Field("number", "share of spend on produce, last 84 days"),
    "meat_share_84d": Field("number", "share of spend on meat, last 84 days"),
    "grocery_share_84d": Field("number", "share of spend on grocery, last 84 days"),
    "weekend_share_84d": Field("number", "share of orders on weekends, last 84 days"),
    # mailings and responses
    "mailings_28d": Field("number", "mailings in the last 28 days"),
    "mailings_84d": Field("number", "mailings in the last 84 days"),
    "mailings_total": Field("number", "mailings ever"),
    "last_mailing_days": Field("number", "days since the last mailing"),
    "conversions_84d": Field("number", "responses to campaigns in the last 84 days"),
    "conversions_total": Field("number", "responses to campaigns ever"),
    "last_conversion_days": Field("number", "days since the last response to a campaign"),
    # who they are
    "age_band": Field("text", "age band"),
    "income_band": Field("text", "income band"),
    "household_size": Field("number", "people in the household"),
    "marital_status": Field("text", "marital status"),
    "home_ownership": Field("text", "home ownership"),
    "children": Field("text", "number of children"),
    "country": Field("text", "country (ISO 3166 code)"),
    "region": Field("text", "region (ISO 3166-2 code)"),
    "language": Field("text", "language"),
    "time_zone": Field("text", "time zone (IANA name)"),
    "lifecycle_stage": Field("text", "where the customer stands", values=STAGES),
    # what is expected of them
    "purchase_score": Field("number", "chance of a purchase (0 to 1)", share=True),
    "purchase_band": Field("text", "band of the purchase score"),
}

_ENGINE_TYPES: Mapping[Type, tuple[str, ...]] = {
    "number": ("TINYINT", "SMALLINT", "INTEGER", "BIGINT", "HUGEINT", "FLOAT", "DOUBLE", "DECIMAL"),
    "text": ("VARCHAR",),
    "date": ("DATE",),
    "boolean": ("BOOLEAN",),
}


def topic_field(topic: str) -> str:
    """The profile field that tells whether a person chose to read about a topic of consent.yaml."""
    return f"topic_{topic}"


@dataclass(frozen=True)
class Catalog:
    """The names a rule can use.

    Attributes
    ----------
    fields, events : mapping of name to Field, Event
    segments : frozenset of str or None
        Names `in_segment` may use; None accepts any.
    local_days : bool
        Days are those of each customer's time zone, as far as it is known, and not the program's.
    """

    fields: Mapping[str, Field] = field(default_factory=lambda: FIELDS)
    events: Mapping[str, Event] = field(default_factory=lambda: EVENTS)
    segments: frozenset[str] | None = None
    local_days: bool = False

    @classmethod
    def of(cls, program: Program) -> Catalog:
        """The catalog of a program: the fixed fields, its score bands as allowed values, its events, its segments."""
        bands = tuple(program.settings.scoring.bands)
        topics = {topic_field(name): Field("boolean", f"chose to read about {name}") for name in program.topics}
        fields = {**FIELDS, **topics, "purchase_band": Field("text", FIELDS["purchase_band"].title, values=bands)}
        events = {**EVENTS, **{name: own_event(name, each) for name, each in program.settings.events.items()}}
        local = program.settings.rules.days == "customer"
        return cls(fields, events, frozenset(program.segments), local)

    def verify(self, session: Session, table: str = "segments.profile") -> None:
        """Compare the fields with the columns of a real table.

        Raises
        ------
        DataError
            Naming each column that is missing or has another type. Columns that no field names are no error.
        """
        found = dict(session.rows(f"select column_name, column_type from (describe {table})"))  # noqa: S608
        wrong = []
        for name, each in self.fields.items():
            column = str(found.get(name, ""))
            if not column:
                wrong.append(f"{name} is missing")
            elif column.split("(")[0] not in _ENGINE_TYPES[each.type]:
                wrong.append(f"{name} is {column}, not a {each.type}")
        if wrong:
            raise DataError(
                f"{table} does not have the columns that rules are checked against: {'; '.join(wrong)}",
                hint="make dbt_project/models/features and personalization/rules/catalog.py agree",
            )


def own_event(name: str, declared: OwnEvent) -> Event:
    """An event that a program declares, as rules see it."""
    properties: dict[str, Property] = {each: OWN_PROPERTIES[each] for each in declared.properties}
    return Event(declared.title, declared.noun or f"'{name}' events", properties, tuple(declared.sums))
