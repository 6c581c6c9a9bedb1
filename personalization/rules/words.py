"""A rule said in two ways: as rule text again, laid out one way, and in plain words."""

from __future__ import annotations

from datetime import date

from personalization.rules import tree as t
from personalization.rules.catalog import EVENTS
from personalization.rules.parse import Rule, Value

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
    decided = not rule.fields and not rule.segments and all(b.measure != "days_since" for b in rule.behaviours)
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
        return (
            f"{EVENTS[node.behaviour.event].past}{_where_words(node.behaviour)}{times}{_window_words(node.behaviour)}"
        )
    if isinstance(node, t.InSegment):
        return f"is in segment '{node.name}'"
    return "everyone" if node.value else "nobody"


def _inner(node: t.Condition) -> str:
    return f"({condition_words(node)})" if isinstance(node, t.And | t.Or) else condition_words(node)


def _negated(node: t.Condition) -> str:
    if isinstance(node, t.InSegment):
        return f"is not in segment '{node.name}'"
    if isinstance(node, t.Known):
        return f"{scalar_words(node.operand)} is not known"
    if isinstance(node, t.Did) and node.at_least == 1:
        return f"never {condition_words(node)}" if node.behaviour.within is None else f"not: {condition_words(node)}"
    return f"not ({condition_words(node)})"


def scalar_words(node: t.Scalar) -> str:
    """A value as part of a sentence."""
    if isinstance(node, t.FieldRef):
        return node.title or node.name
    if isinstance(node, t.Constant):
        return constant_text(node.value)
    if isinstance(node, t.DayBefore):
        if node.days < 0:
            return f"{_days(-node.days)} after the day of evaluation"
        return f"{_days(node.days)} before the day of evaluation" if node.days else "the day of evaluation"
    if isinstance(node, t.Negative):
        return f"minus {scalar_words(node.operand)}"
    if isinstance(node, t.Arithmetic):
        sides = [
            f"({scalar_words(s)})" if isinstance(s, t.Arithmetic) else scalar_words(s) for s in (node.left, node.right)
        ]
        return f"{sides[0]} {_ARITHMETIC_WORDS[node.sign]} {sides[1]}"
    event = EVENTS[node.event]
    what = {
        "events": f"number of {event.noun}",
        "amount": f"amount of {event.noun}",
        "quantity": f"quantity of {event.noun}",
        "days_since": f"days since the last of {event.noun}",
    }[node.measure]
    return f"{what}{_where_words(node)}{_window_words(node)}"


def _operand_words(node: t.Scalar) -> str:
    return f"({scalar_words(node)})" if isinstance(node, t.Arithmetic) else scalar_words(node)


def _where_words(behaviour: t.Behaviour) -> str:
    return "".join(f" with {name.removesuffix('_id')} {value}" for name, value in behaviour.where)


def _window_words(behaviour: t.Behaviour) -> str:
    return "" if behaviour.within is None else f" in the {_days(behaviour.within)} before"


def _days(count: int) -> str:
    return "1 day" if count == 1 else f"{count} days"


def constant_text(value: int | float | str | bool | date) -> str:
    """A constant the way rules write it."""
    if isinstance(value, bool):
        return "TRUE" if value else "FALSE"
    if isinstance(value, str):
        return "'" + value.replace("'", "''") + "'"
    if isinstance(value, date):
        return f"DATE '{value.isoformat()}'"
    return repr(value)


# --- rule text -------------------------------------------------------------------------------------------------------


def to_text(node: t.Condition | t.Scalar) -> str:
    """Rule text that parses to an equal tree."""
    if isinstance(node, t.And | t.Or):
        joined = " AND " if isinstance(node, t.And) else " OR "
        return joined.join(_bracketed(each, t.And | t.Or) for each in node.operands)
    if isinstance(node, t.Not):
        return f"NOT {_bracketed(node.operand, t.And | t.Or | t.Comparison | t.Between | t.OneOf | t.Like)}"
    if isinstance(node, t.Comparison):
        return f"{to_text(node.left)} {node.sign} {to_text(node.right)}"
    if isinstance(node, t.Between):
        return f"{to_text(node.operand)} BETWEEN {to_text(node.low)} AND {to_text(node.high)}"
    if isinstance(node, t.OneOf):
        return f"{to_text(node.operand)} IN ({', '.join(to_text(each) for each in node.options)})"
    if isinstance(node, t.Like):
        return f"{to_text(node.operand)} LIKE {constant_text(node.pattern)}"
    if isinstance(node, t.Known):
        return f"known({to_text(node.operand)})"
    if isinstance(node, t.Holds):
        return node.operand.name
    if isinstance(node, t.InSegment):
        return f"in_segment({constant_text(node.name)})"
    if isinstance(node, t.Always | t.Constant):
        return constant_text(node.value)
    if isinstance(node, t.FieldRef):
        return node.name
    if isinstance(node, t.DayBefore):
        return "as_of" if node.days == 0 else f"days_ago({node.days})" if node.days > 0 else f"(as_of + {-node.days})"
    if isinstance(node, t.Negative):
        return f"-({to_text(node.operand)})"
    if isinstance(node, t.Arithmetic):
        return f"({to_text(node.left)} {node.sign} {to_text(node.right)})"
    return _call_text(node)


def _call_text(node: t.Did | t.Behaviour) -> str:
    behaviour, at_least = (node.behaviour, node.at_least) if isinstance(node, t.Did) else (node, 1)
    names = {"events": "count_of", "days_since": "days_since"}
    name = "did" if isinstance(node, t.Did) else names.get(behaviour.measure, "sum_of")
    arguments = [constant_text(behaviour.event)]
    if name == "sum_of":
        arguments.append(constant_text(behaviour.measure))
    arguments += [f"{key} => {constant_text(value)}" for key, value in behaviour.where]
    if behaviour.within is not None:
        arguments.append(f"within => '{_days(behaviour.within)}'")
    if at_least > 1:
        arguments.append(f"at_least => {at_least}")
    return f"{name}({', '.join(arguments)})"


def _bracketed(node: t.Condition, kinds: object) -> str:
    return f"({to_text(node)})" if isinstance(node, kinds) else to_text(node)  # type: ignore[arg-type]
