"""How a published shape is written down here, and what in a value does not fit it.

A type is itself; a tuple is one of its shapes or values; a list holds one shape; an object has its members, `name?`
may be missing, `*` stands for all others (without it, others are refused).
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

ANY, NOTHING = object(), object()
WHOLE = {"*": ANY}
DIGITS = re.compile(r"-?\d+")


@dataclass(frozen=True)
class Call:
    """One call of a platform's API as its documents describe it.

    Attributes
    ----------
    request : str
        Method and path; a part in braces is whatever has no slash.
    source : str
        The document.
    body : shape
        Of the request; NOTHING when it takes none.
    query : mapping
        Every parameter there is: a pattern that its whole value must match.
    answers : mapping
        Shapes by status.
    """

    request: str
    source: str
    body: Any = NOTHING
    query: Mapping[str, str] = field(default_factory=dict)
    answers: Mapping[int, Any] = field(default_factory=dict)

    def is_of(self, method: str, path: str) -> bool:
        pattern = re.sub(r"\\\{[^}]*\\\}", "[^/]+", re.escape(self.request))
        return re.fullmatch(pattern, f"{method} {path}") is not None


@dataclass(frozen=True)
class Exchange:
    """What went over the line."""

    method: str
    url: str
    sent: bytes | str | None
    status: int
    received: bytes

    def misfits(self, calls: list[Call], base: str, error: Any) -> list[str]:
        """What in it no call allows; `base` is the part of the address before the paths of the calls."""
        split = urlsplit(self.url.removeprefix(base))
        path = unquote(split.path)
        known = [call for call in calls if call.is_of(self.method, path)]
        if not known:
            return [f"{self.method} {path}: no such call is documented"]
        call = known[0]
        found = list(misfits(_json(self.sent), call.body, "request"))
        for name, value in parse_qsl(split.query, keep_blank_values=True):
            pattern = call.query.get(name)
            if pattern is None or not re.fullmatch(pattern, value):
                found.append(f"query {name}={value}")
        shape = call.answers.get(self.status, error if self.status >= 400 else None)
        if shape is None:
            found.append(f"the status {self.status} is not documented")
        else:
            found += misfits(_json(self.received), shape, "answer")
        return [f"{call.request}: {one} ({call.source})" for one in found]


def misfits(value: Any, shape: Any, at: str) -> Iterator[str]:
    """Where a value does not fit a shape."""
    if shape is ANY:
        return
    if shape is NOTHING:
        if value is not NOTHING:
            yield f"{at}: there is something, where nothing is taken"
    elif isinstance(shape, tuple):
        tried = [list(misfits(value, one, at)) for one in shape]
        if all(tried):
            yield min(tried, key=len)[0]
    elif isinstance(shape, dict):
        yield from _object_misfits(value, shape, at)
    elif isinstance(shape, list):
        if not isinstance(value, list):
            yield f"{at}: no array"
        for one in value if isinstance(value, list) else ():
            yield from misfits(one, shape[0], f"{at}[]")
    elif isinstance(shape, re.Pattern):
        if not isinstance(value, str) or not shape.fullmatch(value):
            yield f"{at}: {value!r} does not match {shape.pattern}"
    elif isinstance(shape, type):
        kinds = (int, float) if shape is float else shape
        if not isinstance(value, kinds) or (isinstance(value, bool) and shape is not bool):
            yield f"{at}: {value!r} is no {shape.__name__}"
    elif value != shape or type(value) is not type(shape):
        yield f"{at}: {value!r} is not {shape!r}"


def _object_misfits(value: Any, shape: Mapping[str, Any], at: str) -> Iterator[str]:
    if not isinstance(value, dict):
        yield f"{at}: no object"
        return
    members = {name.removesuffix("?"): name for name in shape if name != "*"}
    for name, written in members.items():
        if name in value:
            yield from misfits(value[name], shape[written], f"{at}.{name}")
        elif name == written:
            yield f"{at}.{name} is missing"
    for name in value.keys() - members.keys():
        if "*" not in shape:
            yield f"{at}.{name} is not documented"
        else:
            yield from misfits(value[name], shape["*"], f"{at}.{name}")


def _json(content: bytes | str | None) -> Any:
    if not content:
        return NOTHING
    try:
        return json.loads(content)
    except ValueError:
        return content
