"""Which webhook events are about a person, and what of their bodies is: a body can be about several people."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl

from personalization.ledger import normalise_email, normalise_id, normalise_phone
from personalization.ledger.inbox_event import InboxRow
from personalization.program.models import WebhookSource

if TYPE_CHECKING:
    from personalization.runtime import Runtime

GONE = object()
SOMEBODY_ELSE = "[another person]"
_ADDRESS = re.compile(r"[^\s\"'<>,;:()\[\]{}=&]+@[^\s\"'<>,;:()\[\]{}=&]+")
_AT_ONCE = 1_000


@dataclass(frozen=True)
class PersonEvent:
    """An event about a person.

    Attributes
    ----------
    row : InboxRow
    body : object
        The parts that are about no one else.
    rest : object
        The body without the person; GONE when nothing is left.
    """

    row: InboxRow
    body: Any = field(repr=False)
    rest: Any = field(repr=False)


def events_of(runtime: Runtime, tokens: tuple[str, ...]) -> Iterator[PersonEvent]:
    """Every event in the inbox with an identifier of the person, in order.

    An identifier is an address or a telephone number anywhere, and a customer id where sources.yaml says that one is.
    """
    inbox, keys = runtime.ledger.inbox, runtime.keys
    names = _customer_id_names(runtime)
    own = set(tokens)

    def is_own(name: str, text: str, source: str) -> bool:
        candidates = []
        if "@" in text:
            candidates.append(("email", normalise_email(text)))
        elif text[:1] in "+0(":
            candidates.append(("phone", normalise_phone(text)))
        if name in names.get(source, ()):
            candidates.append(("customer", normalise_id(text)))
        return any(value and keys.token(kind, value) in own for kind, value in candidates)

    after = 0
    while rows := inbox.rows(after, limit=_AT_ONCE):
        for row in rows:
            body = row.body(keys)
            if body is None:
                continue
            parsed = parse(body)

            def belongs(name: str, text: str, source: str = row.source) -> bool:
                return is_own(name, text, source)

            if mentions(parsed, belongs):
                rest = without(parsed, belongs) if isinstance(parsed, dict | list) and _is_json(body) else GONE
                yield PersonEvent(row, only(parsed, belongs), rest)
        after = rows[-1].seq


def parse(body: bytes) -> Any:
    """A body as what it is: JSON, a form, or text."""
    text = body.decode("utf-8", "replace")
    try:
        return json.loads(text)
    except ValueError:
        form = parse_qsl(text)
        return dict(form) if form else text


_Belongs = Callable[[str, str], bool]


def mentions(node: Any, belongs: _Belongs, name: str = "") -> bool:
    """Whether anything in a body is an identifier of the person."""
    if isinstance(node, dict):
        return any(mentions(value, belongs, _last(key)) for key, value in node.items())
    if isinstance(node, list):
        return any(mentions(value, belongs, name) for value in node)
    if isinstance(node, bool) or node is None:
        return False
    text = str(node).strip()
    return belongs(name, text) or any(belongs(name, match) for match in _ADDRESS.findall(text) if match != text)


def only(node: Any, belongs: _Belongs, name: str = "") -> Any:
    """A body without what is about others: entries of lists that name somebody else, and others' addresses."""
    if isinstance(node, dict):
        return {key: only(value, belongs, _last(key)) for key, value in node.items()}
    if isinstance(node, list):
        about = [value for value in node if mentions(value, belongs, name)]
        return [only(value, belongs, name) for value in (about or node)]
    if isinstance(node, str):
        return _ADDRESS.sub(lambda match: match[0] if belongs(name, match[0]) else SOMEBODY_ELSE, node)
    return node


def without(node: Any, belongs: _Belongs, name: str = "") -> Any:
    """A body without the entries of lists that are about the person; GONE when it is about the person as a whole."""
    if isinstance(node, list):
        kept = [value for value in (without(value, belongs, name) for value in node) if value is not GONE]
        return kept if kept or not node else GONE
    if isinstance(node, dict):
        kept_values = {key: without(value, belongs, _last(key)) for key, value in node.items()}
        return GONE if any(value is GONE for value in kept_values.values()) else kept_values
    return GONE if mentions(node, belongs, name) else node


def _is_json(body: bytes) -> bool:
    return body.lstrip()[:1] in (b"{", b"[")


def _last(key: str) -> str:
    """`data[merges][EMAIL]` and `data.customer.id` name their last part."""
    return re.split(r"[.\[]", key.rstrip("]"))[-1]


def _customer_id_names(runtime: Runtime) -> dict[str, set[str]]:
    """By webhook source: the names of fields that hold customer ids."""
    return {
        name: {
            _last(table.columns["customer_id"]) for table in source.tables.values() if "customer_id" in table.columns
        }
        for name, source in runtime.program.sources.items()
        if isinstance(source, WebhookSource)
    }
