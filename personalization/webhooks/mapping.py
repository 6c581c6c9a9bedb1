"""Events to canonical records, as `tables` of a webhook source in program/sources.yaml says."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from typing import Any

from personalization.program.models import WebhookTable
from personalization.webhooks.decode import named

Scalar = str | int | Decimal | bool | None

_MISSING = object()


class MappingError(Exception):
    """An event does not fit the mapping. The text names the path and what kind of thing was found, never the value."""


def records(table: WebhookTable, event: dict[str, Any]) -> list[dict[str, Scalar]]:
    """The rows that a table makes of an event, in canonical column names; none when `when` does not hold.

    A path that leads nowhere gives None: which columns are needed is for who uses the rows to say.

    Parameters
    ----------
    table : WebhookTable
        `when` (path: value or values, compared as text), `records` (path of a list: a row an element), `columns`
        (canonical column: dotted path in the event, or after a leading `.` in the element), `constants`.
    event : dict
        As `Sender.read` gives it. In a path a number picks from a list, as in `items.0.sku`.

    Returns
    -------
    list of dict
        Values are text, whole number, `Decimal`, bool or None.

    Raises
    ------
    MappingError
        A path leads to an object or a list where one value is wanted, or `records` to no list.
    """
    if not applies(table, event):
        return []
    return [
        {**{name: _scalar(path, event, element) for name, path in table.columns.items()}, **_constants(table)}
        for element in _elements(table, event)
    ]


def applies(table: WebhookTable, event: dict[str, Any]) -> bool:
    """Whether an event is one of those that a table is about."""
    for path, wanted in table.when.items():
        found = _at(event, path)
        if found is _MISSING or isinstance(found, dict | list):
            return False
        if as_text(found) not in ([wanted] if isinstance(wanted, str) else wanted):
            return False
    return True


def as_text(value: Scalar) -> str:
    """A value as a condition or an identifier sees it: `true` and `false` as in JSON, `1.0` as `1`."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, Decimal):
        whole = value == value.to_integral_value() and abs(value) < Decimal(10) ** 18
        return str(int(value)) if whole else str(value)
    return "" if value is None else str(value)


def _constants(table: WebhookTable) -> dict[str, Scalar]:
    return {name: Decimal(str(value)) if isinstance(value, float) else value for name, value in table.constants.items()}


def _elements(table: WebhookTable, event: dict[str, Any]) -> Iterator[dict[str, Any] | None]:
    if table.records is None:
        yield None
        return
    found = _at(event, table.records)
    if found is _MISSING or not isinstance(found, list | dict):
        raise MappingError(f"{table.records}: a list is expected there, found {_found(found)}")
    # a form has no lists: `lines[0][sku]` comes as an object with the keys 0, 1, …
    for number, element in enumerate(found if isinstance(found, list) else found.values()):
        if not isinstance(element, dict):
            raise MappingError(f"{table.records}.{number}: an object is expected there, found {_found(element)}")
        yield element


def _scalar(path: str, event: dict[str, Any], element: dict[str, Any] | None) -> Any:
    if path.startswith("."):
        if element is None:
            raise MappingError(f"{path}: a path that begins with a dot needs `records`")
        found = _at(element, path[1:])
    else:
        found = _at(event, path)
    if found is _MISSING or found is None:
        return None
    if isinstance(found, dict | list):
        raise MappingError(f"{path}: one value is expected there, found {_found(found)}")
    if isinstance(found, str) and "\x00" in found:
        raise MappingError(f"{path}: a text with a NUL character")
    return found


def _at(value: Any, path: str) -> Any:
    """What a dotted path leads to; where it leads nowhere, what is under a key that itself has these dots."""
    head, _, rest = path.partition(".")
    inner = _MISSING
    if isinstance(value, list):
        if head.isascii() and head.isdigit() and len(head) < 10 and int(head) < len(value):
            inner = value[int(head)]
    elif isinstance(value, dict):
        inner = value.get(head, _MISSING)
    found = _at(inner, rest) if rest and inner is not _MISSING else inner
    if found is _MISSING and rest and isinstance(value, dict):
        return value.get(path, _MISSING)
    return found


def _found(value: Any) -> str:
    return "nothing" if value is _MISSING else named(value)
