"""What a simulation of many days did, and whether any rule was broken: counted from the mails themselves."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import asdict, dataclass, field
from datetime import date, datetime, timedelta
from itertools import pairwise
from typing import Any
from zoneinfo import ZoneInfo

from personalization.program import Program


@dataclass(frozen=True, slots=True)
class Mail:
    """One mail to one person. `campaign` None: it was sent before the simulation began."""

    person: str
    day: date
    campaign: str | None = None
    tier: str | None = None
    released_at: datetime | None = None
    zone: str | None = None


@dataclass(frozen=True, slots=True)
class Act:
    """What a person did on a day: opened, clicked, converted, purchase; or granted, of consent."""

    person: str
    day: date


@dataclass(frozen=True)
class DayTotals:
    """One simulated day. `kept_share` is the smallest share that the governor keeps of a campaign."""

    day: date
    decided: dict[str, int]
    sent: int
    held: int
    refused: int
    answers: dict[str, int]
    kept_share: float


@dataclass
class Record:
    """The whole simulation.

    Attributes
    ----------
    choices : dict
        By person at most so many mails in so many days, as the person chose.
    tier_sizes : dict
        People of each tier on the first day of each week, by week (from 1) and tier.
    """

    start: date
    program: Program
    people: int = 0
    mails: list[Mail] = field(default_factory=list)
    acts: list[Act] = field(default_factory=list)
    days: list[DayTotals] = field(default_factory=list)
    choices: dict[str, tuple[int, int]] = field(default_factory=dict)
    tier_sizes: dict[tuple[int, str], int] = field(default_factory=dict)

    @property
    def sent(self) -> list[Mail]:
        """Mails of the simulation."""
        return [mail for mail in self.mails if mail.campaign is not None]

    def violations(self) -> dict[str, int]:
        """How often each rule was broken; every number must be 0."""
        return {
            "gap": self._gaps_too_small(),
            "cap of a tier": self._caps_exceeded(),
            "own choice": self._choices_exceeded(),
            "two on one day": sum(number > 1 for number in Counter((m.person, m.day) for m in self.sent).values()),
            "quiet hours": self._in_quiet_hours(),
            "sunset": self._to_the_inactive(),
        }

    def gaps(self) -> Counter[int]:
        """Days between two mails to one person, how often each; gaps that end in the simulation."""
        found: Counter[int] = Counter()
        for days in self._by_person().values():
            found.update((later - earlier).days for earlier, later in pairwise(days) if later >= self.start)
        return found

    def per_week(self) -> list[dict[str, Any]]:
        """Mails, and people who got any, by week (from 1) and tier."""
        weeks: defaultdict[tuple[int, str], list[str]] = defaultdict(list)
        for mail in self.sent:
            weeks[(mail.day - self.start).days // 7, mail.tier or "no tier"].append(mail.person)
        return [
            {"week": week + 1, "tier": tier, "mails": len(people), "people": len(set(people))}
            for (week, tier), people in sorted(weeks.items())
        ]

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON, without persons."""
        return {
            "start": self.start.isoformat(),
            "people": self.people,
            "sent": len(self.sent),
            "violations": self.violations(),
            "gaps": dict(sorted(self.gaps().items())),
            "weeks": self.per_week(),
            "days": [{**asdict(each), "day": each.day.isoformat()} for each in self.days],
        }

    # --- the rules, each from its words -------------------------------------------------------------------------------

    def _by_person(self) -> dict[str, list[date]]:
        found: defaultdict[str, list[date]] = defaultdict(list)
        for mail in self.mails:
            found[mail.person].append(mail.day)
        return {person: sorted(days) for person, days in found.items()}

    def _gaps_too_small(self) -> int:
        least = self.program.settings.fatigue.min_gap_days
        return sum(number for gap, number in self.gaps().items() if gap <= least)

    def _caps_exceeded(self) -> int:
        windows = {cap.tier: cap.windows for cap in self.program.settings.fatigue.caps}
        return sum(self._exceeded(mail, windows.get(mail.tier or "", ())) for mail in self.sent)

    def _choices_exceeded(self) -> int:
        return sum(
            self._exceeded(mail, [self.choices[mail.person]]) for mail in self.sent if mail.person in self.choices
        )

    def _exceeded(self, mail: Mail, windows: Any) -> bool:
        """Whether any span that ends with this mail held more than it may: the mail itself and all before it."""
        days = self._days_of[mail.person]
        return any(
            sum(mail.day - timedelta(days=length) <= day <= mail.day for day in days) > most for most, length in windows
        )

    @property
    def _days_of(self) -> dict[str, list[date]]:
        if "_days" not in self.__dict__:
            self.__dict__["_days"] = self._by_person()
        days: dict[str, list[date]] = self.__dict__["_days"]
        return days

    def _in_quiet_hours(self) -> int:
        settings, broken = self.program.settings, 0
        for mail in self.sent:
            campaign = self.program.campaigns[mail.campaign or ""]
            hours = campaign.quiet_hours or settings.quiet_hours
            if hours is not None and mail.released_at is not None:
                broken += hours.covers(mail.released_at, ZoneInfo(mail.zone or settings.timezone))
        return broken

    def _to_the_inactive(self) -> int:
        """Mails of campaigns other than win-backs to people first mailed long ago who did nothing since."""
        sunset = self.program.settings.sunset
        if sunset is None or sunset.when is not None:
            return 0
        acts: defaultdict[str, list[date]] = defaultdict(list)
        for act in self.acts:
            acts[act.person].append(act.day)
        span, broken = timedelta(days=sunset.inactive_days), 0
        for mail in self.sent:
            if self.program.campaigns[mail.campaign or ""].win_back:
                continue
            mailed_long = self._days_of[mail.person][0] <= mail.day - span
            active = any(mail.day - span <= day < mail.day for day in acts[mail.person])
            broken += mailed_long and not active
        return broken
