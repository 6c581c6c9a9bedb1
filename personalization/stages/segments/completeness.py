"""For which share of customers everything a segment's rule needs is known."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from personalization.as_of import AsOf
from personalization.rules import Rule, needed
from personalization.stages.segments.profile import PROFILE
from personalization.warehouse import Session


def fields_needed(name: str, segments: Mapping[str, Rule]) -> list[str]:
    """Profile columns whose values a segment needs, directly or through the segments it refers to."""
    return sorted({field for each in needed({name}, segments) for field in segments[each].needs})


def completeness(
    session: Session, segments: Mapping[str, Rule], as_of: AsOf, names: Collection[str] | None = None
) -> dict[str, float]:
    """Per segment the share of the day's customers with every such column known; one scan for all segments.

    `names` are the segments to look at; default: all.
    """
    names = [name for name in segments if names is None or name in names]
    if not names:
        return {}
    counts = ", ".join(f"count(*) filter (where {known(fields_needed(name, segments))})" for name in names)
    total, *complete = session.rows(
        f"select count(*), {counts} from {PROFILE} where as_of = ?",  # noqa: S608  (columns of the rule catalog)
        [as_of.day],
    )[0]
    return {name: count / total for name, count in zip(names, complete, strict=True)}


def known(fields: list[str]) -> str:
    """SQL: none of these columns is missing."""
    return " and ".join(f'"{field}" is not null' for field in fields) or "true"
