"""The gates in their order: the reason code of each, and the condition under which it stops the mail.

Conditions are DuckDB expressions over one row of `_candidates` joined with consent (`state`, `state_day`), suppression
(`suppressed`), mailings (`mailed_already`, `first_send`, `days_since_send`, `sends_<days>d`, `win_backs`) and what
people chose themselves (`own_frequency`). The governor and arbitration come after all of them and are in `decide`.
Quiet hours are no gate of a day: they are looked at when something leaves.
"""

from __future__ import annotations

from dataclasses import dataclass

from personalization.as_of import AsOf
from personalization.program import Program
from personalization.stages.decisions.activity import is_asleep
from personalization.stages.decisions.fatigue import cap_reached, choice_reached, gap_too_small

SEND = "send"
LOST_TO = "lost_to:"
GOVERNED = "governor"


@dataclass(frozen=True)
class Gate:
    """A reason code, and the condition under which it applies.

    `lasting` gates stop a person for as long as nothing is known or said anew; the others pass with time. The governor
    keeps its share of those whom no lasting gate stops, so that the same people stay left out from day to day.
    """

    code: str
    stops: str
    lasting: bool = True


def gates(program: Program, as_of: AsOf) -> list[Gate]:
    """All gates before the governor, in the order in which they are passed."""
    fatigue, sunset = program.settings.fatigue, program.settings.sunset
    asleep = is_asleep(sunset, as_of.key)
    won_back = f"coalesce(win_backs, 0) >= {sunset.win_back.sends}" if sunset else "false"
    return [
        Gate("audience_unknown", "undecided"),
        Gate(
            "no_consent", "coalesce(state, '') <> 'granted' and (consent_required or coalesce(state, '') = 'withdrawn')"
        ),
        Gate("suppressed", "suppressed"),
        Gate("no_address", "email_token is null"),
        Gate("holdout", "held_out"),
        Gate("incomplete_data", "not complete"),
        Gate("already_mailed", "mailed_already", lasting=False),
        Gate("sunset", f"{asleep} and not win_back"),
        Gate("win_back_cap", f"{asleep} and win_back and {won_back}", lasting=False),
        Gate("fatigue_gap", gap_too_small(fatigue), lasting=False),
        Gate("fatigue_cap", cap_reached(fatigue), lasting=False),
        Gate("own_frequency", choice_reached(program), lasting=False),
    ]
