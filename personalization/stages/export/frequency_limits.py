"""What limits a release beside gap and caps: tier and sunset as decided, win-back caps, quiet hours."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from personalization.as_of import AsOf
from personalization.ledger.frequency import WIN_BACK, Limit
from personalization.program import Program
from personalization.program.models import Fatigue, QuietHours
from personalization.stages.decisions.candidates import columns_of
from personalization.stages.decisions.fatigue import TIERS
from personalization.warehouse import Session


@dataclass(frozen=True, slots=True)
class Decided:
    """What the decision knew of somebody: engagement tier, whether the sunset leaves the person alone, time zone."""

    tier: str | None
    asleep: bool = False
    zone: str | None = None


def limits(fatigue: Fatigue) -> dict[str | None, Limit]:
    """The limit of each tier. None, for nobody fits any: the gap only."""
    found: dict[str | None, Limit] = {None: Limit(fatigue.min_gap_days)}
    for cap in fatigue.caps:
        found[cap.tier] = Limit(fatigue.min_gap_days, cap.windows)
    return found


@dataclass(frozen=True)
class WinBack:
    """The campaigns that reach people whom the sunset leaves alone, and how often they may."""

    campaigns: frozenset[str]
    sends: int
    days: int

    @property
    def limit(self) -> Limit:
        """For mailings of these campaigns alone; it asks for no gap between them."""
        return Limit(-1, further=((WIN_BACK, self.sends, self.days),))


@dataclass(frozen=True)
class Quiet:
    """When no audience is released: by campaign, in the customer's time zone or else in the program's."""

    hours: Mapping[str, QuietHours]
    timezone: str

    def holds(self, campaign: str, zone: str | None, moment: datetime) -> bool:
        """Whether a release to the campaign's audience must wait at `moment`."""
        hours = self.hours.get(campaign)
        return hours is not None and hours.covers(moment, zone_of(zone, self.timezone))


@cache
def zone_of(name: str | None, otherwise: str) -> ZoneInfo:
    """The time zone of that name; when there is none of that name, the other."""
    try:
        return ZoneInfo(name or otherwise)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return ZoneInfo(otherwise)


def read_decided(session: Session, as_of: AsOf) -> dict[str, Decided]:
    if not session.has_table(TIERS):
        return {}
    known = columns_of(session, TIERS)
    columns = ", ".join(name if name in known else f"null as {name}" for name in ("tier", "asleep", "zone"))
    rows = session.rows(f"select customer_token, {columns} from {TIERS} where as_of = ?", [as_of.day])  # noqa: S608
    return {token: Decided(tier, bool(asleep), zone) for token, tier, asleep, zone in rows}


def win_back_of(program: Program) -> WinBack | None:
    sunset = program.settings.sunset
    campaigns = frozenset(name for name, campaign in program.campaigns.items() if campaign.win_back)
    if sunset is None or not campaigns:
        return None
    return WinBack(campaigns, sunset.win_back.sends, sunset.win_back.days)


def quiet_of(program: Program) -> Quiet | None:
    settings = program.settings
    hours = {name: campaign.quiet_hours or settings.quiet_hours for name, campaign in program.campaigns.items()}
    said = {name: each for name, each in hours.items() if each is not None}
    return Quiet(said, settings.timezone) if said else None
