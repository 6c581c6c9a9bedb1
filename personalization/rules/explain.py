"""Why a rule holds for one customer, or not: each clause with the value found and its outcome."""

from __future__ import annotations

import math
import operator
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date, timedelta
from decimal import Decimal
from typing import Any

from personalization.as_of import AsOf
from personalization.rules import tree as t
from personalization.rules.compile import CUSTOMER_DAY, HISTORY, MEMBERSHIP, MOMENTS, PROFILE, Tables, facts
from personalization.rules.last_mail import MAIL
from personalization.rules.parse import Rule, Value
from personalization.rules.syntax import DIALECT
from personalization.rules.text import to_text
from personalization.rules.words import condition_words, scalar_words
from personalization.warehouse import Session

_COMPARE: Mapping[str, Callable[[Any, Any], bool]] = {
    "=": operator.eq,
    "<>": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
_COMPUTE: Mapping[str, Callable[[float, float], float]] = {
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
    "/": operator.truediv,
}
_OUTCOME_WORDS = {True: "yes", False: "no", None: "undecided"}


@dataclass(frozen=True)
class Facts:
    """What rules know about one customer at `as_of`. None is a missing value; for a segment it means held."""

    as_of: AsOf
    customer_token: str
    fields: Mapping[str, Any]
    past: Mapping[t.Node, Any]
    segments: Mapping[str, bool | None]
    today: date | None = None

    @property
    def customer_day(self) -> date:
        """The day it is for the customer at the first instant of the `as_of` day."""
        return self.today or self.as_of.day


@dataclass(frozen=True)
class Trace:
    """The outcome of one clause for one customer.

    Attributes
    ----------
    text, words : str
        The clause as rule text and in words.
    outcome : bool or None
        None is undecided.
    value : str
        The values found, in words; empty for clauses that only join others.
    holds : bool
        The outcome after the rule's choice for undecided people.
    """

    text: str
    words: str
    outcome: bool | None
    value: str = ""
    holds: bool = False
    children: tuple[Trace, ...] = field(default_factory=tuple)

    def lines(self, depth: int = 0) -> Iterator[str]:
        """One line a clause, indented by depth."""
        found = f"   ({self.value})" if self.value else ""
        yield f"{'  ' * depth}{_OUTCOME_WORDS[self.outcome]:<9} {self.text}{found}"
        for child in self.children:
            yield from child.lines(depth + 1)

    def __str__(self) -> str:
        return "\n".join(self.lines())


def gather_facts(
    session: Session,
    rules: Iterable[Rule | Value],
    as_of: AsOf,
    customer_token: str,
    *,
    membership: str = MEMBERSHIP,
    profile: str = PROFILE,
    customer_day: str = CUSTOMER_DAY,
    moments: str = MOMENTS,
    history: str = HISTORY,
) -> Facts | None:
    """Read what the rules need about one customer, with one query; None when the profile has no such customer."""
    rules = list(rules)
    segments = sorted({name for rule in rules for name in rule.segments})
    tables = Tables(profile, customer_day, moments, history, membership)
    beside = [Value("", each) for rule in rules for node in rule.root.walk() for each in _beside(node)]
    names, query = facts([*rules, *beside], as_of, segments, tables, customer_token=customer_token)
    rows = session.arrow(query.select("*").sql(dialect=DIALECT)).to_pylist()
    if not rows:
        return None
    row = rows[0]
    return Facts(
        as_of,
        customer_token,
        {name: _plain(row[column]) for name, column in names.fields.items()},
        {node: row[column] for node, column in names.past.items()},
        {name: row[column] for name, (column, _) in names.segments.items()},
        row.get(names.today),
    )


def explain(rule: Rule, facts: Facts) -> Trace:
    """The outcome of each clause of a rule for one customer."""
    return _trace(rule.condition, facts, undecided_holds=rule.unknown == "include")


def evaluate_value(value: Value, facts: Facts) -> float | None:
    """A value for one customer; None when something it needs is missing."""
    found = _scalar(value.scalar, facts)
    return None if found is None else float(found)


def _trace(node: t.Condition, facts: Facts, *, undecided_holds: bool) -> Trace:
    children = tuple(
        _trace(child, facts, undecided_holds=undecided_holds)
        for child in node.children()
        if isinstance(child, t.Condition)
    )
    outcome = _outcome(node, [child.outcome for child in children], facts)
    holds = undecided_holds if outcome is None else outcome
    return Trace(to_text(node), condition_words(node), outcome, _found(node, facts), holds, children)


def _outcome(node: t.Condition, below: list[bool | None], facts: Facts) -> bool | None:
    if isinstance(node, t.And):
        return False if False in below else None if None in below else True
    if isinstance(node, t.Or):
        return True if True in below else None if None in below else False
    if isinstance(node, t.Not):
        return None if below[0] is None else not below[0]
    if isinstance(node, t.Known):
        return _scalar(node.operand, facts) is not None
    if isinstance(node, t.InSegment):
        return facts.segments[node.name]
    if isinstance(node, t.Always):
        return node.value
    if isinstance(node, t.Between):
        value = _scalar(node.operand, facts)
        sides = [_compare(">=", value, _scalar(node.low, facts)), _compare("<=", value, _scalar(node.high, facts))]
        return False if False in sides else None if None in sides else True
    if isinstance(node, t.Comparison):
        return _compare(node.sign, _scalar(node.left, facts), _scalar(node.right, facts))
    if isinstance(node, t.Did):
        return _compare(">=", facts.past[node.behaviour], node.at_least)
    if isinstance(node, t.Sequence | t.OpenedPrevious | t.WasInSegment):
        return bool(facts.past[node] == 1)
    value = _scalar(node.operand, facts)
    if value is None:
        return None
    if isinstance(node, t.OneOf):
        return value in [option.value for option in node.options]
    if isinstance(node, t.Like):
        parts = (".*" if c == "%" else "." if c == "_" else re.escape(c) for c in node.pattern)
        return re.fullmatch("".join(parts), str(value), re.DOTALL) is not None
    return bool(value)


def _compare(sign: str, left: Any, right: Any) -> bool | None:
    return None if left is None or right is None else _COMPARE[sign](left, right)


def _scalar(node: t.Scalar, facts: Facts) -> Any:
    if isinstance(node, t.Constant):
        return node.value
    if isinstance(node, t.FieldRef):
        return facts.fields[node.name]
    if isinstance(node, t.Behaviour | t.Recalled):
        return facts.past[node]
    if isinstance(node, t.Affinity):
        whole = float(_scalar(node.whole, facts))
        return float(_scalar(node.part, facts)) / whole if whole else None
    if isinstance(node, t.DayBefore):
        return (facts.customer_day if node.local else facts.as_of.day) - timedelta(days=node.days)
    if isinstance(node, t.Negative):
        operand = _scalar(node.operand, facts)
        return None if operand is None else -operand
    left, right = _scalar(node.left, facts), _scalar(node.right, facts)
    if left is None or right is None:
        return None
    if isinstance(left, date):
        moved = left - (timedelta(days=right) if not isinstance(right, date) else right) if node.sign == "-" else None
        moved = moved if moved is not None else left + timedelta(days=right)
        return moved.days if isinstance(moved, timedelta) else moved
    if node.sign == "/" and right == 0:
        return None
    result = _COMPUTE[node.sign](float(left), float(right))
    return result if math.isfinite(result) else None


def _beside(node: t.Node) -> Iterator[t.Behaviour]:
    """What is told beside a clause that asks for more than a value: when its events happened last."""
    if isinstance(node, t.OpenedPrevious):
        yield from (t.Behaviour(event, "days_since") for event in MAIL)
    if isinstance(node, t.Sequence):
        local = node.steps[0].local
        yield from (
            t.Behaviour(step.event, "days_since", where=step.where, local=local, kind=step.kind) for step in node.steps
        )


def _found(node: t.Condition, facts: Facts) -> str:
    """The values a clause looked at, each once."""
    if isinstance(node, t.And | t.Or | t.Not | t.Always | t.WasInSegment):
        return ""
    if isinstance(node, t.InSegment):
        return {True: "is a member", False: "is no member", None: "is held there"}[facts.segments[node.name]]
    shown = []
    kinds = (t.FieldRef, t.Behaviour, t.Affinity, t.Recalled)
    looked_at = [n for n in node.walk() if isinstance(n, kinds)]
    for each in dict.fromkeys([*looked_at, *_beside(node)]):
        value = _scalar(each, facts)
        if isinstance(each, t.Behaviour) and each.measure == "days_since" and value is None:
            shown.append(f"no {each.about.noun}")
        else:
            shown.append(f"{scalar_words(each)}: {'missing' if value is None else _shown(value)}")
    return "; ".join(shown)


def _shown(value: Any) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _plain(value: Any) -> Any:
    return float(value) if isinstance(value, Decimal) else value
