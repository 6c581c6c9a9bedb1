"""The typed tree of a rule: our own frozen nodes, rebuilt from what was written; nothing else reaches a compiler.

Scalars have a `type`; conditions are true, false or undecided. Two nodes are equal when they mean the same, wherever
they were written, so that compilers can compute equal parts once.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import date
from typing import Literal

from personalization.rules.node import NOWHERE as NOWHERE
from personalization.rules.node import Node as Node
from personalization.rules.node import Span as Span
from personalization.rules.node import Type as Type
from personalization.rules.past import Affinity as Affinity
from personalization.rules.past import Behaviour as Behaviour
from personalization.rules.past import Measure as Measure
from personalization.rules.past import Moment as Moment
from personalization.rules.past import OpenedPrevious as OpenedPrevious
from personalization.rules.past import Recalled as Recalled
from personalization.rules.past import Sequence as Sequence
from personalization.rules.past import Step as Step
from personalization.rules.past import WasInSegment as WasInSegment

Unknown = Literal["exclude", "include", "hold"]
ComparisonSign = Literal["=", "<>", "<", "<=", ">", ">="]
ArithmeticSign = Literal["+", "-", "*", "/"]


# --- scalars ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Constant(Node):
    """A literal; `value` is an int, float, str, bool or date, as `type` says."""

    value: int | float | str | bool | date
    type: Type


@dataclass(frozen=True)
class FieldRef(Node):
    """A column of the customer profile; `title` says in words what it holds."""

    name: str
    type: Type
    title: str = field(default="", compare=False)


@dataclass(frozen=True)
class DayBefore(Node):
    """The day `days` before `as_of` (0: `as_of` itself); with `local` the customer's day at its first instant."""

    days: int
    type: Type = "date"
    local: bool = False


@dataclass(frozen=True)
class Arithmetic(Node):
    """Missing when an operand is missing, on division by zero, and when the result is no finite number."""

    sign: ArithmeticSign
    left: Scalar
    right: Scalar
    type: Type = "number"


@dataclass(frozen=True)
class Negative(Node):
    operand: Scalar
    type: Type = "number"


Scalar = Constant | FieldRef | DayBefore | Behaviour | Affinity | Recalled | Arithmetic | Negative


# --- conditions ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Comparison(Node):
    """Undecided when a side is missing; `<>` therefore means known and different."""

    sign: ComparisonSign
    left: Scalar
    right: Scalar


@dataclass(frozen=True)
class Between(Node):
    """`operand >= low AND operand <= high`."""

    operand: Scalar
    low: Scalar
    high: Scalar


@dataclass(frozen=True)
class OneOf(Node):
    operand: Scalar
    options: tuple[Constant, ...]


@dataclass(frozen=True)
class Like(Node):
    """Text pattern: `%` any characters, `_` one character; upper and lower case differ."""

    operand: Scalar
    pattern: str


@dataclass(frozen=True)
class Known(Node):
    """Whether a value is there; always decided."""

    operand: Scalar


@dataclass(frozen=True)
class Holds(Node):
    """A boolean field used as a condition."""

    operand: FieldRef


@dataclass(frozen=True)
class Did(Node):
    """At least `at_least` events; always decided, because no event is knowledge too."""

    behaviour: Behaviour
    at_least: int = 1


@dataclass(frozen=True)
class InSegment(Node):
    """Membership of another segment; undecided only for people that segment holds."""

    name: str
    span: Span = field(default=NOWHERE, compare=False, repr=False)


@dataclass(frozen=True)
class Always(Node):
    """TRUE or FALSE."""

    value: bool


@dataclass(frozen=True)
class Not(Node):
    operand: Condition


@dataclass(frozen=True)
class And(Node):
    operands: tuple[Condition, ...]


@dataclass(frozen=True)
class Or(Node):
    operands: tuple[Condition, ...]


Past = Sequence | OpenedPrevious | WasInSegment
"""Conditions about the past that are always decided and answered from a column of their own."""

Condition = Comparison | Between | OneOf | Like | Known | Holds | Did | Past | InSegment | Always | Not | And | Or
