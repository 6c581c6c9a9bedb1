"""Windows of time as rules write them: '14 days', '2 weeks', '36 hours', '90 minutes'."""

from __future__ import annotations

import re
from dataclasses import dataclass

from sqlglot import exp

from personalization.errors import nearest
from personalization.rules.node import Span
from personalization.rules.problems import Source

MOST_DAYS = 36_500
_WINDOW = re.compile(r"^\s*(\d{1,9})\s*([a-z]+)\s*$", re.IGNORECASE)
_DAYS = {"day": 1, "days": 1, "week": 7, "weeks": 7}
_MINUTES = {"minute": 1, "minutes": 1, "hour": 60, "hours": 60}
UNITS = ("day", "days", "week", "weeks", "hour", "hours", "minute", "minutes")
_SHORT = {"d": "days", "w": "weeks", "wk": "weeks", "h": "hours", "hr": "hours", "hrs": "hours", "min": "minutes"}
_UNEVEN = {"month": 30, "months": 30, "quarter": 91, "quarters": 91, "year": 365, "years": 365}  # days, roughly


@dataclass(frozen=True)
class Window:
    """Either whole days or an exact number of minutes; neither is all of the past."""

    days: int | None = None
    minutes: int | None = None

    @property
    def exact(self) -> int | None:
        """The length in minutes, a day being 24 hours."""
        return self.minutes if self.days is None else self.days * 1440


def read_window(node: exp.Expr, span: Span, source: Source) -> Window:
    """Read a window's text, which stands at `span`.

    Raises
    ------
    RuleError
        When it is no quoted number and unit, or shorter or longer than a window can be.
    """
    text = str(node.this) if isinstance(node, exp.Literal) and node.is_string else ""
    match = _WINDOW.match(text)
    if not match:
        raise source.error(span, "a window is a quoted text such as '14 days' or '36 hours'", _instead(node))
    number, unit = int(match[1]), match[2].lower()
    if unit not in _DAYS and unit not in _MINUTES:
        raise source.error(span, f"'{text}': unknown unit '{unit}'", _other_unit(number, unit))
    most = MOST_DAYS * (1 if unit in _DAYS else 1440)
    length = number * (_DAYS.get(unit) or _MINUTES[unit])
    if not 1 <= length <= most:
        hint = "leave `within` out for all of the past"
        raise source.error(span, f"'{text}': a window has 1 to {MOST_DAYS} days", hint)
    return Window(days=length) if unit in _DAYS else Window(minutes=length)


def _instead(node: exp.Expr) -> str | None:
    """What a number without a unit, or one that is not whole or negative, was perhaps meant to be."""
    found = re.match(r"^\s*-?(\d{1,5})(\.\d+)?\s*([a-z]*)\s*$", str(node.this), re.IGNORECASE)
    if not isinstance(node, exp.Literal) or found is None:
        return None
    if found[2]:
        return "the number is a whole one; hours and minutes are finer than days"
    return f"write '{found[1]} {found[3] or 'days'}'"


def _other_unit(number: int, unit: str) -> str:
    if unit in _UNEVEN:
        return f"a {unit.removesuffix('s')} has no fixed length: write '{number * _UNEVEN[unit]} days'"
    meant = _SHORT.get(unit) or nearest(unit, UNITS[1::2])
    return f"write '{number} {meant}'" if meant else "windows count in minutes, hours, days or weeks, such as '30 days'"


def window_text(days: int | None, minutes: int | None) -> str:
    """A window the way rules write it: '14 days', '36 hours', '90 minutes'."""
    if days is not None:
        return _counted(days, "day")
    length = minutes or 0
    return _counted(length // 60, "hour") if length % 60 == 0 else _counted(length, "minute")


def length_text(minutes: int) -> str:
    """A length of time counted from an instant, where a day has 24 hours: '24 hours', '7 days'."""
    whole_days = minutes % 1440 == 0 and minutes > 1440
    return window_text(minutes // 1440, None) if whole_days else window_text(None, minutes)


def _counted(number: int, unit: str) -> str:
    return f"1 {unit}" if number == 1 else f"{number} {unit}s"
