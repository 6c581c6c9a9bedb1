"""What a platform's reader says about mailings: campaigns, what happened to each mail, and who opted out.

docs/results.md says what each platform gives.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Literal, Protocol, runtime_checkable

from personalization.stages.export.adapters.base import DestinationError
from personalization.stages.export.adapters.http import Answer

OptOut = Literal["withdraw", "bounced", "complained"]


@dataclass(frozen=True, slots=True)
class Event:
    """One thing that happened to one mail, or one opt-out. There is no way to say that somebody opted in.

    Attributes
    ----------
    kind : str
        A word of `EMAIL_EVENTS`; empty for an opt-out that belongs to no mailing.
    campaign_id : str, optional
        In the platform's own words.
    email, customer_id : str, optional
        The person; at least one is needed. Never shown.
    occurred_at : datetime, optional
        When, with a time zone; None when the platform's text can't be read.
    detail : str, optional
        The link clicked, the reason of a bounce.
    id : str, optional
        The platform's id of the event, where it has one; without it the contents are the id.
    opt_out : {"withdraw", "bounced", "complained"}, optional
        What it means for mailing the person.
    echo : bool
        Read from a contact's state, which may be what we told the platform ourselves.
    problem : str, optional
        Why it can't be used; repeats nothing of it.
    """

    kind: str
    campaign_id: str | None
    email: str | None = field(default=None, repr=False)
    customer_id: str | None = field(default=None, repr=False)
    occurred_at: datetime | None = None
    detail: str | None = field(default=None, repr=False)
    id: str | None = field(default=None, repr=False)
    opt_out: OptOut | None = None
    echo: bool = False
    problem: str | None = None


@dataclass(frozen=True, slots=True)
class Campaign:
    """A mailing at a platform. By its name (or title) it is one of the program's campaigns."""

    id: str
    name: str
    sent_at: datetime | None


@dataclass(frozen=True)
class Page:
    """Some of what a platform reports.

    Attributes
    ----------
    cursor : dict
        Where to go on once everything up to here is on the disk.
    """

    cursor: dict[str, Any]
    events: list[Event] = field(default_factory=list)
    campaigns: list[Campaign] = field(default_factory=list)


@dataclass(frozen=True)
class Window:
    """Of which time results are read.

    Attributes
    ----------
    now : datetime
        UTC.
    first : datetime
        How far back the first read goes; mailings sent before this are not looked at.
    overlap : timedelta
        How far each read goes back again.
    """

    now: datetime
    first: datetime
    overlap: timedelta

    def since(self, until: str | None) -> datetime:
        """Where a read begins that follows one that went up to a moment (ISO 8601); the first when there was none."""
        if until is None:
            return self.first
        return max(datetime.fromisoformat(until), self.first) - self.overlap


class ResultsReader(Protocol):
    """Reads the results of one destination."""

    @property
    def kinds(self) -> tuple[str, ...]:
        """What is read in one go each, with a cursor of its own: names of lower-case letters and `_`."""

    @property
    def title(self) -> str:
        """Of the platform."""

    def read(self, kind: str, cursor: Mapping[str, Any], window: Window) -> Iterator[Page]:
        """What is new, and what may be, since the cursor (empty at the first time).

        An event may come again, in another page or read; it is told by its id or its contents.

        Raises
        ------
        Postponed, Lost, DestinationError
            What was yielded before counts.
        """


@runtime_checkable
class HasResults(Protocol):
    """An adapter of a platform that tells what became of mailings."""

    def results(self) -> ResultsReader: ...


def body_of(answer: Answer, what: str, said: str = "") -> Any:
    """The content of a good answer. Raises `DestinationError` for another one."""
    if not answer.ok:
        raise DestinationError(f"{what} can't be read (status {answer.status}{': ' if said else ''}{said})")
    return answer.body
