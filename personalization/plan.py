"""`personalization plan`: what a run would change, found out by running it in a copy of the state.

Nothing is estimated: the copy is synced, normalised, scored, segmented and decided by the same code, and exports are
planned against the acknowledged state without a request. Then the copy is thrown away.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from personalization.as_of import AsOf
from personalization.errors import LedgerError
from personalization.runtime import Runtime
from personalization.workspace import Workspace

# Files in these folders are only ever written new and renamed, so a hard link is as good as a copy.
_LINKED = ("landing", "models", "history")
_COPIED = ("dlt", "dbt")


@dataclass(frozen=True)
class SegmentChange:
    """Members of a segment now and after the run; `enter` and `leave` count people, not the difference of sizes."""

    segment: str
    before: int
    after: int
    enter: int
    leave: int


@dataclass(frozen=True)
class DecisionChange:
    """Customers of a campaign with one outcome and reason, now and after the run."""

    campaign: str
    outcome: str
    reason: str
    before: int
    after: int


@dataclass(frozen=True)
class RunPlan:
    """What a run would change. `exports` holds one export plan a destination."""

    as_of: str
    segments: list[SegmentChange]
    decisions: list[DecisionChange]
    exports: list[Any]

    def to_dict(self) -> dict[str, Any]:
        return {
            "as_of": self.as_of,
            "segments": [asdict(change) for change in self.segments],
            "decisions": [asdict(change) for change in self.decisions],
            "exports": [plan.to_dict() for plan in self.exports],
        }


def plan_in_copy(runtime: Runtime, as_of: AsOf, *, on_progress: Callable[..., None] | None = None) -> RunPlan:
    """Run everything up to the decisions in a throw-away copy and compare.

    Raises
    ------
    PersonalizationError
        Whatever would stop the run itself.
    """
    from personalization.jobs import run_in_process
    from personalization.run_lock import only_run
    from personalization.stages.export.planner import plan_destination

    with only_run(runtime), _copy_of(runtime) as copy:
        members_before, decisions_before = _state(runtime, as_of)
        run_in_process(copy, as_of, job="decide", on_progress=on_progress)
        exports = [plan_destination(copy, name, as_of) for name in copy.program.destinations]
        members_after, decisions_after = _state(copy, as_of)
    return RunPlan(
        as_of.key,
        _segment_changes(members_before, members_after, list(runtime.program.segments)),
        _decision_changes(decisions_before, decisions_after),
        exports,
    )


_Members = dict[str, set[str]]
_Counts = dict[tuple[str, str, str], int]


def _state(runtime: Runtime, as_of: AsOf) -> tuple[_Members, _Counts]:
    """Members a segment and customers by campaign, outcome and reason, as the warehouse has them for the day."""
    members: _Members = {}
    counts: _Counts = {}
    if not runtime.workspace.warehouse.exists():
        return members, counts
    with runtime.warehouse.connect(read_only=True) as session:
        if session.has_table("segments.membership"):
            for segment, tokens in session.rows(
                "select segment, list(customer_token) from segments.membership"
                " where as_of = ? and status = 'in' group by segment",
                [as_of.day],
            ):
                members[segment] = set(tokens)
        if session.has_table("decisions.summary"):
            for campaign, outcome, reason, customers in session.rows(
                "select campaign, outcome, reason, customers from decisions.summary where as_of = ?", [as_of.day]
            ):
                counts[campaign, outcome, reason] = customers
    return members, counts


def _segment_changes(before: _Members, after: _Members, names: list[str]) -> list[SegmentChange]:
    ordered = [*names, *sorted((before.keys() | after.keys()) - set(names))]
    return [
        SegmentChange(
            segment=name,
            before=len(before.get(name, set())),
            after=len(after.get(name, set())),
            enter=len(after.get(name, set()) - before.get(name, set())),
            leave=len(before.get(name, set()) - after.get(name, set())),
        )
        for name in ordered
    ]


def _decision_changes(before: _Counts, after: _Counts) -> list[DecisionChange]:
    return [DecisionChange(*key, before.get(key, 0), after.get(key, 0)) for key in sorted(before.keys() | after.keys())]


@contextmanager
def _copy_of(runtime: Runtime) -> Iterator[Runtime]:
    """The same program on a copy of the state, removed at the end."""
    state = runtime.workspace.state
    folder = Path(tempfile.mkdtemp(prefix="plan-", dir=state))
    try:
        for name in _LINKED:
            if (state / name).exists():
                shutil.copytree(state / name, folder / name, copy_function=os.link)
        for name in _COPIED:
            if (state / name).exists():
                shutil.copytree(state / name, folder / name)
        for path in (runtime.workspace.keys, runtime.workspace.warehouse):
            if path.exists():
                shutil.copy2(path, folder / path.name)
        _copy_ledger(runtime, folder)
        yield Runtime(Workspace(runtime.workspace.root, folder))
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _copy_ledger(runtime: Runtime, folder: Path) -> None:
    if runtime.workspace.ledger:
        raise LedgerError(
            "plan copies the state, and a ledger outside the state folder can't be copied",
            hint="plan in a workspace of its own, with the ledger restored there from a backup",
        )
    source = runtime.workspace.state / "ledger.sqlite"
    if source.exists():
        with closing(sqlite3.connect(source)) as original, closing(sqlite3.connect(folder / "ledger.sqlite")) as copy:
            original.backup(copy)
