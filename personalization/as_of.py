"""The one clock: every computation takes an explicit `AsOf`, given by a Dagster daily partition or the CLI."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

from personalization.errors import PersonalizationError


@dataclass(frozen=True, order=True)
class AsOf:
    """A business day seen from its first instant: everything before it is known, nothing after it is.

    Attributes
    ----------
    day : date
        The business day, in the program's time zone; the key of the Dagster partition.
    timezone : str
        IANA name of the program's time zone.
    """

    day: date
    timezone: str = "UTC"

    @classmethod
    def parse(cls, text: str, timezone: str = "UTC") -> AsOf:
        """Read `YYYY-MM-DD`. Raises `PersonalizationError` when the text is not such a date."""
        try:
            return cls(date.fromisoformat(text), timezone)
        except ValueError:
            raise PersonalizationError(f"as-of day '{text}' is not a date", hint="write it as YYYY-MM-DD") from None

    @property
    def key(self) -> str:
        """The day as `YYYY-MM-DD`."""
        return self.day.isoformat()

    @property
    def instant(self) -> datetime:
        """Midnight at the start of the day in the program's time zone, as an aware UTC instant."""
        return datetime.combine(self.day, time.min, ZoneInfo(self.timezone)).astimezone(UTC)

    def shift(self, days: int) -> AsOf:
        """The same clock `days` later (negative: earlier)."""
        return AsOf(self.day + timedelta(days=days), self.timezone)
