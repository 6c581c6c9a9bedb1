"""What signature schemes share: keyed hashes, comparing in constant time, and the window in which a request counts."""

from __future__ import annotations

import base64
import binascii
import hmac
import re
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime

from personalization.webhooks.request import NotAuthentic

TOLERANCE_SECONDS = 300
"""How far a sender's clock and ours may be apart, as in the libraries of Standard Webhooks and Stripe."""

_WHOLE_NUMBER = re.compile(r"[0-9]{1,15}")


def hmac_hex(key: bytes, *parts: bytes, algorithm: str = "sha256") -> str:
    return hmac.digest(key, b"".join(parts), algorithm).hex()


def hmac_base64(key: bytes, *parts: bytes) -> str:
    return base64.b64encode(hmac.digest(key, b"".join(parts), "sha256")).decode()


def require_one_of(expected: Iterable[str], given: Sequence[str]) -> None:
    """Check that one of the signatures given is one of those expected; every pair is compared, in constant time.

    Raises
    ------
    NotAuthentic
        None is.
    """
    found = False
    for right in expected:
        for candidate in given:
            found |= hmac.compare_digest(right.encode(), candidate.encode())
    if not found:
        raise NotAuthentic("the signature does not match")


def whole_number(text: str, what: str) -> int:
    """A number written in ASCII digits only: no sign, no fraction, no exponent."""
    if not _WHOLE_NUMBER.fullmatch(text):
        raise NotAuthentic(f"{what} is not a whole number")
    return int(text)


def require_recent(moment: datetime, now: datetime) -> None:
    """Check that a request was signed within the last or next five minutes."""
    if abs((now - moment).total_seconds()) > TOLERANCE_SECONDS:
        raise NotAuthentic(f"it was signed more than {TOLERANCE_SECONDS} seconds before or after our clock")


def from_unix(seconds: float) -> datetime:
    """The moment of a Unix time. Raises `NotAuthentic` where there is none."""
    try:
        return datetime.fromtimestamp(seconds, UTC)
    except (ValueError, OverflowError, OSError):
        raise NotAuthentic("the time of signing is no time") from None


def timestamped_pairs(header: str) -> tuple[int, list[str]]:
    """The time and the signatures of a header such as `t=1700000000,v1=…,v1=…`; other parts are ignored."""
    times, signatures = [], []
    for part in header.split(","):
        name, _, value = part.strip().partition("=")
        if name == "t":
            times.append(whole_number(value, "the time of signing"))
        elif name == "v1":
            signatures.append(value)
    if len(times) != 1 or not signatures:
        raise NotAuthentic("the signature header does not hold one time and a signature")
    return times[0], signatures


def from_base64(text: str) -> bytes:
    """Decoded strictly. Raises `ValueError` for anything else."""
    try:
        return base64.b64decode(text, validate=True)
    except binascii.Error as error:
        raise ValueError(str(error)) from None
