"""The entities a source table can be mapped to, and their canonical columns.

This list is the contract between sources.yaml, the landing zone, validation and the dbt staging models.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class ColumnType(StrEnum):
    """What a column's values must be readable as. Text files land as text all the same; validation then checks."""

    TEXT = "text"
    NUMBER = "number"
    TIMESTAMP = "timestamp"
    DATE = "date"


class Identifier(StrEnum):
    """Kinds of identifiers. The first three become tokens; DIRECT goes to the vault and leaves no column behind."""

    CUSTOMER = "customer"
    EMAIL = "email"
    PHONE = "phone"
    DIRECT = "direct"


TOKEN_COLUMNS = {
    Identifier.CUSTOMER: "customer_key",
    Identifier.EMAIL: "email_token",
    Identifier.PHONE: "phone_token",
}
EMAIL_PROBLEM = "email_problem"
SOURCE, ROW, LOAD_ID, REJECTED = "_source", "_row", "_dlt_load_id", "_rejected"
"""Added columns: where a row came from, its number there, its load, and for rows that could not be read, why."""
SEQ = "_seq"
"""Added to rows of webhook events only: the event's number in the inbox."""

EMAIL_EVENTS = (
    "sent",
    "opened",
    "machine_opened",
    "clicked",
    "converted",
    "bounced",
    "unsubscribed",
    "complained",
)
RESERVED_EVENTS = ("purchase", "mailing", "open", "click", "conversion", "bounce", "unsubscribe", "complaint")
"""What rules call the events that orders and e-mail events give; customer events have other names."""
CONSENT_ACTIONS = ("grant", "confirm", "withdraw", "object", "expire")


@dataclass(frozen=True)
class Column:
    """One canonical column, by the name used in sources.yaml."""

    name: str
    type: ColumnType = ColumnType.TEXT
    required: bool = False
    identifier: Identifier | None = None
    instant: bool = False
    """Of a timestamp: midnight is a moment like any other. Elsewhere it is how databases pad a day."""

    @property
    def landed(self) -> tuple[str, ...]:
        """Names of the columns it becomes in the landing zone."""
        if self.identifier is None:
            return (self.name,)
        if self.identifier is Identifier.EMAIL:
            return (TOKEN_COLUMNS[Identifier.EMAIL], EMAIL_PROBLEM)
        token = TOKEN_COLUMNS.get(self.identifier)
        return (token,) if token else ()


@dataclass(frozen=True)
class Entity:
    """A kind of record.

    Attributes
    ----------
    key : tuple of str
        Landed columns that name one record; of several rows with the same key the newest counts.
    one_of : tuple of str
        Columns of which at least one must be mapped.
    needed : bool
        Whether later stages make no sense when the entity has no rows.
    keyed_per_table : bool
        Whether equal keys from two source tables are two records: two systems may number their consent events alike,
        and no opt-out may be taken for another.
    """

    name: str
    columns: tuple[Column, ...]
    key: tuple[str, ...]
    one_of: tuple[str, ...] = ()
    needed: bool = False
    keyed_per_table: bool = False

    def column(self, name: str) -> Column:
        return next(column for column in self.columns if column.name == name)

    @property
    def column_names(self) -> list[str]:
        return [column.name for column in self.columns]

    @property
    def landed_columns(self) -> list[str]:
        """Columns of `landed.<entity>`, without source position."""
        return [name for column in self.columns for name in column.landed]


def _text(*names: str) -> tuple[Column, ...]:
    return tuple(Column(name) for name in names)


_NUMBER, _TIMESTAMP, _DATE = ColumnType.NUMBER, ColumnType.TIMESTAMP, ColumnType.DATE

_ENTITIES = (
    Entity(
        "customers",
        (
            Column("customer_id", required=True, identifier=Identifier.CUSTOMER),
            Column("email", identifier=Identifier.EMAIL),
            Column("phone", identifier=Identifier.PHONE),
            Column("first_name", identifier=Identifier.DIRECT),
            Column("last_name", identifier=Identifier.DIRECT),
            Column("street", identifier=Identifier.DIRECT),
            *_text("postcode", "city", "region", "country", "language", "time_zone"),
            Column("birth_date", _DATE),
            *_text("age_band", "income_band", "household_size", "marital_status", "home_ownership", "children"),
            Column("created_at", _TIMESTAMP),
            Column("updated_at", _TIMESTAMP),
        ),
        key=("customer_key",),
        needed=True,
    ),
    Entity(
        "products",
        (
            Column("product_id", required=True),
            *_text("gtin", "name", "brand", "department", "category", "product_type", "package_size"),
            Column("price", _NUMBER),
            Column("currency"),
        ),
        key=("product_id",),
    ),
    Entity(
        "order_lines",
        (
            Column("order_id", required=True),
            Column("product_id", required=True),
            Column("customer_id", required=True, identifier=Identifier.CUSTOMER),
            Column("quantity", _NUMBER, required=True),
            Column("amount", _NUMBER, required=True),
            Column("ordered_at", _TIMESTAMP, required=True, instant=True),
            Column("store_id"),
            Column("discount", _NUMBER),
            Column("coupon_discount", _NUMBER),
            *_text("currency", "channel"),
        ),
        key=("order_id", "product_id"),
        needed=True,
    ),
    Entity(
        "campaign_history",
        (
            Column("campaign_id", required=True),
            *_text("kind", "title"),
            Column("starts_at", _TIMESTAMP, required=True),
            Column("ends_at", _TIMESTAMP),
        ),
        key=("campaign_id",),
    ),
    Entity(
        "email_events",
        (
            Column("campaign_id", required=True),
            Column("customer_id", required=True, identifier=Identifier.CUSTOMER),
            Column("event", required=True),
            Column("occurred_at", _TIMESTAMP),
            Column("detail"),
        ),
        key=("campaign_id", "customer_key", "event", "occurred_at", "detail"),
    ),
    Entity(
        "customer_events",
        (
            Column("customer_id", required=True, identifier=Identifier.CUSTOMER),
            Column("event", required=True),
            Column("occurred_at", _TIMESTAMP, required=True, instant=True),
            *_text("event_id", "product_id", "department", "category", "detail"),
            Column("quantity", _NUMBER),
            Column("amount", _NUMBER),
        ),
        key=("customer_key", "event", "occurred_at", "event_id", "product_id", "detail"),
    ),
    Entity(
        "consent_events",
        (
            Column("event_id", required=True),
            Column("customer_id", identifier=Identifier.CUSTOMER),
            Column("email", identifier=Identifier.EMAIL),
            Column("purpose", required=True),
            Column("action", required=True),
            Column("effective_at", _TIMESTAMP, required=True, instant=True),
            *_text("method", "notice_version", "locale", "double_opt_in_id", "gpp_string"),
        ),
        key=("event_id",),
        one_of=("customer_id", "email"),
        keyed_per_table=True,
    ),
)

ENTITIES: dict[str, Entity] = {entity.name: entity for entity in _ENTITIES}


def landing_table(entity: str, source: str, table: str) -> str:
    """Name of the landing table (dlt table and folder) of one source table."""
    return f"{entity}__{source}_{table}"
