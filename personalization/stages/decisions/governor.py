"""The governor: fewer people are mailed while too many complain or unsubscribe. The rule itself, no database, no clock.

The state of a day is worked out from the sends and reactions of the days before it, day by day from the same beginning,
so that it can be computed again for any day and comes out the same. It goes down quickly and up slowly:

- stop: the lower end of a rate's interval lies above `stop`, of at least `least` reactions; nobody is mailed.
- high: it lies above `warn`; one step down, then none for `step_days` days.
- calm: both rates themselves lie below `warn`; after `recover_days` such days in a row one step up.
- unclear: none of these; nothing changes.

Sources of the default thresholds: Google, "Email sender guidelines" (spam rate below 0.1 %, never 0.3 % or more), and
Yahoo, "Sender best practices" (below 0.3 %).
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from functools import cached_property
from statistics import NormalDist

from personalization.program.models import Governor

COMPLAINT, UNSUBSCRIBE = "complained", "unsubscribed"
FREE, LOWERED, PAUSED = "free", "lowered", "paused"
STOP, HIGH, CALM, UNCLEAR = "stop", "high", "calm", "unclear"


@dataclass(frozen=True, slots=True)
class Sent:
    """Sends of one day, and what came back from them: the same day or later."""

    day: date
    sends: int


@dataclass(frozen=True, slots=True)
class Reacted:
    """`sends` of `day` to which people reacted with a complaint or by unsubscribing, for the first time on `on`."""

    day: date
    kind: str
    on: date
    sends: int


@dataclass(frozen=True)
class Record:
    """What was sent and what came back, of one campaign or of all."""

    sent: Sequence[Sent]
    reacted: Sequence[Reacted]

    def reading(self, governor: Governor, day: date) -> Reading:
        """What was known when `day` began, of the sends of the `days` days before it."""
        window = [day - timedelta(days=back) for back in range(1, governor.days + 1)]
        known = [each for one in window for each in self._reacted.get(one, ()) if each.on < day]
        return Reading(
            day,
            sum(self._sends.get(one, 0) for one in window),
            sum(each.sends for each in known if each.kind == COMPLAINT),
            sum(each.sends for each in known if each.kind == UNSUBSCRIBE),
        )

    @cached_property
    def _sends(self) -> dict[date, int]:
        found: defaultdict[date, int] = defaultdict(int)
        for each in self.sent:
            found[each.day] += each.sends
        return found

    @cached_property
    def _reacted(self) -> dict[date, list[Reacted]]:
        found: defaultdict[date, list[Reacted]] = defaultdict(list)
        for each in self.reacted:
            found[each.day].append(each)
        return found


@dataclass(frozen=True, slots=True)
class Reading:
    """Sends of a window, and to how many of them somebody complained or unsubscribed."""

    day: date
    sends: int
    complaints: int
    unsubscribes: int

    def rate(self, kind: str) -> float:
        return self._number(kind) / self.sends if self.sends else 0.0

    def low(self, kind: str, confidence: float) -> float:
        """The lower end of the rate's interval."""
        return wilson_low(self.sends, self._number(kind), confidence)

    def verdict(self, governor: Governor) -> str:
        """stop, high, calm or unclear."""
        limits = {COMPLAINT: governor.complaints, UNSUBSCRIBE: governor.unsubscribes}
        enough = [kind for kind in limits if self._number(kind) >= governor.least]
        low = {kind: self.low(kind, governor.confidence) if kind in enough else 0.0 for kind in limits}
        if any(low[kind] > limit.stop for kind, limit in limits.items()):
            return STOP
        if any(low[kind] > limit.warn for kind, limit in limits.items()):
            return HIGH
        return CALM if all(self.rate(kind) < limit.warn for kind, limit in limits.items()) else UNCLEAR

    def _number(self, kind: str) -> int:
        return self.complaints if kind == COMPLAINT else self.unsubscribes


@dataclass(frozen=True)
class State:
    """Where the governor stands on a day. `since` is the day of the last change, None when there was none."""

    reading: Reading
    verdict: str
    share: float
    since: date | None

    @property
    def name(self) -> str:
        """free, lowered or paused."""
        return FREE if self.share == 1 else LOWERED if self.share else PAUSED


def state_on(governor: Governor, record: Record, first: date, day: date) -> State:
    """The state of `day`, worked out from `first` on, where everybody was mailed."""
    ladder = governor.ladder
    level, since, calm = 0, None, 0
    at = first
    while True:
        reading = record.reading(governor, at)
        verdict = reading.verdict(governor)
        calm = calm + 1 if verdict == CALM else 0
        before = level
        if verdict == STOP:
            level = len(ladder) - 1
        elif verdict == HIGH and level < len(ladder) - 2:
            rested = since is None or (at - since).days >= governor.step_days
            level += 1 if rested or level == 0 else 0
        elif calm >= governor.recover_days and level > 0:
            level, calm = level - 1, 0
        since = at if level != before else since
        if at >= day:
            return State(reading, verdict, ladder[level], since)
        at += timedelta(days=1)


def wilson_low(n: int, successes: int, confidence: float) -> float:
    """The lower end of the one-sided Wilson score interval of `successes / n`; 0 for `n` = 0.

    Source: E. B. Wilson, "Probable inference, the law of succession, and statistical inference", JASA 22 (1927).
    """
    if not n:
        return 0.0
    z = NormalDist().inv_cdf(confidence)
    rate, square = successes / n, z * z
    centre = (successes + square / 2) / (n + square)
    half = z * math.sqrt(rate * (1 - rate) / n + square / (4 * n * n)) / (1 + square / n)
    return max(0.0, centre - half)


def kept(share: float, people: int) -> int:
    """How many of some people a share keeps: rounded up, so that no audience of one is lost to rounding."""
    return math.ceil(round(share * people, 9))
