"""Calls of the language's functions as nodes of the tree."""

from __future__ import annotations

from functools import partial
from typing import Literal

from sqlglot import exp

from personalization.errors import did_you_mean
from personalization.rules import syntax
from personalization.rules import tree as t
from personalization.rules.catalog import Catalog
from personalization.rules.functions import MOST_DAYS, Arguments, whole_number
from personalization.rules.problems import Source, collect
from personalization.rules.windows import Window, read_window

_AGGREGATED = "purchase"  # what affinity is a share of


class Call(Arguments):
    """One function call. Every method raises `ProgramError` with all mistakes in the call."""

    def condition(self) -> t.Condition:
        """A call of one of `functions.CONDITIONS` but `known`."""
        if self.name == "did":
            behaviour, at_least = self._behaviour("events", ("within", "at_least"))
            return t.Did(behaviour, at_least)
        if self.name == "opened_previous_email":
            self.expect_positional(0)
            return t.OpenedPrevious(self.only_within().exact)
        return self._in_segment() if self.name == "in_segment" else self._was_in_segment()

    def scalar(self) -> t.Scalar:
        """A call of one of `functions.SCALARS`."""
        if self.name == "days_ago":
            return self._days_ago()
        if self.name == "affinity":
            return self._affinity()
        if self.name == "last":
            return self._recalled("last")
        if self.name == "first":
            return self._recalled("first")
        if self.name == "sum_of":
            self.expect_positional(2)
            return self._behaviour(self._column_to_sum())[0]
        return self._behaviour("events" if self.name == "count_of" else "days_since")[0]

    # --- behaviour ----------------------------------------------------------------------------------------------------

    def _behaviour(self, measure: t.Measure, also: tuple[str, ...] = ("within",)) -> tuple[t.Behaviour, int]:
        self.expect_positional(2 if self.name == "sum_of" else 1)
        name, event = self.event()
        found = self.occasion(name, event, also=also)
        days, minutes, local = self._window(found.window)
        made = t.Behaviour(name, measure, days, found.where, minutes=minutes, local=local, kind=event)
        return made, found.at_least

    def _column_to_sum(self) -> t.Measure:
        name, event = self.event()
        column = self.text_at(1, "what to add up")
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

    def _recalled(self, which: Literal["last", "first"]) -> t.Recalled:
        self.expect_positional(2)
        name, event = self.event()
        wanted = self.text_at(1, "a property")
        if wanted not in event.properties:
            known = ", ".join(event.properties) or "none"
            guess = f" ({did_you_mean(wanted, event.properties)})" if event.properties else ""
            self.wrong(self.positional[1], f"'{name}' has no '{wanted}'{guess}", f"its properties: {known}")
        found = self.occasion(name, event, also=("within",))
        days, minutes, local = self._window(found.window)
        return t.Recalled(name, wanted, which, days, found.where, minutes=minutes, local=local, kind=event)

    def _affinity(self) -> t.Affinity:
        self.expect_positional(2)
        event = self.catalog.events[_AGGREGATED]
        key = self.text_at(0, "a property of purchases")
        if key not in event.properties:
            hint = f"properties of purchases: {', '.join(event.properties)}"
            self.wrong(self.positional[0], f"'purchase' has no '{key}' ({did_you_mean(key, event.properties)})", hint)
        value = self.value_of(event, key, self.positional[1])
        days, minutes, local = self._window(self.only_within())
        make = partial(t.Behaviour, _AGGREGATED, "amount", days, minutes=minutes, local=local, kind=event)
        return t.Affinity(make(where=((key, value),)), make())

    def _window(self, window: Window) -> tuple[int | None, int | None, bool]:
        """Days, minutes, and whether days are the customer's."""
        return window.days, window.minutes, self.catalog.local_days and window.minutes is None

    # --- segments -----------------------------------------------------------------------------------------------------

    def _in_segment(self) -> t.InSegment:
        self.expect_positional(1)
        self.refuse_named()
        return t.InSegment(self._segment(), self.whole)

    def _was_in_segment(self) -> t.WasInSegment:
        self.expect_positional(1)
        name, window = self._segment(), self.only_within()
        if window.minutes is not None:
            hint = "give days or weeks, such as within => '30 days'"
            self.wrong(self.named[0].expression, "members of segments are kept by day", hint)
        return t.WasInSegment(name, window.days, self.whole)

    def _segment(self) -> str:
        name, known = self.text_at(0, "a segment's name"), self.catalog.segments
        if known is not None and name not in known:
            self.wrong(self.positional[0], f"unknown segment '{name}' ({did_you_mean(name, known)})")
        return name

    # --- dates --------------------------------------------------------------------------------------------------------

    def _days_ago(self) -> t.DayBefore:
        self.expect_positional(1)
        self.refuse_named()
        days = whole_number(self.positional[0])
        if days is None or days > MOST_DAYS:
            self.wrong(self.positional[0], f"days_ago(…) needs a whole number of days, at most {MOST_DAYS}")
        return t.DayBefore(days, local=self.catalog.local_days)


def sequence(node: exp.Expr, source: Source, catalog: Catalog) -> t.Sequence:
    """`did(…) THEN [NOT] did(…) WITHIN '…'`, as `syntax.read` gives it. Raises `ProgramError` with all its mistakes."""
    first, *later = node.expressions
    pairs = list(zip(later[::2], later[1::2], strict=True))
    steps = [partial(_step, first, None, source, catalog)]
    steps += [partial(_step, each, window, source, catalog) for each, window in pairs]
    return t.Sequence(tuple(collect(steps)))


def _step(node: exp.Expr, window: exp.Expr | None, source: Source, catalog: Catalog) -> t.Step:
    negated = isinstance(node, exp.Not)
    call = Arguments(node.this if isinstance(node, exp.Not) else node, source, catalog)
    call.expect_positional(1)
    name, event = call.event()
    if window is None:
        found = call.occasion(name, event, also=("within",))
        local = catalog.local_days and found.window.minutes is None
        window_before = found.window
        return t.Step(
            name, found.where, within=window_before.days, minutes=window_before.minutes, local=local, kind=event
        )
    for argument in call.named:
        if str(argument.this.name).lower() == "within":
            hint = "the window of a later step stands after WITHIN and counts from the step before"
            raise source.error(call.name_span(argument), "only the first step takes within", hint)
    found = call.occasion(name, event)
    return t.Step(
        name, found.where, read_window(window, syntax.span_of(window, source), source).exact or 0, negated, kind=event
    )
