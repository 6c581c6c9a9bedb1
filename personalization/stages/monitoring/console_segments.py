"""Segments in the terminal: a rule tried out, members of a day, the days of a segment, what changed rules would do."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from rich.console import RenderableType
from rich.text import Text

from personalization.stages.monitoring.console import add_row, new_table

if TYPE_CHECKING:
    from personalization.stages.segments.hygiene import Finding as HygieneFinding
    from personalization.stages.segments.past import DayOfSegment, PastMembers, StayInSegment
    from personalization.stages.segments.preview import SegmentPreview
    from personalization.what_if.segments import SegmentDifference

_UNDECIDED = {"exclude": "left out", "include": "taken in", "hold": "held aside"}


def preview_renderables(found: SegmentPreview) -> Iterator[RenderableType]:
    """What a rule would select."""
    yield Text(f"\n{found.words}\n")
    yield Text(
        f"{found.size:,} of {found.candidates:,} customers ({found.share:.1%}), "
        f"{found.undecided:,} undecided ({_UNDECIDED[found.unknown]});"
        f" everything the rule needs is known of {found.completeness:.1%}"
    )
    for sentence in found.unseen:
        yield Text(f"Note: {sentence}")
    if found.overlaps:
        table = new_table("Overlap", ["segment"], ["members", "of them selected"])
        for overlap in found.overlaps:
            add_row(table, overlap.segment, overlap.size, overlap.both)
        yield table
    if found.examples:
        yield Text("\nFor example: " + ", ".join(found.examples))


def members_renderables(found: PastMembers) -> Iterator[RenderableType]:
    """Who was in a segment on a day."""
    when = str(found.evaluated_on)
    if found.evaluated_on != found.as_of:
        when = f"{found.as_of}, evaluated last on {found.evaluated_on}"
    kept = ", kept from an earlier day because too little was known" if found.state == "incomplete" else ""
    yield Text(
        f"{found.segment} on {when}: {found.size:,} members{kept}, {found.held:,} held; rule {found.rule_version}"
    )
    for title, tokens, size in (("Members", found.tokens, found.size), ("Held", found.held_tokens, found.held)):
        if tokens:
            more = f" and {size - len(tokens):,} more" if size > len(tokens) else ""
            yield Text(f"\n{title}: {', '.join(tokens)}{more}")


def days_renderables(segment: str, days: Sequence[DayOfSegment]) -> Iterator[RenderableType]:
    """How a segment grew and shrank."""
    table = new_table(segment, ["day", "state"], ["members", "held", "entered", "left"], ["rule"])
    for each in days:
        add_row(table, str(each.day), each.state, each.size, each.held, each.entered, each.exited, each.rule_version)
    yield table


def stays_renderables(stays: Sequence[StayInSegment]) -> Iterator[RenderableType]:
    """The segments a customer was in."""
    if stays:
        table = new_table("Stays", ["segment", "from", "until"], [], ["rule"])
        for each in stays:
            add_row(table, each.segment, str(each.entered_on), str(each.exited_on or "now"), each.rule_version)
        yield table


def difference_renderables(differences: Sequence[SegmentDifference]) -> Iterator[RenderableType]:
    """What changed rules would do."""
    if differences:
        table = new_table("Segments", ["segment"], ["before", "after", "enter", "leave"], ["rule"])
        for each in differences:
            rule = "unchanged" if each.before == each.after else f"{each.before or 'none'} → {each.after or 'none'}"
            add_row(table, each.segment, each.size_before, each.size_after, each.enter, each.leave, rule)
        yield table


def hygiene_renderables(found: Sequence[HygieneFinding], segments: int) -> Iterator[RenderableType]:
    """What there is to tidy up among segments."""
    if not found:
        yield Text(f"{segments:,} segments, nothing to tidy up.")
        return
    table = new_table("Segments to tidy up", ["segment", "what"], [], ["found", "suggestion"])
    for each in found:
        add_row(table, each.segment, each.kind, each.found, each.suggestion)
    yield table
