"""Consent events as the program declares their purposes: what people were told, and which grants wait to be confirmed.

Every way in (imports, webhooks, the preference page) makes its events here, so that none of them forgets the second
step of a double opt-in.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from personalization.ledger.consent_event import CONFIRM_BY, DOUBLE_OPT_IN_ID, ConsentEvent, notice_sha256

if TYPE_CHECKING:
    from personalization.program.models import Purpose


def declared_event(
    purpose: str,
    declared: Purpose,
    *,
    event_id: str,
    subject_token: str,
    action: str,
    effective_at: datetime,
    source: str,
    method: str | None = None,
    notice_version: str | None = None,
    locale: str | None = None,
    double_opt_in_id: str | None = None,
    evidence: Mapping[str, Any] | None = None,
    actor: str | None = None,
) -> ConsentEvent:
    """An event about a purpose of `program/consent.yaml`.

    Parameters
    ----------
    purpose, declared
        Name and content of the purpose.
    notice_version, locale : str, optional
        What the person saw, and in which language. The hash of the text is stored with it; when the notice is in
        several languages and the person's is not known, nobody can say what was seen, and there is no hash.
    double_opt_in_id : str, optional
        What a grant and its confirmation have in common. Default: the source, so that the next confirmation of the
        same identifier from the same source counts.

    Returns
    -------
    ConsentEvent
        A grant of a purpose with double opt-in counts only once a `confirm` follows within the purpose's time.
    """
    proof = dict(evidence or {})
    waits = declared.double_opt_in and action == "grant"
    if waits or action == "confirm":
        proof[DOUBLE_OPT_IN_ID] = double_opt_in_id or source
    if waits:
        proof[CONFIRM_BY] = (effective_at + declared.time_to_confirm).astimezone(UTC).isoformat()
    return ConsentEvent(
        event_id=event_id,
        subject_token=subject_token,
        purpose=purpose,
        action=action,
        effective_at=effective_at,
        source=source,
        channel=declared.channel,
        lawful_basis=declared.lawful_basis,
        jurisdiction=declared.jurisdiction,
        method=method,
        notice_version=notice_version,
        notice_sha256=_shown(declared, notice_version, locale),
        locale=locale,
        evidence=proof or None,
        actor=actor,
    )


def _shown(declared: Purpose, version: str | None, locale: str | None) -> str | None:
    """The hash of the text that was shown; None when that is not known."""
    text = next((notice.text for notice in declared.notices if notice.version == version), None)
    if isinstance(text, dict):
        known = locale or (next(iter(text)) if len(text) == 1 else "")
        text = text.get(known) or text.get(known.split("-")[0].split("_")[0])
    return notice_sha256(text) if text else None
