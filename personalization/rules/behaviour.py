"""All behaviour that rules ask for as one scan of the customer-day rollup, one column per distinct aggregate.

Rows are first sorted into one column per kind (event, property, what is summed) that several windows share, then each
window is an aggregate over one such column; what a single window asks for is decided in its aggregate, at once.
Conditions inside CASE cost less than half of FILTER clauses when there are dozens of aggregates.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from datetime import timedelta

from sqlglot import exp

from personalization.as_of import AsOf
from personalization.rules.events import event_of
from personalization.rules.tree import Behaviour

_Kind = tuple[str, tuple[tuple[str, str], ...], str]


def behaviour_query(
    columns: Mapping[Behaviour, str], as_of: AsOf, table: str, token: str, customer_token: str | None = None
) -> exp.Select:
    """One row per customer with any of the wanted events in the longest window; NULL where there are no rows.

    Parameters
    ----------
    columns : mapping of Behaviour to str
        The name of each aggregate's column.
    table, token : str
        The rollup, and its column that names the customer.
    customer_token : str, optional
        Read this customer only.
    """
    uses = Counter(map(_kind, columns))
    kinds = {kind: f"k{index}" for index, kind in enumerate(kind for kind, windows in uses.items() if windows > 1)}
    rows = exp.select(exp.column(token), *map(exp.column, _read(columns, kinds))).from_(exp.to_table(table))
    rows = rows.select(*(exp.alias_(exp.Case().when(_is(kind), _column(kind)), name) for kind, name in kinds.items()))
    for condition in _bounds(list(columns), as_of):
        rows = rows.where(condition)
    if customer_token is not None:
        rows = rows.where(exp.column(token).eq(exp.Literal.string(customer_token)))
    aggregates = [
        exp.alias_(_aggregate(each, kinds.get(_kind(each)), as_of), column) for each, column in columns.items()
    ]
    return exp.select(exp.column(token), *aggregates).from_(rows.subquery("days")).group_by(exp.column(token))


def day(as_of: AsOf, days_before: int = 0) -> exp.Expr:
    """The DATE so many days before `as_of`."""
    return exp.cast(exp.Literal.string((as_of.day - timedelta(days=days_before)).isoformat()), "date")


def _kind(behaviour: Behaviour) -> _Kind:
    column = "event_day" if behaviour.measure == "days_since" else behaviour.measure
    return behaviour.event, behaviour.where, column


def _column(kind: _Kind) -> exp.Expr:
    return exp.column(kind[2])


def _is(kind: _Kind) -> exp.Expr:
    """Whether a row is of this kind."""
    event, pairs, _ = kind
    where = dict(pairs)
    conditions: list[exp.Expr] = [exp.column("event").eq(exp.Literal.string(event))]
    for name, each in event_of(event).properties.items():
        found: exp.Expr = exp.column(each.column)
        if name in where:
            found = exp.Upper(this=found) if each.upper else found
            conditions.append(exp.EQ(this=found, expression=exp.Literal.string(where[name])))
        elif each.total is not None:
            conditions.append(exp.EQ(this=found, expression=exp.Literal.string(each.total)))
    return exp.and_(*conditions)


def _read(columns: Iterable[Behaviour], kinds: Collection[_Kind]) -> list[str]:
    """The roll-up's columns that aggregates read, other than by a kind's column."""
    found = {"event_day"}
    for kind in (kind for kind in map(_kind, columns) if kind not in kinds):
        found |= {"event", kind[2], *(each.column for each in event_of(kind[0]).properties.values() if each.by_day)}
    return sorted(found)


def _bounds(behaviours: list[Behaviour], as_of: AsOf) -> list[exp.Expr]:
    """Conditions that keep the scan to the past, the longest window and the wanted events."""
    conditions: list[exp.Expr] = [exp.column("event_day") < day(as_of)]
    windows = [behaviour.within for behaviour in behaviours if behaviour.within is not None]
    if len(windows) == len(behaviours):
        conditions.append(exp.column("event_day") >= day(as_of, max(windows)))
    events = sorted({behaviour.event for behaviour in behaviours})
    conditions.append(exp.column("event").isin(*(exp.Literal.string(event) for event in events)))
    return conditions


def _aggregate(behaviour: Behaviour, shared: str | None, as_of: AsOf) -> exp.Expr:
    kind = _kind(behaviour)
    value = exp.column(shared) if shared else _column(kind)
    conditions = [] if shared else [_is(kind)]
    if behaviour.within is not None:
        conditions.append(exp.column("event_day") >= day(as_of, behaviour.within))
    rows: exp.Expr = exp.Case().when(exp.and_(*conditions), value) if conditions else value
    if behaviour.measure == "days_since":
        return exp.DateDiff(this=day(as_of), expression=exp.Max(this=rows), unit=exp.Var(this="DAY"))
    return exp.cast(exp.Sum(this=rows), "bigint" if behaviour.measure == "events" else "double")
