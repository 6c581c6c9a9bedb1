"""The typed tree of a rule: our own frozen nodes, rebuilt from what was written; nothing else reaches a compiler.

Scalars have a `type`; conditions are true, false or undecided. Two nodes are equal when they mean the same, wherever
they were written, so that compilers can compute equal parts once.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, fields
from datetime import date
from typing import Literal

Type = Literal["number", "text", "date", "boolean"]
Unknown = Literal["exclude", "include", "hold"]
Measure = Literal["events", "amount", "quantity", "days_since"]
ComparisonSign = Literal["=", "<>", "<", "<=", ">", ">="]
ArithmeticSign = Literal["+", "-", "*", "/"]


@dataclass(frozen=True)
class Span:
    """A stretch of a rule's text: offsets of its first character and of the one after its last."""

    start: int
    end: int


NOWHERE = Span(0, 0)


class Node:
    """Base of all nodes."""

    def children(self) -> Iterator[Node]:
        """The nodes directly below, in the order written."""
        for each in fields(self):  # type: ignore[arg-type]
            value = getattr(self, each.name)
            if isinstance(value, Node):
                yield value
            elif isinstance(value, tuple):
                yield from (item for item in value if isinstance(item, Node))

    def walk(self) -> Iterator[Node]:
        """This node and all below it, parents first."""
        waiting: list[Node] = [self]
        while waiting:
            node = waiting.pop()
            yield node
            waiting.extend(reversed(list(node.children())))

    def depth(self) -> int:
        """How many nodes lie on the longest way down, counted without recursion."""
        deepest = 0
        waiting: list[tuple[Node, int]] = [(self, 1)]
        while waiting:
            node, depth = waiting.pop()
            deepest = max(deepest, depth)
            waiting.extend((child, depth + 1) for child in node.children())
        return deepest


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
    """The day `days` before `as_of` (0: `as_of` itself)."""

    days: int
    type: Type = "date"


@dataclass(frozen=True)
class Behaviour(Node):
    """An aggregate over one customer's days: rows of `event` with `where`, on the `within` days before `as_of`.

    Attributes
    ----------
    measure : {"events", "amount", "quantity", "days_since"}
        Number of events, sum of a column (both 0 without rows), or days since the last one (missing without rows).
    within : int or None
        Window in days; None is all of the past.
    where : tuple of (property, value)
        Sorted by property.
    """

    event: str
    measure: Measure = "events"
    within: int | None = None
    where: tuple[tuple[str, str], ...] = ()
    type: Type = "number"


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


Scalar = Constant | FieldRef | DayBefore | Behaviour | Arithmetic | Negative


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


Condition = Comparison | Between | OneOf | Like | Known | Holds | Did | InSegment | Always | Not | And | Or
