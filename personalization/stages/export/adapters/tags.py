"""Audiences as a platform's tags: who carries one, and changing that. Nothing here subscribes anybody."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol, runtime_checkable


class Tags(Protocol):
    """The tags of one destination, by name."""

    def make(self, name: str) -> bool:
        """Make sure that there is a tag of this name. Returns whether it was made."""

    def carriers(self, name: str) -> Iterator[str]:
        """Addresses of the contacts that carry a tag, whatever their status."""

    def change(self, name: str, add: Sequence[str], remove: Sequence[str]) -> int:
        """Give a tag to contacts and take it from others, by address. Returns how many changes were refused.

        An address that is no contact is left out by the platform. Done again it changes nothing.
        """


@runtime_checkable
class HasTags(Protocol):
    """An adapter of a platform that has tags."""

    def tags(self) -> Tags: ...
