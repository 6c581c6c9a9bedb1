"""What a byte scan looks for: values of a person in every encoding in which programs leave text behind."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from html import escape
from urllib.parse import quote, quote_plus

TOKEN = "token"
"""The kind of needles that are random text of ours, always in lower case."""

SHORTEST = 6
"""Shorter values are in too many other words: finding one proves nothing."""


@dataclass(frozen=True)
class Needle:
    """One value to look for. `kind` says what it is, such as `email`; the value itself is never shown."""

    kind: str
    text: str = field(repr=False)


@dataclass(frozen=True)
class Pattern:
    """The bytes of a needle in one encoding."""

    kind: str
    encoding: str
    content: bytes = field(repr=False)


def patterns(needles: Iterable[Needle]) -> list[Pattern]:
    """All needles in all encodings, each byte string once; values that are too short are left out."""
    found: dict[bytes, Pattern] = {}
    for needle in needles:
        if len(needle.text) < SHORTEST:
            continue
        for text in dict.fromkeys((needle.text, needle.text.lower())):
            for encoding, content in _encoded(text):
                found.setdefault(content, Pattern(needle.kind, encoding, content))
        if needle.kind != TOKEN:
            upper = needle.text.upper().encode()
            found.setdefault(upper, Pattern(needle.kind, "utf-8", upper))
    return list(found.values())


def _encoded(text: str) -> Iterator[tuple[str, bytes]]:
    plain = text.encode()
    yield "utf-8", plain
    for encoding in ("utf-16-le", "utf-16-be", "utf-32-le", "latin-1"):
        try:
            yield encoding, text.encode(encoding)
        except UnicodeEncodeError:
            continue
    for raw, label in ((plain, "base64"), (text.encode("utf-16-le"), "base64 of utf-16")):
        for coded in _base64(raw):
            yield label, coded
            yield label, coded.translate(bytes.maketrans(b"+/", b"-_"))
    yield "hex", plain.hex().encode()
    yield "hex", plain.hex().upper().encode()
    for escaped in (quote(text, safe=""), quote(text), quote_plus(text)):
        yield "url", escaped.encode()
        yield "url", _lower_escapes(escaped).encode()
    yield "json", json.dumps(text)[1:-1].encode()
    yield "html", escape(text).encode()
    yield "html", text.replace("@", "&#64;").encode()


def _base64(raw: bytes) -> Iterator[bytes]:
    """The characters that stand for these bytes and nothing else, wherever they begin within three bytes."""
    for offset in range(3):
        coded = base64.b64encode(bytes(offset) + raw)
        first = (0, 2, 3)[offset]  # characters that also hold bits of what stands before
        last = len(coded) - (0, 3, 2)[(offset + len(raw)) % 3]  # and of what comes after, with the padding
        yield coded[first:last]


def _lower_escapes(text: str) -> str:
    """`%C3%A5` as `%c3%a5`."""
    parts = text.split("%")
    return "%".join([parts[0], *(part[:2].lower() + part[2:] for part in parts[1:])])
