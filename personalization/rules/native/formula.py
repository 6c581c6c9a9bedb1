"""What a platform's own segments can say about one contact: tests of single fields, joined by AND and OR, without NOT.

Two-valued: a test holds only for a contact whose field is known, unless it says `or_unknown`.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from dataclasses import field as setting
from datetime import date
from decimal import Decimal
from typing import Any, Literal

from personalization.rules.tree import Type

Value = str | Decimal | date
Sign = Literal["=", "<>", "<", "<=", ">", ">=", "like", "not like"]

OPPOSITE: dict[Sign, Sign] = {
    "=": "<>",
    "<>": "=",
    "<": ">=",
    "<=": ">",
    ">": "<=",
    ">=": "<",
    "like": "not like",
    "not like": "like",
}
_ORDERED: dict[str, Callable[[Any, Any], bool]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}


@dataclass(frozen=True)
class Test:
    """One field compared with constants.

    Attributes
    ----------
    field : str
        The profile field's name.
    kind : {"number", "text", "date", "boolean"}
        Values are Decimal, str, date; a boolean is the text `true` or `false`, as it is sent.
    sign : str
        `=`: any of `values`; `<>`: none of them; otherwise there is one value (a pattern for `like`).
    or_unknown : bool
        Also holds where the field is not known.
    clause : str
        The part of the rule it comes from.
    """

    field: str
    kind: Type
    sign: Sign
    values: tuple[Value, ...]
    or_unknown: bool = False
    clause: str = setting(default="", compare=False)


@dataclass(frozen=True)
class IsKnown:
    field: str
    kind: Type
    clause: str = setting(default="", compare=False)


@dataclass(frozen=True)
class IsUnknown:
    field: str
    kind: Type
    clause: str = setting(default="", compare=False)


@dataclass(frozen=True)
class AllOf:
    """Holds when all parts do; without parts always."""

    parts: tuple[Formula, ...] = ()


@dataclass(frozen=True)
class AnyOf:
    """Holds when any part does; without parts never."""

    parts: tuple[Formula, ...] = ()


Leaf = Test | IsKnown | IsUnknown
Formula = Leaf | AllOf | AnyOf
ALWAYS, NEVER = AllOf(), AnyOf()


def all_of(*parts: Formula) -> Formula:
    """AND, flattened; a part that always holds is left out."""
    found: dict[Formula, None] = {}
    for part in parts:
        if part == NEVER:
            return NEVER
        found.update(dict.fromkeys(part.parts if isinstance(part, AllOf) else (part,)))
    return next(iter(found)) if len(found) == 1 else AllOf(tuple(found))


def any_of(*parts: Formula) -> Formula:
    """OR, flattened; a part that never holds is left out."""
    found: dict[Formula, None] = {}
    for part in parts:
        if part == ALWAYS:
            return ALWAYS
        found.update(dict.fromkeys(part.parts if isinstance(part, AnyOf) else (part,)))
    return next(iter(found)) if len(found) == 1 else AnyOf(tuple(found))


def leaves(formula: Formula) -> Iterator[Leaf]:
    """All tests, in the order written."""
    if isinstance(formula, AllOf | AnyOf):
        for part in formula.parts:
            yield from leaves(part)
    else:
        yield formula


def holds(formula: Formula, values: Mapping[str, Value | None]) -> bool:
    """Whether it holds for a contact with these values; a field that is missing or None is not known."""
    if isinstance(formula, AllOf):
        return all(holds(part, values) for part in formula.parts)
    if isinstance(formula, AnyOf):
        return any(holds(part, values) for part in formula.parts)
    value = values.get(formula.field)
    if isinstance(formula, IsKnown):
        return value is not None
    if isinstance(formula, IsUnknown):
        return value is None
    return formula.or_unknown if value is None else _passes(formula, value)


def _passes(test: Test, value: Any) -> bool:
    if test.sign in ("=", "<>"):
        return (value in test.values) == (test.sign == "=")
    if test.sign in ("like", "not like"):
        return matches(str(test.values[0]), value) == (test.sign == "like")
    return _ORDERED[test.sign](value, test.values[0])


def reads_case(test: Test, text: str) -> bool:
    """Whether it decides otherwise about a text where upper and lower case are the same."""
    if test.kind != "text":
        return False
    lowered = replace(test, values=tuple(str(value).lower() for value in test.values))
    return _passes(test, text) != _passes(lowered, text.lower())


def matches(pattern: str, text: str) -> bool:
    """SQL's LIKE: `%` any characters, `_` one; upper and lower case differ."""
    reached = {0}
    for character in pattern:
        if character == "%":
            reached = set(range(min(reached), len(text) + 1)) if reached else reached
        else:
            reached = {at + 1 for at in reached if at < len(text) and character in ("_", text[at])}
    return len(text) in reached


Shape = Literal["exactly", "starts", "ends", "contains", "anything", "other"]


def shape_of(pattern: str) -> tuple[Shape, str]:
    """What a pattern asks for, and the text it asks for; `other` for patterns that need LIKE itself."""
    inner = pattern.strip("%")
    if "_" in pattern or "%" in inner:
        return "other", pattern
    if not inner:
        return ("anything" if pattern else "exactly"), ""
    begins, ends = pattern.startswith("%"), pattern.endswith("%")
    shapes: dict[tuple[bool, bool], Shape] = {
        (False, False): "exactly",
        (False, True): "starts",
        (True, False): "ends",
        (True, True): "contains",
    }
    return shapes[begins, ends], inner
