"""Segments as a platform's own: what bringing them there means for every platform."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

from personalization.rules.native import Native

PREFIX = "personalization: "
"""How the names of our segments begin at a platform: what is named so is ours to change."""


@dataclass(frozen=True)
class Brought:
    """What was done about segments, in words: `made` are changes, `notes` what a person should know."""

    made: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


class NativeSegments(Protocol):
    """The segments of one destination."""

    def bring(self, wanted: Sequence[Native]) -> Brought:
        """Make the segments that are not there and change those that are defined in another way.

        Done again it changes nothing. What was made before and is not wanted any more stays: campaigns and
        automations of the platform may use it. It is named in the notes.

        Raises
        ------
        DestinationError, Postponed, Lost
        """


@runtime_checkable
class HasSegments(Protocol):
    """An adapter of a platform that has segments of its own."""

    def segments(self) -> NativeSegments: ...


def name_of(native: Native) -> str:
    """The segment's name at a platform."""
    return f"{PREFIX}{native.segment}"


def left_over(names: Sequence[str], wanted: Sequence[Native], platform: str) -> list[str]:
    """Notes about segments of ours that are not wanted any more."""
    ours = {name_of(native) for native in wanted}
    return [
        f"'{name}' at {platform} is not in `native_segments` any more: it was left as it is, delete it there when "
        "nothing uses it"
        for name in names
        if name.startswith(PREFIX) and name not in ours
    ]


def shows(held: Any, wanted: Any) -> bool:
    """Whether what a platform shows says what was sent; it may show more settings than were sent."""
    if isinstance(wanted, dict):
        return isinstance(held, dict) and all(name in held and shows(held[name], wanted[name]) for name in wanted)
    if isinstance(wanted, list):
        return (
            isinstance(held, list)
            and len(held) == len(wanted)
            and all(shows(one, other) for one, other in zip(held, wanted, strict=True))
        )
    return bool(held == wanted)
