"""What templates show: tables and figures as plain values, with how each was computed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import Any, Literal

Kind = Literal["text", "code", "count", "share", "score", "points", "gain", "p", "day", "badge"]
NUMERIC = ("count", "share", "score", "points", "gain", "p")
DASH = "–"


@dataclass(frozen=True)
class Column:
    """A column's heading, and how its values are written."""

    title: str
    kind: Kind = "text"

    @property
    def numeric(self) -> bool:
        return self.kind in NUMERIC


@dataclass(frozen=True)
class Table:
    """Rows with a caption and a line on where they come from. `note` says what an empty table means."""

    name: str
    caption: str
    how: str
    columns: Sequence[Column]
    rows: Sequence[Sequence[Any]]
    note: str = "No rows."


@dataclass(frozen=True)
class Figure:
    """A plot drawn for wide and for narrow screens, with its numbers as a table."""

    name: str
    title: str
    description: str
    wide: str
    narrow: str
    numbers: Table


@dataclass(frozen=True)
class Stat:
    """One large number, what it counts, and where it comes from. `value` None is shown as not known."""

    value: str | None
    label: str
    how: str


def count(value: float | None) -> str:
    """1234567 as `1,234,567`."""
    return DASH if value is None else f"{value:,.0f}"


def share(value: float | None) -> str:
    """0.1234 as `12.3 %` with a space that does not break; what is not quite 0 or 1 is not rounded to it."""
    if value is None:
        return DASH
    percent = value * 100
    if 0 < percent < 0.05:
        return "< 0.1\u00a0%"
    if 99.95 <= percent < 100:
        return "> 99.9\u00a0%"
    return f"{percent:.1f}\u00a0%"


def score(value: float | None) -> str:
    return DASH if value is None else f"{value:.3f}"


def points(value: float | None) -> str:
    """A difference of shares in percentage points, with its sign."""
    if value is None:
        return DASH
    return f"{value * 100:+.1f}".replace("-", "−")


def p_value(value: float | None) -> str:
    if value is None:
        return DASH
    return "< 0.001" if value < 0.001 else f"{value:.3f}"


def gain(value: tuple[float | None, float | None, float | None]) -> str:
    """A difference of scores with its interval: `+0.034 (+0.018 to +0.050)`."""
    if any(part is None for part in value):
        return DASH
    middle, low, high = (f"{part:+.3f}".replace("-", "−") for part in value)
    return f"{middle} ({low} to {high})"


def day(value: date | None) -> str:
    """3 December 2017."""
    return DASH if value is None else f"{value.day} {value:%B %Y}"


_WRITERS: dict[str, Callable[[Any], str]] = {
    "count": count,
    "share": share,
    "score": score,
    "points": points,
    "gain": gain,
    "p": p_value,
    "day": day,
}


def cell(value: Any, kind: Kind) -> str:
    """A value as the text of its cell."""
    if value is None:
        return DASH
    if isinstance(value, Decimal):
        value = float(value)
    writer = _WRITERS.get(kind)
    return writer(value) if writer else str(value)
