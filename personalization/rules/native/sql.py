"""SQL that selects the members of a segment where a destination keeps what it was sent: listmonk and Salesforce.

Constants become literals that sqlglot renders; names are of destinations.yaml, where they are restricted to letters,
digits and `_`, and quoted besides.
"""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from typing import Protocol

from sqlglot import exp

from personalization.rules.native import formula as f
from personalization.rules.native.reasons import refuse
from personalization.rules.native.sent import Sent

_ESCAPE = "~"


class Store(Protocol):
    """Where and how a platform keeps values."""

    def value(self, name: str, kind: str) -> str:
        """SQL of a field's value, to be compared."""

    def known(self, name: str) -> str:
        """SQL that holds when there is a value."""

    def unknown(self, name: str) -> str: ...

    def text(self, value: str) -> str:
        """SQL of a text."""

    empty_is_unknown: bool
    special: str
    """Characters that LIKE reads besides `%` and `_`."""


class Listmonk:
    """Attributes of subscribers in PostgreSQL: numbers are JSON numbers, dates and texts JSON texts.

    Source: listmonk's documents, Querying and segmenting subscribers.
    """

    empty_is_unknown = False
    special = ""

    def __init__(self, attribute: str) -> None:
        self._attribute = attribute

    def value(self, name: str, kind: str) -> str:
        found = f"subscribers.attribs->{self.text(self._attribute)}->>{self.text(name)}"
        return f"({found})::FLOAT" if kind == "number" else found

    def known(self, name: str) -> str:
        return f"{self.value(name, 'text')} IS NOT NULL"

    def unknown(self, name: str) -> str:
        return f"{self.value(name, 'text')} IS NULL"

    def text(self, value: str) -> str:
        return exp.Literal.string(value).sql(dialect="postgres")


class Salesforce:
    """Columns of a data extension in SQL Server; an emptied text is NULL or empty."""

    empty_is_unknown = True
    special = "["

    def value(self, name: str, kind: str) -> str:
        return bracketed(name)

    def known(self, name: str) -> str:
        # comparing a number or a date with a text would convert the text: every type is compared as text
        return f"({bracketed(name)} IS NOT NULL AND {self._as_text(name)} <> {self.text('')})"

    def unknown(self, name: str) -> str:
        return f"({bracketed(name)} IS NULL OR {self._as_text(name)} = {self.text('')})"

    def text(self, value: str) -> str:
        return exp.National(this=value).sql(dialect="tsql")

    def _as_text(self, name: str) -> str:
        return f"CAST({bracketed(name)} AS NVARCHAR(4000))"


def bracketed(name: str) -> str:
    """A name as SQL Server quotes it."""
    return f"[{name.replace(']', ']]')}]"


def where(formula: f.Formula, sent: Sent, store: Store) -> str:
    """The condition that selects the members.

    Raises
    ------
    Inexpressible
        A constant that the platform can't hold.
    """
    found = _bracket(formula, _condition(formula, sent, store))
    if sent.marker is None and not f.holds(formula, {}):
        return found
    marked = store.known(sent.needed_marker)
    return marked if formula == f.ALWAYS else f"{marked} AND {found}"


def _bracket(formula: f.Formula, sql: str) -> str:
    return f"({sql})" if isinstance(formula, f.AnyOf) else sql


def _condition(formula: f.Formula, sent: Sent, store: Store) -> str:
    if isinstance(formula, f.AllOf | f.AnyOf):
        if not formula.parts:
            return "1 = 1" if isinstance(formula, f.AllOf) else "1 = 0"
        joined = " AND " if isinstance(formula, f.AllOf) else " OR "
        parts = [_condition(part, sent, store) for part in formula.parts]
        return joined.join(_bracket(part, sql) for part, sql in zip(formula.parts, parts, strict=True))
    name = sent.names[formula.field]
    if isinstance(formula, f.IsKnown):
        return store.known(name)
    if isinstance(formula, f.IsUnknown):
        return store.unknown(name)
    test = _test(formula, name, store)
    return f"({test} OR {store.unknown(name)})" if formula.or_unknown else test


def _test(test: f.Test, name: str, store: Store) -> str:
    value = store.value(name, test.kind)
    if test.sign in ("like", "not like"):
        pattern = _pattern(str(test.values[0]), store.special)
        escape = f" ESCAPE {store.text(_ESCAPE)}"
        found = f"{value} {'LIKE' if test.sign == 'like' else 'NOT LIKE'} {store.text(pattern)}{escape}"
    else:
        constants = [_constant(one, store) for one in test.values]
        if len(constants) == 1:
            found = f"{value} {test.sign} {constants[0]}"
        else:
            found = f"{value} {'IN' if test.sign == '=' else 'NOT IN'} ({', '.join(constants)})"
    if test.kind in ("text", "boolean") and store.empty_is_unknown:
        if "" in test.values and test.sign in ("=", "<>"):
            raise refuse("platform", "an empty text is no value at Salesforce", test.clause)
        if f.holds(test, {test.field: ""}):
            found = f"({found} AND {store.known(name)})"
    return found


def _pattern(pattern: str, special: str) -> str:
    escaped = pattern.replace(_ESCAPE, _ESCAPE * 2)
    for character in special:
        escaped = escaped.replace(character, _ESCAPE + character)
    return escaped


def _constant(value: f.Value, store: Store) -> str:
    if isinstance(value, Decimal):
        return format(value, "f")
    return store.text(value.isoformat() if isinstance(value, date) else value)
