"""The ways in which sources write dates and times, as strptime formats, tried in this order.

Validation refuses what none of them reads, and the dbt macro `to_utc` converts what one of them does: both take the
list from here, so that no row can pass the one and become NULL in the other.
"""

from __future__ import annotations

from itertools import product
from typing import Literal

SlashDates = Literal["month_first", "day_first"]

_TIMES = ("%H:%M:%S", "%H:%M:%S.%f", "%H:%M")
# The usual ones first: each format that does not fit costs a third of a microsecond a row.
_ISO = ("%Y-%m-%d", *(f"%Y-%m-%d{gap}{time}" for time, gap in product(_TIMES, " T")))
_ISO_ZONED = tuple(f"%Y-%m-%d{gap}{time}{space}%z" for space, time, gap in product(("", " "), _TIMES, "T "))
_DOTTED = ("%d.%m.%Y", *(f"%d.%m.%Y {time}" for time in _TIMES))
_NAMED = ("%d %b %Y", "%d-%b-%Y", "%d %B %Y", "%b %d, %Y", "%B %d, %Y")
_MAIL = ("%a, %d %b %Y %H:%M:%S %z", "%d %b %Y %H:%M:%S %z")

DATE_FORMATS: tuple[str, ...] = (*_ISO, *_ISO_ZONED, *_DOTTED, "%Y%m%d", *_NAMED, *_MAIL)
"""Formats that can be read in one way only. A format with `%z` names its zone; the others are local time."""

_SLASHED = {"month_first": "%m/%d/%Y", "day_first": "%d/%m/%Y"}
_SLASHED_TIMES = ("", " %H:%M", " %H:%M:%S", " %I:%M %p", " %I:%M:%S %p")


def date_formats(slash_dates: SlashDates | None = None) -> list[str]:
    """All formats of a program.

    Parameters
    ----------
    slash_dates : "month_first" or "day_first", optional
        How 03/04/2017 is meant. Without it dates with slashes are not read at all: a guess would be wrong silently,
        on the first twelve days of every month.

    >>> len(date_formats("day_first")) - len(date_formats())
    5
    """
    slashed = [_SLASHED[slash_dates] + time for time in _SLASHED_TIMES] if slash_dates else []
    return [*DATE_FORMATS, *slashed]
