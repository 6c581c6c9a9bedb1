"""The gates in their order: the reason code of each, and the condition under which it stops the mail.

Conditions are DuckDB expressions over one row of `_candidates` joined with consent (`state`), suppression
(`suppressed`) and sends (`days_since_send`, `sends_<days>d`). Arbitration comes after all of them and is in `decide`.
"""

from __future__ import annotations

from dataclasses import dataclass

from personalization.program.models import Fatigue
from personalization.stages.decisions.fatigue import cap_reached, gap_too_small

SEND = "send"
LOST_TO = "lost_to:"


@dataclass(frozen=True)
class Gate:
    """`words`: what it means for a person to be stopped here."""

    code: str
    stops: str
    words: str


def gates(fatigue: Fatigue) -> list[Gate]:
    """All gates before arbitration, in the order in which they are passed."""
    return [
        Gate("audience_unknown", "undecided", "too little is known to say whether the audience rule holds"),
        Gate(
            "no_consent",
            "coalesce(state, '') <> 'granted' and (consent_required or coalesce(state, '') = 'withdrawn')",
            "no valid consent for the campaign's purpose",
        ),
        Gate("suppressed", "suppressed", "one of the person's identifiers is on the do-not-mail list"),
        Gate("no_address", "email_token is null", "no valid e-mail address is known"),
        Gate("holdout", "held_out", "belongs to the global holdout, which gets no campaign at all"),
        Gate("incomplete_data", "not complete", "too few of the fields that the decision looks at are known"),
        Gate("fatigue_gap", gap_too_small(fatigue), "the last send is too recent"),
        Gate("fatigue_cap", cap_reached(fatigue), "the tier's number of sends is used up"),
    ]
