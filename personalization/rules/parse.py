"""A rule or value as the rest of the product sees it: its text, its typed tree, and what it needs to know."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property

from personalization.errors import Position
from personalization.rules.builder import Builder
from personalization.rules.catalog import Catalog
from personalization.rules.problems import Origin, Source
from personalization.rules.tree import (
    Behaviour,
    Condition,
    FieldRef,
    InSegment,
    Known,
    Moment,
    Node,
    OpenedPrevious,
    Recalled,
    Scalar,
    Sequence,
    Unknown,
    WasInSegment,
)


class _Expression:
    """What rules and values have in common."""

    text: str

    @property
    def root(self) -> Node:
        raise NotImplementedError

    @cached_property
    def fields(self) -> frozenset[str]:
        """Profile columns it reads."""
        return frozenset(node.name for node in self.root.walk() if isinstance(node, FieldRef))

    @cached_property
    def needs(self) -> frozenset[str]:
        """Profile columns whose values it compares or computes with; asking `known(x)` alone needs no value."""
        found: set[str] = set()
        waiting = [self.root]
        while waiting:
            node = waiting.pop()
            if isinstance(node, FieldRef):
                found.add(node.name)
            elif not isinstance(node, Known):
                waiting.extend(node.children())
        return frozenset(found)

    @cached_property
    def segments(self) -> frozenset[str]:
        """Segments it refers to directly."""
        return frozenset(node.name for node in self.root.walk() if isinstance(node, InSegment))

    @cached_property
    def behaviours(self) -> frozenset[Behaviour]:
        """Aggregates over the customer-day rollup it needs."""
        return frozenset(node for node in self.root.walk() if isinstance(node, Behaviour) and not node.exact)

    @cached_property
    def moments(self) -> frozenset[Moment]:
        """What it needs of single events, with their instants."""
        kinds = (Recalled, Sequence, OpenedPrevious)
        return frozenset(
            node for node in self.root.walk() if isinstance(node, kinds) or (isinstance(node, Behaviour) and node.exact)
        )

    @cached_property
    def earlier_segments(self) -> frozenset[WasInSegment]:
        """Memberships on days before that it asks for."""
        return frozenset(node for node in self.root.walk() if isinstance(node, WasInSegment))

    @cached_property
    def local(self) -> bool:
        """Whether it counts days in the customer's time zone."""
        return any(getattr(node, "local", False) for node in self.root.walk())


@dataclass(frozen=True)
class Rule(_Expression):
    """A condition about a customer, and what is done with people about whom it can't be decided."""

    text: str
    condition: Condition
    unknown: Unknown = "exclude"

    @property
    def root(self) -> Node:
        return self.condition

    @cached_property
    def version(self) -> str:
        """Twelve hex digits that change with its words, `unknown` and whose days it counts; white space is nothing."""
        words = " ".join(self.text.split())
        days = ":customer" if self.local else ""
        return hashlib.sha256(f"{self.unknown}{days}:{words}".encode()).hexdigest()[:12]


@dataclass(frozen=True)
class Value(_Expression):
    """An arithmetic expression about a customer; missing when something it needs is missing."""

    text: str
    scalar: Scalar

    @property
    def root(self) -> Node:
        return self.scalar


def parse_rule(text: str, catalog: Catalog, *, unknown: Unknown = "exclude", origin: Origin | None = None) -> Rule:
    """Parse and type a condition.

    Raises
    ------
    ProgramError
        Its `problems` are all mistakes found, each with file, line, column and a caret.
    """
    source = Source(text, origin or Origin(Position("rule"), in_yaml=False))
    return Rule(text, Builder(source, catalog).whole_condition(), unknown)


def parse_value(text: str, catalog: Catalog, *, origin: Origin | None = None) -> Value:
    """Parse and type an arithmetic expression that gives a number. Raises as `parse_rule` does."""
    source = Source(text, origin or Origin(Position("value"), in_yaml=False))
    return Value(text, Builder(source, catalog).whole_number())
