"""What rules ask of single events, as one scan of those days that hour windows, sequences and properties can reach.

The scan reads `marts.moments`: what each person did, with its instant in microseconds since 1970 (`moment_us`), so that
windows and order are comparisons of whole numbers in every engine. Nothing at or after the first instant of the
`as_of` day is read.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date, timedelta
from zoneinfo import ZoneInfo

from sqlglot import exp

from personalization.as_of import AsOf
from personalization.rules import tree as t
from personalization.rules.chains import Chain
from personalization.rules.events import Event
from personalization.rules.past import Where
from personalization.rules.zones import local_day, zones_query

MINUTE_US = 60_000_000
_US = "moment_us"
_MAIL = ("mailing", "open")


def instant_us(as_of: AsOf) -> int:
    """The first instant of the `as_of` day, in microseconds since 1970."""
    return int(as_of.instant.timestamp()) * 1_000_000


def moments_query(
    columns: Mapping[t.Moment, str],
    as_of: AsOf,
    table: str,
    profile: str,
    token: str,
    customer_token: str | None = None,
) -> exp.Select:
    """One row per customer with any of the wanted events; a column for each thing that is asked.

    Parameters
    ----------
    columns : mapping of Moment to str
        The name of each column. Counts and sums are NULL without events, sequences 1 or NULL.
    table, profile, token : str
        Single events; the profile, read for time zones only; the column that names the customer in both.
    customer_token : str, optional
        Read this customer only.
    """
    return _Query(columns, as_of, table, profile, token, customer_token).build()


class _Query:
    def __init__(
        self,
        columns: Mapping[t.Moment, str],
        as_of: AsOf,
        table: str,
        profile: str,
        token: str,
        customer_token: str | None,
    ) -> None:
        self.columns, self.as_of, self.now = columns, as_of, instant_us(as_of)
        self.table, self.profile, self.token, self.customer = table, profile, token, customer_token
        self.local = any(_local(node) for node in columns)
        chains = [(node, name) for node, name in columns.items() if isinstance(node, t.Sequence)]
        self.chains = [Chain(node, name, token, self.now) for node, name in chains]

    def build(self) -> exp.Select:
        query = self._kinds()
        for level in range(max((chain.levels for chain in self.chains), default=0)):
            parts = [part for chain in self.chains for part in chain.level(level)]
            query = exp.select(exp.Star(), *parts).from_(query.subquery(f"steps_{level}"))
        aggregates = [exp.alias_(self._aggregate(node, name), name) for node, name in self.columns.items()]
        return exp.select(exp.column(self.token), *aggregates).from_(query.subquery("kinds")).group_by(self.token)

    def _events(self) -> exp.Select:
        """The events to look at, with the customer's own day when that is asked for."""
        read = [exp.column(name, "m") for name in (self.token, _US, "event_day", *_READ)]
        query = exp.select(*read).from_(exp.alias_(exp.to_table(self.table), "m", table=True))
        day = exp.column("event_day", "m")
        query = query.where(exp.LT(this=day, expression=_date(self.as_of.day)))
        earliest = _earliest(list(self.columns), self.as_of)
        if earliest is not None:
            query = query.where(exp.GTE(this=day.copy(), expression=_date(earliest)))
        names = sorted({name for node in self.columns for name in events_of(node)})
        query = query.where(exp.column("event", "m").isin(*(exp.Literal.string(name) for name in names)))
        if self.customer is not None:
            query = query.where(exp.column(self.token, "m").eq(exp.Literal.string(self.customer)))
        if self.local:
            zones = zones_query(self.as_of, self.profile, self.token, self.customer).subquery("z")
            query = query.join(zones, using=self.token)
            query = query.select(exp.column("today", "z"))
            here = local_day(exp.column("occurred_at", "m"), exp.column("zone", "z"))
            query = query.select(exp.alias_(here, "local_day"))
        return query

    def _kinds(self) -> exp.Select:
        """Beside each event one column for each thing asked: its value on the events that matter, NULL on others."""
        query = exp.select(self.token, _US, "event").from_(self._events().subquery("events"))
        for node, name in self.columns.items():
            if isinstance(node, t.Behaviour):
                matching = self._matching(node.event, node.where, node.about, _window_of(node))
                query = query.select(exp.alias_(exp.Case().when(matching, self._measured(node)), name))
            elif isinstance(node, t.Recalled):
                matching = self._matching(node.event, node.where, node.about, _window_of(node))
                query = query.select(exp.alias_(exp.Case().when(matching, _found(node)), name))
            elif isinstance(node, t.Sequence):
                for index, step in enumerate(node.steps):
                    matching = self._matching(step.event, step.where, step.about, _window_of(step))
                    found = exp.Case().when(matching, exp.column(_US))
                    query = query.select(exp.alias_(found, f"{name}_{index}"))
            else:
                query = query.select(exp.alias_(self._opened(node), name))
        return query

    def _matching(self, event: str, where: Where, about: Event, window: _Window) -> exp.Expr:
        """Whether an event is of this kind and in this window."""
        conditions: list[exp.Expr] = [exp.column("event").eq(exp.Literal.string(event))]
        for name, value in where:
            each = about.properties[name]
            found: exp.Expr = exp.column(each.column)
            found = exp.Upper(this=found) if each.upper else found
            conditions.append(exp.EQ(this=found, expression=exp.Literal.string(value)))
        days, minutes, local = window
        if minutes is not None:
            since = exp.Literal.number(self.now - minutes * MINUTE_US)
            conditions.append(exp.GTE(this=exp.column(_US), expression=since))
        elif local:
            conditions.append(exp.LT(this=exp.column("local_day"), expression=exp.column("today")))
            if days is not None:
                conditions.append(exp.LTE(this=_days_apart("today", "local_day"), expression=exp.Literal.number(days)))
        elif days is not None:
            since_day = _date(self.as_of.day - timedelta(days=days))
            conditions.append(exp.GTE(this=exp.column("event_day"), expression=since_day))
        return exp.and_(*conditions)

    def _measured(self, node: t.Behaviour) -> exp.Expr:
        if node.measure == "days_since":
            if node.local:
                return _days_apart("today", "local_day")
            return _day_count(_date(self.as_of.day), exp.column("event_day"))
        if node.measure == "events":
            return exp.column("event_id" if node.about.distinct else "events")
        return exp.column(node.measure)

    def _opened(self, node: t.OpenedPrevious) -> exp.Expr:
        """On an opened mail the instant it was sent, when it was opened in time."""
        sent = exp.Case().when(exp.column("event").eq(exp.Literal.string("mailing")), exp.column(_US))
        latest = exp.Window(
            this=exp.Max(this=sent),
            partition_by=[exp.column(self.token), exp.column("campaign_id")],
            order=exp.Order(expressions=[exp.Ordered(this=exp.column(_US))]),
            spec=exp.WindowSpec(
                kind="RANGE", start="UNBOUNDED", start_side="PRECEDING", end="CURRENT ROW", end_side=None
            ),
        )
        conditions: list[exp.Expr] = [exp.column("event").eq(exp.Literal.string("open"))]
        if node.minutes is not None:
            since = exp.Sub(this=exp.column(_US), expression=exp.Literal.number(node.minutes * MINUTE_US))
            conditions.append(exp.GT(this=latest.copy(), expression=since))
        return exp.Case().when(exp.and_(*conditions), latest)

    def _aggregate(self, node: t.Moment, name: str) -> exp.Expr:
        column = exp.column(name)
        if isinstance(node, t.Sequence):
            return next(chain.outcome() for chain in self.chains if chain.name == name)
        if isinstance(node, t.OpenedPrevious):
            sent = exp.Case().when(exp.column("event").eq(exp.Literal.string("mailing")), exp.column(_US))
            same = exp.EQ(this=exp.Max(this=column), expression=exp.Max(this=sent))
            return exp.Case().when(same, exp.Literal.number(1))
        if isinstance(node, t.Recalled):
            latest = node.which == "last"
            found = exp.Max(this=column) if latest else exp.Min(this=column)
            known = exp.Dot(this=found, expression=exp.to_identifier("flag"))
            value = exp.Dot(this=found.copy(), expression=exp.to_identifier("value"))
            return exp.Case().when(known.eq(exp.Literal.number(1 if latest else 0)), value)
        if node.measure == "days_since":
            return exp.Min(this=column)
        if node.measure != "events":
            return exp.cast(exp.Sum(this=column), "double")
        if node.about.distinct:
            return exp.cast(exp.Count(this=exp.Distinct(expressions=[column])), "bigint")
        return exp.cast(exp.Sum(this=column), "bigint")


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
_Window = tuple[int | None, int | None, bool]


def _window_of(node: t.Behaviour | t.Recalled | t.Step) -> _Window:
    return node.within, node.minutes, node.local


def _found(node: t.Recalled) -> exp.Expr:
    """Instant, whether the property is known, and the property: what is compared to find the latest or the first."""
    each = node.about.properties[node.key]
    column: exp.Expr = exp.column(each.column)
    value = exp.Upper(this=column) if each.upper else column
    missing = exp.Is(this=column.copy(), expression=exp.Null())
    sides = (0, 1) if node.which == "last" else (1, 0)  # of events at one instant, the largest or the smallest is taken
    flag = exp.Case().when(missing, exp.Literal.number(sides[0])).else_(exp.Literal.number(sides[1]))
    parts = {
        _US: exp.column(_US),
        "flag": flag,
        "value": exp.Coalesce(this=value, expressions=[exp.Literal.string("")]),
    }
    pairs = [exp.PropertyEQ(this=exp.to_identifier(name), expression=part) for name, part in parts.items()]
    return exp.Struct(expressions=pairs)


def events_of(node: t.Moment) -> Sequence[str]:
    """The kinds of events it looks at."""
    if isinstance(node, t.OpenedPrevious):
        return _MAIL
    return [step.event for step in node.steps] if isinstance(node, t.Sequence) else [node.event]


def _local(node: t.Moment) -> bool:
    return node.steps[0].local if isinstance(node, t.Sequence) else getattr(node, "local", False)


def _earliest(nodes: Sequence[t.Moment], as_of: AsOf) -> date | None:
    """The first business day that any of these can reach; None is all of the past."""
    days: list[date] = []
    for node in nodes:
        first = node.steps[0] if isinstance(node, t.Sequence) else node
        if isinstance(first, t.OpenedPrevious) or (first.within is None and first.minutes is None):
            return None
        if first.minutes is not None:
            instant = as_of.instant - timedelta(minutes=first.minutes)
            days.append(instant.astimezone(ZoneInfo(as_of.timezone)).date())
        else:  # days elsewhere begin and end up to a day away from ours, and so may today
            days.append(as_of.day - timedelta(days=(first.within or 0) + (2 if first.local else 0)))
    return min(days)


def _date(day: date) -> exp.Expr:
    return exp.cast(exp.Literal.string(day.isoformat()), "date")


def _days_apart(later: str, earlier: str) -> exp.Expr:
    return _day_count(exp.column(later), exp.column(earlier))


def _day_count(later: exp.Expr, earlier: exp.Expr) -> exp.Expr:
    return exp.DateDiff(this=later, expression=earlier, unit=exp.Var(this="DAY"))
