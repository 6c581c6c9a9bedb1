"""`last(…)` and `first(…)`: the instants first, then only the events at these instants.

Comparing whole instants is fast; comparing their properties as well, which decides between events at one instant (the
lines of an order), costs three times as much, and is needed for a few events only.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from sqlglot import exp

from personalization.rules import tree as t
from personalization.rules.single_events import US, SingleEvents


def recalled_query(columns: Mapping[t.Recalled, str], source: SingleEvents) -> exp.Select:
    """One row per customer with any of the wanted events; each value is NULL when the event has none."""
    names, nodes = {node.event for node in columns}, list(columns)
    instants: dict[t.Recalled, str] = {}  # the same for all properties of one event
    for node in nodes:
        instants.setdefault(replace(node, key=""), f"at_{len(instants)}")
    found = exp.select(exp.column(source.token), *(exp.alias_(_instant(n, source), at) for n, at in instants.items()))
    found = found.from_(source.read(names, nodes).subquery("events")).group_by(source.token)
    rows = exp.select(exp.Star()).from_(source.read(names, nodes).subquery("events"))
    rows = rows.join(found.subquery("instants"), using=source.token)
    rows = rows.where(exp.column(US).isin(*(exp.column(at) for at in instants.values())))
    values = [exp.alias_(_value(node, instants[replace(node, key="")], source), name) for node, name in columns.items()]
    return exp.select(exp.column(source.token), *values).from_(rows.subquery("found")).group_by(source.token)


def _instant(node: t.Recalled, source: SingleEvents) -> exp.Expr:
    matching = exp.Case().when(source.matching(node), exp.column(US))
    return exp.Max(this=matching) if node.which == "last" else exp.Min(this=matching)


def _value(node: t.Recalled, at: str, source: SingleEvents) -> exp.Expr:
    """Of the events at the instant the largest value, or the smallest; one that has none comes after all others."""
    each = node.about.properties[node.key]
    column: exp.Expr = exp.column(each.column)
    value = exp.Upper(this=column) if each.upper else column
    at_instant = exp.and_(exp.column(US).eq(exp.column(at)), source.matching(node))
    matching = exp.Case().when(at_instant, value)
    return exp.Max(this=matching) if node.which == "last" else exp.Min(this=matching)
