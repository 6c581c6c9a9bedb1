"""Each gate for one customer and campaign, told with its numbers: computed again from the inputs, one by one.

This is deliberately not the set-based SQL of `decide`: an explanation that agrees with the recorded decision is
also a check of it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Any

from personalization.as_of import AsOf
from personalization.program import Program
from personalization.program.models import FrequencyCap
from personalization.rules import Facts, Trace, explain
from personalization.stages.decisions.assignment import draw, is_held_out
from personalization.stages.decisions.campaigns import RunningCampaign
from personalization.stages.decisions.explanation import GateVerdict


@dataclass(frozen=True)
class GateInputs:
    """What the gates look at, for one customer on one day.

    Attributes
    ----------
    consents : dict of str to (state, moment)
        Per purpose; a purpose is absent when the person never said anything about it.
    suppression : str or None
        The reason on the do-not-mail list.
    profile : dict of str to any
        The customer's row of `segments.profile`.
    sends : list of date
        Business days of all sends before the day, one entry a send.
    released : list of Release
        Releases before the day that no report of a send stands for.
    spent : set of str
        Campaigns whose present version the customer had, and is not in the audience of any more.
    """

    token: str
    consents: dict[str, tuple[str, datetime]]
    suppression: str | None
    profile: dict[str, Any]
    sends: list[date]
    released: list[Release] = field(default_factory=list)
    spent: set[str] = field(default_factory=set)

    def mailings(self, campaign: RunningCampaign) -> list[date]:
        """What counts for a campaign: all, but not the release that makes the customer part of its audience."""
        own = (campaign.name, str(campaign.campaign.version))
        return self.sends + [
            release.day for release in self.released if release.ended or (release.campaign, release.version) != own
        ]


@dataclass(frozen=True)
class Release:
    """A release to a campaign's mailing; `ended` when the contact has left its audience."""

    day: date
    campaign: str
    version: str
    ended: bool


def gate_verdicts(
    program: Program, running: RunningCampaign, audience: Trace, facts: Facts, inputs: GateInputs, as_of: AsOf
) -> list[GateVerdict]:
    """All gates before arbitration, in their order."""
    return [
        _audience(audience),
        _consent(program, running, inputs),
        _suppression(inputs),
        _address(inputs),
        _holdout(program, inputs),
        _completeness(program, running, inputs),
        _already(running, inputs),
        _gap(program, running, inputs, as_of),
        _cap(program, running, facts, inputs, as_of),
    ]


def _audience(audience: Trace) -> GateVerdict:
    if audience.outcome is None:
        return GateVerdict("audience_unknown", False, "too little is known to say whether the audience rule holds")
    return GateVerdict("audience_unknown", True, "the audience rule holds")


def _consent(program: Program, running: RunningCampaign, inputs: GateInputs) -> GateVerdict:
    purpose = running.campaign.purpose
    basis = program.purposes[purpose].lawful_basis.replace("_", " ")
    if purpose not in inputs.consents:
        words = f"never agreed to {purpose}"
        if running.consent_required:
            return GateVerdict("no_consent", False, words)
        return GateVerdict("no_consent", True, f"{words}, which rests on {basis}")
    state, moment = inputs.consents[purpose]
    verb = "agreed to" if state == "granted" else "withdrew from"
    return GateVerdict("no_consent", state == "granted", f"{verb} {purpose} on {moment:%Y-%m-%d at %H:%M} UTC")


def _suppression(inputs: GateInputs) -> GateVerdict:
    if inputs.suppression is None:
        return GateVerdict("suppressed", True, "on no do-not-mail list")
    return GateVerdict("suppressed", False, f"on the do-not-mail list: {inputs.suppression}")


def _address(inputs: GateInputs) -> GateVerdict:
    known = inputs.profile["email_token"] is not None
    return GateVerdict("no_address", known, "has an e-mail address" if known else "no valid e-mail address is known")


def _holdout(program: Program, inputs: GateInputs) -> GateVerdict:
    holdout = program.settings.holdout
    held = is_held_out(holdout.salt, holdout.share, inputs.token)
    drawn = draw(holdout.salt, inputs.token) / 2**64
    return GateVerdict("holdout", not held, f"drew {drawn:.4f}; the holdout is everyone below {holdout.share:g}")


def _completeness(program: Program, running: RunningCampaign, inputs: GateInputs) -> GateVerdict:
    missing = [name for name in running.fields if inputs.profile[name] is None]
    total, share = len(running.fields), program.settings.min_completeness
    known = total - len(missing)
    words = f"{known} of {total} fields that the decision looks at are known; at least {share:.0%} are needed"
    if missing:
        words += f" (missing: {', '.join(missing)})"
    return GateVerdict("incomplete_data", known >= running.fields_needed(share), words)


def _already(running: RunningCampaign, inputs: GateInputs) -> GateVerdict:
    version = running.campaign.version
    if running.name in inputs.spent:
        words = f"had version {version} of this campaign already and left its audience; a new version can be mailed"
        return GateVerdict("already_mailed", False, words)
    return GateVerdict("already_mailed", True, f"has not had version {version} of this campaign before")


def _gap(program: Program, running: RunningCampaign, inputs: GateInputs, as_of: AsOf) -> GateVerdict:
    least, sends = program.settings.fatigue.min_gap_days, inputs.mailings(running)
    if not sends:
        return GateVerdict("fatigue_gap", True, "never mailed before")
    days = (as_of.day - max(sends)).days
    words = f"last mailed on {max(sends)}, {_days(days)} ago; must be more than {least}"
    return GateVerdict("fatigue_gap", days > least, words)


def _cap(program: Program, running: RunningCampaign, facts: Facts, inputs: GateInputs, as_of: AsOf) -> GateVerdict:
    cap = _tier(program, running, facts)
    if cap is None:
        return GateVerdict("fatigue_cap", True, "no tier fits, so no cap applies")
    sends = sum((as_of.day - day).days <= cap.days for day in inputs.mailings(running))
    words = f"tier '{cap.tier}': {sends} of at most {cap.sends} sends in the last {_days(cap.days)}"
    return GateVerdict("fatigue_cap", sends < cap.sends, words)


def _tier(program: Program, running: RunningCampaign, facts: Facts) -> FrequencyCap | None:
    for cap in program.settings.fatigue.caps:
        rule = running.rules.caps[cap.tier]
        if rule is None or explain(rule, facts).holds:
            return cap
    return None


def _days(number: int) -> str:
    return "1 day" if number == 1 else f"{number} days"
