"""A sequence as window functions over a customer's events, in the order in which they happened.

An event is *reached* when the steps before it can be found: it matches its step, and the latest reached event of the
step before lies within the window. The latest is enough, because the window is counted from it.
"""

from __future__ import annotations

from collections.abc import Mapping

from sqlglot import exp

from personalization.rules import tree as t
from personalization.rules.single_events import MINUTE_US, US, SingleEvents


def sequences_query(columns: Mapping[t.Sequence, str], source: SingleEvents) -> exp.Select:
    """One row per customer with any of the events of these sequences; 1 where a sequence is found, else NULL."""
    chains = [Chain(node, name, source.token, source.now) for node, name in columns.items()]
    query = _steps(columns, source)
    for level in range(max(chain.levels for chain in chains)):
        parts = [part for chain in chains for part in chain.level(level)]
        query = exp.select(exp.Star(), *parts).from_(query.subquery(f"steps_{level}"))
    outcomes = [exp.alias_(chain.outcome(), chain.name) for chain in chains]
    return exp.select(exp.column(source.token), *outcomes).from_(query.subquery("reached")).group_by(source.token)


def _steps(columns: Mapping[t.Sequence, str], source: SingleEvents) -> exp.Select:
    """One row a customer and instant, `<name>_<step>` its instant where an event matches the step.

    An order has a row for each of its lines, all at one instant, which would be sorted for nothing.
    """
    steps = [step for node in columns for step in node.steps]
    firsts = [node.steps[0] for node in columns]  # later steps come later, so no window reaches further back
    query = exp.select(exp.column(source.token), exp.column(US))
    for node, name in columns.items():
        for index, step in enumerate(node.steps):
            found: exp.Expr = exp.Case().when(source.matching(step), exp.column(US))
            query = query.select(exp.alias_(exp.Max(this=found), f"{name}_{index}"))
    return query.from_(source.read({step.event for step in steps}, firsts).subquery("events")).group_by(
        source.token, US
    )


class Chain:
    """One sequence. Columns `<name>_<step>` hold an event's instant where it matches the step.

    Parameters
    ----------
    token : str
        The column that names the customer.
    now : int
        The first instant of the `as_of` day, in microseconds since 1970.
    """

    def __init__(self, node: t.Sequence, name: str, token: str, now: int) -> None:
        self.steps, self.name, self.token, self.now = node.steps, name, token, now

    @property
    def levels(self) -> int:
        """How many queries around each other it needs: one a step after the first."""
        return len(self.steps) - 1

    def level(self, level: int) -> list[exp.Expr]:
        """Columns to add around the columns of the levels below."""
        if level >= self.levels:
            return []
        step, reached = (
            self.steps[level + 1],
            exp.column(f"{self.name}_{level}" if level == 0 else f"{self.name}_r{level}"),
        )
        matching = exp.column(f"{self.name}_{level + 1}")
        later_only = step.event == self.steps[level].event
        window = exp.Literal.number(step.window * MINUTE_US)
        if not step.negated:
            before = self._over(exp.Max(this=reached), before=True, strictly=later_only)
            since = exp.Sub(this=exp.column(US), expression=window)
            found = exp.and_(_known(matching), exp.GT(this=before, expression=since))
            return [exp.alias_(exp.Case().when(found, exp.column(US)), f"{self.name}_r{level + 1}")]
        after = self._over(exp.Min(this=matching), before=False, strictly=later_only)
        end = exp.Add(this=exp.column(US), expression=window)
        over = exp.LTE(this=end, expression=exp.Literal.number(self.now))
        none = exp.GTE(
            this=exp.Coalesce(this=after, expressions=[end.copy()]),  # nobody came: as good as after the end
            expression=end.copy(),
        )
        return [
            exp.alias_(
                exp.Case().when(exp.and_(_known(reached), over, none), exp.column(US)), f"{self.name}_r{level + 1}"
            )
        ]

    def outcome(self) -> exp.Expr:
        """1 when the last step was reached by any event, else NULL; an aggregate over the customer's events."""
        reached = exp.column(f"{self.name}_r{self.levels}")
        return exp.Max(this=exp.Case().when(_known(reached), exp.Literal.number(1)))

    def _over(self, aggregate: exp.Expr, *, before: bool, strictly: bool) -> exp.Expr:
        """An aggregate over the customer's events up to this instant, or from it on; `strictly`: without it."""
        own: tuple[exp.Expr | str, str | None] = ("CURRENT ROW", None)
        if strictly:
            own = (exp.Literal.number(1), "PRECEDING" if before else "FOLLOWING")
        start, end = (("UNBOUNDED", "PRECEDING"), own) if before else (own, ("UNBOUNDED", "FOLLOWING"))
        spec = exp.WindowSpec(kind="RANGE", start=start[0], start_side=start[1], end=end[0], end_side=end[1])
        order = exp.Order(expressions=[exp.Ordered(this=exp.column(US))])
        return exp.Window(this=aggregate, partition_by=[exp.column(self.token)], order=order, spec=spec)


def _known(operand: exp.Expr) -> exp.Expr:
    return exp.Not(this=exp.Is(this=operand.copy(), expression=exp.Null()))
