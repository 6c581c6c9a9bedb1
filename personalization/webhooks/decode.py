"""Bodies to values. Strict: what two readers could read in two ways is refused, and kept as a dead letter."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from decimal import Decimal
from typing import Any, NoReturn
from urllib.parse import parse_qsl

MAX_EVENTS = 5_000
"""Events in one body; the largest batch any known sender makes is 1,000."""

MAX_FIELDS = 10_000

_SPACE = re.compile(r"[ \t\n\r]*")
_BRACKETS = re.compile(r"\[([^\[\]]*)\]")
_FIELD = re.compile(r"([^\[\]]+)((?:\[[^\[\]]*\])*)")


class Unreadable(Exception):
    """An authentic body that can't be understood. The text says why and repeats nothing of the body."""


def json_object(body: bytes) -> dict[str, Any]:
    """One JSON object; numbers with a fraction become `Decimal`, so that amounts stay exact.

    Raises
    ------
    Unreadable
        It is not UTF-8, not JSON (NaN is not), nested too deeply, or no object.
    """
    text = _text(body)
    value, end = _value(text, _skip(text, 0))
    if _skip(text, end) != len(text):
        raise Unreadable(f"not JSON: something follows the value that ends at character {end}")
    if not isinstance(value, dict):
        raise Unreadable(f"{named(value)} where an object is expected")
    return value


Event = tuple["dict[str, Any] | Unreadable", bytes]
"""An event and its own bytes; in the place of one that is no object, why it can't be understood."""


def json_objects(body: bytes, batch: str | None = None) -> list[Event]:
    """The events of a body: of a list each element, else the one object.

    Parameters
    ----------
    batch : str, optional
        When the body is an object with a list under this key, the list's elements are the events.

    Raises
    ------
    Unreadable
        As in `json_object`; also when there are more than MAX_EVENTS events.
    """
    text = _text(body)
    start = _skip(text, 0)
    if text[start : start + 1] == "[":
        found = list(_elements(text, start, alone=True))
    else:
        outer = json_object(body)
        place = _place_of(text, start, batch) if batch is not None and isinstance(outer.get(batch), list) else None
        if place is None:
            return [(outer, body)]
        found = list(_elements(text, place))
    return [
        (value if isinstance(value, dict) else Unreadable(f"{named(value)} where an object is expected"), raw.encode())
        for value, raw in found
    ]


def form(body: bytes) -> dict[str, Any]:
    """The fields of `application/x-www-form-urlencoded`; `data[merges][EMAIL]` becomes nested objects, as in PHP.

    Raises
    ------
    Unreadable
        It is not UTF-8, empty, has too many fields, or fields that contradict each other.
    """
    if not body:
        raise Unreadable("the body is empty")
    try:
        pairs = parse_qsl(
            body.decode("ascii"),
            keep_blank_values=True,
            strict_parsing=True,
            encoding="utf-8",
            errors="strict",
            max_num_fields=MAX_FIELDS,
        )
    except ValueError:
        raise Unreadable("not the fields of a form in UTF-8") from None
    fields: dict[str, Any] = {}
    for name, value in pairs:
        matched = _FIELD.fullmatch(name)
        if matched is None:
            raise Unreadable("a field of the form has a name that can't be read")
        _put(fields, [matched[1], *_BRACKETS.findall(matched[2])], value)
    return fields


def canonical(event: dict[str, Any], without: frozenset[str] = frozenset()) -> bytes:
    """One text for each content: sorted keys, no spaces; `without` some keys of the outermost object.

    Raises
    ------
    Unreadable
        A text in it is not Unicode (half of a surrogate pair), so that nothing can be said about it.
    """
    kept = {key: value for key, value in event.items() if key not in without}
    try:
        return _ENCODER.encode(kept).encode()
    except UnicodeEncodeError:
        raise Unreadable("a text in it is not Unicode: half of a surrogate pair") from None
    except RecursionError:
        raise Unreadable("it is nested too deeply") from None


def named(value: Any) -> str:
    """What kind of value it is, in words, without the value."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true or false"
    if isinstance(value, dict):
        return "an object"
    if isinstance(value, list):
        return f"a list of {len(value)}"
    return "a text" if isinstance(value, str) else "a number"


def _text(body: bytes) -> str:
    if not body:
        raise Unreadable("the body is empty")
    try:
        return body.decode("utf-8")
    except UnicodeDecodeError as error:
        raise Unreadable(f"not UTF-8 at byte {error.start}") from None


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not JSON")


_ENCODER = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=False, default=str)
_DECODER = json.JSONDecoder(parse_float=Decimal, parse_constant=_refuse)


def _value(text: str, start: int) -> tuple[Any, int]:
    try:
        return _DECODER.raw_decode(text, start)
    except json.JSONDecodeError as error:
        raise Unreadable(f"not JSON: {error.msg.lower()} at character {error.pos}") from None
    except ValueError as error:
        problem = str(error) if str(error).endswith("is not JSON") else "a number in it has too many digits"
        raise Unreadable(problem) from None
    except RecursionError:
        raise Unreadable("it is nested too deeply") from None
    except ArithmeticError:
        raise Unreadable("a number in it is out of range") from None


def _skip(text: str, start: int) -> int:
    matched = _SPACE.match(text, start)
    assert matched is not None
    return matched.end()


def _elements(text: str, start: int, *, alone: bool = False) -> Iterator[tuple[Any, str]]:
    """The elements of the list that begins at `start`, each with its own text; `alone`: nothing may follow it."""
    position, count = _skip(text, start + 1), 0
    if text[position : position + 1] == "]":
        _end(text, position + 1, alone)
        return
    while True:
        value, end = _value(text, position)
        count += 1
        if count > MAX_EVENTS:
            raise Unreadable(f"it holds more than {MAX_EVENTS:,} events")
        yield value, text[position:end]
        position = _skip(text, end)
        mark = text[position : position + 1]
        if mark == "]":
            _end(text, position + 1, alone)
            return
        if mark != ",":
            raise Unreadable(f"not JSON: a comma or bracket is missing at character {position}")
        position = _skip(text, position + 1)


def _end(text: str, position: int, alone: bool) -> None:
    if alone and _skip(text, position) != len(text):
        raise Unreadable(f"not JSON: something follows the list that ends at character {position}")


def _place_of(text: str, start: int, key: str) -> int | None:
    """Where the value of a key of the object at `start` begins. The text was read before, so it is sound."""
    position, place = _skip(text, start + 1), None
    while text[position : position + 1] == '"':
        name, end = _value(text, position)
        position = _skip(text, _skip(text, end) + 1)
        if name == key:
            place = position  # of a key that occurs twice the last counts, as in `json_object`
        _, end = _value(text, position)
        position = _skip(text, end)
        if text[position : position + 1] == ",":
            position = _skip(text, position + 1)
    return place


def _put(fields: dict[str, Any], path: list[str], value: str) -> None:
    """Put a value in its place; `name[]` counts up."""
    if len(path) > 8:
        raise Unreadable("a field of the form is nested too deeply")
    for index, part in enumerate(path):
        key = part or str(len(fields))
        if index == len(path) - 1:
            if isinstance(fields.get(key), dict):
                raise Unreadable("two fields of the form contradict each other")
            fields[key] = value
            return
        inner = fields.setdefault(key, {})
        if not isinstance(inner, dict):
            raise Unreadable("two fields of the form contradict each other")
        fields = inner
