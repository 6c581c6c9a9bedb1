"""Mailchimp's own segments: one flat list of conditions, of which all or any must hold; at most five.

Source: Mailchimp's Marketing API (`options: {match, conditions}`; TextMerge, DateMerge and their `op`s) and its help
("you can choose a single condition or combine up to 5"). It does not say whether a blank field passes `not`,
`notcontain`, or `less` than a positive number; so nothing here depends on it.
"""

from __future__ import annotations

from datetime import date, timedelta
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal
from typing import Any

from personalization.rules.native import formula as f
from personalization.rules.native.normal_form import Conjunction, any_of_alls
from personalization.rules.native.reasons import refuse
from personalization.rules.native.sent import Sent

MOST_CONDITIONS = 5
GRID = Decimal("0.0001")  # numbers are sent with four decimals
_TEXT_OPS = {"exactly": "is", "starts": "starts", "ends": "ends", "contains": "contains"}


def conditions(formula: f.Formula, sent: Sent) -> dict[str, Any]:
    """The `options` of a segment.

    Raises
    ------
    Inexpressible
        Mailchimp has no such condition, or no way to join them so.
    """
    groups = any_of_alls(_as_conditions(formula), most=200)
    if not groups:  # nobody: on this day, or ever
        marker = sent.needed_marker
        return {
            "match": "all",
            "conditions": [_plain("TextMerge", marker, "blank"), _plain("TextMerge", marker, "blank_not")],
        }
    if len(groups) == 1:
        found = _all(groups[0], sent)
        match = "all"
    elif all(len(group) == 1 for group in groups):
        found = _any([group[0] for group in groups], sent)
        match = "any"
    else:
        raise refuse(
            "shape",
            "it joins conditions by both AND and OR, and a Mailchimp segment has one list of conditions, of which all "
            "or any must hold",
        )
    found = list({repr(one): one for one in found}.values())
    if len(found) > MOST_CONDITIONS:
        text = f"it makes {len(found)} conditions, and a Mailchimp segment has at most {MOST_CONDITIONS}"
        raise refuse("size", text)
    return {"match": match, "conditions": found}


def _as_conditions(formula: f.Formula) -> f.Formula:
    """The formula with one value a test and without `or_unknown`, as Mailchimp's conditions are."""
    if isinstance(formula, f.AllOf):
        return f.all_of(*map(_as_conditions, formula.parts))
    if isinstance(formula, f.AnyOf):
        return f.any_of(*map(_as_conditions, formula.parts))
    if not isinstance(formula, f.Test):
        return formula
    single = [
        f.Test(formula.field, formula.kind, formula.sign, (one,), clause=formula.clause) for one in formula.values
    ]
    joined = f.all_of(*single) if formula.sign == "<>" else f.any_of(*single)
    return f.any_of(joined, f.IsUnknown(formula.field, formula.kind, formula.clause)) if formula.or_unknown else joined


def _all(group: Conjunction, sent: Sent) -> list[dict[str, Any]]:
    """All must hold. Where a blank field might pass, it is also said not to be blank."""
    found = [_condition(leaf, sent) for leaf in group]
    known = {leaf.field for leaf in group if isinstance(leaf, f.IsKnown) or not _blank_may_pass(leaf)}
    for leaf in group:
        if leaf.field not in known and not isinstance(leaf, f.IsUnknown):
            found.append(_plain(_kind(leaf), sent.names[leaf.field], "blank_not"))
            known.add(leaf.field)
    if f.holds(f.AllOf(group), {}):
        found.append(_plain("TextMerge", sent.needed_marker, "blank_not"))
    return found


def _any(group: list[f.Leaf], sent: Sent) -> list[dict[str, Any]]:
    """Any may hold, so nothing can be demanded beside it."""
    unknown_too = {leaf.field for leaf in group if isinstance(leaf, f.IsUnknown)}
    if unknown_too:
        leaf = next(leaf for leaf in group if isinstance(leaf, f.IsUnknown))
        raise refuse(
            "shape",
            "where any of several conditions may hold, contacts that are not yours can't be kept out, and a blank "
            "field is one of them",
            leaf.clause,
        )
    doubtful = next((leaf for leaf in group if _blank_may_pass(leaf)), None)
    if doubtful:
        raise refuse(
            "shape",
            "Mailchimp does not say whether a contact without a value passes this, and where any of several "
            "conditions may hold it can't be said besides that there must be one",
            doubtful.clause,
        )
    return [_condition(leaf, sent) for leaf in group]


def _blank_may_pass(leaf: f.Leaf) -> bool:
    """Whether a blank field could pass, taken as no text, as 0 or as the earliest date."""
    if isinstance(leaf, f.IsUnknown):
        return True
    if isinstance(leaf, f.IsKnown):
        return False
    if leaf.kind == "number":
        return f.holds(leaf, {leaf.field: Decimal(0)})
    if leaf.kind == "date":
        return leaf.sign in ("<", "<=", "<>")
    return leaf.sign in ("<>", "not like")


def _condition(leaf: f.Leaf, sent: Sent) -> dict[str, Any]:
    name = sent.names[leaf.field]
    if isinstance(leaf, f.IsKnown | f.IsUnknown):
        return _plain(_kind(leaf), name, "blank_not" if isinstance(leaf, f.IsKnown) else "blank")
    value = leaf.values[0]
    if leaf.sign in ("like", "not like"):
        return _pattern(leaf, name)
    if isinstance(value, Decimal):
        return _number(leaf.sign, value, name, leaf.clause)
    if isinstance(value, date):
        op, moved = {
            "=": ("is", 0),
            "<>": ("not", 0),
            "<": ("less", 0),
            "<=": ("less", 1),
            ">": ("greater", 0),
            ">=": ("greater", -1),
        }[leaf.sign]
        return _plain("DateMerge", name, op, (value + timedelta(days=moved)).isoformat())
    return _plain("TextMerge", name, "is" if leaf.sign == "=" else "not", _not_empty(value, leaf.clause))


def _pattern(leaf: f.Test, name: str) -> dict[str, Any]:
    shape, text = f.shape_of(str(leaf.values[0]))
    negated = leaf.sign == "not like"
    if shape == "anything" and not negated:
        return _plain("TextMerge", name, "blank_not")
    ops = {"exactly": "not", "contains": "notcontain"} if negated else _TEXT_OPS
    if shape not in ops:
        what = "does not begin or end with" if negated else "looks like"
        raise refuse("pattern", f"Mailchimp has no condition for a text that {what} {leaf.values[0]!r}", leaf.clause)
    return _plain("TextMerge", name, ops[shape], _not_empty(text, leaf.clause))


def _number(sign: str, value: Decimal, name: str, clause: str) -> dict[str, Any]:
    """Greater and less are all there is; on numbers of four decimals that is enough."""
    below = value.quantize(GRID, rounding=ROUND_FLOOR)
    above = value.quantize(GRID, rounding=ROUND_CEILING)
    if sign in ("=", "<>"):
        if below != above:
            raise refuse("platform", "the number has more than the four decimals with which numbers are sent", clause)
        return _plain("TextMerge", name, "is" if sign == "=" else "not", _digits(value))
    op, bound = {
        ">": ("greater", below),
        ">=": ("greater", above - GRID),
        "<": ("less", above),
        "<=": ("less", below + GRID),
    }[sign]
    return _plain("TextMerge", name, op, _digits(bound))


def _digits(value: Decimal) -> str:
    text = format(value.quantize(GRID), "f").rstrip("0").rstrip(".")
    return "0" if text in ("-0", "") else text


def _not_empty(text: str, clause: str) -> str:
    if not text:
        raise refuse("platform", "an empty text is no value at Mailchimp", clause)
    return text


def _kind(leaf: f.Leaf) -> str:
    return "DateMerge" if leaf.kind == "date" else "TextMerge"


def _plain(kind: str, name: str, op: str, value: str | None = None) -> dict[str, Any]:
    made = {"condition_type": kind, "field": name, "op": op}
    return made if value is None else {**made, "value": value}
