"""HubSpot's active lists: an OR of ANDs of property filters.

Source: HubSpot's published OpenAPI of lists and its SDKs (NUMBER, MULTISTRING and ALL_PROPERTY operations with their
operators; `includeObjectsWithNoValueSet`: whether records without a value are accepted), its list filters guide (a
root OR of ANDs), and its knowledge base (at most 250 filters a list).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from decimal import Decimal
from typing import Any

from personalization.rules.native import formula as f
from personalization.rules.native.normal_form import any_of_alls
from personalization.rules.native.reasons import refuse
from personalization.rules.native.sent import Sent

MOST_FILTERS = 250
_NUMBER = {
    "=": "IS_EQUAL_TO",
    "<>": "IS_NOT_EQUAL_TO",
    "<": "IS_LESS_THAN",
    "<=": "IS_LESS_THAN_OR_EQUAL_TO",
    ">": "IS_GREATER_THAN",
    ">=": "IS_GREATER_THAN_OR_EQUAL_TO",
}


def filter_branch(formula: f.Formula, sent: Sent) -> dict[str, Any]:
    """The `filterBranch` of a list.

    Raises
    ------
    Inexpressible
        HubSpot has no such filter, or it would be too many.
    """
    groups = any_of_alls(_single_numbers(formula), most=MOST_FILTERS)
    if not groups:  # nobody: on this day, or ever
        return _branch(
            "OR", [_branch("AND", [], [_property(sent.needed_marker, one) for one in (_known(), _unknown())])]
        )
    branches = []
    for group in groups:
        filters = [_filter(leaf, sent) for leaf in group]
        if f.holds(f.AllOf(group), {}):
            filters.append(_property(sent.needed_marker, _known()))
        branches.append(_branch("AND", [], filters))
    total = sum(len(branch["filters"]) for branch in branches)
    if total > MOST_FILTERS:
        raise refuse("size", f"it makes {total} filters, and a HubSpot list has at most {MOST_FILTERS}")
    return _branch("OR", branches)


def _branch(kind: str, branches: list[dict[str, Any]], filters: Sequence[dict[str, Any]] = ()) -> dict[str, Any]:
    return {
        "filterBranchType": kind,
        "filterBranchOperator": kind,
        "filterBranches": branches,
        "filters": list(filters),
    }


def _single_numbers(formula: f.Formula) -> f.Formula:
    """A filter of a number has one value."""
    if isinstance(formula, f.AllOf):
        return f.all_of(*map(_single_numbers, formula.parts))
    if isinstance(formula, f.AnyOf):
        return f.any_of(*map(_single_numbers, formula.parts))
    if not isinstance(formula, f.Test) or formula.kind != "number" or len(formula.values) == 1:
        return formula
    single = [replace(formula, values=(one,)) for one in formula.values]
    return f.all_of(*single) if formula.sign == "<>" else f.any_of(*single)


def _filter(leaf: f.Leaf, sent: Sent) -> dict[str, Any]:
    name = sent.names[leaf.field]
    if isinstance(leaf, f.IsKnown):
        return _property(name, _known())
    if isinstance(leaf, f.IsUnknown):
        return _property(name, _unknown())
    if leaf.kind == "date":
        raise refuse("platform", "HubSpot compares dates as moments of a time zone, which days are not", leaf.clause)
    value = leaf.values[0]
    if isinstance(value, Decimal):
        operation: dict[str, Any] = {"operationType": "NUMBER", "operator": _NUMBER[leaf.sign], "value": float(value)}
    elif leaf.sign in ("like", "not like"):
        return _pattern(leaf, name)
    else:
        texts = [str(one) for one in leaf.values]
        _refuse_empty(texts, leaf.clause)
        operation = _texts("IS_EQUAL_TO" if leaf.sign == "=" else "IS_NOT_EQUAL_TO", texts)
    return _property(name, {**operation, "includeObjectsWithNoValueSet": leaf.or_unknown})


def _pattern(leaf: f.Test, name: str) -> dict[str, Any]:
    shape, text = f.shape_of(str(leaf.values[0]))
    negated = leaf.sign == "not like"
    if shape == "anything" and not negated and not leaf.or_unknown:
        return _property(name, _known())
    operators = {"exactly": "IS_NOT_EQUAL_TO"} if negated else _SHAPES
    if shape not in operators:
        why = f"HubSpot has no filter for a text that {'is not' if negated else 'is'} like {leaf.values[0]!r}"
        if shape == "contains":
            why = "HubSpot's CONTAINS is documented for words, not for any part of a text"
        raise refuse("pattern", why, leaf.clause)
    _refuse_empty([text], leaf.clause)
    return _property(name, {**_texts(operators[shape], [text]), "includeObjectsWithNoValueSet": leaf.or_unknown})


_SHAPES = {"exactly": "IS_EQUAL_TO", "starts": "STARTS_WITH", "ends": "ENDS_WITH"}


def _texts(operator: str, values: list[str]) -> dict[str, Any]:
    return {"operationType": "MULTISTRING", "operator": operator, "values": values}


def _refuse_empty(values: list[str], clause: str) -> None:
    if "" in values:
        raise refuse("platform", "an empty text is no value at HubSpot", clause)


def _known() -> dict[str, Any]:
    return {"operationType": "ALL_PROPERTY", "operator": "IS_KNOWN", "includeObjectsWithNoValueSet": False}


def _unknown() -> dict[str, Any]:
    return {"operationType": "ALL_PROPERTY", "operator": "IS_UNKNOWN", "includeObjectsWithNoValueSet": True}


def _property(name: str, operation: dict[str, Any]) -> dict[str, Any]:
    return {"filterType": "PROPERTY", "property": name, "operation": operation}
