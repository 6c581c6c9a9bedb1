"""Each gate for one customer and campaign, told with its numbers: computed again from the inputs, one by one.

This is deliberately not the set-based SQL of `decide`: an explanation that agrees with the recorded decision is
also a check of it.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date

from personalization.as_of import AsOf
from personalization.program import Program
from personalization.program.models import FrequencyCap
from personalization.rules import Facts, Trace, explain
from personalization.stages.decisions.assignment import drawn, is_held_out
from personalization.stages.decisions.campaigns import RunningCampaign
from personalization.stages.decisions.explanation import GateVerdict
from personalization.stages.decisions.gate_activity import sunset_verdicts
from personalization.stages.decisions.gate_inputs import GateInputs


def gate_verdicts(
    program: Program, running: RunningCampaign, audience: Trace, facts: Facts, inputs: GateInputs, as_of: AsOf
) -> list[GateVerdict]:
    """All gates before the governor, in their order."""
    return [
        _audience(audience),
        _consent(program, running, inputs),
        _suppression(inputs),
        _address(inputs),
        _holdout(program, inputs),
        _completeness(program, running, inputs),
        _already(running, inputs),
        *sunset_verdicts(program, running, facts, inputs, as_of),
        _gap(program, running, inputs, as_of),
        _cap(program, running, facts, inputs, as_of),
        _choice(program, running, inputs, as_of),
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
    held = is_held_out(holdout.salt, holdout.share, inputs.token, inputs.draws)
    number = drawn(holdout.salt, inputs.token, inputs.draws) / 2**64
    return GateVerdict("holdout", not held, f"drew {number:.4f}; the holdout is everyone below {holdout.share:g}")


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
    passed, words = counted(cap.windows, inputs.mailings(running), as_of)
    return GateVerdict("fatigue_cap", passed, f"tier '{cap.tier}': {words}")


def _choice(program: Program, running: RunningCampaign, inputs: GateInputs, as_of: AsOf) -> GateVerdict:
    if inputs.choice is None:
        return GateVerdict("own_frequency", True, "has not chosen how often to be mailed")
    choice = program.frequency.get(inputs.choice)
    if choice is None or choice.sends is None or choice.days is None:
        return GateVerdict("own_frequency", True, f"chose '{inputs.choice}', which sets no cap")
    passed, words = counted([(choice.sends, choice.days)], inputs.mailings(running), as_of)
    return GateVerdict("own_frequency", passed, f"chose '{inputs.choice}': {words}")


def counted(windows: Iterable[tuple[int, int]], days: list[date], as_of: AsOf) -> tuple[bool, str]:
    """Whether windows leave room for one more mailing, and how full they are in words."""
    found = [(sum((as_of.day - day).days <= length for day in days), most, length) for most, length in windows]
    words = "; ".join(f"{sends} of at most {most} sends in the last {_days(length)}" for sends, most, length in found)
    return all(sends < most for sends, most, _ in found), words


def _tier(program: Program, running: RunningCampaign, facts: Facts) -> FrequencyCap | None:
    for cap in program.settings.fatigue.caps:
        rule = running.rules.caps[cap.tier]
        if rule is None or explain(rule, facts).holds:
            return cap
    return None


def _days(number: int) -> str:
    return "1 day" if number == 1 else f"{number} days"
