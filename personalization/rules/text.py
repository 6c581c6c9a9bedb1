"""A rule as text again, laid out one way."""

from __future__ import annotations

from datetime import date

from personalization.rules import tree as t
from personalization.rules.windows import length_text, window_text

_Occasion = t.Behaviour | t.Recalled | t.Step


def to_text(node: t.Condition | t.Scalar) -> str:
    """Rule text that parses to an equal tree."""
    if isinstance(node, t.And | t.Or):
        joined = " AND " if isinstance(node, t.And) else " OR "
        return joined.join(_bracketed(each, t.And | t.Or) for each in node.operands)
    if isinstance(node, t.Not):
        compound = t.And | t.Or | t.Comparison | t.Between | t.OneOf | t.Like | t.Sequence
        return f"NOT {_bracketed(node.operand, compound)}"
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
    if isinstance(node, t.WasInSegment):
        return f"was_in_segment({_listed([constant_text(node.name)], node)})"
    if isinstance(node, t.OpenedPrevious):
        within = "" if node.minutes is None else f"within => '{length_text(node.minutes)}'"
        return f"opened_previous_email({within})"
    if isinstance(node, t.Sequence):
        first, *later = [f"did({_listed([constant_text(step.event)], step)})" for step in node.steps]
        for step, text in zip(node.steps[1:], later, strict=True):
            first += f" THEN {'NOT ' if step.negated else ''}{text} WITHIN '{length_text(step.window)}'"
        return first
    if isinstance(node, t.Affinity):
        name, value = node.part.where[0]
        arguments = [constant_text(name), constant_text(value), _within_text(node.whole.within, node.whole.minutes)]
        return f"affinity({', '.join(filter(None, arguments))})"
    if isinstance(node, t.Recalled):
        return f"{node.which}({_listed([constant_text(node.event), constant_text(node.key)], node)})"
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
    often = f", at_least => {at_least}" if at_least > 1 else ""
    return f"{name}({_listed(arguments, behaviour)}{often})"


def _listed(arguments: list[str], node: _Occasion | t.WasInSegment) -> str:
    """Arguments of a call with those that narrow it."""
    minutes = None if isinstance(node, t.WasInSegment) else node.minutes
    where = () if isinstance(node, t.WasInSegment) else node.where
    narrowed = [f"{key} => {constant_text(value)}" for key, value in where]
    return ", ".join(filter(None, [*arguments, *narrowed, _within_text(node.within, minutes)]))


def _within_text(days: int | None, minutes: int | None) -> str:
    return "" if days is None and minutes is None else f"within => '{window_text(days, minutes)}'"


def _bracketed(node: t.Condition, kinds: object) -> str:
    return f"({to_text(node)})" if isinstance(node, kinds) else to_text(node)  # type: ignore[arg-type]


def constant_text(value: int | float | str | bool | date) -> str:
    """A constant the way rules write it."""
    if isinstance(value, bool):
        return "TRUE" if value else "FALSE"
    if isinstance(value, str):
        return "'" + value.replace("'", "''") + "'"
    if isinstance(value, date):
        return f"DATE '{value.isoformat()}'"
    return repr(value)
