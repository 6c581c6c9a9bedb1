"""Reads what came back over HTTP, or the reason why nothing did. No request is made here."""

from __future__ import annotations

import email.utils
import json
import re
from typing import Any
from urllib.parse import urlsplit
from xml.etree import ElementTree

import requests

NOT_JSON = object()
NO_ADDRESS = (
    requests.exceptions.InvalidURL,
    requests.exceptions.MissingSchema,
    requests.exceptions.InvalidSchema,
)
BROKEN_OFF = re.compile(r"EOF occurred|DECRYPTION_FAILED|BAD_RECORD_MAC|SSLZeroReturn", re.IGNORECASE)


def json_of(answer: requests.Response, plain: str | None = None) -> Any:
    """An object or an array: nothing else is an answer, but the text `plain`, where a platform has one.

    Only deletions and the like, and errors, may be empty.
    """
    if not answer.content:
        return NOT_JSON if answer.status_code in (200, 201) and answer.request.method != "DELETE" else None
    try:
        content = json.loads(answer.content)
    except ValueError:
        return NOT_JSON
    return content if isinstance(content, dict | list) or (plain and content == plain) else NOT_JSON


def xml_of(answer: requests.Response) -> Any:
    """The root element. Declarations of entities are not read: no platform sends any."""
    if b"<!" in answer.content:
        return NOT_JSON
    try:
        return ElementTree.fromstring(answer.content)
    except ElementTree.ParseError:
        return NOT_JSON


def kind_of(content: bytes) -> str:
    """What came instead of an answer, in words."""
    if not content.strip():
        return "an empty page"
    return "HTML" if content.lstrip()[:1] == b"<" else "something that is not an answer of its API"


def server_of(url: str) -> str:
    """Scheme and server of an address; the rest of it may hold anything."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return "another page"
    return f"{parts.scheme}://{parts.hostname}" if parts.hostname else "another page"


def fits_a_header(secret: str) -> bool:
    """Whether HTTP can carry it: what can't be is a mistake in copying."""
    return secret == secret.strip() and secret.isprintable() and all(ord(character) < 256 for character in secret)


def said_in(content: Any) -> str:
    """What the platform says about it, under whichever name it does."""
    if isinstance(content, dict):
        for name in ("title", "message", "error_description", "error"):
            if isinstance(content.get(name), str) and content[name]:
                return f": {content[name]}"
    return ""


def retry_after_of(answer: requests.Response) -> float:
    """Seconds the platform asks to wait, given as a number or a date; 0 when it says nothing."""
    text = answer.headers.get("Retry-After", "").strip()
    if text.isdigit():
        return float(text)
    moment = email.utils.parsedate_tz(text) if text else None
    served = email.utils.parsedate_tz(answer.headers.get("Date", ""))
    if moment and served:
        return max(0.0, float(email.utils.mktime_tz(moment) - email.utils.mktime_tz(served)))
    return 0.0


def never_connected(error: requests.RequestException) -> bool:
    """Whether the connection was never made, so that nothing can have been applied."""
    reason = getattr(error.args[0], "reason", None) if error.args else None
    return isinstance(error, requests.exceptions.ConnectTimeout) or type(reason).__name__ in (
        "NewConnectionError",
        "NameResolutionError",
        "ConnectTimeoutError",
        "ProxyError",
    )


def cause_of(error: requests.RequestException) -> str:
    """The reason without the URL: of urllib3's nested texts the innermost."""
    inner: Any = error.args[0] if error.args else error
    inner = getattr(inner, "reason", None) or inner
    text = str(inner)
    return text.rpartition(": ")[2].strip(" )'\"") or type(error).__name__
