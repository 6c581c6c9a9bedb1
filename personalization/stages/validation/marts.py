"""What later stages rely on in the mart tables. A mart that breaks it stops the run: what follows would be wrong."""

from __future__ import annotations

import ibis
import ibis.expr.types as ir

from personalization.stages.validation.dates import EARLIEST, LATEST
from personalization.stages.validation.schemas import Expectation, TableSchema

_ALL_OF_THE_DAY = ("customer_token", "event_day", "event", "department", "campaign_id")


def _known(*columns: str) -> list[Expectation]:
    def expect(name: str) -> Expectation:
        return Expectation(f"{name}_known", f"{name} is missing", lambda table: table[name].notnull())

    return [expect(name) for name in columns]


def _not_negative(*columns: str) -> list[Expectation]:
    def expect(name: str) -> Expectation:
        return Expectation(
            f"{name}_not_negative", f"{name} is negative", lambda table: table[name].isnull() | (table[name] >= 0)
        )

    return [expect(name) for name in columns]


def _plausible(*columns: str) -> list[Expectation]:
    def holds(value: ir.Value) -> ir.BooleanValue:
        return value.isnull() | value.cast("timestamp").between(EARLIEST, LATEST)

    def expect(name: str) -> Expectation:
        message = f"{name} is not between {EARLIEST.year} and {LATEST.year}"
        return Expectation(f"{name}_plausible", message, lambda table: holds(table[name]))

    return [expect(name) for name in columns]


def _starts_before_it_ends(table: ir.Table) -> ir.BooleanValue:
    return ibis.or_(table.starts_at.isnull(), table.ends_at.isnull(), table.starts_at <= table.ends_at)


MARTS = (
    TableSchema(
        "marts.customers",
        ("customer_token", "email_token", "phone_token", "country", "age_band", "income_band", "records"),
        ("customer_token",),
        (*_known("customer_token"), *_not_negative("records"), *_plausible("birth_date", "created_at")),
    ),
    TableSchema(
        "marts.products",
        ("product_id", "department", "price", "currency"),
        ("product_id",),
        (*_known("product_id"), *_not_negative("price")),
    ),
    TableSchema(
        "marts.orders",
        ("order_id", "customer_token", "ordered_at", "order_day", "lines", "quantity", "amount", "discount"),
        ("order_id",),
        (
            *_known("order_id", "customer_token", "ordered_at", "order_day", "amount"),
            *_not_negative("lines", "quantity", "amount"),
            *_plausible("ordered_at", "order_day"),
            Expectation("has_lines", "an order without lines", lambda table: table.lines >= 1),
        ),
    ),
    TableSchema(
        "marts.order_lines",
        ("order_id", "product_id", "customer_token", "ordered_at", "order_day", "quantity", "amount", "department"),
        ("order_id", "product_id"),
        (
            *_known("order_id", "product_id", "customer_token", "ordered_at", "order_day", "quantity", "amount"),
            *_not_negative("quantity", "amount"),
            *_plausible("ordered_at", "order_day"),
        ),
    ),
    TableSchema(
        "marts.campaign_history",
        ("campaign_id", "starts_at", "ends_at"),
        ("campaign_id",),
        (
            *_known("campaign_id", "starts_at"),
            Expectation("ends_after_start", "a campaign ends before it starts", _starts_before_it_ends),
        ),
    ),
    TableSchema(
        "marts.email_events",
        ("customer_token", "campaign_id", "event", "occurred_at", "event_day", "detail", "events"),
        ("customer_token", "campaign_id", "event", "occurred_at", "detail"),
        (*_known("customer_token", "campaign_id", "event"), *_plausible("occurred_at", "event_day")),
    ),
    TableSchema(
        "marts.customer_events",
        ("customer_token", "event", "occurred_at", "event_day", "product_id", "category", "detail"),
        ("customer_token", "event", "occurred_at", "event_id", "product_id", "detail"),
        (*_known("customer_token", "event", "occurred_at", "event_day"), *_plausible("occurred_at", "event_day")),
    ),
    TableSchema(
        "marts.customer_day",
        (*_ALL_OF_THE_DAY, "events", "quantity", "amount"),
        _ALL_OF_THE_DAY,
        (
            *_known(*_ALL_OF_THE_DAY, "events"),
            *_not_negative("quantity", "amount"),
            *_plausible("event_day"),
            Expectation("event_named", "no name of an event", lambda table: table.event.re_search("^[a-z0-9_]+$")),
            Expectation("has_events", "a row without an event", lambda table: table.events >= 1),
        ),
    ),
)
