"""One spelling per identifier, before it becomes a token. Frozen: a change here would break every join with the past.

Any change needs a new NORMALISATION_VERSION and a new token format (`t1_` stands for version 1).
"""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache

import idna

NORMALISATION_VERSION = 1

# RFC 5321 lengths, in octets
_MAX_ADDRESS, _MAX_LOCAL, _MAX_DOMAIN = 254, 64, 253

_ATOM = r"[a-z0-9!#$%&'*+/=?^_`{|}~\-\u0080-\U0010ffff]+"  # RFC 5322 atext, RFC 6531 letters
_LOCAL = re.compile(rf"{_ATOM}(?:\.{_ATOM})*")
_LABEL = r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
_ASCII_DOMAIN = re.compile(rf"(?:{_LABEL}\.)+{_LABEL}")
_PHONE = re.compile(r"\+[1-9][0-9]{6,14}")
_PHONE_PUNCTUATION = re.compile(r"[\s().\-/\u2010-\u2015]")


def normalise_email(text: str) -> str | None:
    """One spelling of an e-mail address, or None when it is not one.

    Trimmed, NFC, domain in IDNA (UTS 46) form, all lower case. Dots and `+tags` stay: `a.b@x.org` and `ab@x.org` may
    be two people. Accepted is the subset of RFC 5321 and 6531 that mail platforms accept: one `@`, an unquoted local
    part of at most 64 octets, a domain name of two or more labels (no IP address), at most 254 octets in all.
    """
    local, at, domain = unicodedata.normalize("NFC", text.strip()).partition("@")
    if not at or "@" in domain:
        return None
    local = unicodedata.normalize("NFC", local.lower())
    if not _LOCAL.fullmatch(local) or len(local.encode("utf-8", "replace")) > _MAX_LOCAL or _has_unprintable(local):
        return None
    ascii_domain = _normalise_domain(domain)
    if ascii_domain is None or len(local.encode()) + 1 + len(ascii_domain) > _MAX_ADDRESS:
        return None
    return f"{local}@{ascii_domain}"


def normalise_phone(text: str) -> str | None:
    """A telephone number as `+` and 7 to 15 digits (E.164), or None when its country is not written with it.

    A leading `00` counts as `+`, a bracketed trunk zero is dropped (`+44 (0)20 …`). A national number is refused:
    the same digits belong to different people in different countries, and tokens must not join them.
    """
    plain = _PHONE_PUNCTUATION.sub("", unicodedata.normalize("NFKC", text).strip().replace("(0)", ""))
    if plain.startswith("00"):
        plain = "+" + plain[2:]
    return plain if _PHONE.fullmatch(plain) else None


def normalise_id(text: str) -> str | None:
    """A company's own identifier, trimmed and in NFC; None when nothing is left. Case and leading zeros count."""
    return unicodedata.normalize("NFC", text.strip()) or None


@lru_cache(maxsize=65_536)
def _normalise_domain(domain: str) -> str | None:
    lowered = domain.lower()
    if not lowered.isascii() or "xn--" in lowered:
        try:
            lowered = idna.encode(domain, uts46=True, std3_rules=True).decode("ascii")
        except (idna.IDNAError, UnicodeError):
            return None
    if len(lowered) > _MAX_DOMAIN or not _ASCII_DOMAIN.fullmatch(lowered):
        return None
    return None if lowered.rpartition(".")[2].isdigit() else lowered


def _has_unprintable(local: str) -> bool:
    """Spaces of other scripts, control and format characters, lone surrogates: never part of a mailbox name."""
    return not local.isascii() and not local.isprintable()


def mailbox_of(address: str) -> str | None:
    """The normalised address without its `+tag`; None for an address that has none, or is not valid.

    Tokens never use it: two tags may be two people. It is asked for opt-outs only, which then count for all tags.
    """
    normalised = normalise_email(address) if "+" in address else None
    local, at, domain = (normalised or "").rpartition("@")
    mailbox, plus, _ = local.partition("+")
    return f"{mailbox}{at}{domain}" if plus and mailbox else None
