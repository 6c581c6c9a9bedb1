"""Why a platform can't express a segment: in words, with the clause that stands in the way."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

Kind = Literal[
    "behaviour", "arithmetic", "two_fields", "pattern", "not_sent", "old_values", "held", "shape", "size", "platform"
]
INSTEAD = (
    "send the membership as a value: a content block with a branch `when: in_segment('…')`, and the block's name as "
    "the `column` of a field (docs/native-segments.md)"
)


@dataclass(frozen=True)
class Reason:
    """One thing in the way.

    Attributes
    ----------
    kind : str
        behaviour, arithmetic, two_fields, pattern: what the clause does. not_sent, old_values: what the destination's
        `fields` lack. held: members can be those of another day. shape, size, platform: what the platform can't take.
    text : str
        A sentence.
    clause : str
        The part of the rule, or empty when it is the rule as a whole.
    segment : str
        Whose rule the clause stands in: another one when the segment refers to it.
    advice : str
        What would help.
    """

    kind: Kind
    text: str
    clause: str = ""
    segment: str = ""
    advice: str = INSTEAD


class Inexpressible(Exception):
    """The platform can't express the segment."""

    def __init__(self, reasons: Iterable[Reason]) -> None:
        self.reasons = tuple(dict.fromkeys(reasons))
        super().__init__("; ".join(reason.text for reason in self.reasons))


def refuse(kind: Kind, text: str, clause: str = "", advice: str = INSTEAD) -> Inexpressible:
    """An exception with one reason."""
    return Inexpressible([Reason(kind, text, clause, advice=advice)])
