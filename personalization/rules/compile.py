"""Rules to one SQL query for everyone: one scan of the rollup for all behaviour, one scan of the profile.

SQL's own three-valued logic is the language's: NULL is "undecided". Every text, number and date of a rule becomes a
literal node that sqlglot renders, so nothing a user writes is ever part of the SQL as text.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import TypeVar

from sqlglot import exp

from personalization.as_of import AsOf
from personalization.errors import ProgramError
from personalization.rules.behaviour import behaviour_query, day
from personalization.rules.conditions import Columns, Translator
from personalization.rules.membership import earlier_query
from personalization.rules.moments import moment_queries
from personalization.rules.order import levels, needed
from personalization.rules.parse import Rule, Value
from personalization.rules.single_events import SingleEvents
from personalization.rules.syntax import DIALECT
from personalization.rules.tree import Behaviour, Node, Recalled
from personalization.rules.zones import today

PROFILE = "segments.profile"
CUSTOMER_DAY = "marts.customer_day"
MOMENTS = "marts.moments"
MEMBERSHIP = "segments.membership"
HISTORY = "segments.history"
_TOKEN = "customer_token"


def evaluation_query(
    rules: Mapping[str, Rule],
    as_of: AsOf,
    *,
    values: Mapping[str, Value] | None = None,
    segments: Mapping[str, Rule] | None = None,
    membership: str | None = None,
    columns: Sequence[str] = (),
    decidable: Collection[str] | None = None,
    profile: str = PROFILE,
    customer_day: str = CUSTOMER_DAY,
    moments: str = MOMENTS,
    history: str = HISTORY,
    dialect: str = DIALECT,
) -> str:
    """SQL that evaluates all rules at once.

    Parameters
    ----------
    rules : mapping of name to Rule
        Each gives two BOOLEAN columns that are never NULL: `<name>`, whether it holds after its `unknown` choice, and
        `<name>__decidable`. Names are free text that must differ in more than case.
    values : mapping of name to Value, optional
        Each gives a DOUBLE column, NULL when something it needs is missing.
    segments : mapping of name to Rule, optional
        Definitions for `in_segment`; those needed are computed in the query, each once.
    membership : str, optional
        Table (as_of, segment, customer_token, status) from which `in_segment` reads all other segments.
    columns : sequence of str
        Profile columns to carry along.
    decidable : collection of str, optional
        Rules to give the column `<name>__decidable`; default: all.
    profile, customer_day, moments, history : str
        Tables to read; `profile` has a column `as_of`. `moments`, single events, and `history`, stays in segments, are
        read only when a rule needs them.
    dialect : str
        Of the engine: `duckdb`, or `spark` (4.0 or newer, with the session's time zone set to UTC). The answers are the
        same.

    Returns
    -------
    str
        A query with one row per customer of `profile` at `as_of`: customer_token, columns, rules, values. Not ordered.

    Raises
    ------
    ProgramError
        When a segment is neither defined nor read, or two names are the same without regard to case.
    """
    values, segments = values or {}, segments or {}
    _refuse_equal_names([*columns, *rules, *(f"{name}__decidable" for name in rules), *values])
    referred = {name for rule in rules.values() for name in rule.segments}
    computed = {name: segments[name] for name in sorted(needed(referred, segments))}
    everything: list[Rule | Value] = [*rules.values(), *computed.values(), *values.values()]
    read = sorted({name for each in everything for name in each.segments} - set(computed))
    if read and membership is None:
        raise ProgramError(f"in_segment('{read[0]}'): the segment is neither defined nor read from a table")

    tables = Tables(profile, customer_day, moments, history, membership)
    names, query = facts(everything, as_of, read, tables, columns)
    query, outcomes = _add_rules(query, names, as_of, rules, computed)
    translate = Translator(names, as_of)
    outputs: list[exp.Expr] = [exp.column(_TOKEN), *(exp.column(name, quoted=True) for name in columns)]
    for name, rule in rules.items():
        outcome = exp.column(outcomes[rule.condition])
        holds = exp.Coalesce(this=outcome, expressions=[exp.Boolean(this=rule.unknown == "include")])
        outputs.append(exp.alias_(holds, name, quoted=True))
        if decidable is None or name in decidable:
            outputs.append(exp.alias_(exp.Not(this=_is_null(outcome)), f"{name}__decidable", quoted=True))
    for name, value in values.items():
        outputs.append(exp.alias_(exp.cast(translate.scalar(value.scalar), "double"), name, quoted=True))
    return query.select(*outputs, copy=False).sql(dialect=dialect)


@dataclass(frozen=True)
class Tables:
    """What is read: `schema.table` each; `membership` only when rules refer to segments that are not computed."""

    profile: str = PROFILE
    customer_day: str = CUSTOMER_DAY
    moments: str = MOMENTS
    history: str = HISTORY
    membership: str | None = None


def facts(
    rules: Iterable[Rule | Value],
    as_of: AsOf,
    read_segments: Sequence[str],
    tables: Tables,
    columns: Sequence[str] = (),
    customer_token: str | None = None,
) -> tuple[Columns, exp.Select]:
    """What rules need to know, as a query named `facts` with one row per customer (or for one only).

    Returns
    -------
    Columns
        The column for each field, piece of the past and segment.
    Select
        `from facts` with its common table expressions, without a select list yet.
    """
    rules = list(rules)
    fields = sorted({name for rule in rules for name in rule.fields})
    behaviours = _named("_b", {found for rule in rules for found in rule.behaviours})
    moments = _named("_e", {found for rule in rules for found in rule.moments})
    earlier = _named("_w", {found for rule in rules for found in rule.earlier_segments})
    names = Columns(
        fields={name: name for name in fields},
        past=dict(chain(behaviours.items(), moments.items(), earlier.items())),
        segments={name: (f"_m{index}", "hold") for index, name in enumerate(read_segments)},
    )
    carried = list(dict.fromkeys([*fields, *columns]))
    query = exp.select(exp.column(_TOKEN, "p"), *(exp.column(name, "p", quoted=True) for name in carried))
    query = query.from_(exp.alias_(exp.to_table(tables.profile), "p", table=True))
    query = query.where(exp.column("as_of", "p").eq(day(as_of)))
    if customer_token is not None:
        query = query.where(exp.column(_TOKEN, "p").eq(exp.Literal.string(customer_token)))
    if any(rule.local for rule in rules):
        query = query.select(exp.alias_(today(as_of, "p"), names.today))
    parts: dict[str, tuple[exp.Select, list[exp.Expr]]] = {}
    if behaviours:
        found = behaviour_query(behaviours, as_of, tables.customer_day, _TOKEN, customer_token)
        parts["behaviour"] = found, [_filled(node, column, "behaviour") for node, column in behaviours.items()]
    source = SingleEvents(as_of, tables.moments, tables.profile, _TOKEN, customer_token)
    for index, (found, nodes) in enumerate(moment_queries(moments, source)):
        name = f"moments_{index}"
        parts[name] = found, [_filled(node, moments[node], name) for node in nodes]
    if earlier:
        found = earlier_query(earlier, as_of, tables.history, _TOKEN, customer_token)
        parts["earlier"] = found, [_filled(node, column, "earlier") for node, column in earlier.items()]
    if read_segments and tables.membership:
        found = _member_query(names, as_of, tables.membership, customer_token)
        parts["member"] = found, [_member_state(column) for column, _ in names.segments.values()]
    result = exp.select().from_("facts")
    for name, (part, selected) in parts.items():
        result = result.with_(name, as_=part)
        query = query.join(name, join_type="left", using=_TOKEN).select(*selected)
    return names, result.with_("facts", as_=query, copy=False)


N = TypeVar("N", bound=Node)


def _named(prefix: str, nodes: set[N]) -> dict[N, str]:
    return {node: f"{prefix}{index}" for index, node in enumerate(sorted(nodes, key=repr))}


def _filled(node: Node, column: str, table: str) -> exp.Expr:
    """No rows are no events, a sum of 0 and "no"; only the time since and the property of an event are missing then."""
    found = exp.column(column, table)
    if isinstance(node, Recalled) or (isinstance(node, Behaviour) and node.measure == "days_since"):
        return found
    return exp.alias_(exp.Coalesce(this=found, expressions=[exp.Literal.number(0)]), column)


def _member_query(names: Columns, as_of: AsOf, table: str, customer_token: str | None) -> exp.Select:
    query = exp.select(exp.column(_TOKEN)).from_(exp.to_table(table)).group_by(exp.column(_TOKEN))
    for name, (column, _) in names.segments.items():
        rows = exp.Where(this=exp.column("segment").eq(exp.Literal.string(name)))
        member = exp.column("status").eq(exp.Literal.string("in"))
        query = query.select(exp.alias_(exp.Filter(this=exp.LogicalOr(this=member), expression=rows), column))
    query = query.where(exp.column("as_of").eq(day(as_of)))
    query = query.where(exp.column("segment").isin(*(exp.Literal.string(name) for name in names.segments)))
    if customer_token is not None:
        query = query.where(exp.column(_TOKEN).eq(exp.Literal.string(customer_token)))
    return query


def _member_state(column: str) -> exp.Expr:
    """A row with status 'in' is true, one with 'held' undecided (NULL), none is false."""
    found = exp.column(column, "member")
    state = exp.Case().when(found.copy(), exp.true()).when(_is_null(found.copy()), exp.false())
    return exp.alias_(state, column)


def _add_rules(
    query: exp.Select, names: Columns, as_of: AsOf, rules: Mapping[str, Rule], computed: Mapping[str, Rule]
) -> tuple[exp.Select, dict[object, str]]:
    """Add one common table expression a level of reference; each distinct condition is one column, computed once."""
    level_of_segment = levels(computed)
    level_of: dict[Rule, int] = {}
    for rule in [*computed.values(), *rules.values()]:
        below = [level_of_segment[name] for name in rule.segments if name in level_of_segment]
        level_of[rule] = 1 + max(below) if below else 0
    outcomes: dict[object, str] = {}
    source = "facts"
    for level in range(max(level_of.values(), default=-1) + 1):
        columns: list[exp.Expr] = [exp.Star()]
        translate = Translator(names, as_of)
        for rule in [rule for rule, found in level_of.items() if found == level]:
            if rule.condition not in outcomes:
                outcomes[rule.condition] = f"_r{len(outcomes)}"
                columns.append(exp.alias_(translate.condition(rule.condition), outcomes[rule.condition]))
        for name, rule in computed.items():
            if level_of[rule] == level:
                names.segments[name] = (outcomes[rule.condition], rule.unknown)
        query = query.with_(f"level_{level}", as_=exp.select(*columns).from_(source), copy=False)
        source = f"level_{level}"
    return query.from_(source, copy=False), outcomes


def _refuse_equal_names(names: Sequence[str]) -> None:
    seen: set[str] = set()
    for name in names:
        if name.lower() in seen:
            raise ProgramError(f"two columns of one evaluation are named '{name}' (case aside)")
        seen.add(name.lower())


def _is_null(operand: exp.Expr) -> exp.Expr:
    return exp.Is(this=operand, expression=exp.Null())
