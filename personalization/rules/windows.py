"""Windows of time as rules write them: '14 days', '2 weeks', '36 hours', '90 minutes'."""

from __future__ import annotations

import re
from dataclasses import dataclass

from sqlglot import exp

from personalization.rules import syntax
from personalization.rules.problems import Source

MOST_DAYS = 36_500
_WINDOW = re.compile(r"^\s*(\d{1,9})\s*([a-z]+)\s*$", re.IGNORECASE)
_DAYS = {"day": 1, "days": 1, "week": 7, "weeks": 7}
_MINUTES = {"minute": 1, "minutes": 1, "hour": 60, "hours": 60}


@dataclass(frozen=True)
class Window:
    """Either whole days or an exact number of minutes; neither is all of the past."""

    days: int | None = None
    minutes: int | None = None

    @property
    def exact(self) -> int | None:
        """The length in minutes, a day being 24 hours."""
        return self.minutes if self.days is None else self.days * 1440


def read_window(node: exp.Expr, source: Source) -> Window:
    """Read a window's text.

    Raises
    ------
    RuleError
        When it is no quoted number and unit, or shorter or longer than a window can be.
    """
    span = syntax.span_of(node, source)
    text = str(node.this) if isinstance(node, exp.Literal) and node.is_string else ""
    match = _WINDOW.match(text)
    if not match:
        raise source.error(span, "a window is a quoted text such as '14 days' or '36 hours'")
    number, unit = int(match[1]), match[2].lower()
    if unit not in _DAYS and unit not in _MINUTES:
        hint = "windows count in minutes, hours, days or weeks, such as '30 days'"
        raise source.error(span, f"'{text}': unknown unit '{unit}'", hint)
    most = MOST_DAYS * (1 if unit in _DAYS else 1440)
    length = number * (_DAYS.get(unit) or _MINUTES[unit])
    if not 1 <= length <= most:
        hint = "leave `within` out for all of the past"
        raise source.error(span, f"'{text}': a window has 1 to {MOST_DAYS} days", hint)
    return Window(days=length) if unit in _DAYS else Window(minutes=length)


def window_text(days: int | None, minutes: int | None) -> str:
    """A window the way rules write it: '14 days', '36 hours', '90 minutes'."""
    if days is not None:
        return _counted(days, "day")
    length = minutes or 0
    return _counted(length // 60, "hour") if length % 60 == 0 else _counted(length, "minute")


def _counted(number: int, unit: str) -> str:
    return f"1 {unit}" if number == 1 else f"{number} {unit}s"
