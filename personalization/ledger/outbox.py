"""The outbox: every contact an export is about to change, and what came of it. Written under a lease only.

A row goes planned → cut → in_flight → acked | rejected | uncertain, or ends as suppressed, invalid or held on the
way. Cut and on its way it becomes in one step. Only `acked` changes what the destination is taken to know (the table
`acknowledged`), so nothing that was not confirmed is ever skipped later. Each step is one transaction that checks the
lease's epoch first.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from sqlalchemy import ColumnElement, Connection, delete, func, insert, select, update

from personalization.as_of import AsOf
from personalization.errors import ExportError, LedgerError
from personalization.ledger import sends
from personalization.ledger.contacts import acknowledge, resolve
from personalization.ledger.engine import bulk_insert, fetch_columns, one_of
from personalization.ledger.export_books import Books, read_books
from personalization.ledger.export_schema import IS_RETRACTION, export_runs, outbox, outbox_batches
from personalization.ledger.frequency import HOLDS
from personalization.ledger.leases import Lease
from personalization.ledger.schema import now, to_micros

if TYPE_CHECKING:
    from personalization.ledger.ledger import Ledger

CHUNK = 5_000
AT_ONCE = 100_000  # rows that are read as a few texts; more of them would make too long ones
NEVER_SENT = ("planned", "cut")  # a row stays `cut` only where a version before migration 0012 left it
ON_ITS_WAY = ("in_flight", "uncertain")
_T = TypeVar("_T")


class OutboxRow(NamedTuple):
    """One row as an exporter works on it."""

    id: int
    operation: str
    customer_token: str
    address_token: str
    campaign: str | None
    purpose: str
    payload: str
    row_hash: str
    state: str
    attempt: int
    batch: int | None


class Outcome(NamedTuple):
    """What came of a row: `state` is acked, rejected, uncertain, held, suppressed or invalid."""

    id: int
    state: str
    reason: str | None = None


@dataclass(frozen=True)
class RunHead:
    """What is known of a run when it starts."""

    destination: str
    as_of: AsOf
    plan_hash: str
    mapping_version: str
    desired: int
    unchanged: int
    guard: str | None = None
    override: str | None = None


@dataclass(frozen=True)
class OpenRun:
    """A run that was interrupted."""

    run: int
    as_of: str
    plan_hash: str
    override: str | None


class Outbox:
    """The outbox of a ledger. See `Ledger.outbox`."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger

    def open_run(self, destination: str) -> OpenRun | None:
        """The run of a destination that was not closed, if there is one."""
        columns = export_runs.c
        query = select(columns.run, columns.as_of, columns.plan_hash, columns.override).where(
            columns.destination == destination, columns.state == "open"
        )
        with self._ledger.read() as connection:
            row = connection.execute(query).one_or_none()
        return None if row is None else OpenRun(row.run, row.as_of, row.plan_hash, row.override)

    def progress(self, destination: str) -> tuple[int, int] | None:
        """Of the run of a destination that is open: how many of its rows have an end, and how many there are."""
        open_run = self.open_run(destination)
        if open_run is None:
            return None
        open_rows = outbox.c.run == open_run.run, outbox.c.state.in_((*NEVER_SENT, "in_flight"))
        planned = select(export_runs.c.planned).where(export_runs.c.run == open_run.run)
        with self._ledger.read() as connection:
            total: int = connection.execute(planned).scalar_one()
            left: int = connection.execute(select(func.count()).where(*open_rows)).scalar_one()
        return total - left, total

    def start(self, lease: Lease, head: RunHead, rows: Iterable[Mapping[str, Any]]) -> int:
        """Open a run and put its rows into the outbox, all or nothing. Returns the run's number."""
        with self._ledger.begin() as connection:
            lease.hold(connection)
            inserted = connection.execute(
                insert(export_runs).values(
                    destination=head.destination,
                    as_of=head.as_of.key,
                    state="open",
                    plan_hash=head.plan_hash,
                    mapping_version=head.mapping_version,
                    desired=head.desired,
                    unchanged=head.unchanged,
                    planned=0,
                    adds=0,
                    changes=0,
                    removes=0,
                    retractions=0,
                    guard=head.guard,
                    override=head.override,
                    epoch=lease.epoch,
                    started_at=now(),
                )
            )
            run = int(inserted.inserted_primary_key[0])  # type: ignore[index]
            self._insert(connection, lease, run, head.destination, rows)
        return run

    def resume(self, lease: Lease, run: int, destination: str, rows: Sequence[Mapping[str, Any]]) -> None:
        """Give an interrupted run the rows of a new plan, all or nothing.

        Rows that never left make way for the new ones. A contact whose row left without a known end keeps that
        row, which is planned again; so the books count each contact once, as if nothing had happened.
        """
        columns = outbox.c
        with self._ledger.begin() as connection:
            lease.hold(connection)
            never_left = columns.run == run, columns.state.in_((*NEVER_SENT, "suppressed", "invalid", "held"))
            sends.free(connection, list(connection.execute(select(columns.id).where(*never_left)).scalars()))
            removed = connection.execute(delete(outbox).where(*never_left)).rowcount
            connection.execute(
                update(export_runs).where(export_runs.c.run == run).values(planned=export_runs.c.planned - removed)
            )
            again = {
                row.address_token: row.id
                for row in connection.execute(
                    select(columns.address_token, columns.id).where(
                        columns.run == run, columns.state.in_(("uncertain", "rejected"))
                    )
                )
            }
            fresh = []
            for row in rows:
                # what will not be sent must not hide that something may have arrived
                known = again.pop(row["address_token"], None) if row["state"] == "planned" else None
                if known is None:
                    fresh.append(row)
                    continue
                connection.execute(
                    update(outbox)
                    .where(columns.id == known)
                    .values(**row, epoch=lease.epoch, batch=None, changed_at=now())
                )
            self._insert(connection, lease, run, destination, fresh, count_operations=False)

    def append(self, lease: Lease, run: int, destination: str, rows: Sequence[Mapping[str, Any]]) -> None:
        """Put further rows into the outbox of an open run."""
        with self._ledger.begin() as connection:
            lease.hold(connection)
            self._insert(connection, lease, run, destination, rows)

    def close(self, lease: Lease, run: int, *, problem: str | None = None, left: str = "not sent") -> Books:
        """Close a run: rows that were not sent are held, rows without an answer are uncertain.

        Parameters
        ----------
        problem : str, optional
            Why the run stopped early; the run counts as failed then.
        left : str
            Why rows were not sent although nothing went wrong.

        Raises
        ------
        ExportError
            The books do not close. The run stays open.
        """
        with self._ledger.begin() as connection:
            lease.hold(connection)
            for states, end, reason, settle_slots in (
                (NEVER_SENT, "held", problem or left, sends.free),
                (("in_flight",), "uncertain", problem or "no answer", sends.keep),
            ):
                ending = select(outbox.c.id).where(outbox.c.run == run, outbox.c.state.in_(states))
                settle_slots(connection, list(connection.execute(ending).scalars()))
                connection.execute(
                    update(outbox)
                    .where(outbox.c.run == run, outbox.c.state.in_(states))
                    .values(state=end, reason=reason, epoch=lease.epoch, changed_at=now())
                )
            connection.execute(
                update(export_runs)
                .where(export_runs.c.run == run)
                .values(state="failed" if problem else "closed", problem=problem, finished_at=now())
            )
            books = read_books(connection, run)
            if not books.closes:
                raise ExportError(
                    f"the books of run {run} to '{books.destination}' do not close: {books.equation}",
                    hint="this is a defect: keep the ledger and report it; nothing more is exported until then",
                )
        return books

    def rows(
        self,
        run: int,
        states: Sequence[str],
        *,
        operations: Sequence[str] = (),
        after: int = 0,
        limit: int | None = None,
    ) -> list[OutboxRow]:
        """Rows of a run in the order they were planned; only those that come `after` a row."""
        # of one state the index gives the rows in their order; of several they would have to be sorted
        which = outbox.c.state == states[0] if len(states) == 1 else outbox.c.state.in_(states)
        query = select(*_ROW).where(outbox.c.run == run, which, outbox.c.id > after).order_by(outbox.c.id).limit(limit)
        if list(operations) == ["retract"]:
            query = query.where(IS_RETRACTION)  # few of many: there is an index of them
        elif operations:
            query = query.where(outbox.c.operation.in_(operations))
        with self._ledger.read() as connection:
            if limit is not None and limit <= AT_ONCE:
                return list(map(OutboxRow._make, zip(*fetch_columns(connection, query), strict=True)))
            rows: Any = connection.execute(query).all()
            return list(map(OutboxRow._make, rows))

    def next_batch_number(self, run: int) -> int:
        """One more than the number of any batch that was cut: none is given twice, whatever became of it."""
        columns = outbox_batches.c
        with self._ledger.read() as connection:
            last = select(func.coalesce(func.max(columns.batch), 0)).where(columns.run == run)
            return int(connection.execute(last).scalar_one()) + 1

    def cut(
        self,
        lease: Lease,
        run: int,
        batch: int,
        cut_at: datetime,
        sent: Sequence[int],
        stopped: Sequence[Outcome],
        reserve: Callable[[Connection], Mapping[int, str]] | None = None,
    ) -> list[int]:
        """planned → cut → in_flight for the rows that leave in this batch; others end as suppressed, invalid or held.

        The last thing before bytes leave: a stale lease stops here. It is one transaction, so that no time and no crash
        can come between the cut and the note that the rows are on their way.

        Parameters
        ----------
        sent : sequence of int
            Rows that the cut lets pass.
        reserve : callable, optional
            Reserves slots of the send ledger in this transaction; says by row id why a row must not be sent.

        Returns
        -------
        list of int
            The rows that may be sent.
        """
        with self._ledger.begin() as connection:
            lease.hold(connection)
            refused = reserve(connection) if reserve else {}
            ends = {row_id: "held" if reason in HOLDS else "suppressed" for row_id, reason in refused.items()}
            stopped = [*stopped, *(Outcome(row_id, ends[row_id], reason) for row_id, reason in refused.items())]
            sends.free(connection, [outcome.id for outcome in stopped])
            for (state, reason), ids in _grouped(stopped).items():
                _move(connection, lease, ids, ("planned",), state=state, reason=reason, cut_at=cut_at)
            cleared = [row_id for row_id in sent if row_id not in refused]
            leaving = {"cut_at": cut_at, "batch": batch, "attempt": outbox.c.attempt + 1}
            _move(connection, lease, cleared, ("planned",), state="in_flight", reason=None, **leaving)
            if cleared:
                connection.execute(insert(outbox_batches).values(run=run, batch=batch))
        return cleared

    def keep_receipt(self, lease: Lease, run: int, batch: int, receipt: str) -> None:
        """Note how the destination names a batch that it works on later."""
        with self._ledger.begin() as connection:
            lease.hold(connection)
            connection.execute(update(outbox_batches).where(*_is(run, batch)).values(receipt=receipt))

    def receipt(self, run: int, batch: int | None) -> str | None:
        """How the destination names a batch; None when it has not said so (yet)."""
        query = select(outbox_batches.c.receipt).where(*_is(run, batch))
        with self._ledger.read() as connection:
            return connection.execute(query).scalar_one_or_none()

    def put_back(self, lease: Lease, ids: Sequence[int]) -> None:
        """Rows that certainly did not arrive: planned again, for a new cut."""
        with self._ledger.begin() as connection:
            lease.hold(connection)
            _move(connection, lease, ids, ("cut", *ON_ITS_WAY), state="planned", batch=None)

    def settle(self, lease: Lease, run: int, outcomes: Sequence[Outcome], day: str | None = None) -> None:
        """in_flight or uncertain → acked, rejected or uncertain; what is acked becomes what the destination knows.

        `day` is the business day, YYYY-MM-DD, on which contacts leave an audience; default: the day of the run.
        """
        with self._ledger.begin() as connection:
            lease.hold(connection)
            for (state, reason), ids in _grouped(outcomes).items():
                _move(connection, lease, ids, ON_ITS_WAY, state=state, reason=reason)
                (sends.free if state == "rejected" else sends.keep)(connection, ids)
                for chunk in _chunks(ids):
                    if state == "acked":
                        acknowledge(connection, chunk)
                        _leave_audiences(connection, run, chunk, day)
                    if state in ("acked", "rejected"):
                        resolve(connection, run, chunk)

    def _insert(
        self,
        connection: Connection,
        lease: Lease,
        run: int,
        destination: str,
        rows: Iterable[Mapping[str, Any]],
        *,
        count_operations: bool = True,
    ) -> None:
        same = (run, destination, 0, lease.epoch, to_micros(now()))
        operations: Counter[str] = Counter()
        iterator = iter(rows)
        while chunk := list(islice(iterator, CHUNK)):
            operations.update(row["operation"] for row in chunk)
            bulk_insert(
                connection,
                outbox,
                (*_PLANNED, "run", "destination", "attempt", "epoch", "changed_at"),
                [(*(row[name] for name in _PLANNED), *same) for row in chunk],
            )
        values = {"planned": export_runs.c.planned + operations.total()}
        if count_operations:
            for operation, column in _COUNTED.items():
                values[column] = export_runs.c[column] + operations[operation]
        connection.execute(update(export_runs).where(export_runs.c.run == run).values(values))


_PLANNED = (
    "operation",
    "customer_token",
    "address_token",
    "campaign",
    "purpose",
    "payload",
    "row_hash",
    "state",
    "reason",
)
_COUNTED = {"add": "adds", "change": "changes", "remove": "removes", "retract": "retractions"}
_ROW = tuple(outbox.c[name] for name in OutboxRow._fields)


def _is(run: int, batch: int | None) -> tuple[ColumnElement[bool], ColumnElement[bool]]:
    return outbox_batches.c.run == run, outbox_batches.c.batch == batch


def _leave_audiences(connection: Connection, run: int, ids: Sequence[int], day: str | None) -> None:
    """After an acked row its contact is in the audience of the row's campaign only, or in none."""
    rows = sends.elsewhere(connection, ids)
    if not rows:
        return
    head = connection.execute(
        select(export_runs.c.destination, export_runs.c.as_of).where(export_runs.c.run == run)
    ).one()
    sends.end(connection, head.destination, rows, day or head.as_of)


def _move(connection: Connection, lease: Lease, ids: Sequence[int], allowed: Sequence[str], **values: Any) -> None:
    """Change rows that are in one of the allowed states. Raises `LedgerError` when one is not."""
    for chunk in _chunks(ids):
        moved = connection.execute(
            update(outbox)
            .where(one_of(connection, outbox.c.id, chunk), outbox.c.state.in_(allowed))
            .values(epoch=lease.epoch, changed_at=now(), **values)
        ).rowcount
        if moved != len(chunk):
            raise LedgerError(
                f"{len(chunk) - moved} outbox rows are not {' or '.join(allowed)} as they should be",
                hint="somebody else changed the outbox: stop all exports and run again",
            )


def _grouped(outcomes: Iterable[Outcome]) -> dict[tuple[str, str | None], list[int]]:
    groups: dict[tuple[str, str | None], list[int]] = defaultdict(list)
    for outcome in outcomes:
        groups[outcome.state, outcome.reason].append(outcome.id)
    return groups


def _chunks(values: Iterable[_T]) -> Iterator[list[_T]]:
    iterator = iter(values)
    while chunk := list(islice(iterator, CHUNK)):
        yield chunk
