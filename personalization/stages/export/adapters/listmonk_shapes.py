"""Shapes of listmonk's API: what is written to it and how its answers are read. No request is made here.

Our values are one attribute of a subscriber, an object of its own, so that the attributes of others stay theirs.

Nothing here can subscribe anybody again. Creating is refused for whoever is there; a PATCH names no lists and an
empty status, which leaves both alone; an import that adds overwrites nothing, and one that rewrites names no list
(before version 6) or overwrites no subscription. (listmonk's queries/subscribers.sql.)
"""

from __future__ import annotations

import re
import unicodedata
import urllib.parse
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from personalization.program.models import DestinationField, ListmonkDestination
from personalization.stages.export.adapters.base import Contact
from personalization.stages.export.adapters.http import Answer

EXTERNAL_ID = "external_id"
QUERY_BYTES = 6_000  # of one expression in a URL: proxies in front of listmonk refuse URLs of 8 KB and more
_IDENTIFIER = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_NAME_LENGTH = 50  # the oldest listmonk takes 200 bytes

Value = str | float


@dataclass(frozen=True)
class Wish:
    """What is to become of one subscriber.

    Attributes
    ----------
    address : str
        As listmonk keeps it: in lower case.
    values : dict, optional
        What our attribute is to hold; None: nothing any more.
    kept : tuple of str
        Fields that keep the value they have there.
    opts_out : bool
        No mail any more.
    blocks : bool
        From no list at all: mail to the address bounces, or was complained about.
    """

    address: str = field(repr=False)
    values: Mapping[str, Value] | None
    kept: tuple[str, ...]
    opts_out: bool
    blocks: bool = False

    def attribute(self, held: Mapping[str, Any]) -> dict[str, Any]:
        """Our attribute as it should be, given what it is."""
        if self.values is None:
            return {}
        return {**{name: held[name] for name in self.kept if name in held}, **self.values}


@dataclass(frozen=True)
class Subscriber:
    """A subscriber as listmonk shows it.

    Attributes
    ----------
    held
        Our attribute, whatever it is.
    on_list : str or None
        The subscription's status, None without one.
    asked : bool
        On some double opt-in list, and has not confirmed: a PATCH lets listmonk mail them the question again.
    attribs : mapping
        All attributes.
    """

    id: int
    status: str
    held: Any = field(repr=False)
    on_list: str | None
    asked: bool = False
    name: str = field(repr=False, default="")
    attribs: Mapping[str, Any] = field(repr=False, default_factory=dict)

    def out(self, destination: ListmonkDestination, *, of_all: bool = False) -> bool:
        """Whether they are opted out as the destination says it is done there, or of all lists."""
        if of_all or destination.opt_out == "blocklist":
            return self.status == "blocklisted"
        return self.status == "blocklisted" or self.on_list in (None, "unsubscribed")

    @property
    def joined(self) -> bool:
        """On the list, or not to be brought onto it."""
        return self.on_list is not None or self.status == "blocklisted"

    @property
    def usable(self) -> bool:
        """Whether our attribute is ours, and not somebody else's of the same name."""
        return self.held is None or isinstance(self.held, Mapping)

    @property
    def ours(self) -> Mapping[str, Any]:
        return self.held if isinstance(self.held, Mapping) else {}

    def shows(self, wish: Wish) -> bool:
        """Whether our attribute is as it should be."""
        wanted = wish.attribute(self.ours)
        return wanted.keys() == self.ours.keys() and all(_same(self.ours[name], wanted[name]) for name in wanted)


def field_problems(fields: Sequence[DestinationField]) -> list[tuple[int, str]]:
    """Which fields templates could not name, and why."""
    return [
        (number, f"'{field.name}' can't be used in listmonk's templates: letters, digits and _ only, no digit first")
        if not _IDENTIFIER.fullmatch(field.name)
        else (number, f"{EXTERNAL_ID} is where the customer's token goes: choose another name")
        for number, field in enumerate(fields)
        if not _IDENTIFIER.fullmatch(field.name) or field.name == EXTERNAL_ID
    ]


def wish(destination: ListmonkDestination, contact: Contact) -> Wish:
    """What a contact's operation means for its subscriber."""
    address = contact.address.strip().lower()
    if contact.operation in ("remove", "retract"):
        retracted = contact.operation == "retract"
        return Wish(address, None, (), retracted, blocks=retracted and contact.opt_out != "unsubscribed")
    values: dict[str, Value] = {EXTERNAL_ID: contact.external_id}
    kept = []
    for mapped in destination.fields:
        value = contact.values.get(mapped.name)
        if value is not None:
            values[mapped.name] = float(Decimal(value)) if mapped.type == "number" else value
        elif mapped.null == "keep":
            kept.append(mapped.name)
    return Wish(address, values, tuple(kept), opts_out=False)


def unfit(wanted: Wish) -> str | None:
    """Why PostgreSQL could not keep it: one such row would fail a whole import."""
    nul = [name for name, value in (wanted.values or {}).items() if isinstance(value, str) and "\x00" in value]
    return f"{', '.join(nul)}: holds a character (NUL) that listmonk can't keep" if nul else None


def new_subscriber(destination: ListmonkDestination, list_id: int, wanted: Wish) -> dict[str, Any]:
    """The body of `POST /api/subscribers`, which refuses (409) whoever is there already."""
    return {
        "email": wanted.address,
        "name": name_of(wanted.address),
        "status": "enabled",
        "lists": [list_id],
        "attribs": {destination.attribute: wanted.attribute({})},
        "preconfirm_subscriptions": destination.new_contacts == "confirmed",
    }


def change(destination: ListmonkDestination, known: Subscriber, wanted: Wish) -> dict[str, Any]:
    """The body of `PATCH /api/subscribers/{id}`: attributes are merged, so those of others stay.

    listmonk writes back the status it read a moment before, unless an empty one is sent, which writes none. Without
    it somebody who is blocklisted in that moment would be enabled again.
    """
    return {"status": "", "attribs": {destination.attribute: wanted.attribute(known.ours)}}


def name_of(address: str) -> str:
    """What listmonk calls somebody without a name; before version 2.5 it takes nobody without one."""
    return " ".join(address.partition("@")[0].replace(".", " ").split()).title()[:_NAME_LENGTH] or address[:1]


def queries(column: str, values: Sequence[str]) -> Iterator[str]:
    """SQL expressions that together find subscribers by some text, each short enough for a URL."""
    chunk: list[str] = []
    size = 0
    for value in values:
        literal = "'" + value.replace("'", "''") + "'"
        length = len(urllib.parse.quote_plus(literal + ","))
        if chunk and size + length > QUERY_BYTES:
            yield f"{column} IN ({','.join(chunk)})"
            chunk, size = [], 0
        chunk.append(literal)
        size += length
    if chunk:
        yield f"{column} IN ({','.join(chunk)})"


def subscriber(destination: ListmonkDestination, list_id: int, shown: Mapping[str, Any]) -> Subscriber:
    """A subscriber out of an answer."""
    lists = shown.get("lists") or []
    on_list = [entry.get("subscription_status") for entry in lists if entry.get("id") == list_id]
    asked = any(e.get("optin") == "double" and e.get("subscription_status") == "unconfirmed" for e in lists)
    attribs = shown.get("attribs") or {}
    return Subscriber(
        int(shown["id"]),
        str(shown["status"]),
        attribs.get(destination.attribute),
        on_list[0] if on_list else None,
        asked,
        str(shown.get("name") or ""),
        attribs,
    )


def version_of(text: Any) -> tuple[int, int] | None:
    """The version of a server out of what it calls it; None when it is no release."""
    match = re.match(r"v?(\d+)\.(\d+)", str(text))
    return (int(match[1]), int(match[2])) if match else None


def words(answer: Answer) -> str:
    """listmonk's own words about why it refused."""
    body = answer.body if isinstance(answer.body, dict) else {}
    return str(body.get("message") or f"status {answer.status}")


def _same(shown: Any, value: Any) -> bool:
    if isinstance(value, str):
        return isinstance(shown, str) and unicodedata.normalize("NFC", shown) == value
    return isinstance(shown, int | float) and float(shown) == value
