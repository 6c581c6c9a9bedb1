"""The book of runs: who started `personalization run`, with which program and code, and how it ended."""

from __future__ import annotations

import socket
import uuid
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from sqlalchemy import insert, select, update

from personalization.as_of import AsOf
from personalization.errors import LedgerError
from personalization.ledger.consent_chain import chain_state
from personalization.ledger.process import is_gone, this_process
from personalization.ledger.schema import now, run_book

if TYPE_CHECKING:
    from personalization.ledger.ledger import Ledger

RUNNING, SUCCEEDED, FAILED, DEAD = "running", "succeeded", "failed", "dead"


@dataclass(frozen=True)
class Run:
    """One entry of the book. `status` is running, succeeded, failed, or dead: its process ended without a word."""

    run_id: str
    as_of: str
    program_sha256: str
    code_version: str
    status: str
    message: str | None
    started_at: datetime
    finished_at: datetime | None


class Runs:
    """The book of runs. See `Ledger.runs`."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger

    def start(self, as_of: AsOf, *, program_sha256: str, code_version: str) -> Run:
        """Enter a run of this process. It also notes the end of the consent chain, so that a cut-off chain is found."""
        run_id = uuid.uuid4().hex
        with self._ledger.begin() as connection:
            chain = chain_state(connection)
            connection.execute(
                insert(run_book).values(
                    run_id=run_id,
                    as_of=as_of.key,
                    program_sha256=program_sha256,
                    code_version=code_version,
                    status=RUNNING,
                    host=socket.gethostname(),
                    process=this_process(),
                    consent_seq=chain.seq,
                    consent_head=chain.head,
                    started_at=now(),
                )
            )
        return self.get(run_id)

    def finish(self, run_id: str, status: str, message: str | None = None) -> Run:
        """Close the entry of a run with `succeeded` or `failed`. Raises `LedgerError` when it is not running."""
        if status not in (SUCCEEDED, FAILED):
            raise ValueError(f"a run can end as {SUCCEEDED} or {FAILED}, not as {status!r}")
        with self._ledger.begin() as connection:
            closed = connection.execute(
                update(run_book)
                .where(run_book.c.run_id == run_id, run_book.c.status == RUNNING)
                .values(status=status, message=message, finished_at=now())
            ).rowcount
        run = self.get(run_id)
        if not closed:
            raise LedgerError(f"run {run_id} is closed already: {run.status}")
        return run

    def get(self, run_id: str) -> Run:
        """One entry. Raises `LedgerError` when there is none."""
        with self._ledger.read() as connection:
            row = connection.execute(select(*_COLUMNS).where(run_book.c.run_id == run_id)).one_or_none()
        if row is None:
            raise LedgerError(f"the ledger knows no run {run_id}")
        return Run(**row._mapping)

    def recent(self, limit: int = 20) -> list[Run]:
        """The newest entries first."""
        newest_first = run_book.c.started_at.desc(), run_book.c.run_id
        with self._ledger.read() as connection:
            return [
                Run(**row._mapping)
                for row in connection.execute(select(*_COLUMNS).order_by(*newest_first).limit(limit))
            ]

    def sweep(self) -> list[Run]:
        """Close the entries of processes of this machine that ended without doing so. Call it before `start`.

        A run of another machine can't be judged from here and stays as it is.
        """
        columns = run_book.c
        running = select(columns.run_id, columns.process).where(columns.status == RUNNING)
        with self._ledger.begin() as connection:
            dead = [row.run_id for row in connection.execute(running) if is_gone(row.process)]
            for run_id in dead:
                connection.execute(
                    update(run_book)
                    .where(columns.run_id == run_id)
                    .values(status=DEAD, message="its process ended without closing the run", finished_at=now())
                )
        return [self.get(run_id) for run_id in dead]


_COLUMNS = (
    run_book.c.run_id,
    run_book.c.as_of,
    run_book.c.program_sha256,
    run_book.c.code_version,
    run_book.c.status,
    run_book.c.message,
    run_book.c.started_at,
    run_book.c.finished_at,
)
