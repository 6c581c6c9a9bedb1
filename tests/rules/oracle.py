"""A slow and obvious evaluator of rule trees over raw rows, written apart from the compiler, to compare it with."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, timedelta
from typing import Any

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
class Customer:
    token: str
    fields: Mapping[str, Any]
    days: tuple[Day, ...] = field(default=())


class Oracle:
    """Answers for one customer on one day. True, False, or None for undecided."""

    def __init__(self, customer: Customer, as_of: date, segments: Mapping[str, Rule]) -> None:
        self.customer, self.as_of, self.segments = customer, as_of, segments

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
                return self.customer.fields[name]
            case t.DayBefore(days):
                return self.as_of - timedelta(days=days)
            case t.Behaviour():
                return self._behaviour(node)
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
