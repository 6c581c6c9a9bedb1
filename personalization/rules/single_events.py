"""Reading single events: which ones, in which window, with the customer's own day when that is asked for.

`marts.moments` has what each person did with its instant in microseconds since 1970 (`moment_us`), so that windows and
order are comparisons of whole numbers in every engine. Nothing at or after the first instant of the `as_of` day is
read.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from zoneinfo import ZoneInfo

from sqlglot import exp

from personalization.as_of import AsOf
from personalization.rules import tree as t
from personalization.rules.events import Event
from personalization.rules.past import Where
from personalization.rules.zones import local_day, zones_query

US = "moment_us"
MINUTE_US = 60_000_000
Windowed = t.Behaviour | t.Recalled | t.Step
# engines read only those that are used
_READ = (
    "event",
    "department",
    "category",
    "product_id",
    "campaign_id",
    "detail",
    "event_id",
    "events",
    "quantity",
    "amount",
)


@dataclass(frozen=True)
class SingleEvents:
    """Where single events are and up to when they count.

    Attributes
    ----------
    table, profile, token : str
        Single events; the profile, read for time zones only; the column that names the customer in both.
    customer_token : str or None
        Read this customer only.
    """

    as_of: AsOf
    table: str
    profile: str
    token: str
    customer_token: str | None = None

    @property
    def now(self) -> int:
        """The first instant of the `as_of` day, in microseconds since 1970."""
        return int(self.as_of.instant.timestamp()) * 1_000_000

    def read(self, names: Collection[str], windows: Sequence[Windowed] = ()) -> exp.Select:
        """Events of these kinds that at least one of the windows reaches; without windows all of the past.

        When a window is of the customer's days, columns `today` and `local_day` come with them.
        """
        read = [exp.column(name, "m") for name in (self.token, US, "event_day", *_READ)]
        query = exp.select(*read).from_(exp.alias_(exp.to_table(self.table), "m", table=True))
        day = exp.column("event_day", "m")
        query = query.where(exp.LT(this=day, expression=date_literal(self.as_of.day)))
        earliest = self._earliest(windows)
        if earliest is not None:
            query = query.where(exp.GTE(this=day.copy(), expression=date_literal(earliest)))
        query = query.where(exp.column("event", "m").isin(*(exp.Literal.string(name) for name in sorted(names))))
        if self.customer_token is not None:
            query = query.where(exp.column(self.token, "m").eq(exp.Literal.string(self.customer_token)))
        if any(each.local for each in windows):
            zones = zones_query(self.as_of, self.profile, self.token, self.customer_token).subquery("z")
            query = query.join(zones, using=self.token)
            query = query.select(exp.column("today", "z"))
            here = local_day(exp.column("occurred_at", "m"), exp.column("zone", "z"))
            query = query.select(exp.alias_(here, "local_day"))
        return query

    def matching(self, node: Windowed) -> exp.Expr:
        """Whether an event that was read is of the node's kind and in its window."""
        return exp.and_(*_kind(node.event, node.where, node.about), *self._in_window(node))

    def _in_window(self, node: Windowed) -> list[exp.Expr]:
        if node.minutes is not None:
            since = exp.Literal.number(self.now - node.minutes * MINUTE_US)
            return [exp.GTE(this=exp.column(US), expression=since)]
        if node.local:
            conditions: list[exp.Expr] = [exp.LT(this=exp.column("local_day"), expression=exp.column("today"))]
            if node.within is not None:
                apart = days_between(exp.column("today"), exp.column("local_day"))
                conditions.append(exp.LTE(this=apart, expression=exp.Literal.number(node.within)))
            return conditions
        if node.within is not None:
            since_day = date_literal(self.as_of.day - timedelta(days=node.within))
            return [exp.GTE(this=exp.column("event_day"), expression=since_day)]
        return []

    def _earliest(self, windows: Sequence[Windowed]) -> date | None:
        """The first business day that any of these can reach; None is all of the past."""
        days: list[date] = []
        for each in windows:
            if each.minutes is not None:
                instant = self.as_of.instant - timedelta(minutes=each.minutes)
                days.append(instant.astimezone(ZoneInfo(self.as_of.timezone)).date())
            elif each.within is None:
                return None
            else:  # days elsewhere begin and end up to a day away from ours, and so may today
                days.append(self.as_of.day - timedelta(days=each.within + (2 if each.local else 0)))
        return min(days, default=None)


def _kind(event: str, where: Where, about: Event) -> list[exp.Expr]:
    conditions: list[exp.Expr] = [exp.column("event").eq(exp.Literal.string(event))]
    for name, value in where:
        each = about.properties[name]
        found: exp.Expr = exp.column(each.column)
        found = exp.Upper(this=found) if each.upper else found
        conditions.append(exp.EQ(this=found, expression=exp.Literal.string(value)))
    return conditions


def date_literal(day: date) -> exp.Expr:
    return exp.cast(exp.Literal.string(day.isoformat()), "date")


def days_between(later: exp.Expr, earlier: exp.Expr) -> exp.Expr:
    """How many days one date is after another."""
    return exp.DateDiff(this=later, expression=earlier, unit=exp.Var(this="DAY"))
