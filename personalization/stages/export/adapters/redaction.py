"""Takes secrets and addresses out of texts before anyone sees them: messages, the ledger, logs."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable
from urllib.parse import quote

_ADDRESS = re.compile(r"[^\s\"'<>,;:/]+(?:@|%40)[^\s\"'<>,;:/]+")  # also as part of a URL
_MD5 = re.compile(r"\b[0-9a-f]{32}\b")  # of an address: guessable, so as good as the address


class Redactor:
    """Takes secrets and addresses out of texts before anyone sees them."""

    def __init__(self, secrets: Iterable[str]) -> None:
        self._secrets: list[str] = []
        for secret in secrets:
            self.also(secret)

    def also(self, secret: str) -> None:
        """A further secret, such as a token that was given a moment ago. As it is, and as it is written in a URL."""
        forms = {form for form in (secret, quote(secret, safe="")) if form and form not in self._secrets}
        self._secrets = sorted([*self._secrets, *forms], key=len, reverse=True)

    def __call__(self, text: str) -> str:
        for secret in self._secrets:
            text = text.replace(secret, "<secret>")
        return _MD5.sub("<contact>", _ADDRESS.sub("<address>", text))


class _HideContacts(logging.Filter):
    def filter(self, record: logging.LogRecord) -> bool:
        if isinstance(record.args, tuple) and str(record.msg).startswith('%s://%s:%s "%s %s'):
            record.args = (*record.args[:4], "<path>", *record.args[5:])  # also addresses that don't look like any
        text = _ADDRESS.sub("<address>", record.getMessage())
        record.msg, record.args = _MD5.sub("<contact>", text), None
        return True


def hide_contacts_in_debug_log() -> None:
    """urllib3 writes every URL to its debug log, and URLs hold addresses, or MD5s of them at Mailchimp."""
    logger = logging.getLogger("urllib3.connectionpool")
    if not any(isinstance(known, _HideContacts) for known in logger.filters):
        logger.addFilter(_HideContacts())
