"""Values a rule compares with that nobody has: a misspelt department, an unknown product."""

from __future__ import annotations

from collections.abc import Iterator

from personalization.as_of import AsOf
from personalization.errors import did_you_mean
from personalization.rules import Rule
from personalization.rules import tree as t
from personalization.rules.compile import CUSTOMER_DAY, MOMENTS, PROFILE
from personalization.rules.events import Event
from personalization.warehouse import Session

_Asked = t.FieldRef | tuple[str, str, Event]  # a field, or an event with one of its properties


def unseen_values(session: Session, rule: Rule, as_of: AsOf) -> list[str]:
    """A sentence for each text that a rule compares with and that no customer or event has, with the nearest one."""
    wanted: dict[str, tuple[_Asked, list[str]]] = {}
    for asked, value in _compared(rule):
        key = asked.name if isinstance(asked, t.FieldRef) else ".".join(asked[:2])
        values = wanted.setdefault(key, (asked, []))[1]
        if value not in values:
            values.append(value)
    found: list[str] = []
    for asked, values in wanted.values():
        known = _values(session, asked, as_of)
        for value in values:
            if known is not None and value not in known:
                found.append(f"{_who(asked)} '{value}' ({did_you_mean(value, known)})")
    return found


def _compared(rule: Rule) -> Iterator[tuple[_Asked, str]]:
    for node in rule.condition.walk():
        if isinstance(node, t.Comparison):
            for side, other in ((node.left, node.right), (node.right, node.left)):
                if isinstance(side, t.FieldRef | t.Recalled) and isinstance(other, t.Constant):
                    yield from _texts(side, other)
        elif isinstance(node, t.OneOf) and isinstance(node.operand, t.FieldRef | t.Recalled):
            for option in node.options:
                yield from _texts(node.operand, option)
        elif isinstance(node, t.Behaviour | t.Recalled | t.Step):
            for name, value in node.where:
                yield (node.event, name, node.about), value


def _texts(asked: t.FieldRef | t.Recalled, constant: t.Constant) -> Iterator[tuple[_Asked, str]]:
    if isinstance(constant.value, str):
        yield asked if isinstance(asked, t.FieldRef) else (asked.event, asked.key, asked.about), constant.value


def _values(session: Session, asked: _Asked, as_of: AsOf) -> set[str] | None:
    """All values there are; None when there is no table to look into."""
    if isinstance(asked, t.FieldRef):
        rows = session.rows(f'select distinct "{asked.name}" from {PROFILE} where as_of = ?', [as_of.day])  # noqa: S608
    else:
        event, name, about = asked
        each = about.properties[name]
        table = CUSTOMER_DAY if each.by_day else MOMENTS
        if not session.has_table(table):
            return None
        column = f"upper({each.column})" if each.upper else each.column
        rows = session.rows(
            f"select distinct {column} from {table} where event = ? and event_day < ?",  # noqa: S608
            [event, as_of.day],
        )
    return {str(value) for (value,) in rows if value not in (None, "")}


def _who(asked: _Asked) -> str:
    if isinstance(asked, t.FieldRef):
        return f"no customer has {asked.name}"
    _, name, about = asked
    return f"none of the {about.noun} has {name}"
