"""Native segments as text: the definition to use at the platform, or the reasons and what to do instead."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence

from personalization.program import Program
from personalization.rules import Rule
from personalization.rules.native import Native, in_words


def native_lines(
    program: Program, destination: str, segments: Sequence[Native], rules: Mapping[str, Rule]
) -> Iterator[str]:
    """A destination's segments, a line a fact; lines are not wrapped, so that definitions can be copied."""
    place = program.destinations[destination]
    can = sum(1 for each in segments if not each.reasons)
    yield f"{destination} ({place.platform}): {can} of {len(segments)} segments can be its own"
    for each in segments:
        made = " [in native_segments]" if each.segment in place.native_segments else ""
        yield f"  {each.segment}: {each.title}{made}"
        if each.content is not None:
            text = each.content if isinstance(each.content, str) else json.dumps(each.content, ensure_ascii=False)
            yield f"    {text}"
        for note in each.notes:
            yield f"    note: {note}"
        for reason in each.reasons:
            yield f"    can't: {in_words(program, reason, rules)}"
        for advice in dict.fromkeys(reason.advice for reason in each.reasons):
            yield f"    instead: {advice}"
