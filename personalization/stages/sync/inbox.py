"""Webhook events to the landing zone, range by range: from there on they are rows like those of any source.

A range becomes files that are named by it, and only then the ledger's watermark moves past it. Files beyond the
watermark are not read by anybody, and are deleted before the range is applied again: killed anywhere, no event is lost
and none counts twice.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pyarrow.parquet as pq
from sqlalchemy import Connection

from personalization.crash_points import crash_point
from personalization.errors import KeyFileError
from personalization.ledger.inbox_event import InboxRow
from personalization.program import Program
from personalization.stages.sync.inbox_rows import EventReader, Unusable
from personalization.stages.sync.landing import (
    CONSUMER,
    InboxFile,
    all_inbox_files,
    inbox_files,
    replayed_name,
    write_durably,
)
from personalization.stages.sync.webhook_tables import WebhookSyncTable, landing_tables
from personalization.workspace import Workspace

if TYPE_CHECKING:
    from personalization.ledger import Keyring, Ledger
    from personalization.ledger.leases import Lease

RANGE = 20_000
"""Events applied at once: what is lost and done again when the process is killed."""

MAX_FILES = 40
"""So many files of a table are merged into one: thousands of tiny ones would slow every reader down."""

RESOURCE = "inbox:landing"


@dataclass
class AppliedEvents:
    """What `apply_inbox` did.

    Attributes
    ----------
    first, last : int
        The range of events it looked at; empty when `last < first`.
    rows : dict
        Rows that landed, by `source.table`.
    dead : int
        Events that could not be understood and wait in the list of dead letters.
    erased : int
        Events whose bodies were erased before they were applied.
    replayed : int
        Dead letters that were understood this time.
    """

    first: int
    last: int
    rows: dict[str, int] = field(default_factory=dict)
    dead: int = 0
    erased: int = 0
    replayed: int = 0

    @property
    def events(self) -> int:
        return self.last - self.first + 1


def apply_inbox(
    program: Program, workspace: Workspace, keys: Keyring, ledger: Ledger, *, range_size: int = RANGE
) -> AppliedEvents:
    """Bring every event of the inbox that is new, and every dead letter to be tried again, into the landing zone.

    An event that can't be understood becomes a dead letter with the reason, and the others go on.

    Raises
    ------
    ExportError
        Another process applies the inbox.
    KeyFileError
        The bodies can't be opened with these keys. Nothing was applied.
    """
    with ledger.leases.held(RESOURCE) as lease:
        watermark = ledger.inbox.watermark(CONSUMER)
        done = AppliedEvents(watermark + 1, watermark)
        tables = landing_tables(program)
        _delete_orphans(workspace, tables, watermark)
        reader = EventReader(program, keys, ledger)
        while rows := ledger.inbox.rows(done.last, limit=range_size):
            _apply_range(workspace, ledger, lease, reader, rows, done)
        _replay(workspace, ledger, lease, reader, done)
        for table in tables:
            _merge(workspace, table, done.last)
    return done


def _apply_range(
    workspace: Workspace,
    ledger: Ledger,
    lease: Lease,
    reader: EventReader,
    rows: Sequence[InboxRow],
    done: AppliedEvents,
) -> None:
    first, last = rows[0].seq, rows[-1].seq
    letters = {letter.seq for letter in ledger.inbox.dead_letters.all()}
    read = reader.read([row for row in rows if row.seq not in letters])
    for table, landed in read.rows.items():
        write_durably(landed, workspace.landing / table.landing_name / InboxFile.name(first, last))
        done.rows[table.label] = done.rows.get(table.label, 0) + landed.num_rows
    crash_point("inbox.after_files")
    with ledger.begin() as connection:
        lease.hold(connection)
        _bury(ledger, read.unusable, connection)
        ledger.inbox.advance(CONSUMER, last, connection=connection)
    crash_point("inbox.after_advance")
    done.last, done.dead, done.erased = last, done.dead + len(read.unusable), done.erased + read.erased


def _replay(workspace: Workspace, ledger: Ledger, lease: Lease, reader: EventReader, done: AppliedEvents) -> None:
    """Dead letters that somebody wants to be tried again: each is a file of its own, because its range is past."""
    letters = [letter.seq for letter in ledger.inbox.dead_letters.all("replay") if letter.seq <= done.last]
    for row in ledger.inbox.get(letters):
        read = reader.read([row])
        for table, landed in read.rows.items():
            write_durably(landed, workspace.landing / table.landing_name / replayed_name(row.seq))
            done.rows[table.label] = done.rows.get(table.label, 0) + landed.num_rows
        with ledger.begin() as connection:
            lease.hold(connection)
            _bury(ledger, read.unusable, connection)
            if not read.unusable:
                ledger.inbox.dead_letters.settle([row.seq], connection=connection)
        done.dead, done.replayed = done.dead + len(read.unusable), done.replayed + (not read.unusable)


def _bury(ledger: Ledger, unusable: Sequence[Unusable], connection: Connection) -> None:
    for each in unusable:
        ledger.inbox.dead(each.seq, each.reason, connection=connection)


def _delete_orphans(workspace: Workspace, tables: Sequence[WebhookSyncTable], watermark: int) -> None:
    for file in _all_files(workspace, tables):
        if file.last > watermark:
            file.path.unlink()


def _all_files(workspace: Workspace, tables: Sequence[WebhookSyncTable]) -> Iterator[InboxFile]:
    for table in tables:
        yield from all_inbox_files(workspace.landing, table.landing_name)


def _merge(workspace: Workspace, table: WebhookSyncTable, watermark: int) -> None:
    """Make one file of many. Until the last of them is deleted, readers leave out those within its range."""
    import pyarrow as pa

    counting = inbox_files(workspace.landing, table.landing_name, up_to=watermark)
    if len(counting) > MAX_FILES:
        rows = pa.concat_tables([pq.read_table(file.path) for file in counting], promote_options="default")
        name = InboxFile.name(counting[0].first, counting[-1].last)
        write_durably(rows, workspace.landing / table.landing_name / name)
        counting = inbox_files(workspace.landing, table.landing_name, up_to=watermark)
    for file in all_inbox_files(workspace.landing, table.landing_name):
        if file not in counting:
            file.path.unlink()


__all__ = ["AppliedEvents", "KeyFileError", "apply_inbox"]
