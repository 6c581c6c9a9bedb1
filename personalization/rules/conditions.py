"""One condition or scalar of a rule as a sqlglot expression over the columns of the query around it."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from datetime import date, timedelta

from sqlglot import exp

from personalization.as_of import AsOf
from personalization.rules import tree as t

_COMPARISONS: dict[str, type[exp.Binary]] = {
    "=": exp.EQ,
    "<>": exp.NEQ,
    "<": exp.LT,
    "<=": exp.LTE,
    ">": exp.GT,
    ">=": exp.GTE,
}
_ARITHMETIC: dict[str, type[exp.Binary]] = {"+": exp.Add, "-": exp.Sub, "*": exp.Mul, "/": exp.Div}


@dataclass
class Columns:
    """Where the surrounding query keeps what a rule speaks of.

    `past` has a column for each behaviour, moment and earlier membership; a segment's column comes with its `unknown`
    choice; `today` is the customer's own day.
    """

    fields: dict[str, str]
    past: dict[t.Node, str]
    segments: dict[str, tuple[str, t.Unknown]]
    today: str = "_today"


class Translator:
    """Translates nodes; a boolean result that is NULL means undecided."""

    def __init__(self, columns: Columns, as_of: AsOf) -> None:
        self.columns, self.as_of = columns, as_of

    def condition(self, node: t.Condition) -> exp.Expr:
        """A BOOLEAN expression."""
        if isinstance(node, t.And):
            return exp.and_(*(self.condition(each) for each in node.operands), copy=False)
        if isinstance(node, t.Or):
            return exp.or_(*(self.condition(each) for each in node.operands), copy=False)
        if isinstance(node, t.Not):
            return exp.Not(this=exp.Paren(this=self.condition(node.operand)))
        if isinstance(node, t.Comparison):
            return _COMPARISONS[node.sign](this=self.scalar(node.left), expression=self.scalar(node.right))
        if isinstance(node, t.Between):
            low, high = self.scalar(node.low), self.scalar(node.high)
            return exp.Between(this=self.scalar(node.operand), low=low, high=high)
        if isinstance(node, t.OneOf):
            return exp.In(this=self.scalar(node.operand), expressions=[self.scalar(each) for each in node.options])
        if isinstance(node, t.Like):
            return _like(self.scalar(node.operand), node.pattern)
        if isinstance(node, t.Known):
            return exp.Not(this=exp.Is(this=self.scalar(node.operand), expression=exp.Null()))
        if isinstance(node, t.Holds):
            return self.scalar(node.operand)
        if isinstance(node, t.Did):
            return exp.GTE(this=self.scalar(node.behaviour), expression=exp.Literal.number(node.at_least))
        if isinstance(node, t.Sequence | t.OpenedPrevious | t.WasInSegment):
            return exp.EQ(this=exp.column(self.columns.past[node]), expression=exp.Literal.number(1))
        if isinstance(node, t.InSegment):
            return self._in_segment(node.name)
        return exp.Boolean(this=node.value)

    def _in_segment(self, name: str) -> exp.Expr:
        column, unknown = self.columns.segments[name]
        if unknown == "hold":
            return exp.column(column)
        return exp.Coalesce(this=exp.column(column), expressions=[exp.Boolean(this=unknown == "include")])

    def scalar(self, node: t.Scalar) -> exp.Expr:
        """An expression of the node's type; arithmetic gives NULL instead of infinity."""
        if isinstance(node, t.FieldRef):
            return exp.column(self.columns.fields[node.name], quoted=True)
        if isinstance(node, t.Behaviour | t.Recalled):
            return exp.column(self.columns.past[node])
        if isinstance(node, t.Affinity):
            return self._double(node)
        if isinstance(node, t.DayBefore) and node.local:
            return exp.Paren(this=_moved(exp.column(self.columns.today), -node.days))
        if isinstance(node, t.DayBefore):
            return _date(self.as_of.day - timedelta(days=node.days))
        if isinstance(node, t.Constant):
            return _constant(node.value)
        if isinstance(node, t.Negative):
            return self._double(node)
        if node.type == "date":
            days = int(str(node.right.value)) if isinstance(node.right, t.Constant) else 0
            return _moved(self.scalar(node.left), days if node.sign == "+" else -days)
        if node.left.type == "date":
            left, right = self.scalar(node.left), self.scalar(node.right)
            return exp.DateDiff(this=left, expression=right, unit=exp.Var(this="DAY"))
        result = self._double(node)
        ends = [exp.cast(exp.Literal.string(repr(end)), "double") for end in (-sys.float_info.max, sys.float_info.max)]
        finite = exp.Between(this=result, low=ends[0], high=ends[1])
        return exp.Case().when(finite, result.copy())

    def _double(self, node: t.Scalar) -> exp.Expr:
        """A number as DOUBLE: whole-number arithmetic would overflow and fail."""
        if isinstance(node, t.Negative):
            return exp.Paren(this=exp.Neg(this=self._double(node.operand)))
        if isinstance(node, t.Affinity):
            whole = exp.Nullif(this=self._double(node.whole), expression=exp.Literal.number(0))
            return exp.Paren(this=exp.Div(this=self._double(node.part), expression=whole))
        if isinstance(node, t.Arithmetic) and node.left.type == "number":
            left, right = self._double(node.left), self._double(node.right)
            if node.sign == "/":
                right = exp.Nullif(this=right, expression=exp.Literal.number(0))
            return exp.Paren(this=_ARITHMETIC[node.sign](this=left, expression=right))
        return exp.cast(self.scalar(node), "double")


def _like(operand: exp.Expr, pattern: str) -> exp.Expr:
    """LIKE in which a backslash is a character like any other; in some engines it would take the next one's meaning."""
    if "\\" not in pattern:
        return exp.Like(this=operand, expression=exp.Literal.string(pattern))
    plain = exp.Like(this=operand, expression=exp.Literal.string(pattern.replace("!", "!!")))
    return exp.Escape(this=plain, expression=exp.Literal.string("!"))


def _constant(value: int | float | str | bool | date) -> exp.Expr:
    if isinstance(value, bool):
        return exp.Boolean(this=value)
    if isinstance(value, date):
        return _date(value)
    if isinstance(value, str):
        return exp.Literal.string(value)
    if isinstance(value, float):  # without an exponent the engine would read a DECIMAL of limited digits
        return exp.cast(exp.Literal.string(repr(value)), "double")
    return exp.Neg(this=exp.Literal.number(-value)) if value < 0 else exp.Literal.number(value)


def _moved(day: exp.Expr, days: int) -> exp.Expr:
    """A date some days later (negative: earlier)."""
    if days == 0:
        return day
    return exp.cast(exp.DateAdd(this=day, expression=exp.Literal.number(days), unit=exp.Var(this="DAY")), "date")


def _date(day: date) -> exp.Expr:
    return exp.cast(exp.Literal.string(day.isoformat()), "date")
