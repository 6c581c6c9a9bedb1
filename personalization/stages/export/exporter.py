"""Exports a day's decisions to a destination: take over what an earlier run left, plan, deliver, close the books."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import pyarrow.compute as pc

from personalization.as_of import AsOf
from personalization.crash_points import crash_point
from personalization.errors import ExportError
from personalization.ledger.audiences import Audiences
from personalization.ledger.contacts import Contacts
from personalization.ledger.export_books import Books
from personalization.ledger.generation import Generations
from personalization.ledger.leases import Lease, LeaseLost
from personalization.ledger.news import position
from personalization.ledger.outbox import OpenRun, Outcome, RunHead
from personalization.ledger.replaced_addresses import forget_cleared
from personalization.stages.export.adapters.base import Adapter, Clock, DestinationError, Lost, Postponed
from personalization.stages.export.adapters.guarded import Guarded, naming
from personalization.stages.export.adapters.registry import adapter_for, destination_of
from personalization.stages.export.adapters.traffic import AllowanceUsedUp
from personalization.stages.export.cut import Cut
from personalization.stages.export.cut_watch import Watch
from personalization.stages.export.delivery import Assignment, Delivery
from personalization.stages.export.frequency import Frequency, frequency_for
from personalization.stages.export.garbage import seldom_collected
from personalization.stages.export.late import LateOptOuts
from personalization.stages.export.native import update_segments
from personalization.stages.export.planner import Plan, plan_destination, read_identity
from personalization.stages.export.tags import update_tags

if TYPE_CHECKING:
    from personalization.runtime import Runtime

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Exported:
    """What an export did: the books of its run, the plan it followed, and what it made at the destination first."""

    books: Books
    plan: Plan
    made: list[str]


def export_destination(
    runtime: Runtime,
    name: str,
    as_of: AsOf,
    *,
    override_guard: str | None = None,
    plan_hash: str | None = None,
    clock: Clock | None = None,
) -> Exported:
    """Bring a destination to what the day's decisions say.

    Parameters
    ----------
    name : str
        Of the destination in `destinations.yaml`.
    override_guard : str, optional
        Who lets the run pass the mass-change guard, and why; recorded with the run.
    plan_hash : str, optional
        Do exactly this plan: refuse when anything has changed since it was made.
    clock : Clock, optional
        Replaced in tests.

    Raises
    ------
    ExportError
        Another process exports to it, the guard or the destination objects, or the books do not close.
    LedgerError, KeyFileError
        Consent, suppressions or addresses can't be read. Nothing was sent.
    """
    with naming(name), seldom_collected():
        return _Export(runtime, name, as_of, clock or Clock()).run(override_guard, plan_hash)


def setup_destination(runtime: Runtime, name: str, clock: Clock | None = None) -> list[str]:
    """Make what is missing at a destination, such as fields.

    A field that was there before has lost its values with its deletion; so all contacts are sent again by the next run.
    The next run also looks anew at who carries which tag.
    Returns what was made, in words. Raises `ExportError` when the destination can't be used.
    """
    destination_of(runtime.program, name)
    adapter = adapter_for(runtime.program, name, runtime.workspace, clock, ledger=runtime.ledger)
    with runtime.ledger.leases.held(f"export:{name}") as lease:
        known = Contacts(runtime.ledger).fields(name)
        with naming(name), _explained():
            made = adapter.setup(frozenset())
        if any(field in words for words in made for field in known):
            Contacts(runtime.ledger).forget(lease, name)
        Audiences(runtime.ledger).forget(lease, name)
    return made


class _Export:
    def __init__(self, runtime: Runtime, name: str, as_of: AsOf, clock: Clock) -> None:
        self._runtime, self._name, self._as_of, self._clock = runtime, name, as_of, clock
        self._ledger, self._outbox = runtime.ledger, runtime.ledger.outbox
        destination_of(runtime.program, name)
        self._marks = Generations(runtime.ledger, runtime.workspace.ledger_mark)
        self._keys = runtime.keys  # without keys nothing leaves: find out before anything else

    def run(self, override_guard: str | None, plan_hash: str | None) -> Exported:
        self._marks.check()
        with self._ledger.leases.held(f"export:{self._name}") as lease:
            self._marks.note()
            crash_point("export.after_lease")
            open_run = self._take_over(lease)
            with self._ledger.read() as connection:
                seen = position(connection)
            plan = plan_destination(self._runtime, self._name, self._as_of, now=self._clock.now)
            approved = {plan.hash, open_run.plan_hash if open_run else plan.hash}
            if plan_hash is not None and plan_hash not in approved:
                raise ExportError(
                    f"the plan for '{self._name}' is not {plan_hash[:12]} any more but {plan.hash[:12]}",
                    hint="something changed since it was approved: look at the new plan",
                )
            override = override_guard or (open_run.override if open_run else None)
            if plan.guard and not override:
                raise ExportError(
                    f"the export to '{self._name}' was stopped before its first request: {plan.guard}",
                    hint="look at the plan; if it is right, run again with --override-guard 'NAME: WHY'",
                )
            if plan.guard:
                log.warning("%s: %s; let pass by %s", self._name, plan.guard, override)
            if open_run:
                run = open_run.run
                self._outbox.resume(lease, run, self._name, list(_rows(plan)))
            else:
                run = self._outbox.start(lease, self._head(plan, override if plan.guard else None), _rows(plan))
            crash_point("export.after_plan")
            exported = self._deliver(lease, run, plan)
            self._ledger.pushes.note_acknowledged(run, self._cut.person)
            if not self._outbox.rows(run, ("held", "uncertain"), operations=("retract",), limit=1):
                self._ledger.pushes.note_told(self._name, seen)
            segments = update_segments(self._runtime, self._name, self._as_of, self._adapter, sent=plan.sends)
            crash_point("export.before_tags")
            tags = update_tags(self._runtime, self._name, lease, self._adapter, lambda: self._cut)
            return replace(exported, made=[*exported.made, *segments, *tags])

    def _deliver(self, lease: Lease, run: int, plan: Plan) -> Exported:
        """Send what was planned and close the run, with its problem when there was one."""
        made: list[str] = []
        left = "not sent"
        try:
            if plan.sends:
                adapter = self._adapter()
                with _explained():
                    made = adapter.setup(Contacts(self._ledger).fields(self._name))
                assignment = Assignment(self._name, self._as_of.key, plan.hash, run, lease)
                delivery = self._delivery(adapter, assignment, plan)
                delivery.deliver()
                self._retract_late(lease, run, delivery)
                unknown = bool(self._outbox.rows(run, ("uncertain",), limit=1))
                if delivery.reconcile():
                    delivery.deliver()
                if unknown:  # a row that arrived only now may have brought somebody back who opted out meanwhile
                    self._retract_late(lease, run, delivery)
        except LeaseLost:
            raise
        except AllowanceUsedUp as used_up:  # no failure: what is held goes on when there is a new allowance
            log.warning("%s: %s", self._name, used_up.message)
            left = used_up.message
        except ExportError as error:
            crash_point("export.before_close")
            books = self._outbox.close(lease, run, problem=error.message)
            raise type(error)(f"{error.message} ({books.equation})", at=error.at, hint=error.hint) from None
        crash_point("export.before_close")
        books = self._outbox.close(lease, run, left=left)
        self._marks.note()
        crash_point("export.after_close")
        forget_cleared(self._ledger)
        return Exported(books, plan, made)

    def _take_over(self, lease: Lease) -> OpenRun | None:
        """Settle what a crashed run left on its way. Returns that run when it was for the same day.

        A run for another day is closed: what it did not send is held, and planned again if it is still wanted.
        """
        left = self._outbox.open_run(self._name)
        if left is None:
            return None
        unsettled = [
            Outcome(row.id, "uncertain", "the run was interrupted")
            for row in self._outbox.rows(left.run, ("in_flight",))
        ]
        if unsettled:
            self._outbox.settle(lease, left.run, unsettled)
        if self._outbox.rows(left.run, ("uncertain",), limit=1):
            log.info("%s: looking up what became of the rows of interrupted run %d", self._name, left.run)
            assignment = Assignment(self._name, left.as_of, left.plan_hash, left.run, lease)
            self._delivery(self._adapter(), assignment).reconcile()
        crash_point("export.after_take_over")
        if left.as_of == self._as_of.key:
            return left
        self._outbox.close(lease, left.run, problem=f"interrupted, and followed by a run for {self._as_of.key}")
        return None

    def _retract_late(self, lease: Lease, run: int, delivery: Delivery) -> None:
        """Opt out, at the destination too, whoever opted out while the run was under way."""
        rows = LateOptOuts(self._ledger, self._cut, self._name).rows(run)
        if rows:
            self._outbox.append(lease, run, self._name, rows)
            delivery.deliver()

    def _head(self, plan: Plan, override: str | None) -> RunHead:
        return RunHead(
            destination=self._name,
            as_of=self._as_of,
            plan_hash=plan.hash,
            mapping_version=plan.mapping_version,
            desired=plan.desired,
            unchanged=plan.unchanged,
            guard=plan.guard,
            override=override,
        )

    def _delivery(self, adapter: Adapter, assignment: Assignment, plan: Plan | None = None) -> Delivery:
        cut = Watch(self._cut, plan.rows.filter(pc.is_valid(plan.rows["address_token"]))) if plan else self._cut
        late = LateOptOuts(self._ledger, self._cut, self._name)
        return Delivery(self._ledger, self._keys, adapter, cut, assignment, self._clock, self._frequency, late=late)

    def _adapter(self) -> Guarded:
        return adapter_for(self._runtime.program, self._name, self._runtime.workspace, self._clock, ledger=self._ledger)

    @cached_property
    def _cut(self) -> Cut:
        with self._runtime.warehouse.connect() as session:
            return Cut(self._ledger, self._runtime.program.purposes, read_identity(session))

    @cached_property
    def _frequency(self) -> Frequency | None:
        with self._runtime.warehouse.connect() as session:
            return frequency_for(session, self._ledger, self._runtime.program, self._name, self._as_of, self._clock.now)


def _rows(plan: Plan) -> Iterator[dict[str, Any]]:
    for batch in plan.rows.to_batches(max_chunksize=5_000):
        yield from batch.to_pylist()


@contextmanager
def _explained() -> Iterator[None]:
    """A destination that can't be reached before anything was sent is an error like any other."""
    try:
        yield
    except (Postponed, Lost) as problem:
        raise DestinationError(problem.reason, hint="nothing was sent; run again when it is up") from None
