"""The gates in their order: the reason code of each, and the condition under which it stops the mail.

Conditions are DuckDB expressions over one row of `_candidates` joined with consent (`state`), suppression
(`suppressed`) and mailings (`mailed_already`, `days_since_send`, `sends_<days>d`). Arbitration comes after all of them
and is in `decide`.
"""

from __future__ import annotations

from dataclasses import dataclass

from personalization.program.models import Fatigue
from personalization.stages.decisions.fatigue import cap_reached, gap_too_small

SEND = "send"
LOST_TO = "lost_to:"


@dataclass(frozen=True)
class Gate:
    """A reason code, and the condition under which it applies."""

    code: str
    stops: str


def gates(fatigue: Fatigue) -> list[Gate]:
    """All gates before arbitration, in the order in which they are passed."""
    return [
        Gate("audience_unknown", "undecided"),
        Gate(
            "no_consent", "coalesce(state, '') <> 'granted' and (consent_required or coalesce(state, '') = 'withdrawn')"
        ),
        Gate("suppressed", "suppressed"),
        Gate("no_address", "email_token is null"),
        Gate("holdout", "held_out"),
        Gate("incomplete_data", "not complete"),
        Gate("already_mailed", "mailed_already"),
        Gate("fatigue_gap", gap_too_small(fatigue)),
        Gate("fatigue_cap", cap_reached(fatigue)),
    ]
