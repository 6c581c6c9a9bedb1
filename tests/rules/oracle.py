"""A slow and obvious evaluator of rule trees over raw rows, written apart from the compiler, to compare it with."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from personalization.as_of import AsOf
from personalization.rules import Rule
from personalization.rules import tree as t


@dataclass(frozen=True)
class Day:
    """One row of the customer-day rollup."""

    event_day: date
    event: str
    department: str = ""
    campaign_id: str = ""
    events: int = 1
    quantity: int = 0
    amount: int = 0


@dataclass(frozen=True)
class Happening:
    """One single event: an aware instant and what is known of it."""

    at: datetime
    event: str
    event_id: str = ""
    department: str | None = None
    category: str | None = None
    product_id: str | None = None
    campaign_id: str | None = None
    detail: str | None = None
    events: int = 1
    quantity: int = 0
    amount: int = 0


@dataclass(frozen=True)
class Stay:
    """A stay in a segment; `exited` is the first day no longer a member."""

    segment: str
    entered: date
    exited: date | None = None


@dataclass(frozen=True)
class Customer:
    token: str
    fields: Mapping[str, Any]
    days: tuple[Day, ...] = field(default=())
    happenings: tuple[Happening, ...] = field(default=())
    stays: tuple[Stay, ...] = field(default=())


class Oracle:
    """Answers for one customer on one day. True, False, or None for undecided."""

    def __init__(self, customer: Customer, as_of: AsOf, segments: Mapping[str, Rule]) -> None:
        self.customer, self.as_of, self.segments = customer, as_of.day, segments
        self.now, self.zone = as_of.instant, ZoneInfo(as_of.timezone)
        self.own_zone = ZoneInfo(customer.fields.get("time_zone") or as_of.timezone)
        self.today = self.now.astimezone(self.own_zone).date()

    def rule(self, rule: Rule) -> tuple[bool, bool]:
        """Whether a rule holds after its choice for the undecided, and whether it could be decided."""
        found = self.condition(rule.condition)
        if found is None:
            return rule.unknown == "include", False
        return found, True

    def condition(self, node: t.Condition) -> bool | None:
        match node:
            case t.And(operands):
                found = [self.condition(each) for each in operands]
                if any(each is False for each in found):
                    return False
                return None if any(each is None for each in found) else True
            case t.Or(operands):
                found = [self.condition(each) for each in operands]
                if any(each is True for each in found):
                    return True
                return None if any(each is None for each in found) else False
            case t.Not(operand):
                inner = self.condition(operand)
                return None if inner is None else not inner
            case t.Comparison(sign, left, right):
                return self._compare(sign, self.scalar(left), self.scalar(right))
            case t.Between(operand, low, high):
                return self.condition(t.And((t.Comparison(">=", operand, low), t.Comparison("<=", operand, high))))
            case t.OneOf(operand, options):
                return self.condition(t.Or(tuple(t.Comparison("=", operand, option) for option in options)))
            case t.Like(operand, pattern):
                value = self.scalar(operand)
                regex = "".join({"%": ".*", "_": "."}.get(c, re.escape(c)) for c in pattern)
                return None if value is None else bool(re.fullmatch(regex, value, re.DOTALL))
            case t.Known(operand):
                return self.scalar(operand) is not None
            case t.Holds(operand):
                return self.scalar(operand)
            case t.Did(behaviour, at_least):
                return self.scalar(behaviour) >= at_least
            case t.Sequence(steps):
                first = steps[0]
                starts = self._happened(first.event, first.where, first.within, first.minutes, first.local)
                return any(self._goes_on(start, steps[0], steps[1:]) for start in starts)
            case t.OpenedPrevious(minutes):
                return self._opened_previous(minutes)
            case t.WasInSegment(name, within):
                return any(self._overlaps(stay, within) for stay in self.customer.stays if stay.segment == name)
            case t.InSegment(name):
                holds, decided = self.rule(self.segments[name])
                return None if not decided and self.segments[name].unknown == "hold" else holds
            case t.Always(value):
                return value
        raise AssertionError(node)

    @staticmethod
    def _compare(sign: str, left: Any, right: Any) -> bool | None:
        if left is None or right is None:
            return None
        if sign == "=":
            return left == right
        if sign == "<>":
            return left != right
        if sign == "<":
            return left < right
        if sign == "<=":
            return left <= right
        return left > right if sign == ">" else left >= right

    def scalar(self, node: t.Scalar) -> Any:
        match node:
            case t.Constant(value):
                return value
            case t.FieldRef(name):
                return self.customer.fields.get(name)
            case t.DayBefore(days):
                return (self.today if node.local else self.as_of) - timedelta(days=days)
            case t.Behaviour():
                return self._exact(node) if node.exact else self._behaviour(node)
            case t.Affinity(part, whole):
                return self._arithmetic("/", self.scalar(part), self.scalar(whole))
            case t.Recalled():
                return self._recalled(node)
            case t.Negative(operand):
                value = self.scalar(operand)
                return None if value is None else -value
            case t.Arithmetic(sign, left, right):
                return self._arithmetic(sign, self.scalar(left), self.scalar(right))
        raise AssertionError(node)

    def _behaviour(self, node: t.Behaviour) -> Any:
        where = dict(node.where)
        rows = []
        for row in self.customer.days:
            if row.event != node.event or row.event_day >= self.as_of:
                continue
            if node.within is not None and row.event_day < self.as_of - timedelta(days=node.within):
                continue
            if row.event == "purchase" and row.department.upper() != where.get("department", ""):
                continue
            if "campaign_id" in where and row.campaign_id != where["campaign_id"]:
                continue
            rows.append(row)
        if node.measure == "days_since":
            return min(((self.as_of - row.event_day).days for row in rows), default=None)
        return sum(getattr(row, node.measure) for row in rows)

    def _happened(
        self, event: str, where: t.Where, within: int | None, minutes: int | None, local: bool
    ) -> list[Happening]:
        """The events of a kind in a window, oldest first."""
        found = []
        for each in self.customer.happenings:
            if each.event != event or each.at >= self.now:
                continue
            own_day, day = each.at.astimezone(self.own_zone).date(), each.at.astimezone(self.zone).date()
            if minutes is not None and each.at < self.now - timedelta(minutes=minutes):
                continue
            if local and own_day >= self.today:
                continue
            if within is not None and local and own_day < self.today - timedelta(days=within):
                continue
            if within is not None and not local and day < self.as_of - timedelta(days=within):
                continue
            if all(_property(each, name) == value for name, value in where):
                found.append(each)
        return sorted(found, key=lambda each: each.at)

    def _exact(self, node: t.Behaviour) -> Any:
        found = self._happened(node.event, node.where, node.within, node.minutes, node.local)
        if node.measure == "days_since":
            if not found:
                return None
            if node.local:
                return min((self.today - each.at.astimezone(self.own_zone).date()).days for each in found)
            return min((self.as_of - each.at.astimezone(self.zone).date()).days for each in found)
        if node.measure == "events" and node.event == "purchase":
            return len({each.event_id for each in found})
        return sum(getattr(each, node.measure) for each in found)

    def _recalled(self, node: t.Recalled) -> str | None:
        found = self._happened(node.event, node.where, node.within, node.minutes, node.local)
        if not found:
            return None
        instant = found[-1].at if node.which == "last" else found[0].at
        values = [value for each in found if each.at == instant if (value := _property(each, node.key)) is not None]
        if not values:
            return None
        return max(values) if node.which == "last" else min(values)

    def _goes_on(self, before: Happening, step: t.Step, later: tuple[t.Step, ...]) -> bool:
        """Whether the steps after one that happened hold."""
        if not later:
            return True
        following = later[0]
        end = before.at + timedelta(minutes=following.window)
        found = [
            each
            for each in self._happened(following.event, following.where, None, None, False)
            if (each.at > before.at if following.event == step.event else each.at >= before.at) and each.at < end
        ]
        if following.negated:
            return end <= self.now and not found
        return any(self._goes_on(each, following, later[1:]) for each in found)

    def _opened_previous(self, minutes: int | None) -> bool:
        mails = self._happened("mailing", (), None, None, False)
        opens = self._happened("open", (), None, None, False)
        return any(
            opened.campaign_id == mail.campaign_id
            and opened.at >= mail.at
            and (minutes is None or opened.at < mail.at + timedelta(minutes=minutes))
            for mail in mails
            if mail.at == mails[-1].at
            for opened in opens
        )

    def _overlaps(self, stay: Stay, within: int | None) -> bool:
        """Whether a member on one of the days before."""
        if stay.entered >= self.as_of:
            return False
        first = self.as_of - timedelta(days=within) if within is not None else date.min
        return stay.exited is None or stay.exited > first

    @staticmethod
    def _arithmetic(sign: str, left: Any, right: Any) -> Any:
        if left is None or right is None:
            return None
        if isinstance(left, date):
            if isinstance(right, date):
                return (left - right).days
            return left + timedelta(days=right if sign == "+" else -right)
        left, right = float(left), float(right)
        if sign == "/" and right == 0:
            return None
        result = {"+": left + right, "-": left - right, "*": left * right, "/": left / right if right else 0.0}[sign]
        return result if math.isfinite(result) else None


def _property(happening: Happening, name: str) -> str | None:
    value = getattr(happening, {"product": "product_id"}.get(name, name))
    return value.upper() if value is not None and name in ("department", "category") else value
