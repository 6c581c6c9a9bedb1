"""What the gates look at, for one customer on one day: read one by one, apart from the set-based query."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Any

from personalization.stages.decisions.campaigns import RunningCampaign


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
    win_backs : list of Release
        Releases to win-back campaigns before the day, reported or not.
    acts : dict of str to date
        Day of the last open, click, conversion and purchase before the day, as far back as anything looks.
    choice : str or None
        How often the person wants mail, one of the choices of consent.yaml.
    governor : dict of str to dict
        The rows of `decisions.governor` of the day by campaign.
    draws : dict of str to int
        Draws from before the token key was replaced, by salt.
    """

    token: str
    consents: dict[str, tuple[str, datetime]]
    suppression: str | None
    profile: dict[str, Any]
    sends: list[date]
    released: list[Release] = field(default_factory=list)
    spent: set[str] = field(default_factory=set)
    win_backs: list[Release] = field(default_factory=list)
    acts: dict[str, date] = field(default_factory=dict)
    choice: str | None = None
    governor: dict[str, dict[str, Any]] = field(default_factory=dict)
    draws: dict[str, int] = field(default_factory=dict)

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
