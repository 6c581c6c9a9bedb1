"""Opt-outs go to every platform before anything else, and at once: they wait for no plan, no warehouse and no export.

While an export of the destination is under way, it is this export that tells the platform, at its next cut.
"""

from __future__ import annotations

import logging
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import date, datetime
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

import pyarrow as pa
import pyarrow.parquet as pq

from personalization.errors import ExportError, PersonalizationError
from personalization.ledger.contacts import Contacts
from personalization.ledger.export_books import OPT_OUTS
from personalization.ledger.leases import Lease, LeaseHeld
from personalization.ledger.news import position
from personalization.ledger.outbox import Outbox, RunHead
from personalization.stages.export.adapters.base import Adapter, Clock, DestinationError, Lost, Postponed
from personalization.stages.export.adapters.registry import adapter_for, destination_of, mapping_version
from personalization.stages.export.cut import Cut
from personalization.stages.export.delivery import Assignment, Delivery
from personalization.stages.export.late import LateOptOuts
from personalization.stages.export.planner import read_identity
from personalization.stages.sync.identity import published_identity

if TYPE_CHECKING:
    from personalization.runtime import Runtime

PATIENCE = 45.0
"""Seconds that a push waits for a platform that asks to come back; the next push tries again."""

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Told:
    """What came of telling one destination.

    Attributes
    ----------
    state : str
        `told`; `nothing new`; `exporting`: an export is under way and does it; `failed`.
    contacts : int
        Contacts that were opted out there.
    seconds : float
        The longest time from the opt-out in the ledger to the platform's answer.
    """

    destination: str
    state: str
    contacts: int = 0
    seconds: float = 0.0
    problem: str | None = None


def push_opt_outs(runtime: Runtime, names: list[str] | None = None, *, clock: Clock | None = None) -> list[Told]:
    """Tell destinations of every opt-out, hard bounce and complaint that they have not been told; all at once.

    A destination that fails keeps none of the others waiting, and is told by the next call.

    Raises
    ------
    ExportError
        There is no destination of a name.
    LedgerError, KeyFileError
        The ledger can't be read.
    """
    names = list(runtime.program.destinations) if names is None else names
    for name in names:
        destination_of(runtime.program, name)
    _ = runtime.keys, runtime.ledger  # once, before threads ask for them
    if not names:
        return []
    with ThreadPoolExecutor(max_workers=len(names)) as pool:
        return list(pool.map(lambda name: _push(runtime, name, clock or Clock()), names))


def _push(runtime: Runtime, name: str, clock: Clock) -> Told:
    ledger = runtime.ledger
    if not ledger.pushes.waiting(name):
        return Told(name, "nothing new")
    try:
        with ledger.leases.held(f"export:{name}") as lease:
            return _tell(runtime, name, lease, clock)
    except LeaseHeld:
        return Told(name, "exporting")
    except PersonalizationError as error:
        log.warning("opt-outs to %s: %s", name, error)
        return Told(name, "failed", problem=str(error))


def _tell(runtime: Runtime, name: str, lease: Lease, clock: Clock) -> Told:
    ledger, outbox = runtime.ledger, runtime.ledger.outbox
    with ledger.read() as connection:
        seen = position(connection)
    cut = Cut(ledger, runtime.program.purposes, identity_of(runtime))
    late = LateOptOuts(ledger, cut, name)
    open_run = outbox.open_run(name)
    rows = late.rows(open_run.run if open_run else None)
    left_over = open_run is not None and _take_up(outbox, lease, open_run.run)
    if not rows and not left_over:
        if open_run and open_run.plan_hash == OPT_OUTS:  # interrupted when all was told
            ledger.pushes.note_acknowledged(open_run.run, cut.person)
            outbox.close(lease, open_run.run)
        ledger.pushes.note_told(name, seen)
        return Told(name, "nothing new")
    if open_run:  # interrupted: its retractions go on, what else it has waits for the next export
        run = open_run.run
        outbox.append(lease, run, name, rows)
        assignment = Assignment(name, open_run.as_of, open_run.plan_hash, run, lease)
    else:
        run = outbox.start(lease, _head(runtime, name), rows)
        assignment = Assignment(name, _today(runtime).isoformat(), OPT_OUTS, run, lease)
    adapter = adapter_for(runtime.program, name, runtime.workspace, clock, ledger=ledger, urgent=True)
    problem: ExportError | None = None
    try:
        _set_up(Contacts(ledger).fields(name), adapter, name)
        delivery = Delivery(ledger, runtime.keys, adapter, cut, assignment, clock, patience=PATIENCE)
        delivery.retract()
    except ExportError as error:
        problem = error
    pushes = ledger.pushes.note_acknowledged(run, cut.person)
    left = outbox.rows(run, ("planned", "cut", "in_flight", "uncertain"), operations=("retract",), limit=1)
    if not open_run or open_run.plan_hash == OPT_OUTS:
        outbox.close(lease, run, problem=problem.message if problem else None)
    if problem:
        raise problem
    if not left:
        ledger.pushes.note_told(name, seen)
    refused = bool(outbox.rows(run, ("rejected",), operations=("retract",), limit=1))
    longest = max((push.seconds for push in pushes), default=0.0)
    said = "the platform did not say whether it took them" if left else None
    if refused:
        said = f"the platform refused some: see `personalization export rejected {name}`; the next export tries again"
    return Told(name, "failed" if left or refused else "told", len(pushes), longest, said)


def _take_up(outbox: Outbox, lease: Lease, run: int) -> bool:
    """Plan an interrupted run's retractions again, wherever they were: opting out twice is opting out once.

    Returns whether there are any.
    """
    rows = outbox.rows(run, ("planned", "cut", "in_flight", "uncertain"), operations=("retract",))
    outbox.put_back(lease, [row.id for row in rows if row.state != "planned"])
    return bool(rows)


def identity_of(runtime: Runtime) -> pa.Table:
    """Who is who, from the published copy: the warehouse may be busy for minutes."""
    runtime.require_rewritten()
    path = published_identity(runtime.workspace.history)
    if path.is_file():
        return pq.read_table(path)
    with runtime.warehouse.connect(read_only=True) as session:
        return read_identity(session)


def _set_up(known_fields: frozenset[str], adapter: Adapter, name: str) -> None:
    """Let the adapter look at the account. What is wrong with fields must not keep an opt-out from being tried."""
    try:
        adapter.setup(known_fields)
    except (DestinationError, Postponed, Lost) as problem:
        log.warning("opt-outs to %s are tried although: %s", name, problem)


def _head(runtime: Runtime, name: str) -> RunHead:
    day = runtime.as_of(_today(runtime).isoformat())
    version = mapping_version(destination_of(runtime.program, name))
    return RunHead(name, day, OPT_OUTS, version, desired=0, unchanged=0)


def _today(runtime: Runtime) -> date:
    return datetime.now(ZoneInfo(runtime.program.settings.timezone)).date()
