"""What all nodes of a rule's tree have in common."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields
from typing import Literal

Type = Literal["number", "text", "date", "boolean"]


@dataclass(frozen=True)
class Span:
    """A stretch of a rule's text: offsets of its first character and of the one after its last."""

    start: int
    end: int


NOWHERE = Span(0, 0)


class Node:
    """Base of all nodes."""

    def children(self) -> Iterator[Node]:
        """The nodes directly below, in the order written."""
        for each in fields(self):  # type: ignore[arg-type]
            value = getattr(self, each.name)
            if isinstance(value, Node):
                yield value
            elif isinstance(value, tuple):
                yield from (item for item in value if isinstance(item, Node))

    def walk(self) -> Iterator[Node]:
        """This node and all below it, parents first."""
        waiting: list[Node] = [self]
        while waiting:
            node = waiting.pop()
            yield node
            waiting.extend(reversed(list(node.children())))

    def depth(self) -> int:
        """How many nodes lie on the longest way down, counted without recursion."""
        deepest = 0
        waiting: list[tuple[Node, int]] = [(self, 1)]
        while waiting:
            node, depth = waiting.pop()
            deepest = max(deepest, depth)
            waiting.extend((child, depth + 1) for child in node.children())
        return deepest
