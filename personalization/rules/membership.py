"""Memberships of segments as rules see them: on the day itself, and on days before."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import timedelta

from sqlglot import exp

from personalization.as_of import AsOf
from personalization.rules import tree as t


def earlier_query(
    columns: Mapping[t.WasInSegment, str], as_of: AsOf, table: str, token: str, customer_token: str | None = None
) -> exp.Select:
    """Per customer who was in one of the segments on the days asked for: 1 in its column, else NULL.

    Parameters
    ----------
    table : str
        Stays: segment, customer, entered_on, exited_on (the first day no longer a member, or NULL). Stays that begin
        on or after `as_of` are not looked at, and it makes no difference when one ended after `as_of`.
    """
    query = exp.select(exp.column(token)).from_(exp.to_table(table)).group_by(exp.column(token))
    for node, name in columns.items():
        conditions: list[exp.Expr] = [exp.column("segment").eq(exp.Literal.string(node.name))]
        if node.within is not None:
            first = exp.cast(exp.Literal.string((as_of.day - timedelta(days=node.within)).isoformat()), "date")
            ended = exp.column("exited_on")
            conditions.append(
                exp.or_(exp.Is(this=ended, expression=exp.Null()), exp.GT(this=ended.copy(), expression=first))
            )
        found = exp.Case().when(exp.and_(*conditions), exp.Literal.number(1))
        query = query.select(exp.alias_(exp.Max(this=found), name))
    day = exp.cast(exp.Literal.string(as_of.key), "date")
    query = query.where(exp.LT(this=exp.column("entered_on"), expression=day))
    query = query.where(exp.column("segment").isin(*(exp.Literal.string(name) for name in _names(columns))))
    if customer_token is not None:
        query = query.where(exp.column(token).eq(exp.Literal.string(customer_token)))
    return query


def _names(nodes: Iterable[t.WasInSegment]) -> list[str]:
    return sorted({node.name for node in nodes})
