"""Segments that want tidying up, each with a suggestion: empty, jumping in size, unused, twice the same, stale.

It reads sizes and memberships that are there already and evaluates nothing.
"""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import date
from typing import Any

from personalization.as_of import AsOf
from personalization.program import Program
from personalization.rules import ProgramRules, Rule, Value, needed, program_rules
from personalization.rules.compile import CUSTOMER_DAY
from personalization.stages.segments.tables import MEMBERSHIP, SUMMARY
from personalization.stages.segments.unseen import unseen_values
from personalization.warehouse import Session

PRESSING = ("empty", "exploding", "collapsing", "duplicate", "stale")
"""Kinds that warn. A segment is often written before the campaign that uses it: to be unused is only told."""
KINDS = ("empty", "exploding", "collapsing", "unused", "duplicate", "stale")
HISTORY_DAYS = 56
LEAST_HISTORY = 3
"""Evaluations before the day that a jump is measured against, at least."""
JUMP_SHARE, JUMP_DEVIATIONS, JUMP_PEOPLE = 0.5, 5.0, 50
"""A jump is more than half of the usual size, more than 5 robust deviations, and more than 50 people."""
STALE_INPUT_DAYS = 14
INCOMPLETE_DAYS = 7
_TO_DEVIATION = 1.4826  # of a normal distribution, from its median absolute deviation


@dataclass(frozen=True)
class Finding:
    """One thing about one segment. `kind` is one of KINDS."""

    segment: str
    title: str
    kind: str
    found: str
    suggestion: str

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    def __str__(self) -> str:
        return f"{self.segment}: {self.kind}, {self.found}. {self.suggestion}."


@dataclass(frozen=True)
class _Day:
    day: date
    size: int
    state: str
    rule_version: str


def hygiene(session: Session, program: Program, as_of: AsOf) -> list[Finding]:
    """What there is to tidy up among the program's segments, in the order of KINDS, then of the program.

    Raises `ProgramError` when a rule is wrong.
    """
    rules = program_rules(program)
    history = _history(session, as_of)
    found = [
        *_empty(session, program, rules, history, as_of),
        *_jumps(program, history, as_of),
        *_unused(program, rules),
        *_duplicates(session, program, rules, as_of),
        *_stale(session, program, rules, history, as_of),
    ]
    order = {name: number for number, name in enumerate(program.segments)}
    return sorted(found, key=lambda each: (KINDS.index(each.kind), order[each.segment]))


def _history(session: Session, as_of: AsOf) -> dict[str, list[_Day]]:
    """Evaluations of each segment up to the day, the latest last."""
    found: defaultdict[str, list[_Day]] = defaultdict(list)
    if session.has_table(SUMMARY):
        query = f"select segment, as_of, size, state, rule_version from {SUMMARY} where as_of <= ? order by as_of"  # noqa: S608
        for segment, *rest in session.rows(query, [as_of.day]):
            found[segment].append(_Day(*rest))
    return found


def _empty(
    session: Session, program: Program, rules: ProgramRules, history: dict[str, list[_Day]], as_of: AsOf
) -> Iterator[Finding]:
    for name, segment in program.segments.items():
        days = history.get(name, [])
        if not days or days[-1].day != as_of.day or days[-1].size:
            continue
        members = [each for each in days if each.size]
        if members:
            found = f"nobody is in it; the last time somebody was: {members[-1].day}"
            suggestion = "See what changed: personalization segments diff, and the report's page of data"
        else:
            found = f"nobody is in it, on none of {_count(len(days), 'evaluated day')}"
            suggestion = (
                f"Preview its parts one by one (personalization segments preview '…'): {_one_line(segment.rule)}"
            )
            if unseen := unseen_values(session, rules.segments[name], as_of):
                suggestion = f"Write values as the data have them: {'; '.join(unseen)}"
        yield Finding(name, segment.title, "empty", found, suggestion)


def _jumps(program: Program, history: dict[str, list[_Day]], as_of: AsOf) -> Iterator[Finding]:
    for name, segment in program.segments.items():
        days = history.get(name, [])
        if not days or days[-1].day != as_of.day or days[-1].state == "incomplete":
            continue
        today = days[-1]
        earlier = [
            each for each in days[:-1] if (as_of.day - each.day).days <= HISTORY_DAYS and each.state != "incomplete"
        ]
        if len(earlier) < LEAST_HISTORY:
            continue
        sizes = [each.size for each in earlier]
        usual = statistics.median(sizes)
        deviation = _TO_DEVIATION * statistics.median(abs(size - usual) for size in sizes)
        change = today.size - usual
        if abs(change) <= max(JUMP_SHARE * usual, JUMP_DEVIATIONS * deviation, JUMP_PEOPLE):
            continue
        before = f"usually {usual:,.0f} in {_count(len(sizes), 'evaluation')} of the last {HISTORY_DAYS} days"
        if today.rule_version != earlier[-1].rule_version:
            suggestion = (
                f"Its rule changed after {earlier[-1].day}: see who came and went with personalization segments diff"
            )
        else:
            suggestion = "Its rule is the same: look at the data behind it before a campaign uses it"
        yield Finding(
            name,
            segment.title,
            "exploding" if change > 0 else "collapsing",
            f"{today.size:,} people, {before}",
            suggestion,
        )


def _unused(program: Program, rules: ProgramRules) -> Iterator[Finding]:
    used = needed({name for rule in _users(rules) for name in rule.segments}, rules.segments)
    for name, segment in program.segments.items():
        if name in used:
            continue
        others = sorted(other for other, rule in rules.segments.items() if name in rule.segments)
        found = "no campaign, offer, block, tier or experiment refers to it"
        if others:
            found += f", only {' and '.join(others)}, which nothing refers to either"
        yield Finding(name, segment.title, "unused", found, "Use it in a campaign, or take it out of segments.yaml")


def _users(rules: ProgramRules) -> list[Rule | Value]:
    """Everything written outside segments.yaml."""
    found: list[Rule | Value | None] = [*rules.branches.values(), *rules.offers.values(), *rules.audiences.values()]
    found += [*rules.values.values(), *rules.caps.values(), *rules.eligible.values(), *rules.sunset.values()]
    return [each for each in found if each is not None]


def _duplicates(session: Session, program: Program, rules: ProgramRules, as_of: AsOf) -> Iterator[Finding]:
    """Segments with the same members on the day, or whose rules mean the same; told at all but the first."""
    same: defaultdict[Any, list[str]] = defaultdict(list)
    members = _fingerprints(session, as_of)
    for name in program.segments:
        if name in members:
            same["members", members[name]].append(name)
        same["rule", rules.segments[name].condition, rules.segments[name].unknown].append(name)
    twins: dict[str, tuple[str, str]] = {}
    for (what, *_), names in same.items():
        for name in names[1:]:
            words = "its rule means the same as that of" if what == "rule" else "it has the same members as"
            if name not in twins or what == "rule":
                twins[name] = (names[0], words)
    for name, (other, words) in twins.items():
        number = f" ({members[name][0]:,} people)" if name in members else ""
        suggestion = f"Keep one of the two, and refer to it with in_segment('{other}')"
        yield Finding(name, program.segments[name].title, "duplicate", f"{words} {other}{number}", suggestion)


def _fingerprints(session: Session, as_of: AsOf) -> dict[str, tuple[Any, ...]]:
    """By segment the number of its members and two sums over their tokens: equal only for the same members."""
    if not session.has_table(MEMBERSHIP):
        return {}
    rows = session.rows(
        f"""
        select segment, count(*), sum(hash(customer_token)), bit_xor(hash(customer_token || '+'))
        from {MEMBERSHIP} where as_of = ? and status = 'in' group by segment
        """,  # noqa: S608
        [as_of.day],
    )
    return {segment: tuple(rest) for segment, *rest in rows}


def _stale(
    session: Session, program: Program, rules: ProgramRules, history: dict[str, list[_Day]], as_of: AsOf
) -> Iterator[Finding]:
    last_events = _last_events(session, as_of)
    for name, segment in program.segments.items():
        days = history.get(name, [])
        if not days or days[-1].day != as_of.day:
            last = f"last on {days[-1].day}" if days else "never so far"
            yield Finding(
                name, segment.title, "stale", f"it was not evaluated for {as_of.key} ({last})", "Run the segments stage"
            )
            continue
        since = _incomplete_since(days)
        if since is not None and (as_of.day - since).days >= INCOMPLETE_DAYS:
            yield Finding(
                name,
                segment.title,
                "stale",
                f"incomplete since {since}: its members are those of an earlier day",
                f"Fill the fields it needs, or lower min_completeness ({segment.min_completeness:g})",
            )
        old = sorted(
            f"{event} on {last_events[event]}"
            for event in _events(name, rules)
            if event in last_events and (as_of.day - last_events[event]).days > STALE_INPUT_DAYS
        )
        if old:
            yield Finding(
                name,
                segment.title,
                "stale",
                f"nothing new to look at for more than {STALE_INPUT_DAYS} days: last {', '.join(old)}",
                "Look whether the source still delivers",
            )


def _incomplete_since(days: list[_Day]) -> date | None:
    """First day of the unbroken run of incomplete days that ends with the last one."""
    first = None
    for each in reversed(days):
        if each.state != "incomplete":
            break
        first = each.day
    return first


def _events(name: str, rules: ProgramRules) -> set[str]:
    """Kinds of events that a segment looks at, directly or through segments it refers to."""
    nodes = (node for part in needed({name}, rules.segments) for node in rules.segments[part].condition.walk())
    events = (getattr(node, "event", None) for node in nodes)
    return {event for event in events if isinstance(event, str)}


def _last_events(session: Session, as_of: AsOf) -> dict[str, date]:
    if not session.has_table(CUSTOMER_DAY):
        return {}
    query = f"select event, max(event_day) from {CUSTOMER_DAY} where event_day < ? group by event"  # noqa: S608
    return dict(session.rows(query, [as_of.day]))


def _one_line(rule: str) -> str:
    return " ".join(rule.split())


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}" + ("" if number == 1 else "s")
