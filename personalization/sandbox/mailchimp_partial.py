"""`fields` and `exclude_fields` of Mailchimp's reads: only some members of an answer, named with dots through lists.

https://mailchimp.com/developer/marketing/docs/methods-parameters/#partial-response
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_Tree = dict[str, "_Tree"]


def partial(body: Any, query: Mapping[str, str]) -> Any:
    """The part of an answer's body that a query asks for: all of it, unless it names fields."""
    wanted, unwanted = (_tree(query.get(name, "")) for name in ("fields", "exclude_fields"))
    body = _only(body, wanted) if wanted else body
    return _without(body, unwanted) if unwanted else body


def _tree(text: str) -> _Tree:
    """Names by the names that they are in; nothing below a name means all of it."""
    tree: _Tree = {}
    for path in filter(None, (one.strip() for one in text.split(","))):
        place = tree
        for name in path.split("."):
            place = place.setdefault(name, {})
    return tree


def _only(value: Any, tree: _Tree) -> Any:
    if isinstance(value, list):
        return [_only(one, tree) for one in value]
    if not tree or not isinstance(value, dict):
        return value
    return {name: _only(one, tree[name]) for name, one in value.items() if name in tree}


def _without(value: Any, tree: _Tree) -> Any:
    if isinstance(value, list):
        return [_without(one, tree) for one in value]
    if not isinstance(value, dict):
        return value
    kept = {name: one for name, one in value.items() if name not in tree or tree[name]}
    return {name: _without(one, tree[name]) if name in tree else one for name, one in kept.items()}
