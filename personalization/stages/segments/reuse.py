"""Which segments have to be evaluated, and which results of an earlier evaluation of the day still hold."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from personalization.rules import Rule


@dataclass(frozen=True)
class Work:
    """What has to be done.

    Attributes
    ----------
    evaluate : set of str
        Segments whose members are written anew.
    compute : set of str
        These, and what they refer to and the day's file does not have as it would be now.
    take : set of str
        What those refer to and the day's file has.
    """

    evaluate: set[str]
    compute: set[str]
    take: set[str]


def to_do(
    chosen: Collection[str], rules: Mapping[str, Rule], keys: Mapping[str, str], last: Mapping[str, str | None]
) -> Work:
    """Compare the keys that segments would have now with those of the day's file."""
    holds = {name for name in keys if last.get(name) == keys[name]}
    evaluate = {name for name in chosen if name not in holds}
    compute: set[str] = set()
    take: set[str] = set()
    waiting = list(evaluate)
    while waiting:
        name = waiting.pop()
        if name in compute:
            continue
        compute.add(name)
        take |= rules[name].segments & holds
        waiting += rules[name].segments - holds
    return Work(evaluate, compute, take)
