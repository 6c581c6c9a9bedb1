"""From sqlglot's tree to ours: only nodes named here pass, every other piece of SQL is refused with a reason.

Types are checked on the way. Both sides of each operator are always tried, so that one check names all mistakes.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from datetime import date
from functools import partial
from typing import NoReturn, TypeVar

from sqlglot import exp

from personalization.errors import did_you_mean, nearest
from personalization.rules import functions, syntax
from personalization.rules import tree as t
from personalization.rules.calls import Call, sequence
from personalization.rules.catalog import Catalog
from personalization.rules.problems import Source, collect, combined
from personalization.rules.refusals import mismatch, no_date, refusal, type_words
from personalization.rules.sequences import call_name

_COMPARISONS: dict[type, t.ComparisonSign] = {
    exp.EQ: "=",
    exp.NEQ: "<>",
    exp.LT: "<",
    exp.LTE: "<=",
    exp.GT: ">",
    exp.GTE: ">=",
}
_ARITHMETIC: dict[type, t.ArithmeticSign] = {exp.Add: "+", exp.Sub: "-", exp.Mul: "*", exp.Div: "/"}
_CONDITIONS = (*_COMPARISONS, exp.And, exp.Or, exp.Not, exp.Between, exp.In, exp.Like, exp.Is)
_LARGEST = 2**53  # whole numbers above are not exact in the engine's arithmetic
_DEEPEST = 200
_LISTED = "docs/write-a-segment.md lists all fields"
N = TypeVar("N", bound=t.Node)


class Builder:
    """Builds the tree of one rule or value. Every method raises `ProgramError` with all mistakes below its node."""

    def __init__(self, source: Source, catalog: Catalog) -> None:
        self.source, self.catalog = source, catalog

    def whole_condition(self) -> t.Condition:
        """The whole text as a condition."""
        return self._whole(self.condition)

    def whole_number(self) -> t.Scalar:
        """The whole text as an arithmetic expression."""
        return self._whole(self.number)

    def _whole(self, build: Callable[[exp.Expr], N]) -> N:
        too_deep = self.source.error(t.Span(0, len(self.source.text)), "the rule is nested too deeply")
        try:
            built = collect([lambda: build(syntax.read(self.source))])[0]
        except RecursionError:
            raise combined([too_deep]) from None
        if built.depth() > _DEEPEST:
            raise combined([too_deep])
        return built

    def wrong(self, where: exp.Expr, message: str, hint: str | None = None) -> NoReturn:
        """Raise the error for a node."""
        raise self.source.error(syntax.span_of(where, self.source), message, hint)

    # --- conditions ---------------------------------------------------------------------------------------------------

    def condition(self, node: exp.Expr) -> t.Condition:
        """A node where only true or false makes sense."""
        if isinstance(node, exp.Paren):
            return self.condition(node.this)
        if isinstance(node, exp.And | exp.Or):
            operands = list(node.flatten(unnest=False))
            found = tuple(collect([partial(self.condition, each) for each in operands]))
            return t.And(found) if isinstance(node, exp.And) else t.Or(found)
        if isinstance(node, exp.Not):
            return self._is(node.this, True) if isinstance(node.this, exp.Is) else t.Not(self.condition(node.this))
        if isinstance(node, exp.Boolean):
            return t.Always(bool(node.this))
        if type(node) in _COMPARISONS:
            return self._comparison(node)
        if isinstance(node, exp.Between):
            return self._between(node)
        if isinstance(node, exp.In):
            return self._one_of(node)
        if isinstance(node, exp.Like):
            return self._like(node)
        if isinstance(node, exp.Is):
            return self._is(node, False)
        if _is_call(node, functions.CONDITIONS):
            return self._condition_call(node)
        if syntax.is_sequence(node):
            return sequence(node, self.source, self.catalog)
        return self._field_as_condition(node)

    def _field_as_condition(self, node: exp.Expr) -> t.Holds:
        scalar = self.scalar(node)
        if isinstance(scalar, t.FieldRef) and scalar.type == "boolean":
            return t.Holds(scalar)
        example = f"{self._text(node)} > 0" if scalar.type == "number" else f"{self._text(node)} = …"
        self.wrong(node, f"{type_words(scalar.type)} stands where a condition must", f"compare it, such as {example}")

    def _comparison(self, node: exp.Expr) -> t.Condition:
        sign = _COMPARISONS[type(node)]
        for side, other in ((node.this, node.expression), (node.expression, node.this)):
            if isinstance(side, exp.Null):
                self._null(side, other, sign == "<>")
            if type(side) in _COMPARISONS:
                self.wrong(node, "comparisons can't be chained", "write a < b AND b < c")
        left, right = self._pair(node.this, node.expression)
        self._comparable(node, sign, left, right)
        self._within_share(node, left, right)
        return t.Comparison(sign, left, right)

    def _pair(self, left: exp.Expr, right: exp.Expr) -> tuple[t.Scalar, t.Scalar]:
        """Two operands; text written opposite a date is a date."""
        one, two = collect([partial(self.scalar, left), partial(self.scalar, right)])
        if two.type == "date":
            one = self._as_date(one, left)
        elif one.type == "date":
            two = self._as_date(two, right)
        return _alike(one, two), _alike(two, one)

    def _comparable(self, node: exp.Expr, sign: str, left: t.Scalar, right: t.Scalar) -> None:
        if left.type != right.type:
            self.wrong(node, *mismatch(left, right))
        if sign in ("=", "<>"):
            self._allowed_value(node, left, right)
        elif left.type == "text":
            self.wrong(node, f"{sign} does not order text", "text can be compared with =, <>, IN and LIKE")
        elif left.type == "boolean":
            self.wrong(node, f"{sign} does not order true and false", "write the condition alone, or NOT before it")

    def _allowed_value(self, node: exp.Expr, left: t.Scalar, right: t.Scalar) -> None:
        """Text opposite a field that has a fixed list of values must be one of them."""
        for reference, constant in ((left, right), (right, left)):
            if isinstance(reference, t.FieldRef) and isinstance(constant, t.Constant):
                values = self.catalog.fields[reference.name].values
                if values is not None and constant.value not in values:
                    guess = did_you_mean(str(constant.value), values)
                    listed = ", ".join(f"'{value}'" for value in values)
                    self.wrong(node, f"{reference.name} is never '{constant.value}' ({guess})", f"its values: {listed}")

    def _within_share(self, node: exp.Expr, left: t.Scalar, right: t.Scalar) -> None:
        """A share or chance is compared with a number from 0 to 1, not with per cents."""
        for reference, constant in ((left, right), (right, left)):
            if isinstance(reference, t.FieldRef) and isinstance(constant, t.Constant):
                share, value = self.catalog.fields[reference.name].share, constant.value
                if share and isinstance(value, int | float) and not 0 <= value <= 1:
                    hint = f"write {value / 100:g}" if 1 < value <= 100 else None
                    self.wrong(node, f"{reference.name} lies between 0 and 1, never at {value}", hint)

    def _between(self, node: exp.Between) -> t.Condition:
        if node.args.get("symmetric"):
            self.wrong(node, "BETWEEN SYMMETRIC is not part of the rule language")
        pairs = [partial(self._pair, node.this, node.args[end]) for end in ("low", "high")]
        (operand, low), (_, high) = collect(pairs)
        for bound in (low, high):
            self._comparable(node, "BETWEEN", operand, bound)
            self._within_share(node, operand, bound)
        if isinstance(low, t.Constant) and isinstance(high, t.Constant) and low.value > high.value:  # type: ignore[operator]
            self.wrong(node, "nothing lies between these: the first bound is above the second", "swap them")
        return t.Between(operand, low, high)

    def _one_of(self, node: exp.In) -> t.Condition:
        if any(node.args.get(key) for key in ("query", "unnest", "field")):
            self.wrong(node, "IN takes a list of values in brackets", "such as IN ('A', 'B')")
        if not node.expressions:
            self.wrong(node, "the list after IN is empty")
        operand = self.scalar(node.this)
        return t.OneOf(operand, tuple(collect([partial(self._option, operand, each) for each in node.expressions])))

    def _option(self, operand: t.Scalar, node: exp.Expr) -> t.Constant:
        option = self.scalar(node)
        if operand.type == "date":
            option = self._as_date(option, node)
        if not isinstance(option, t.Constant):
            self.wrong(node, "IN takes only constants", "write the other cases with OR")
        self._comparable(node, "=", operand, option)
        return _alike(option, operand)  # type: ignore[return-value]

    def _like(self, node: exp.Like) -> t.Condition:
        operand, pattern = collect([partial(self.scalar, node.this), partial(self.scalar, node.expression)])
        if operand.type != "text":
            self.wrong(node, f"LIKE needs text; this is {type_words(operand.type)}")
        if not isinstance(pattern, t.Constant) or not isinstance(pattern.value, str):
            self.wrong(node.expression, "LIKE needs a quoted pattern", "such as LIKE 'FLO%'")
        like = t.Like(operand, str(_alike(pattern, operand).value))  # type: ignore[union-attr]
        return t.Not(like) if node.args.get("negate") else like

    def _is(self, node: exp.Expr, negated: bool) -> NoReturn:
        if isinstance(node.expression, exp.Null):
            self._null(node.expression, node.this, negated)
        self.wrong(node, "IS is not part of the rule language", "write the condition alone, or NOT before it")

    def _null(self, node: exp.Expr, operand: exp.Expr, negated: bool) -> NoReturn:
        call = f"known({self._text(operand)})"
        self.wrong(node, "NULL is not part of the rule language", f"write {call if negated else f'NOT {call}'}")

    def _condition_call(self, node: exp.Expr) -> t.Condition:
        if call_name(str(node.this)) == "known":
            if len(node.expressions) != 1:
                self.wrong(node, "known(…) takes one field", "such as known(age_band)")
            asked = self.scalar(node.expressions[0])
            if isinstance(asked, t.Constant) and asked.type == "text":
                self.wrong(node, "known(…) takes a field; text is always known", f"write known({asked.value})")
            return t.Known(asked)
        return Call(node, self.source, self.catalog).condition()

    # --- scalars ------------------------------------------------------------------------------------------------------

    def number(self, node: exp.Expr) -> t.Scalar:
        """A scalar that must be a number."""
        scalar = self.scalar(node)
        if scalar.type != "number":
            self.wrong(node, f"a number must stand here; this is {type_words(scalar.type)}")
        return scalar

    def scalar(self, node: exp.Expr) -> t.Scalar:
        """A node where a value must stand."""
        if isinstance(node, exp.Paren):
            return self.scalar(node.this)
        if isinstance(node, exp.Literal):
            return self._literal(node)
        if isinstance(node, exp.Boolean):
            return t.Constant(bool(node.this), "boolean")
        if isinstance(node, exp.Column):
            return self._column(node)
        if isinstance(node, exp.Neg):
            operand = self.number(node.this)
            if isinstance(operand, t.Constant):
                return t.Constant(-operand.value, "number")  # type: ignore[operator]
            return t.Negative(operand)
        if type(node) in _ARITHMETIC:
            return self._arithmetic(node)
        if isinstance(node, exp.Cast) and isinstance(node.this, exp.Literal) and node.to.is_type("date"):
            return self._as_date(self._literal(node.this), node)
        if _is_call(node, functions.SCALARS):
            return Call(node, self.source, self.catalog).scalar()
        if isinstance(node, _CONDITIONS) or _is_call(node, functions.CONDITIONS) or syntax.is_sequence(node):
            self.wrong(node, "a condition stands where a value must", self._for_condition(node))
        raise self.source.error(syntax.name_span(node, self.source), *refusal(node, self._text(node)))

    def _for_condition(self, node: exp.Expr) -> str:
        """What to write in place of a condition that is compared or computed with."""
        parent = node.parent
        if isinstance(parent, exp.EQ | exp.NEQ) and isinstance(parent.expression, exp.Boolean):
            return "write it alone, or NOT before it"
        if isinstance(node, exp.Anonymous) and call_name(str(node.this)) == "did":
            return "count_of(…) gives a number, did(…, at_least => 2) asks for more than once"
        return "join conditions with AND, OR, NOT"

    def _literal(self, node: exp.Literal) -> t.Constant:
        text = str(node.this)
        if node.is_string:
            if any(ord(character) < 32 for character in text):
                self.wrong(node, "text can't hold control characters")
            return t.Constant(text, "text")
        try:
            number = int(text) if text.isdigit() else float(text)
        except ValueError:  # the tokenizer takes 1E for a number
            self.wrong(node, f"{text} is not a number")
        if not math.isfinite(number) or (isinstance(number, int) and number > _LARGEST):
            self.wrong(node, f"the number {text} is too large")
        return t.Constant(number, "number")

    def _column(self, node: exp.Column) -> t.Scalar:
        identifier = node.this
        if node.args.get("table") or not isinstance(identifier, exp.Identifier):
            self.wrong(node, f"'{self._text(node)}' is no field", "write the field's name alone, without a prefix")
        name = identifier.name if identifier.quoted else identifier.name.lower()
        if name == "as_of":
            return t.DayBefore(0, local=self.catalog.local_days)
        found = self.catalog.fields.get(name)
        if found:
            return t.FieldRef(name, found.type, found.title)
        match = nearest(name, self.catalog.fields)
        hint = _LISTED if match is None else None
        if identifier.quoted:
            hint = f"text is written in single quotes: '{name}'"
        elif name in functions.USAGE:
            hint = f"it is a function: {functions.USAGE[name]}"
        elif match is None and node.parent is not None and node.parent.args.get("expression") is node:
            hint = f"text is written in single quotes: '{identifier.name}'; {_LISTED}"
        self.wrong(node, f"unknown field '{identifier.name}'" + (f" (did you mean '{match}'?)" if match else ""), hint)

    def _arithmetic(self, node: exp.Expr) -> t.Scalar:
        sign = _ARITHMETIC[type(node)]
        left, right = self._pair(node.this, node.expression)
        types = (left.type, right.type)
        if types == ("number", "number"):
            if sign == "/" and isinstance(right, t.Constant) and right.value == 0:
                self.wrong(node, "a division by 0 never gives a number")
            return t.Arithmetic(sign, left, right)
        if types == ("date", "date") and sign == "-":
            return t.Arithmetic(sign, left, right, "number")
        if types == ("date", "number") and sign in ("+", "-"):
            return self._moved_date(node, sign, left, right)
        self.wrong(node, f"{type_words(left.type)} {sign} {type_words(right.type)} has no meaning")

    def _moved_date(self, node: exp.Expr, sign: t.ArithmeticSign, left: t.Scalar, right: t.Scalar) -> t.Scalar:
        days = right.value if isinstance(right, t.Constant) else None
        if not isinstance(days, int) or abs(days) > functions.MOST_DAYS:
            self.wrong(node, "a date moves by a whole number of days", "such as as_of - 30")
        if isinstance(left, t.DayBefore):
            moved = left.days + (days if sign == "-" else -days)
            if abs(moved) <= functions.MOST_DAYS:
                return t.DayBefore(moved, local=left.local)
        return t.Arithmetic(sign, left, right, "date")

    def _as_date(self, scalar: t.Scalar, node: exp.Expr) -> t.Scalar:
        if not isinstance(scalar, t.Constant) or scalar.type != "text":
            return scalar
        try:
            return t.Constant(date.fromisoformat(str(scalar.value)), "date")
        except ValueError:
            self.wrong(node, f"'{scalar.value}' is not a date", no_date(str(scalar.value)))

    def _text(self, node: exp.Expr) -> str:
        span = syntax.span_of(node, self.source)
        return self.source.text[span.start : span.end]


def _alike(scalar: t.Scalar, other: t.Scalar) -> t.Scalar:
    """Text opposite a property that is compared in upper case, in upper case."""
    upper = isinstance(other, t.Recalled) and other.about.properties[other.key].upper
    if upper and isinstance(scalar, t.Constant) and isinstance(scalar.value, str):
        return t.Constant(scalar.value.upper(), scalar.type)
    return scalar


def _is_call(node: exp.Expr, names: tuple[str, ...]) -> bool:
    return isinstance(node, exp.Anonymous) and call_name(str(node.this)) in names
