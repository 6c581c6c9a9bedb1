"""The language's functions: their names, how each is used, and the reading of the arguments of one call."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import NoReturn

from sqlglot import exp

from personalization.errors import did_you_mean, nearest
from personalization.rules import syntax
from personalization.rules.catalog import Catalog
from personalization.rules.events import Event
from personalization.rules.node import Span
from personalization.rules.past import Where
from personalization.rules.problems import Source, collect
from personalization.rules.sequences import call_name
from personalization.rules.windows import MOST_DAYS as MOST_DAYS
from personalization.rules.windows import Window, read_window

CONDITIONS = ("did", "in_segment", "was_in_segment", "opened_previous_email", "known")
SCALARS = ("count_of", "sum_of", "days_since", "last", "first", "affinity", "days_ago")
NAMES = (*CONDITIONS, *SCALARS)
USAGE = {
    "did": "did('purchase', within => '14 days', at_least => 2)",
    "count_of": "count_of('mailing', within => '14 days')",
    "sum_of": "sum_of('purchase', 'amount', within => '14 days')",
    "days_since": "days_since('purchase')",
    "last": "last('purchase', 'category', within => '90 days')",
    "first": "first('purchase', 'department')",
    "affinity": "affinity('department', 'FLORAL', within => '84 days')",
    "days_ago": "days_ago(30)",
    "in_segment": "in_segment('likely_buyers')",
    "was_in_segment": "was_in_segment('likely_buyers', within => '30 days')",
    "opened_previous_email": "opened_previous_email(within => '3 days')",
}
_ARGUMENT_NAME = re.compile(r"(\w+)\s*=>\s*$")


@dataclass
class Occasion:
    """What the named arguments of a call narrow events by."""

    where: Where = ()
    window: Window = field(default_factory=Window)
    at_least: int = 1


class Arguments:
    """The arguments of one call. Every method raises `ProgramError` with all mistakes it finds."""

    def __init__(self, node: exp.Expr, source: Source, catalog: Catalog) -> None:
        self.source, self.catalog = source, catalog
        self.name = call_name(str(node.this))
        self.whole = syntax.span_of(node, source)
        self.positional = [each for each in node.expressions if not isinstance(each, exp.Kwarg)]
        self.named = [each for each in node.expressions if isinstance(each, exp.Kwarg)]

    def wrong(self, where: exp.Expr | Span, message: str, hint: str | None = None) -> NoReturn:
        """Raise the error for a part of the call."""
        span = where if isinstance(where, Span) else syntax.span_of(where, self.source)
        raise self.source.error(span, message, hint)

    def occasion(self, event_name: str, event: Event, *, also: tuple[str, ...] = ()) -> Occasion:
        """The named arguments of a call about an event; `also` names those allowed beside the event's properties."""
        found = Occasion()
        where: dict[str, str] = {}

        def read(argument: exp.Kwarg) -> None:
            key = _key(argument)
            if key == "within" and key in also:
                found.window = self._window_of(argument)
            elif key == "at_least" and key in also:
                found.at_least = self._at_least(argument.expression)
            elif key in event.properties:
                where[key] = self.value_of(event, key, argument.expression)
            else:
                if key in event.measures:
                    hint = f"compare it: sum_of('{event_name}', '{key}') > 100"
                    self.wrong(self.name_span(argument), f"an event is not narrowed by its {key}", hint)
                self.unknown_argument(argument, f"{self.name}('{event_name}', …)", (*also, *event.properties))

        reads: list[Callable[[], None]] = [partial(read, argument) for argument in self.named]
        collect([self._refuse_repeated, *reads])
        found.where = tuple(sorted(where.items()))
        return found

    def only_within(self) -> Window:
        """The named arguments of a call that allows nothing but `within`."""
        found = [Window()]

        def read(argument: exp.Kwarg) -> None:
            if _key(argument) != "within":
                self.unknown_argument(argument, f"{self.name}(…)", ("within",))
            found[0] = self._window_of(argument)

        reads: list[Callable[[], None]] = [partial(read, argument) for argument in self.named]
        collect([self._refuse_repeated, *reads])
        return found[0]

    def _window_of(self, argument: exp.Kwarg) -> Window:
        return read_window(argument.expression, syntax.span_of(argument.expression, self.source), self.source)

    def _refuse_repeated(self) -> None:
        keys = [_key(argument) for argument in self.named]
        for index, argument in enumerate(self.named):
            if keys[index] in keys[:index]:
                self.wrong(self.name_span(argument), f"{keys[index]} is given twice")

    def event(self) -> tuple[str, Event]:
        """The event that the first argument names."""
        name = self.text_at(0, "an event's name")
        event = self.catalog.events.get(name)
        if event is None:
            message = f"unknown event '{name}' ({did_you_mean(name, self.catalog.events)})"
            own = "your own events are declared in program.yaml, under events"
            self.wrong(self.positional[0], message, None if nearest(name, self.catalog.events) else own)
        return name, event

    def unknown_argument(self, argument: exp.Kwarg, call: str, allowed: tuple[str, ...]) -> NoReturn:
        key = _key(argument)
        message = f"{call} has no argument '{key}' ({did_you_mean(key, allowed)})"
        self.wrong(self.name_span(argument), message, f"allowed here: {', '.join(allowed) or 'none'}")

    def value_of(self, event: Event, key: str, node: exp.Expr) -> str:
        """The text an event's property is compared with."""
        if not isinstance(node, exp.Literal) or not node.is_string or not node.this:
            written = f"'{node.this}'" if isinstance(node, exp.Literal) and node.this else "'…'"
            self.wrong(node, f"{key} needs one quoted text", f"write {key} => {written}; join several did(…) with OR")
        if any(ord(character) < 32 for character in node.this):
            self.wrong(node, "text can't hold control characters")
        return str(node.this).upper() if event.properties[key].upper else str(node.this)

    def _at_least(self, node: exp.Expr) -> int:
        number = whole_number(node)
        if number is None or not 1 <= number < 10**9:
            self.wrong(node, "at_least needs a whole number of 1 or more", "for none, write NOT did(…)")
        return number

    def expect_positional(self, expected: int) -> None:
        if len(self.positional) != expected:
            count = {0: "no argument", 1: "one argument"}.get(expected, f"{expected} arguments")
            extra = " before the named ones" if self.named else ""
            usage = f"such as {USAGE[self.name]}"
            if len(self.positional) > expected and "=>" in usage:
                usage += ": all others have names"
            self.wrong(self.whole, f"{self.name}(…) takes {count}{extra}", usage)

    def refuse_named(self) -> None:
        if self.named:
            usage = f"such as {USAGE[self.name]}"
            self.wrong(self.name_span(self.named[0]), f"{self.name}(…) has no named arguments", usage)

    def text_at(self, index: int, what: str) -> str:
        node = self.positional[index]
        if isinstance(node, exp.Literal) and node.is_string:
            return str(node.this)
        self.wrong(node, f"{what} is written in single quotes", f"such as {USAGE[self.name]}")

    def name_span(self, argument: exp.Kwarg) -> Span:
        """sqlglot keeps no place for an argument's name: it stands before `=>` and the value."""
        value = syntax.span_of(argument.expression, self.source)
        match = _ARGUMENT_NAME.search(self.source.text[: value.start])
        return Span(match.start(1), match.end(1)) if match else value


def _key(argument: exp.Kwarg) -> str:
    return str(argument.this.name).lower()


def whole_number(node: exp.Expr) -> int | None:
    """The value of a whole number as a literal; None for everything else."""
    if isinstance(node, exp.Literal) and not node.is_string and str(node.this).isdigit():
        return int(node.this)
    return None
