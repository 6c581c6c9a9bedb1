"""When something happened, from the many ways in which senders write it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, tzinfo
from decimal import Decimal
from typing import Any

from personalization.warehouse.date_formats import SlashDates, date_formats

EARLIEST, LATEST = datetime(1990, 1, 1, tzinfo=UTC), datetime(2100, 1, 1, tzinfo=UTC)
AHEAD = timedelta(minutes=5)
"""How far ahead of ours a sender's clock may be; what is further ahead did not happen yet, and counts as now."""

_MILLISECONDS_FROM = 100_000_000_000
"""Unix times from here on are milliseconds: as seconds this would be the year 5138."""


def moment(value: Any, zone: tzinfo = UTC, slash_dates: SlashDates | None = None) -> datetime | None:
    """The UTC moment of a text or number, None when it is none or lies before 1990 or after 2099.

    Parameters
    ----------
    value
        ISO 8601, any other spelling that sources may use (docs/normalise.md), or a Unix time in seconds or
        milliseconds, as a number or in digits.
    zone : tzinfo
        Of a text that names none.
    """
    if isinstance(value, bool) or value is None:
        return None
    try:
        found = _unix(value) if isinstance(value, int | Decimal) else _written(str(value).strip(), zone, slash_dates)
    except (ValueError, OverflowError, ArithmeticError):
        return None
    return found if found is not None and EARLIEST <= found < LATEST else None


def not_ahead(event_at: datetime | None, received_at: datetime) -> datetime:
    """When it happened, as far as that can be: by the sender's word, else when it came, and never in the future."""
    return received_at if event_at is None or event_at > received_at + AHEAD else event_at


def _unix(value: int | Decimal) -> datetime:
    number = Decimal(value)
    seconds = number / 1000 if abs(number) >= _MILLISECONDS_FROM else number
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=int(seconds * 1_000_000))


def _written(text: str, zone: tzinfo, slash_dates: SlashDates | None) -> datetime | None:
    if text.isascii() and text.isdigit() and len(text) in (10, 13):
        return _unix(int(text))
    try:
        found: datetime | None = datetime.fromisoformat(text)
    except ValueError:
        found = _spelled(text, slash_dates)
    if found is None:
        return None
    return (found if found.tzinfo else found.replace(tzinfo=zone)).astimezone(UTC)


def _spelled(text: str, slash_dates: SlashDates | None) -> datetime | None:
    for format_ in date_formats(slash_dates):
        try:
            return datetime.strptime(text, format_)  # noqa: DTZ007  (a zone is added where none was read)
        except ValueError:
            continue
    return None
