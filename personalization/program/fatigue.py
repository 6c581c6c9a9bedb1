"""How often, at what hours and for how long people are mailed: the settings of program.yaml that protect them."""

from __future__ import annotations

import re
from datetime import UTC, datetime, time, timedelta, tzinfo
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from personalization.program.base import CONFIG, Name, Rule

_DURATION = re.compile(r"^\s*(\d{1,4})\s*(d|days?|w|weeks?)?\s*$")
Weekday = Literal["monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"]
WEEKDAYS: tuple[Weekday, ...] = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")


class Model(BaseModel):
    model_config = CONFIG


class Window(Model):
    """At most `sends` in any `days` days."""

    sends: int = Field(ge=0)
    days: int = Field(gt=0)


class FrequencyCap(Model):
    """At most `sends` in any `days` days for customers for whom `when` holds; the first tier that fits applies.

    `limits` gives several such windows, of a week and a month for instance, all of which must hold.
    """

    tier: Name
    when: Rule | None = None
    sends: int | None = Field(default=None, ge=0)
    days: int | None = Field(default=None, gt=0)
    limits: list[Window] = []

    @model_validator(mode="after")
    def _some_window(self) -> FrequencyCap:
        if (self.sends is None) != (self.days is None):
            raise ValueError("give both sends and days")
        if self.sends is None and not self.limits:
            raise ValueError("give sends and days, or limits: [{sends: 1, days: 7}, {sends: 3, days: 30}]")
        return self

    @property
    def windows(self) -> tuple[tuple[int, int], ...]:
        """(sends, days) of each window, in the order written."""
        own = [(self.sends, self.days)] if self.sends is not None and self.days is not None else []
        return (*own, *((window.sends, window.days) for window in self.limits))


class Fatigue(Model):
    """`min_gap_days`: a customer is mailed only when the last send is *more than* this many days ago."""

    model_config = ConfigDict(
        json_schema_extra=lambda schema: schema["properties"].update(
            min_gap={
                "description": "instead of min_gap_days, with a unit: 3d, 5 days, 1w",
                "type": ["string", "integer"],
            }
        )
    )

    min_gap_days: int = Field(default=3, ge=0)
    caps: list[FrequencyCap] = []

    @model_validator(mode="before")
    @classmethod
    def _gap_with_unit(cls, value: Any) -> Any:
        if not isinstance(value, dict) or "min_gap" not in value:
            return value
        rest = {key: each for key, each in value.items() if key != "min_gap"}
        if "min_gap_days" in rest:
            raise ValueError("write either min_gap or min_gap_days, not both")
        match = _DURATION.match(str(value["min_gap"]))
        if not match:
            raise ValueError(
                f"min_gap is a number of days or weeks, such as 3d, 5 days or 1w; found {value['min_gap']!r}"
            )
        return {**rest, "min_gap_days": int(match[1]) * (7 if (match[2] or "d").startswith("w") else 1)}


ALIASES = {"min_gap": "min_gap_days", "min_gap_days": "min_gap"}
"""Two spellings of one setting of `fatigue`: setting one takes out the other."""


Clock = Annotated[str, Field(pattern=r"^([01]\d|2[0-3]):[0-5]\d$|^24:00$", description="hour and minute, as 21:00")]


class QuietHours(Model):
    """Hours in which no audience is released, by the customer's clock where it is known, else by the program's.

    They begin at `from` on each of `days` and end at `to`, the next day when `to` is not later than `from`. On
    `whole_days` nothing is released at all. Nothing else waits for them: opt-outs and cleared fields leave at once.
    """

    model_config = ConfigDict(populate_by_name=True)

    begin: Clock = Field(default="21:00", alias="from")
    end: Clock = Field(default="08:00", alias="to")
    days: list[Weekday] = list(WEEKDAYS)
    whole_days: list[Weekday] = []

    @model_validator(mode="after")
    def _not_always(self) -> QuietHours:
        monday = datetime(2024, 1, 1, tzinfo=UTC)
        clocks = (
            timedelta(0),
            timedelta(minutes=_minutes(self.end)),
        )  # when it becomes loud, it does so at one of these
        if all(self.covers(monday + timedelta(days=day) + clock, UTC) for day in range(7) for clock in clocks):
            raise ValueError(f"it is quiet at every hour of the week ({self}): nobody would ever be mailed")
        return self

    def covers(self, moment: datetime, zone: tzinfo) -> bool:
        """Whether it is quiet at `moment` (with a time zone) where people live by `zone`."""
        local = moment.astimezone(zone)
        today, yesterday = WEEKDAYS[local.weekday()], WEEKDAYS[(local.weekday() - 1) % 7]
        if today in self.whole_days:
            return True
        now, begin, end = local.time(), _minutes(self.begin), _minutes(self.end)
        minute = now.hour * 60 + now.minute
        if begin < end:
            return today in self.days and begin <= minute < end
        return (today in self.days and minute >= begin) or (yesterday in self.days and minute < end)

    def over_at(self, moment: datetime, zone: tzinfo) -> datetime:
        """The first full minute from `moment` on at which it is not quiet; `moment` itself when it is not."""
        probe = moment
        while self.covers(probe, zone):
            probe = probe.replace(second=0, microsecond=0) + timedelta(minutes=1)
        return probe

    @property
    def opens(self) -> time:
        """The time of day at which the night ends."""
        minutes = _minutes(self.end) % (24 * 60)
        return time(minutes // 60, minutes % 60)

    def __str__(self) -> str:
        night = f"from {self.begin} to {self.end}"
        if set(self.days) != set(WEEKDAYS):
            night += f" beginning on {', '.join(self.days)}" if self.days else ", on no day"
        return night + (f", and all of {' and '.join(self.whole_days)}" if self.whole_days else "")


def _minutes(text: str) -> int:
    return int(text[:2]) * 60 + int(text[3:])


class Sunset(Model):
    """Whom campaigns leave alone because nothing comes back from them, until they act again.

    By default: first mailed at least `inactive_days` ago, and in that time no open, click, response or purchase, and
    no consent given. `when` is a rule of your own instead. A campaign with `win_back: true` still reaches them, with
    at most `win_back` mails.
    """

    inactive_days: int = Field(default=180, gt=0)
    when: Rule | None = Field(default=None, description="a rule instead of inactive_days")
    win_back: Window = Field(default=Window(sends=1, days=90), description="most mails of win-back campaigns to them")


class Threshold(Model):
    """Shares of sends: from `warn` on fewer people are mailed, from `stop` on nobody."""

    warn: Annotated[float, Field(gt=0, le=1)]
    stop: Annotated[float, Field(gt=0, le=1)]

    @model_validator(mode="after")
    def _in_order(self) -> Threshold:
        if self.stop < self.warn:
            raise ValueError(f"stop ({self.stop:g}) is below warn ({self.warn:g})")
        return self


class Governor(Model):
    """Lowers the volume of a campaign, or of all, while too many people complain or unsubscribe.

    Rates are of the sends of the last `days` days. A threshold counts as passed when the lower end of the rate's
    interval lies above it and there are at least `least` of them, so that few sends change nothing.

    Defaults: Gmail and Yahoo ask bulk senders to keep complaints below 0.1 % and never to reach 0.3 %; unsubscribes
    above 0.5 to 1 % of sends are commonly read as mail that is not wanted.
    """

    days: int = Field(default=14, gt=0, le=90)
    complaints: Threshold = Threshold(warn=0.001, stop=0.003)
    unsubscribes: Threshold = Threshold(warn=0.005, stop=0.01)
    confidence: float = Field(default=0.95, gt=0.5, lt=1, description="of the one-sided interval")
    least: int = Field(default=3, ge=1, description="fewer complaints, or unsubscribes, than this are no evidence")
    shares: list[Annotated[float, Field(gt=0, lt=1)]] = Field(
        default=[0.5, 0.25], description="share of the people kept at each step down; a stop keeps nobody"
    )
    step_days: int = Field(default=3, gt=0, description="least time between two steps down")
    recover_days: int = Field(default=7, gt=0, description="calm days before each step up")

    @model_validator(mode="after")
    def _falling(self) -> Governor:
        if any(later >= earlier for earlier, later in zip(self.shares, self.shares[1:], strict=False)):
            raise ValueError(f"shares must fall from step to step; found {self.shares}")
        return self

    @property
    def ladder(self) -> tuple[float, ...]:
        """The share kept at each level, from everybody down to nobody."""
        return (1.0, *self.shares, 0.0)
