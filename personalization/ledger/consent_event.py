"""One consent event: who said what about which purpose, when, and how it can be proven."""

from __future__ import annotations

import hashlib
import json
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from personalization.errors import DataError, did_you_mean
from personalization.ledger.schema import to_micros

OPT_IN = frozenset({"grant", "confirm"})
OPT_OUT = frozenset({"withdraw", "object", "expire"})
ACTIONS = OPT_IN | OPT_OUT

# Known fields of `ConsentEvent.evidence`; others may be there too.
DOUBLE_OPT_IN_ID, CONFIRM_BY = "double_opt_in_id", "confirm_by"
_EVIDENCE_TYPES: Mapping[str, type] = {
    DOUBLE_OPT_IN_ID: str,
    CONFIRM_BY: str,
    "ip_token": str,
    "ua_hash": str,
    "gpc": bool,
    "gpp_string": str,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class ConsentEvent:
    """A statement about one purpose by, or for, the person behind an identifier token.

    Attributes
    ----------
    event_id : str
        The source's own id; the same event delivered twice counts once.
    subject_token : str
        Any identifier token of the person: customer, email or phone.
    purpose : str
        A purpose of `program/consent.yaml`, e.g. `email.marketing`.
    action : str
        `grant`; `confirm`, which makes an earlier grant with the same `double_opt_in_id` count; or one of the
        opt-outs `withdraw`, `object` (GDPR 21) and `expire`.
    effective_at : datetime
        When it was said, with a time zone; not when it arrived.
    source : str
        Where the event came from, e.g. `made.consents`.
    method : str, optional
        How it was said: `sign-up form`, `preference page`, …
    notice_version, notice_sha256 : str, optional
        What the person was told: see `notice_sha256`.
    evidence : mapping, optional
        Further proof as JSON values, without direct identifiers: `double_opt_in_id` and `confirm_by` (a moment in UTC,
        in ISO 8601) of a grant that counts only once it is confirmed, `ip_token`, `ua_hash`, `gpc` (true when the
        browser sent Global Privacy Control), `gpp_string` (as the IAB's Global Privacy Platform encodes it).
    actor : str, optional
        Who entered it, when not the person: e.g. `support`.

    Raises
    ------
    DataError
        An empty id, subject or purpose, an unknown action, a moment without a time zone, evidence of a wrong type, or
        a confirmation that does not say of what.
    """

    event_id: str
    subject_token: str
    purpose: str
    action: str
    effective_at: datetime
    source: str
    channel: str = "email"
    lawful_basis: str = "consent"
    jurisdiction: str | None = None
    method: str | None = None
    notice_version: str | None = None
    notice_sha256: str | None = None
    locale: str | None = None
    evidence: Mapping[str, Any] | None = None
    actor: str | None = None

    def __post_init__(self) -> None:
        for name in ("event_id", "subject_token", "purpose"):
            if not getattr(self, name):
                raise DataError(f"consent event '{self.event_id}' has no {name}")
        if self.action not in ACTIONS:
            raise DataError(
                f"consent event '{self.event_id}' has the unknown action '{self.action}'",
                hint=did_you_mean(self.action, ACTIONS),
            )
        if self.effective_at.tzinfo is None:
            raise DataError(
                f"consent event '{self.event_id}' is effective at {self.effective_at.isoformat()} without a time zone"
            )

        self._check_evidence()

    def _check_evidence(self) -> None:
        evidence = self.evidence or {}
        for name, kind in _EVIDENCE_TYPES.items():
            if name in evidence and not isinstance(evidence[name], kind):
                raise DataError(
                    f"consent event '{self.event_id}' has the evidence {name} = {evidence[name]!r}, which is no "
                    f"{'text' if kind is str else 'true or false'}"
                )
        if self.action == "confirm" and not evidence.get(DOUBLE_OPT_IN_ID):
            raise DataError(
                f"consent event '{self.event_id}' confirms nothing: its evidence has no {DOUBLE_OPT_IN_ID}",
                hint="give the id that the evidence of the grant has",
            )
        if self.waits:
            try:
                sound = datetime.fromisoformat(evidence[CONFIRM_BY]).astimezone(UTC).isoformat() == evidence[CONFIRM_BY]
            except (KeyError, ValueError):
                sound = False
            if not sound:
                raise DataError(
                    f"consent event '{self.event_id}' is a grant to be confirmed without a moment by when",
                    hint=f"give the evidence {CONFIRM_BY} in UTC, as in 2026-01-08T00:00:00+00:00",
                )

    @property
    def waits(self) -> bool:
        """Whether it is a grant that counts only when a `confirm` with the same `double_opt_in_id` follows in time."""
        return self.action == "grant" and bool((self.evidence or {}).get(DOUBLE_OPT_IN_ID))

    @property
    def opts_out(self) -> bool:
        return self.action in OPT_OUT

    def content(self) -> dict[str, Any]:
        """The values of CONTENT_COLUMNS, in their order; in canonical JSON they are what is hashed."""
        return {
            "event_id": self.event_id,
            "subject_token": self.subject_token,
            "channel": self.channel,
            "purpose": self.purpose,
            "action": self.action,
            "lawful_basis": self.lawful_basis,
            "jurisdiction": self.jurisdiction,
            "source": self.source,
            "method": self.method,
            "notice_version": self.notice_version,
            "notice_sha256": self.notice_sha256,
            "locale": self.locale,
            "evidence": None if self.evidence is None else canonical_json(self.evidence),
            "actor": self.actor,
            "effective_at": to_micros(self.effective_at),
        }


CONTENT_COLUMNS = (
    "event_id",
    "subject_token",
    "channel",
    "purpose",
    "action",
    "lawful_basis",
    "jurisdiction",
    "source",
    "method",
    "notice_version",
    "notice_sha256",
    "locale",
    "evidence",
    "actor",
    "effective_at",
)


def canonical_json(value: Mapping[str, Any]) -> str:
    """One text per value: sorted keys, no spaces, no NaN."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def content_sha256(content: Mapping[str, Any]) -> str:
    """The hash of an event's content, as lower-case hex."""
    return hashlib.sha256(canonical_json(content).encode()).hexdigest()


def notice_sha256(text: str) -> str:
    """The hash that identifies what people were told: of the notice in NFC, with runs of white space as one space."""
    return hashlib.sha256(" ".join(unicodedata.normalize("NFC", text).split()).encode()).hexdigest()
