"""What rules ask of single events, as few scans: one for all counts, two for all latest and first values, two for the
last mail, and one for all sequences over the same kinds of events.

They are scans of their own, and of the kinds of events they need only, because the cost is in ordering: one scan with
window functions for everything would also sort every purchase for a question about mails.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeVar

from sqlglot import exp

from personalization.rules import tree as t
from personalization.rules.chains import sequences_query
from personalization.rules.last_mail import MAIL, last_mail_query
from personalization.rules.recalled import recalled_query
from personalization.rules.single_events import SingleEvents, date_literal, days_between

N = TypeVar("N", bound=t.Node)


def moment_queries(columns: Mapping[t.Moment, str], source: SingleEvents) -> list[tuple[exp.Select, list[t.Moment]]]:
    """Queries with one row per customer with any of the events they read; a column for each thing that is asked.

    Parameters
    ----------
    columns : mapping of Moment to str
        The name of each column. Counts and sums are NULL without events, sequences and opened mails 1 or NULL.

    Returns
    -------
    list of (Select, list of Moment)
        Each query with the nodes it answers.
    """
    found: list[tuple[exp.Select, list[t.Moment]]] = []
    if counted := _of(columns, t.Behaviour):
        found.append((_counts_query(counted, source), list(counted)))
    if recalled := _of(columns, t.Recalled):
        found.append((recalled_query(recalled, source), list(recalled)))
    if opened := _of(columns, t.OpenedPrevious):
        found.append((last_mail_query(opened, source), list(opened)))
    groups: dict[tuple[str, ...], dict[t.Sequence, str]] = {}
    for node, name in _of(columns, t.Sequence).items():
        groups.setdefault(tuple(sorted(set(events_of(node)))), {})[node] = name
    return found + [(sequences_query(group, source), list(group)) for group in groups.values()]


def events_of(node: t.Moment) -> Sequence[str]:
    """The kinds of events it looks at."""
    if isinstance(node, t.OpenedPrevious):
        return MAIL
    return [step.event for step in node.steps] if isinstance(node, t.Sequence) else [node.event]


def _of(columns: Mapping[t.Moment, str], kind: type[N]) -> dict[N, str]:
    return {node: name for node, name in columns.items() if isinstance(node, kind)}


def _counts_query(columns: Mapping[t.Behaviour, str], source: SingleEvents) -> exp.Select:
    events = source.read({node.event for node in columns}, list(columns))
    aggregates = [exp.alias_(_aggregate(node, source), name) for node, name in columns.items()]
    return exp.select(exp.column(source.token), *aggregates).from_(events.subquery("events")).group_by(source.token)


def _aggregate(node: t.Behaviour, source: SingleEvents) -> exp.Expr:
    measured = exp.Case().when(source.matching(node), _measured(node, source))
    if node.measure == "days_since":
        return exp.Min(this=measured)
    if node.measure != "events":
        return exp.cast(exp.Sum(this=measured), "double")
    if node.about.distinct:
        return exp.cast(exp.Count(this=exp.Distinct(expressions=[measured])), "bigint")
    return exp.cast(exp.Sum(this=measured), "bigint")


def _measured(node: t.Behaviour, source: SingleEvents) -> exp.Expr:
    if node.measure == "days_since":
        if node.local:
            return days_between(exp.column("today"), exp.column("local_day"))
        return days_between(date_literal(source.as_of.day), exp.column("event_day"))
    if node.measure == "events":
        return exp.column("event_id" if node.about.distinct else "events")
    return exp.column(node.measure)
