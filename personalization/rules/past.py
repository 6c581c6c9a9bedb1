"""Nodes about what a customer did before `as_of`.

A window is either whole days, of the program's or the customer's calendar, or an exact stretch of minutes; both end at
the first instant of the `as_of` day and include their own beginning. Nothing at or after that instant is looked at.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from personalization.rules.events import Event, event_of
from personalization.rules.node import NOWHERE, Node, Span, Type

Measure = Literal["events", "amount", "quantity", "days_since"]
Where = tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Behaviour(Node):
    """An aggregate over one customer's past: events of one kind with `where`, in a window before `as_of`.

    Attributes
    ----------
    measure : {"events", "amount", "quantity", "days_since"}
        Number of events, sum of a column (both 0 without events), or days since the last one (missing without any).
    within : int or None
        Window in days; None, when `minutes` is None too, is all of the past.
    where : tuple of (property, value)
        Sorted by property.
    minutes : int or None
        Window in minutes in place of days.
    local : bool
        Days are those of the customer's time zone, where it is known.
    kind : Event or None
        What the catalogue says of the event; None looks in the list of those that are always there.
    """

    event: str
    measure: Measure = "events"
    within: int | None = None
    where: Where = ()
    type: Type = "number"
    minutes: int | None = None
    local: bool = False
    kind: Event | None = field(default=None, compare=False, repr=False)

    @property
    def about(self) -> Event:
        return self.kind or event_of(self.event)

    @property
    def exact(self) -> bool:
        """Whether single events must be read: days of the program and what they are summed by are not enough."""
        by_day = self.about.properties
        return self.minutes is not None or self.local or any(not by_day[name].by_day for name, _ in self.where)


@dataclass(frozen=True)
class Affinity(Node):
    """The share of `part` in `whole`, two sums of one window; missing when the whole is 0."""

    part: Behaviour
    whole: Behaviour
    type: Type = "number"


@dataclass(frozen=True)
class Recalled(Node):
    """The property `key` of the latest or the first event of a kind; missing without one, or when that has none.

    Of events at one instant, those with the property count, and of these the last value in the order of the alphabet
    for the latest, the first for the first.
    """

    event: str
    key: str
    which: Literal["last", "first"] = "last"
    within: int | None = None
    where: Where = ()
    type: Type = "text"
    minutes: int | None = None
    local: bool = False
    kind: Event | None = field(default=None, compare=False, repr=False)

    @property
    def about(self) -> Event:
        return self.kind or event_of(self.event)


@dataclass(frozen=True)
class Step(Node):
    """One step of a sequence.

    Attributes
    ----------
    window : int
        Minutes after the step before it in which it must happen, or with `negated` must not; 0 for the first step.
    within, minutes, local
        The window before `as_of`, of the first step only.
    """

    event: str
    where: Where = ()
    window: int = 0
    negated: bool = False
    within: int | None = None
    minutes: int | None = None
    local: bool = False
    kind: Event | None = field(default=None, compare=False, repr=False)

    @property
    def about(self) -> Event:
        return self.kind or event_of(self.event)


@dataclass(frozen=True)
class Sequence(Node):
    """There is a first event, each next one follows the one before within its window, and the last, negated, does not.

    An event follows another of a different kind at the same instant or later, one of the same kind only later; and
    before the window has passed: exactly 24 hours later is too late for '24 hours'. A negated step holds only once its
    window has ended by `as_of`: before that nobody knows. Always decided.
    """

    steps: tuple[Step, ...]


@dataclass(frozen=True)
class OpenedPrevious(Node):
    """The last mail sent to the person was opened, within `minutes` after it was sent; always decided.

    Of mails sent at the same instant one opened is enough. Nobody opened a mail who never got one.
    """

    minutes: int | None = None


@dataclass(frozen=True)
class WasInSegment(Node):
    """Was a member on one of the `within` days before `as_of` (None: ever); always decided."""

    name: str
    within: int | None = None
    span: Span = field(default=NOWHERE, compare=False, repr=False)


Moment = Behaviour | Recalled | Sequence | OpenedPrevious
"""What is read from single events (of behaviour, what is `exact`)."""
