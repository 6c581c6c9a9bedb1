"""Filters of active lists in the HubSpot sandbox: their shape, and which contacts pass them now.

Whether HubSpot tells upper from lower case is not documented: `ignores_case` is both ways to read it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from decimal import Decimal, InvalidOperation
from typing import Any

from personalization.sandbox.hubspot_problems import Refused, bad_input

MOST_FILTERS = 250
_NUMBERS: dict[str, Callable[[Decimal, Decimal], bool]] = {
    "IS_EQUAL_TO": lambda held, asked: held == asked,
    "IS_NOT_EQUAL_TO": lambda held, asked: held != asked,
    "IS_GREATER_THAN": lambda held, asked: held > asked,
    "IS_GREATER_THAN_OR_EQUAL_TO": lambda held, asked: held >= asked,
    "IS_LESS_THAN": lambda held, asked: held < asked,
    "IS_LESS_THAN_OR_EQUAL_TO": lambda held, asked: held <= asked,
}
_TEXTS: dict[str, Callable[[str, list[str]], bool]] = {
    "IS_EQUAL_TO": lambda held, asked: held in asked,
    "IS_NOT_EQUAL_TO": lambda held, asked: held not in asked,
    "STARTS_WITH": lambda held, asked: any(held.startswith(one) for one in asked),
    "ENDS_WITH": lambda held, asked: any(held.endswith(one) for one in asked),
}
_TYPES = {"NUMBER": ("number",), "MULTISTRING": ("string", "enumeration"), "ALL_PROPERTY": ()}


def check_branch(branch: Any, properties: Mapping[str, Any]) -> None:
    """Raise `Refused` unless it is a root OR of ANDs of property filters on properties that are there."""
    _is_branch(branch, "OR")
    if branch["filters"] or not branch["filterBranches"]:
        raise _wrong("the root OR branch holds AND branches and no filters")
    total = 0
    for inner in branch["filterBranches"]:
        _is_branch(inner, "AND")
        if inner["filterBranches"] or not inner["filters"]:
            raise _wrong("an AND branch holds filters here")
        for one in inner["filters"]:
            _check_filter(one, properties)
            total += 1
    if total > MOST_FILTERS:
        raise _wrong(f"a list has at most {MOST_FILTERS} filters")


def passes(branch: Mapping[str, Any], values: Mapping[str, str], *, ignores_case: bool = True) -> bool:
    """Whether a contact with these values passes a branch that was checked."""
    inner = [passes(one, values, ignores_case=ignores_case) for one in branch["filterBranches"]]
    inner += [_filter(one, values, ignores_case) for one in branch["filters"]]
    return any(inner) if branch["filterBranchType"] == "OR" else all(inner)


def _is_branch(branch: Any, kind: str) -> None:
    wanted = {"filterBranchType", "filterBranchOperator", "filterBranches", "filters"}
    if not isinstance(branch, dict) or set(branch) != wanted:
        raise bad_input(f"a filter branch has {', '.join(sorted(wanted))}")
    if branch["filterBranchType"] != kind or branch["filterBranchOperator"] != kind:
        raise _wrong(f"expected an {kind} branch")


def _check_filter(one: Any, properties: Mapping[str, Any]) -> None:
    if not isinstance(one, dict) or set(one) != {"filterType", "property", "operation"}:
        raise bad_input("a filter has filterType, property, operation")
    if one["filterType"] != "PROPERTY" or one["property"] not in properties:
        raise _wrong(f"there is no property {one.get('property')} to filter by")
    operation = one["operation"]
    kind, operator = operation.get("operationType"), operation.get("operator")
    if not isinstance(operation.get("includeObjectsWithNoValueSet"), bool):
        raise bad_input("includeObjectsWithNoValueSet is required")
    if kind not in _TYPES or (_TYPES[kind] and properties[one["property"]]["type"] not in _TYPES[kind]):
        raise _wrong(f"{kind} does not go with the property {one['property']}")
    rest = set(operation) - {"operationType", "operator", "includeObjectsWithNoValueSet"}
    if kind == "ALL_PROPERTY":
        fits = operator in ("IS_KNOWN", "IS_UNKNOWN") and not rest
    elif kind == "NUMBER":
        fits = operator in _NUMBERS and rest == {"value"} and isinstance(operation["value"], int | float)
    else:
        values = operation.get("values")
        fits = operator in _TEXTS and rest == {"values"} and isinstance(values, list) and bool(values)
        fits = fits and all(isinstance(value, str) and value for value in values or [])
    if not fits:
        raise bad_input(f"{kind} does not take this operation: {operator}")


def _filter(one: Mapping[str, Any], values: Mapping[str, str], ignores_case: bool) -> bool:
    held, operation = values.get(one["property"]) or "", one["operation"]
    if operation["operationType"] == "ALL_PROPERTY":
        return (held == "") == (operation["operator"] == "IS_UNKNOWN")
    if held == "":
        return bool(operation["includeObjectsWithNoValueSet"])
    if operation["operationType"] == "NUMBER":
        try:
            return _NUMBERS[operation["operator"]](Decimal(held), Decimal(str(operation["value"])))
        except InvalidOperation:
            return False
    asked = list(operation["values"])
    if ignores_case:
        held, asked = held.lower(), [each.lower() for each in asked]
    return _TEXTS[operation["operator"]](held, asked)


def _wrong(message: str) -> Refused:
    return Refused(400, "VALIDATION_ERROR", f"The filter definition is not valid: {message}")
