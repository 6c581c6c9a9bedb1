"""The mass-change guard: a run that would change far more than usual stops before its first request."""

from __future__ import annotations

import statistics
from collections.abc import Sequence

from personalization.program.models import Guard

HISTORY_DAYS = 28


def mass_change(
    guard: Guard, *, desired: int, present: int, removes: int, mailed: int, adds: int, earlier_adds: Sequence[int]
) -> str | None:
    """What is unusual about a plan, in words; None when nothing is.

    Parameters
    ----------
    guard : Guard
        The destination's limits.
    desired, present : int
        Contacts that should be at the destination, and that are.
    removes, adds : int
        Of the plan.
    mailed : int
        Of the removes those whose campaign has been mailed: they were bound to leave.
    earlier_adds : sequence of int
        Adds of the destination's runs of the last 28 days that had any.
    """
    removes, present = removes - mailed, present - mailed
    if desired == 0 and present > 0:
        return f"no contact is wanted any more, while {present:,} are at the destination"
    allowed = max(guard.min_removed, guard.max_removed_share * present)
    if removes > allowed:
        return (
            f"{removes:,} of {present:,} contacts would be removed ({removes / present:.0%}), "
            f"more than {guard.max_removed_share:.0%} and more than {guard.min_removed:,}"
        )
    usual = statistics.median(earlier_adds) if earlier_adds else None
    if usual is not None and adds > guard.min_removed and adds > guard.max_add_factor * usual:
        return f"{adds:,} contacts would be added, more than {guard.max_add_factor:g} times the usual {usual:,.0f}"
    return None
