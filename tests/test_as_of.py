"""The clock: a business day seen from its first instant."""

from __future__ import annotations

import pytest

from personalization.as_of import AsOf
from personalization.errors import PersonalizationError


@pytest.mark.parametrize(
    ("day", "timezone", "instant"),
    [
        ("2017-12-03", "UTC", "2017-12-03T00:00:00+00:00"),
        ("2017-12-03", "America/New_York", "2017-12-03T05:00:00+00:00"),
        ("2017-07-03", "America/New_York", "2017-07-03T04:00:00+00:00"),
        ("2017-03-26", "Europe/Berlin", "2017-03-25T23:00:00+00:00"),
    ],
)
def test_a_day_begins_at_local_midnight(day: str, timezone: str, instant: str) -> None:
    assert AsOf.parse(day, timezone).instant.isoformat() == instant


def test_shifting_counts_days_not_hours() -> None:
    before_clock_change = AsOf.parse("2017-11-04", "America/New_York")
    assert before_clock_change.shift(2).key == "2017-11-06"


@pytest.mark.parametrize("text", ["2017-13-01", "yesterday", "", "03.12.2017"])
def test_what_is_no_date_is_refused(text: str) -> None:
    with pytest.raises(PersonalizationError, match="YYYY-MM-DD"):
        AsOf.parse(text)
