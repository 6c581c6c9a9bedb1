"""A rule, which is true, false or undecided about each person, as a formula that holds or does not, without NOT.

Four questions are asked of a condition: is it true, is it not false, is it false, is it not true. NOT turns one into
another, so that it disappears; `unknown: include` asks whether the rule is not false, the other choices whether it is
true. A segment that is referred to is put in its place, with its own choice.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, timedelta
from decimal import Decimal
from enum import Enum
from itertools import product

from personalization.as_of import AsOf
from personalization.rules import tree as t
from personalization.rules.native import formula as f
from personalization.rules.native.reasons import Inexpressible, Reason, refuse
from personalization.rules.parse import Rule
from personalization.rules.text import to_text

MOST_TESTS = 1_000
LARGEST = Decimal(10) ** 14  # decimals at platforms have 18 digits, four of them after the point
_MIRRORED: dict[str, f.Sign] = {"=": "=", "<>": "<>", "<": ">", "<=": ">=", ">": "<", ">=": "<="}


class _Ask(Enum):
    """A question: which way the condition must be decided, and whether undecided will do too."""

    TRUE = (True, False)
    NOT_FALSE = (True, True)
    FALSE = (False, False)
    NOT_TRUE = (False, True)

    @property
    def positive(self) -> bool:
        return self.value[0]

    @property
    def or_unknown(self) -> bool:
        return self.value[1]

    @property
    def of_negated(self) -> _Ask:
        return _Ask((not self.positive, self.or_unknown))


@dataclass(frozen=True)
class Normal:
    """A segment as a formula. `rolling` says that it names a day counted from `as_of`, so it differs every day."""

    formula: f.Formula
    rolling: bool


@dataclass
class _Reader:
    segments: Mapping[str, Rule]
    held: frozenset[str]
    as_of: AsOf
    reasons: list[Reason] = field(default_factory=list)
    inside: list[str] = field(default_factory=list)
    rolling: bool = False
    tests: int = 0

    def segment(self, name: str, ask_true: bool, undecided_stays: bool = False, or_unknown: bool = False) -> f.Formula:
        """Whether somebody is (not) in a segment, after its choice for the undecided."""
        rule = self.segments[name]
        if name in self.held:
            self.inside.append(name)
            self._refuse("held", "below its `min_completeness` the segment keeps the members of an earlier day")
            self.inside.pop()
        if rule.unknown != "hold" or not undecided_stays:
            # decided for everybody: included when not false, or when true
            takes_unknown = rule.unknown == "include"
            or_unknown = takes_unknown if ask_true else not takes_unknown
        self.inside.append(name)
        found = self.condition(rule.condition, _Ask((ask_true, or_unknown)))
        self.inside.pop()
        return found

    def condition(self, node: t.Condition, ask: _Ask) -> f.Formula:
        if isinstance(node, t.Not):
            return self.condition(node.operand, ask.of_negated)
        if isinstance(node, t.And | t.Or):
            join = f.all_of if isinstance(node, t.And) == ask.positive else f.any_of
            return join(*(self.condition(each, ask) for each in node.operands))
        if isinstance(node, t.Always):
            return f.ALWAYS if node.value == ask.positive else f.NEVER
        if isinstance(node, t.InSegment):
            return self.segment(node.name, ask.positive, True, ask.or_unknown)
        self.tests += 1
        if self.tests > MOST_TESTS:
            raise refuse("size", f"with the segments it refers to it makes more than {MOST_TESTS} comparisons")
        return self._leaf(node, ask)

    def _leaf(self, node: t.Condition, ask: _Ask) -> f.Formula:
        clause = to_text(node)
        if isinstance(node, t.Known):
            if not isinstance(node.operand, t.FieldRef):
                return self._not_a_field(node.operand, clause)
            return (f.IsKnown if ask.positive else f.IsUnknown)(node.operand.name, node.operand.type, clause)
        if isinstance(node, t.Comparison):
            return self._comparison(node.left, node.sign, node.right, ask, clause)
        if isinstance(node, t.Between):
            low = self._comparison(node.operand, ">=", node.low, ask, clause)
            high = self._comparison(node.operand, "<=", node.high, ask, clause)
            return f.all_of(low, high) if ask.positive else f.any_of(low, high)
        if isinstance(node, t.OneOf):
            return self._test(node.operand, "=", tuple(self._value(one) for one in node.options), ask, clause)
        if isinstance(node, t.Like):
            return self._test(node.operand, "like", (node.pattern,), ask, clause)
        if isinstance(node, t.Holds):
            return self._test(node.operand, "=", ("true",), ask, clause)
        return self._refuse("behaviour", "it looks at what people did, and no destination is sent that", clause)

    def _comparison(self, left: t.Scalar, sign: f.Sign, right: t.Scalar, ask: _Ask, clause: str) -> f.Formula:
        fixed = (t.Constant, t.DayBefore)
        if any(getattr(side, "local", False) for side in (left, right)):
            return self._refuse("platform", "it counts days in each customer's own time zone", clause)
        if isinstance(left, fixed) and isinstance(right, fixed):
            test = f.Test("_", right.type, sign, (self._value(right),))
            return f.ALWAYS if f.holds(test, {"_": self._value(left)}) == ask.positive else f.NEVER
        if isinstance(left, fixed):
            left, sign, right = right, _MIRRORED[sign], left
        if isinstance(left, t.FieldRef) and isinstance(right, t.FieldRef):
            return self._refuse("two_fields", "it compares two fields with each other", clause)
        if not isinstance(right, fixed):
            return self._not_a_field(right, clause)
        return self._test(left, sign, (self._value(right),), ask, clause)

    def _test(self, operand: t.Scalar, sign: f.Sign, values: tuple[f.Value, ...], ask: _Ask, clause: str) -> f.Formula:
        if not isinstance(operand, t.FieldRef):
            return self._not_a_field(operand, clause)
        if any(isinstance(value, Decimal) and abs(value) >= LARGEST for value in values):
            return self._refuse("platform", f"the number is not below {LARGEST:,}", clause)
        asked = sign if ask.positive else f.OPPOSITE[sign]
        return f.Test(operand.name, operand.type, asked, values, ask.or_unknown, clause)

    def _value(self, node: t.Scalar) -> f.Value:
        if isinstance(node, t.DayBefore):
            self.rolling = True
            return self.as_of.day - timedelta(days=node.days)
        assert isinstance(node, t.Constant)
        if isinstance(node.value, bool):
            return "true" if node.value else "false"
        return node.value if isinstance(node.value, str | date) else Decimal(repr(node.value))

    def _not_a_field(self, node: t.Scalar, clause: str) -> f.Formula:
        if isinstance(node, t.Arithmetic | t.Negative) and not any(isinstance(n, t.Behaviour) for n in node.walk()):
            return self._refuse("arithmetic", "it calculates", clause)
        if isinstance(node, t.Constant | t.DayBefore | t.FieldRef):
            return self._refuse("two_fields", "it compares no field with a constant", clause)
        return self._refuse("behaviour", "it looks at what people did, and no destination is sent that", clause)

    def _refuse(self, kind: str, text: str, clause: str = "") -> f.Formula:
        self.reasons.append(Reason(kind, text, clause, self.inside[-1]))  # type: ignore[arg-type]
        return f.NEVER


def normal_form(name: str, segments: Mapping[str, Rule], held: frozenset[str], as_of: AsOf) -> Normal:
    """A segment as a formula over profile fields.

    Parameters
    ----------
    segments : mapping of name to Rule
        All of the program, without circles.
    held : frozenset of str
        Segments that can keep the members of another day, because they have a `min_completeness`.

    Raises
    ------
    Inexpressible
        With every clause that stands in the way.
    """
    reader = _Reader(segments, held, as_of)
    found = reader.segment(name, ask_true=True)
    if reader.reasons:
        raise Inexpressible(reader.reasons)
    return Normal(found, reader.rolling)


Conjunction = tuple[f.Leaf, ...]


def any_of_alls(formula: f.Formula, most: int) -> list[Conjunction]:
    """The same as an OR of ANDs of tests, without those that another one covers.

    Raises
    ------
    Inexpressible
        It would be more than `most` ANDs.
    """
    found = [tuple(dict.fromkeys(each)) for each in _alternatives(formula, most)]
    kept: list[Conjunction] = []
    for each in sorted(dict.fromkeys(found), key=len):
        if not any(set(other) <= set(each) for other in kept):
            kept.append(each)
    order = {each: index for index, each in enumerate(found)}
    return sorted(kept, key=order.__getitem__)


def _alternatives(formula: f.Formula, most: int) -> list[Conjunction]:
    if isinstance(formula, f.AnyOf):
        found = [each for part in formula.parts for each in _alternatives(part, most)]
    elif isinstance(formula, f.AllOf):
        found = [()]
        for part in formula.parts:
            further = _alternatives(part, most)
            if len(found) * len(further) > most:
                raise _too_many(most)
            found = [(*one, *other) for one, other in product(found, further)]
    else:
        found = [(formula,)]
    if len(found) > most:
        raise _too_many(most)
    return found


def _too_many(most: int) -> Inexpressible:
    return refuse("size", f"written as groups of conditions of which one must hold, it is more than {most} groups")
