"""SQL that reads dates and times of every accepted spelling, with the same outcome as the dbt macro `to_utc`."""

from __future__ import annotations

from personalization.warehouse.date_formats import SlashDates, date_formats


def zoned_sql(text: str) -> str:
    """A TIMESTAMP in UTC from text that names its zone (`Z`, `+02:00`); NULL from other text.

    `text` is an SQL expression of ours.
    """
    formats = [format_ for format_ in date_formats() if "%z" in format_]
    return f"timezone('UTC', try_strptime(regexp_replace(trim({text}), '([0-9])Z$', '\\1+00:00'), {formats!r}))"


def local_sql(text: str, slash_dates: SlashDates | None = None) -> str:
    """A TIMESTAMP as written from text that names no zone; NULL from other text."""
    formats = [format_ for format_ in date_formats(slash_dates) if "%z" not in format_]
    return f"try_strptime(trim({text}), {formats!r})"


def instant_sql(text: str, timezone: str, slash_dates: SlashDates | None = None) -> str:
    """A TIMESTAMP in UTC from text; where it names no zone it is local time of `timezone` (an IANA name, checked)."""
    return f"coalesce({zoned_sql(text)}, timezone('UTC', timezone('{timezone}', {local_sql(text, slash_dates)})))"
