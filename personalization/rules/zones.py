"""Days in the customer's time zone: which day it is there at `as_of`, and on which day of theirs something happened."""

from __future__ import annotations

from sqlglot import exp

from personalization.as_of import AsOf

ZONE = "time_zone"
"""The profile's column: an IANA name, missing where no source gives it; then the program's zone counts."""


def zones_query(as_of: AsOf, profile: str, token: str, customer_token: str | None = None) -> exp.Select:
    """Each customer's `zone`, and `today`, the day it is there at the first instant of the `as_of` day."""
    query = exp.select(
        exp.column(token, "p"),
        exp.alias_(_zone(as_of, "p"), "zone"),
        exp.alias_(today(as_of, "p"), "today"),
    ).from_(exp.alias_(exp.to_table(profile), "p", table=True))
    day = exp.cast(exp.Literal.string(as_of.key), "date")
    query = query.where(exp.column("as_of", "p").eq(day))
    if customer_token is not None:
        query = query.where(exp.column(token, "p").eq(exp.Literal.string(customer_token)))
    return query


def today(as_of: AsOf, profile: str) -> exp.Expr:
    """The day it is for the customer of a profile row (its table's alias) at the first instant of the `as_of` day."""
    instant = as_of.instant.replace(tzinfo=None).isoformat(sep=" ")
    return local_day(exp.cast(exp.Literal.string(instant), "timestamp"), _zone(as_of, profile))


def local_day(timestamp: exp.Expr, zone: exp.Expr) -> exp.Expr:
    """The calendar day of a UTC timestamp in a zone."""
    aware = exp.AtTimeZone(this=timestamp, zone=exp.Literal.string("UTC"))
    return exp.cast(exp.AtTimeZone(this=aware, zone=zone), "date")


def _zone(as_of: AsOf, profile: str) -> exp.Expr:
    return exp.Coalesce(this=exp.column(ZONE, profile), expressions=[exp.Literal.string(as_of.timezone)])
