"""The language's functions: their names and arguments, and the reading of one call."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial
from typing import NoReturn

from sqlglot import exp

from personalization.errors import did_you_mean
from personalization.rules import syntax
from personalization.rules.catalog import Catalog, Event
from personalization.rules.problems import Source, collect
from personalization.rules.tree import Behaviour, DayBefore, Did, InSegment, Measure, Scalar, Span

CONDITIONS = ("did", "in_segment", "known")
SCALARS = ("count_of", "sum_of", "days_since", "days_ago")
NAMES = (*CONDITIONS, *SCALARS)
MOST_DAYS = 36_500
_USAGE = {
    "did": "did('purchase', within => '14 days', at_least => 2)",
    "count_of": "count_of('mailing', within => '14 days')",
    "sum_of": "sum_of('purchase', 'amount', within => '14 days')",
    "days_since": "days_since('purchase')",
    "days_ago": "days_ago(30)",
    "in_segment": "in_segment('likely_buyers')",
}
_WINDOW = re.compile(r"^\s*(\d{1,9})\s*([a-z]+)\s*$", re.IGNORECASE)
_UNIT_DAYS = {"day": 1, "days": 1, "week": 7, "weeks": 7}
_TOO_FINE = ("h", "hour", "hours", "minute", "minutes", "second", "seconds")
_ARGUMENT_NAME = re.compile(r"(\w+)\s*=>\s*$")


class Call:
    """One function call. Every method raises `ProgramError` with all mistakes in the call."""

    def __init__(self, node: exp.Expr, source: Source, catalog: Catalog) -> None:
        self.source, self.catalog = source, catalog
        self.name = str(node.this).lower()
        self.whole = syntax.span_of(node, source)
        self.positional = [each for each in node.expressions if not isinstance(each, exp.Kwarg)]
        self.at_least = 1
        self.named = [each for each in node.expressions if isinstance(each, exp.Kwarg)]

    def wrong(self, where: exp.Expr | Span, message: str, hint: str | None = None) -> NoReturn:
        """Raise the error for a part of the call."""
        span = where if isinstance(where, Span) else syntax.span_of(where, self.source)
        raise self.source.error(span, message, hint)

    def scalar(self) -> Scalar:
        """A call of one of `SCALARS`."""
        if self.name == "days_ago":
            return self._days_ago()
        if self.name == "sum_of":
            self._expect_positional(2)
            return self._behaviour(self._column_to_sum())
        return self._behaviour("events" if self.name == "count_of" else "days_since")

    def did(self) -> Did:
        behaviour = self._behaviour("events")
        return Did(behaviour, self.at_least)

    def in_segment(self) -> InSegment:
        self._expect_positional(1)
        self._refuse_named()
        name, known = self._text_at(0, "a segment's name"), self.catalog.segments
        if known is not None and name not in known:
            self.wrong(self.positional[0], f"unknown segment '{name}' ({did_you_mean(name, known)})")
        return InSegment(name, self.whole)

    # --- behaviour ----------------------------------------------------------------------------------------------------

    def _behaviour(self, measure: Measure) -> Behaviour:
        self._expect_positional(2 if self.name == "sum_of" else 1)
        name, event = self._event()
        where: dict[str, str] = {}
        within: list[int] = []

        def read(argument: exp.Kwarg) -> None:
            key = _key(argument)
            if key == "within":
                within.append(self._window(argument.expression))
            elif key == "at_least" and self.name == "did":
                self.at_least = self._at_least(argument.expression)
            elif key in event.properties:
                where[key] = self._property(event, key, argument.expression)
            else:
                self._unknown_argument(argument, name, event)

        reads: list[Callable[[], None]] = [partial(read, argument) for argument in self.named]
        collect([self._refuse_repeated, *reads])
        return Behaviour(name, measure, within[0] if within else None, tuple(sorted(where.items())))

    def _refuse_repeated(self) -> None:
        keys = [_key(argument) for argument in self.named]
        for index, argument in enumerate(self.named):
            if keys[index] in keys[:index]:
                self.wrong(self._name_span(argument), f"{keys[index]} is given twice")

    def _event(self) -> tuple[str, Event]:
        name = self._text_at(0, "an event's name")
        event = self.catalog.events.get(name)
        if event is None:
            self.wrong(self.positional[0], f"unknown event '{name}' ({did_you_mean(name, self.catalog.events)})")
        return name, event

    def _column_to_sum(self) -> Measure:
        name, event = self._event()
        column = self._text_at(1, "what to add up")
        if not event.measures:
            self.wrong(self.whole, f"'{name}' has nothing to add up", f"count it: count_of('{name}')")
        for measure in event.measures:
            if measure == column:
                return measure
        self.wrong(
            self.positional[1],
            f"'{name}' has no '{column}' ({did_you_mean(column, event.measures)})",
            f"can be added up: {', '.join(event.measures)}",
        )

    def _unknown_argument(self, argument: exp.Kwarg, event_name: str, event: Event) -> NoReturn:
        allowed = ["within", *(["at_least"] if self.name == "did" else []), *event.properties]
        key = _key(argument)
        self.wrong(
            self._name_span(argument),
            f"{self.name}('{event_name}', …) has no argument '{key}' ({did_you_mean(key, allowed)})",
            f"allowed for '{event_name}': {', '.join(allowed)}",
        )

    def _window(self, node: exp.Expr) -> int:
        text = str(node.this) if isinstance(node, exp.Literal) and node.is_string else ""
        match = _WINDOW.match(text)
        if not match:
            self.wrong(node, "a window is a quoted text such as '14 days' or '2 weeks'")
        number, unit = int(match[1]), match[2].lower()
        if unit in _TOO_FINE:
            self.wrong(
                node,
                f"'{text}': behaviour is kept by day, not by {unit}",
                "the shortest window is '1 day': the day before the one evaluated for",
            )
        if unit not in _UNIT_DAYS:
            self.wrong(node, f"'{text}': unknown unit '{unit}'", "windows count in days or weeks, such as '30 days'")
        days = number * _UNIT_DAYS[unit]
        if not 1 <= days <= MOST_DAYS:
            hint = "leave `within` out for all of the past"
            self.wrong(node, f"'{text}': a window has 1 to {MOST_DAYS} days", hint)
        return days

    def _property(self, event: Event, key: str, node: exp.Expr) -> str:
        if not isinstance(node, exp.Literal) or not node.is_string or not node.this:
            written = f"'{node.this}'" if isinstance(node, exp.Literal) and node.this else "'…'"
            self.wrong(node, f"{key} needs one quoted text", f"write {key} => {written}; join several did(…) with OR")
        if any(ord(character) < 32 for character in node.this):
            self.wrong(node, "text can't hold control characters")
        return str(node.this).upper() if event.properties[key].upper else str(node.this)

    def _at_least(self, node: exp.Expr) -> int:
        number = _whole_number(node)
        if number is None or not 1 <= number < 10**9:
            self.wrong(node, "at_least needs a whole number of 1 or more", "for none, write NOT did(…)")
        return number

    # --- arguments ----------------------------------------------------------------------------------------------------

    def _days_ago(self) -> DayBefore:
        self._expect_positional(1)
        self._refuse_named()
        days = _whole_number(self.positional[0])
        if days is None or days > MOST_DAYS:
            self.wrong(self.positional[0], f"days_ago(…) needs a whole number of days, at most {MOST_DAYS}")
        return DayBefore(days)

    def _expect_positional(self, expected: int) -> None:
        if len(self.positional) != expected:
            count = "one argument" if expected == 1 else f"{expected} arguments"
            extra = " before the named ones" if self.named else ""
            self.wrong(self.whole, f"{self.name}(…) takes {count}{extra}", f"such as {_USAGE[self.name]}")

    def _refuse_named(self) -> None:
        if self.named:
            usage = f"such as {_USAGE[self.name]}"
            self.wrong(self._name_span(self.named[0]), f"{self.name}(…) has no named arguments", usage)

    def _text_at(self, index: int, what: str) -> str:
        node = self.positional[index]
        if isinstance(node, exp.Literal) and node.is_string:
            return str(node.this)
        self.wrong(node, f"{what} is written in single quotes", f"such as {_USAGE[self.name]}")

    def _name_span(self, argument: exp.Kwarg) -> Span:
        """sqlglot keeps no place for an argument's name: it stands before `=>` and the value."""
        value = syntax.span_of(argument.expression, self.source)
        match = _ARGUMENT_NAME.search(self.source.text[: value.start])
        return Span(match.start(1), match.end(1)) if match else value


def _key(argument: exp.Kwarg) -> str:
    return str(argument.this.name).lower()


def _whole_number(node: exp.Expr) -> int | None:
    if isinstance(node, exp.Literal) and not node.is_string and str(node.this).isdigit():
        return int(node.this)
    return None
