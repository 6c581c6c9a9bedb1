"""Sunset, win-back and governor for one customer and campaign, told with their numbers. See `gate_numbers`."""

from __future__ import annotations

from datetime import date, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from personalization.as_of import AsOf
from personalization.ledger.frequency import QUIET
from personalization.program import Program
from personalization.program.models import Sunset
from personalization.rules import Facts, explain
from personalization.stages.decisions.assignment import draw
from personalization.stages.decisions.campaigns import RunningCampaign
from personalization.stages.decisions.candidates import ZONE
from personalization.stages.decisions.explanation import GateVerdict
from personalization.stages.decisions.gate_inputs import GateInputs
from personalization.stages.decisions.gates import GOVERNED
from personalization.stages.decisions.governed import NEVER, SALT


def sunset_verdicts(
    program: Program, running: RunningCampaign, facts: Facts, inputs: GateInputs, as_of: AsOf
) -> list[GateVerdict]:
    """The gates `sunset` and `win_back_cap`."""
    sunset = program.settings.sunset
    if sunset is None:
        return [
            GateVerdict("sunset", True, "the program leaves nobody alone for being inactive"),
            GateVerdict("win_back_cap", True, "the program has no sunset"),
        ]
    asleep, words = _asleep(sunset, running, facts, inputs, as_of)
    if not asleep:
        return [
            GateVerdict("sunset", True, words),
            GateVerdict("win_back_cap", True, "only caps mails to people whom the sunset leaves alone"),
        ]
    if not running.campaign.win_back:
        return [
            GateVerdict("sunset", False, f"{words}; only campaigns with win_back reach such people"),
            GateVerdict("win_back_cap", True, "not a win-back campaign"),
        ]
    window = sunset.win_back
    own = (running.name, str(running.campaign.version))
    sent = [each for each in inputs.win_backs if each.ended or (each.campaign, each.version) != own]
    number = sum((as_of.day - each.day).days <= window.days for each in sent)
    told = f"{number} of at most {window.sends} win-back mails in the last {window.days} days"
    return [
        GateVerdict("sunset", True, f"{words}; the campaign is a win-back"),
        GateVerdict("win_back_cap", number < window.sends, told),
    ]


def _asleep(
    sunset: Sunset, running: RunningCampaign, facts: Facts, inputs: GateInputs, as_of: AsOf
) -> tuple[bool, str]:
    if sunset.when is not None:
        trace = explain(running.rules.sunset["when"], facts)
        return trace.holds, f"the sunset's rule {'holds' if trace.holds else 'does not hold'}: {sunset.when.strip()}"
    long_ago = as_of.day - timedelta(days=sunset.inactive_days)
    mailings = inputs.mailings(running)
    act, acted = last_act(inputs)
    state, moment = inputs.consents.get(running.campaign.purpose, ("", None))
    granted = moment.astimezone(ZoneInfo(as_of.timezone)).date() if state == "granted" and moment else None
    limit = f"{sunset.inactive_days} days"
    if acted is not None and acted >= long_ago:
        return False, f"last {act} on {acted}, {(as_of.day - acted).days} days ago; the sunset begins after {limit}"
    if granted is not None and granted >= long_ago:
        return (
            False,
            f"agreed to {running.campaign.purpose} on {granted}; the sunset begins after {limit} without an act",
        )
    if not mailings or min(mailings) > long_ago:
        first = f"first mailed on {min(mailings)}" if mailings else "never mailed before"
        return False, f"{first}: not long enough to call somebody inactive ({limit})"
    since = f"last {act} on {acted}" if acted is not None else f"never reacted since the first mail on {min(mailings)}"
    return True, f"{since}: inactive for more than {limit}"


def last_act(inputs: GateInputs) -> tuple[str, date | None]:
    """The latest of the acts and its day."""
    if not inputs.acts:
        return "", None
    name = max(inputs.acts, key=lambda act: (inputs.acts[act], act))
    return name, inputs.acts[name]


def governor_verdict(
    program: Program, running: RunningCampaign, inputs: GateInputs, stopped_for_long: bool, as_of: AsOf
) -> GateVerdict:
    """The governor's verdict, from its state of the day."""
    if program.settings.governor is None:
        return GateVerdict(GOVERNED, True, "the program has no governor")
    row = inputs.governor.get(running.name)
    if row is None:
        return GateVerdict(GOVERNED, True, "the governor was not worked out for this day")
    if stopped_for_long:
        return GateVerdict(GOVERNED, None, "not reached: the governor chooses among people who can be mailed at all")
    if row["last_days"] is None:
        return GateVerdict(GOVERNED, True, f"everybody is kept ({_rates(row)})")
    act, acted = last_act(inputs)
    days = (as_of.day - acted).days if acted is not None else NEVER
    stays = (days, draw(SALT, inputs.token)) <= (row["last_days"], row["last_draw"])
    own = f"last {act} {days} days ago" if acted is not None else "no open, click, response or purchase on record"
    if row["kept"] == 0:
        return GateVerdict(GOVERNED, False, f"paused: nobody is mailed ({_rates(row)})")
    limit = f"an act {row['last_days']} days ago" if row["last_days"] < NEVER else "people without any act, by lot"
    words = f"{row['kept']:,} of {row['people']:,} people are kept, the most engaged first, down to {limit}; {own}"
    return GateVerdict(GOVERNED, stays, f"{words} ({_rates(row)})")


def quiet_hours_verdict(program: Program, running: RunningCampaign, inputs: GateInputs) -> GateVerdict:
    """What will be looked at when the person is about to be put into the audience: no decision of a day."""
    hours = running.campaign.quiet_hours or program.settings.quiet_hours
    if hours is None or not (hours.days or hours.whole_days):
        return GateVerdict(QUIET, None, "none: the audience is released at any hour")
    zone = inputs.profile.get(ZONE)
    whose = f"the customer's time zone, {zone}" if zone else f"the program's time zone, {program.settings.timezone}"
    return GateVerdict(QUIET, None, f"looked at when it leaves: waits {hours}, in {whose}")


def _rates(row: dict[str, Any]) -> str:
    return (
        f"last {row['sends']:,} sends of the campaign: {row['complaints']:,} complaints ({row['complaint_rate']:.2%}), "
        f"{row['unsubscribes']:,} unsubscribes ({row['unsubscribe_rate']:.2%})"
    )
