"""How often a person may be mailed: the rule itself, over days. No database, no clock, no time of day.

Days are business days of the program's time zone, so that a day of 23 or 25 hours is one day like any other.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date, timedelta

GAP, CAP, RELEASED = "fatigue_gap", "fatigue_cap", "already_mailed"
CHOICE, WIN_BACK, QUIET = "own_frequency", "win_back_cap", "quiet_hours"
HOLDS = frozenset({QUIET})
"""Reasons that pass by themselves: what is stopped for one is held for the next run, not refused."""


@dataclass(frozen=True, slots=True)
class Limit:
    """What a person's mailings must keep.

    Attributes
    ----------
    gap_days : int
        A mailing is allowed when the last one is *more than* this many days ago.
    caps : tuple of (sends, days)
        At most `sends` in any span of `days` days before a mailing and the day of the mailing itself. All must hold.
    further : tuple of (reason, sends, days)
        Caps of a kind of their own, such as what the person chose.
    """

    gap_days: int = 0
    caps: tuple[tuple[int, int], ...] = ()
    further: tuple[tuple[str, int, int], ...] = ()

    @property
    def horizon(self) -> int:
        """Days before and after a mailing within which other mailings matter."""
        return max([self.gap_days, *(days for _, days in self.caps), *(days for _, _, days in self.further)])

    def with_cap(self, reason: str, cap: tuple[int, int] | None) -> Limit:
        """The same with one more cap of a kind: it can only become tighter."""
        return self if cap is None else Limit(self.gap_days, self.caps, (*self.further, (reason, *cap)))


@dataclass(frozen=True, slots=True)
class PastMailing:
    """One mailing of a person: reported by a platform, or released by us and not reported (yet)."""

    day: date
    campaign: str | None = None


def refusal(day: date, others: Sequence[date], limit: Limit) -> str | None:
    """Why a mailing on `day` would be too much beside the others, before and after it; None when it is not.

    Parameters
    ----------
    day : date
    others : sequence of date
        Days of the person's other mailings, in any order, one entry a mailing.
    limit : Limit

    Returns
    -------
    str or None
        `fatigue_gap`, `fatigue_cap`, or the reason of a further cap.
    """
    if not others:
        return CAP if any(sends < 1 for sends, _ in limit.caps) else None
    if any(abs((day - other).days) <= limit.gap_days for other in others):
        return GAP
    for reason, sends, days in (*((CAP, *cap) for cap in limit.caps), *limit.further):
        near = sorted(other for other in others if abs((day - other).days) <= days)
        insort(near, day)
        # every span of days that could hold this mailing begins at one of them, or is no fuller than one that does
        for first in near[: bisect_right(near, day)]:
            if bisect_right(near, first + timedelta(days=days)) - bisect_left(near, first) > sends:
                return reason
    return None


def unreported(releases: Iterable[PastMailing], reported: Iterable[PastMailing]) -> list[PastMailing]:
    """The releases whose mailing no platform has reported (yet): these count beside the reported ones.

    A report that names its campaign stands for the latest open release to that campaign, any other report for the
    latest open release at all, on its day or before. No release has two reports, no report two releases, so that
    neither the releases nor the reports within some days can ever be more than what is counted.
    """
    open_releases = sorted(releases, key=lambda mailing: (mailing.day, mailing.campaign or ""))
    ordered = sorted(reported, key=lambda mailing: mailing.day)
    for named in (True, False):
        for report in ordered:
            if (report.campaign is not None) != named:
                continue
            for index in range(len(open_releases) - 1, -1, -1):
                release = open_releases[index]
                if release.day <= report.day and (not named or release.campaign == report.campaign):
                    del open_releases[index]
                    break
    return open_releases
