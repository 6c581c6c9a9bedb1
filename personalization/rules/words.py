"""A rule in plain words."""

from __future__ import annotations

from datetime import date

from personalization.rules import tree as t
from personalization.rules.parse import Rule, Value
from personalization.rules.text import constant_text
from personalization.rules.windows import length_text, window_text

_SIGN_WORDS = {
    "=": "is",
    "<>": "is known and is not",
    "<": "is less than",
    "<=": "is at most",
    ">": "is more than",
    ">=": "is at least",
}
_DATE_WORDS = {"<": "is before", "<=": "is on or before", ">": "is after", ">=": "is on or after"}
_ARITHMETIC_WORDS = {"+": "plus", "-": "minus", "*": "times", "/": "divided by"}
_UNKNOWN_WORDS = {
    "exclude": "People about whom this can't be decided are left out.",
    "include": "People about whom this can't be decided are taken in.",
    "hold": "People about whom this can't be decided are held aside.",
}


def describe(rule: Rule | Value) -> str:
    """A rule or value in words; for a rule with what happens to people about whom it can't be decided."""
    if isinstance(rule, Value):
        return scalar_words(rule.scalar)
    words = condition_words(rule.condition)
    missing = (t.FieldRef, t.InSegment, t.Recalled, t.Affinity)
    decided = not any(
        isinstance(node, missing) or (isinstance(node, t.Behaviour) and node.measure == "days_since")
        for node in rule.condition.walk()
    )
    return words if decided else f"{words}. {_UNKNOWN_WORDS[rule.unknown]}"


def condition_words(node: t.Condition) -> str:
    """A condition as part of a sentence about one customer."""
    if isinstance(node, t.And):
        return " and ".join(_inner(each) for each in node.operands)
    if isinstance(node, t.Or):
        return " or ".join(_inner(each) for each in node.operands)
    if isinstance(node, t.Not):
        return _negated(node.operand)
    if isinstance(node, t.Comparison):
        dates = node.left.type == "date"
        sign = _DATE_WORDS.get(node.sign, _SIGN_WORDS[node.sign]) if dates else _SIGN_WORDS[node.sign]
        return f"{scalar_words(node.left)} {sign} {scalar_words(node.right)}"
    if isinstance(node, t.Between):
        bounds = f"{scalar_words(node.low)} and {scalar_words(node.high)} (both included)"
        return f"{scalar_words(node.operand)} is between {bounds}"
    if isinstance(node, t.OneOf):
        return f"{scalar_words(node.operand)} is one of {', '.join(scalar_words(each) for each in node.options)}"
    if isinstance(node, t.Like):
        return f"{scalar_words(node.operand)} matches the pattern {scalar_words(t.Constant(node.pattern, 'text'))}"
    if isinstance(node, t.Known):
        return f"{scalar_words(node.operand)} is known"
    if isinstance(node, t.Holds):
        return f"{scalar_words(node.operand)} is true"
    if isinstance(node, t.Did):
        times = "" if node.at_least == 1 else f" at least {node.at_least} times"
        return f"{node.behaviour.about.past}{_where_words(node.behaviour)}{times}{_window_words(node.behaviour)}"
    if isinstance(node, t.Sequence):
        return _sequence_words(node)
    if isinstance(node, t.OpenedPrevious):
        within = f" within {length_text(node.minutes)} after it was sent" if node.minutes else ""
        return f"opened the last mail{within}"
    if isinstance(node, t.WasInSegment):
        when = f" in the {_days(node.within)} before" if node.within else " on some day before"
        return f"was in segment '{node.name}'{when}"
    if isinstance(node, t.InSegment):
        return f"is in segment '{node.name}'"
    return "everyone" if node.value else "nobody"


def _inner(node: t.Condition) -> str:
    return f"({condition_words(node)})" if isinstance(node, t.And | t.Or | t.Sequence) else condition_words(node)


def _sequence_words(node: t.Sequence) -> str:
    first, *later = node.steps
    words = f"{first.about.past}{_where_words(first)}{_window_words(first)}"
    for step in later:
        negated = "not: " if step.negated else ""
        after = f"within {length_text(step.window)} after that"
        words += f", and then, {after}, {negated}{step.about.past}{_where_words(step)}"
    return words


def _negated(node: t.Condition) -> str:
    if isinstance(node, t.InSegment):
        return f"is not in segment '{node.name}'"
    if isinstance(node, t.Known):
        return f"{scalar_words(node.operand)} is not known"
    if isinstance(node, t.WasInSegment):
        return f"was not in segment '{node.name}'{condition_words(node).partition(_quoted(node.name))[2]}"
    if isinstance(node, t.OpenedPrevious):
        return f"has not {condition_words(node)}"
    if isinstance(node, t.Did) and node.at_least == 1:
        ever = node.behaviour.within is None and node.behaviour.minutes is None
        return f"never {condition_words(node)}" if ever else f"not: {condition_words(node)}"
    return f"not ({condition_words(node)})"


def scalar_words(node: t.Scalar) -> str:
    """A value as part of a sentence."""
    if isinstance(node, t.FieldRef):
        return node.title or node.name
    if isinstance(node, t.Constant):
        return node.value.isoformat() if isinstance(node.value, date) else constant_text(node.value)
    if isinstance(node, t.DayBefore):
        evaluated = "the day of evaluation" + (" where the customer is" if node.local else "")
        if node.days < 0:
            return f"{_days(-node.days)} after {evaluated}"
        return f"{_days(node.days)} before {evaluated}" if node.days else evaluated
    if isinstance(node, t.Negative):
        return f"minus {scalar_words(node.operand)}"
    if isinstance(node, t.Arithmetic):
        sides = [
            f"({scalar_words(s)})" if isinstance(s, t.Arithmetic) else scalar_words(s) for s in (node.left, node.right)
        ]
        return f"{sides[0]} {_ARITHMETIC_WORDS[node.sign]} {sides[1]}"
    if isinstance(node, t.Affinity):
        name, value = node.part.where[0]
        return f"share of {name} {value} in the amount of {node.whole.about.noun}{_window_words(node.whole)}"
    event = node.about
    if isinstance(node, t.Recalled):
        order = "latest" if node.which == "last" else "first"
        return f"{node.key} of the {order} of {event.noun}{_where_words(node)}{_window_words(node)}"
    what = {
        "events": f"number of {event.noun}",
        "amount": f"amount of {event.noun}",
        "quantity": f"quantity of {event.noun}",
        "days_since": f"days since the last of {event.noun}",
    }[node.measure]
    return f"{what}{_where_words(node)}{_window_words(node)}"


def _operand_words(node: t.Scalar) -> str:
    return f"({scalar_words(node)})" if isinstance(node, t.Arithmetic) else scalar_words(node)


_Occasion = t.Behaviour | t.Recalled | t.Step


def _where_words(node: _Occasion) -> str:
    return "".join(f" with {name.removesuffix('_id')} {value}" for name, value in node.where)


def _window_words(node: _Occasion) -> str:
    if node.within is None and node.minutes is None:
        return ""
    theirs = " where the customer is" if node.local else ""
    return f" in the {window_text(node.within, node.minutes)} before{theirs}"


def _days(count: int) -> str:
    return window_text(count, None)


def _quoted(name: str) -> str:
    return f"'{name}'"
