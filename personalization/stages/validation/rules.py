"""The declared rules for landed rows, each one Ibis predicate: rows are split by it, and pandera checks by it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from zoneinfo import available_timezones

import ibis
import ibis.expr.types as ir

from personalization.program import Program
from personalization.stages.sync.entities import (
    CONSENT_ACTIONS,
    EMAIL_PROBLEM,
    ENTITIES,
    REJECTED,
    RESERVED_EVENTS,
    Column,
    ColumnType,
    Entity,
)
from personalization.stages.validation.dates import EARLIEST, LATEST, as_time
from personalization.stages.validation.words import EMAIL_EVENT_WORDS
from personalization.warehouse.date_formats import date_formats

MONEY = "decimal(18, 4)"
"""What the warehouse keeps amounts and quantities as."""


@dataclass(frozen=True)
class Rule:
    """One thing that must hold for a row.

    Attributes
    ----------
    name : str
        Unique within its entity.
    column : str
        The landed column it is about.
    message : str
        What is wrong when it does not hold, e.g. `not a date`.
    holds : callable
        From a table to a boolean column; NULL counts as False.
    rejects : bool
        Whether a row it does not hold for goes to quarantine. Otherwise the row stays, without that value.
    shows_value : bool
        Whether the value may be shown: never for identifiers and their tokens.
    """

    name: str
    column: str
    message: str
    holds: Callable[[ir.Table], ir.BooleanValue]
    rejects: bool = True
    shows_value: bool = True

    def passes(self, table: ir.Table) -> ir.BooleanValue:
        return self.holds(table).fill_null(False)

    def reason(self, table: ir.Table) -> ir.StringValue:
        """The text for a row it does not hold for, e.g. `ordered_at: not a date ('31.02.2017')`."""
        said = ibis.literal(f"{self.column}: {self.message}")
        if not self.shows_value:
            return said
        value = table[self.column].cast("string")
        shown = ibis.ifelse(value.length() > SHOWN, value.substr(0, SHOWN) + "…", value)
        return ibis.ifelse(value.isnull(), said, said + " ('" + shown + "')")


SHOWN = 40

# Without these a row says nothing; a wrong value in any other optional column is dropped and the row stays.
_REJECTING = {
    "order_lines": {"discount", "coupon_discount"},
    "products": {"price"},
    "campaign_history": {"ends_at"},
    "email_events": {"occurred_at"},
}
_NOT_NEGATIVE = {"quantity", "amount", "discount", "coupon_discount", "price"}


def rules_for(entity: str, program: Program) -> list[Rule]:
    """All rules of an entity, in the order in which reasons are given."""
    described = ENTITIES[entity]
    formats = date_formats(program.settings.slash_dates)
    rules = [rule for column in described.columns for rule in _column_rules(described, column, formats)]
    rules.extend(_one_of(described))
    if entity == "email_events":
        rules.append(_words("event", EMAIL_EVENT_WORDS, "no kind of e-mail event"))
    if entity == "customers":
        rules.append(_time_zone())
    if entity == "customer_events":
        rules.append(_own_event())
    if entity == "consent_events":
        rules.append(_words("action", CONSENT_ACTIONS, f"not one of {', '.join(CONSENT_ACTIONS)}"))
        purposes = list(program.purposes)
        rules.append(_words("purpose", purposes, f"not a purpose of consent.yaml ({', '.join(purposes)})", exact=True))
    if any(EMAIL_PROBLEM in column.landed for column in described.columns):
        rules.append(
            Rule(
                "email_usable",
                EMAIL_PROBLEM,
                "the e-mail address is not valid",
                lambda table: table[EMAIL_PROBLEM].isnull(),
                rejects=False,
                shows_value=False,
            )
        )
    return rules


def readable() -> Rule:
    """The rule for rows that could not be taken apart; nothing else is asked of them."""
    return Rule("readable", REJECTED, "not readable", lambda table: table[REJECTED].isnull())


def _column_rules(entity: Entity, column: Column, formats: Sequence[str]) -> Iterable[Rule]:
    if not column.landed:
        return
    name = column.landed[0]
    rejects = column.required or name in _REJECTING.get(entity.name, ())
    if column.required:
        yield Rule(f"{name}_present", name, "missing", lambda table: table[name].notnull(), shows_value=False)
    if column.type is ColumnType.NUMBER:
        yield Rule(
            f"{name}_is_number", name, "not a number", lambda table: _unless_missing(table, name, _is_number), rejects
        )
        if name in _NOT_NEGATIVE:
            yield Rule(f"{name}_not_negative", name, "negative", lambda table: _not_negative(table[name]), rejects)
    if column.type in (ColumnType.TIMESTAMP, ColumnType.DATE):
        is_date = partial(_is_date, formats=formats)
        yield Rule(f"{name}_is_date", name, "not a date", lambda table: _unless_missing(table, name, is_date), rejects)
        yield Rule(
            f"{name}_plausible",
            name,
            f"not between {EARLIEST.year} and {LATEST.year}",
            lambda table: _plausible(table[name], formats),
            rejects,
        )


def _one_of(entity: Entity) -> Iterable[Rule]:
    if entity.one_of:
        tokens = [entity.column(name).landed[0] for name in entity.one_of]
        yield Rule(
            "identified",
            tokens[0],
            f"neither {' nor '.join(entity.one_of)}",
            lambda table: ibis.or_(*(table[token].notnull() for token in tokens)),
            shows_value=False,
        )


def _words(column: str, allowed: Iterable[str], message: str, *, exact: bool = False) -> Rule:
    words = sorted(allowed)

    def holds(table: ir.Table) -> ir.BooleanValue:
        value = table[column].strip()
        word = value if exact else value.lower().re_replace("[ -]+", "_")
        return table[column].isnull() | word.isin(words)

    return Rule(f"{column}_known", column, message, holds)


def _own_event() -> Rule:
    """What orders and mails give already would be counted twice."""

    def holds(table: ir.Table) -> ir.BooleanValue:
        name = table.event.strip().lower().re_replace("[^a-z0-9]+", "_")
        return table.event.isnull() | ~name.isin(RESERVED_EVENTS)

    return Rule("event_own", "event", "comes from order_lines or email_events; give it another name", holds)


def _time_zone() -> Rule:
    names = sorted(name.lower() for name in available_timezones())

    def holds(table: ir.Table) -> ir.BooleanValue:
        return table.time_zone.isnull() | table.time_zone.strip().lower().isin(names)

    return Rule("time_zone_known", "time_zone", "no IANA time zone, such as Europe/Berlin", holds, rejects=False)


def _unless_missing(table: ir.Table, name: str, holds: Callable[[ir.Value], ir.BooleanValue]) -> ir.BooleanValue:
    return table[name].isnull() | holds(table[name])


def _as_money(value: ir.Value) -> ir.DecimalValue:
    return value.try_cast(MONEY)


def _is_number(value: ir.Value) -> ir.BooleanValue:
    number = _as_money(value).notnull()
    # asked for itself: DuckDB judges a cast by the file's smallest and largest values, which leave NaN out
    return number & ~value.isnan() if value.type().is_floating() else number


def _not_negative(value: ir.Value) -> ir.BooleanValue:
    return (_as_money(value) >= 0).fill_null(True)


def _is_date(value: ir.Value, formats: Sequence[str]) -> ir.BooleanValue:
    return ibis.literal(True) if value.type().is_date() else as_time(value, formats).notnull()


def _plausible(value: ir.Value, formats: Sequence[str]) -> ir.BooleanValue:
    time = value.cast("timestamp") if value.type().is_date() else as_time(value, formats)
    return time.between(EARLIEST, LATEST).fill_null(True)
