"""Segments of segments: in which order they can be evaluated, and the cycles that make that impossible."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from personalization.errors import ProgramError
from personalization.rules.parse import Rule


def needed(names: Iterator[str] | set[str] | frozenset[str], segments: Mapping[str, Rule]) -> set[str]:
    """The named segments and all that they refer to, directly or not, as far as `segments` defines them."""
    found: set[str] = set()
    waiting = [name for name in names if name in segments]
    while waiting:
        name = waiting.pop()
        if name not in found:
            found.add(name)
            waiting.extend(other for other in segments[name].segments if other in segments)
    return found


def levels(segments: Mapping[str, Rule]) -> dict[str, int]:
    """For each segment 0 when it refers to no other of these, else one more than the highest it refers to.

    Raises
    ------
    ProgramError
        When segments refer to each other in a circle; the message shows the path.
    """
    for path in cycles(segments):
        raise ProgramError(f"segments refer to each other in a circle: {' → '.join(path)}")
    found: dict[str, int] = {}
    for name in children_first(segments):
        below = [found[other] for other in segments[name].segments if other in segments]
        found[name] = 1 + max(below) if below else 0
    return found


def cycles(segments: Mapping[str, Rule]) -> list[tuple[str, ...]]:
    """Each circle of references once, as the path that comes back to its first name."""
    found: list[tuple[str, ...]] = []
    finished: set[str] = set()
    for start in segments:
        path: list[str] = []
        waiting: list[tuple[str, bool]] = [(start, False)]
        while waiting:
            name, leaving = waiting.pop()
            if leaving:
                path.pop()
                finished.add(name)
            elif name in path:
                found.append((*path[path.index(name) :], name))
            elif name not in finished:
                path.append(name)
                waiting.append((name, True))
                below = sorted(other for other in segments[name].segments if other in segments)
                waiting.extend((other, False) for other in reversed(below))
    return found


def children_first(segments: Mapping[str, Rule]) -> list[str]:
    """These segments, each after those of them that it refers to."""
    ordered: dict[str, None] = {}
    waiting = [(name, False) for name in reversed(list(segments))]
    while waiting:
        name, ready = waiting.pop()
        if name in ordered:
            continue
        if ready:
            ordered[name] = None
            continue
        waiting.append((name, True))
        waiting.extend((other, False) for other in sorted(segments[name].segments) if other in segments)
    return list(ordered)
