"""Delivers the planned rows of one run, batch by batch: join addresses, render, cut, send, settle.

Whatever happens, each row has one known state in the outbox before and after each step, so that a later run can
take up the work from any point.
"""

from __future__ import annotations

import json
import logging
from collections import defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial

from sqlalchemy import Connection

from personalization.crash_points import crash_point
from personalization.ledger import Keyring, Ledger, normalise_email
from personalization.ledger.leases import Lease
from personalization.ledger.normalise import mailbox_of
from personalization.ledger.outbox import OutboxRow, Outcome
from personalization.ledger.schema import now
from personalization.stages.export import cut as cuts
from personalization.stages.export.adapters.base import (
    Adapter,
    Batch,
    Clock,
    Contact,
    DestinationError,
    Lost,
    Postponed,
    Prepared,
)
from personalization.stages.export.cut import Cut
from personalization.stages.export.cut_watch import Watch
from personalization.stages.export.frequency import Frequency
from personalization.stages.export.late import LateOptOuts
from personalization.stages.export.opt_out_reasons import opt_out_reasons

CUT_SECONDS = 60.0  # a batch that has not left this long after its cut is cut again
_FIRST_PAUSE, _LONGEST_PAUSE = 0.1, 10.0
_LOSSES_IN_A_ROW = 3

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Ready:
    """Planned rows, rendered for their destination, and those of them that can't be."""

    rows: list[OutboxRow]
    prepared: list[Prepared]
    unfit: list[Outcome]


@dataclass(frozen=True)
class Assignment:
    """What is delivered where, under which lease."""

    destination: str
    as_of: str
    plan_hash: str
    run: int
    lease: Lease


class Delivery:
    """Moves rows of an outbox to their destination. One instance a run."""

    def __init__(
        self,
        ledger: Ledger,
        keys: Keyring,
        adapter: Adapter,
        cut: Cut | Watch,
        assignment: Assignment,
        clock: Clock,
        frequency: Frequency | None = None,
        *,
        late: LateOptOuts | None = None,
        patience: float | None = None,
    ) -> None:
        self._ledger, self._outbox = ledger, ledger.outbox
        self._keys, self._vault = keys, ledger.vault(keys)
        self._adapter, self._limits = adapter, adapter.limits
        self._cut, self._clock, self._frequency = cut, clock, frequency
        self._to = assignment
        self._late, self._urgent = late, False
        self._patience = self._limits.patience if patience is None else patience
        self._open: dict[str, Batch] = {}
        self._changes = 0  # grows when rows are planned again: these go first
        self._hurried: set[int] = set()  # retractions that were sent ahead of the batch that was read meanwhile
        self._waited = 0.0
        self._losses = 0
        self._number: int | None = None  # of the next batch: nobody else numbers batches while the lease is held

    def deliver(self) -> None:
        """Send everything that is planned, retractions first, and wait for the destination to finish.

        Raises
        ------
        ExportError
            The destination refuses, is down, or keeps asking to wait. Rows that were not sent are still planned.
        LeaseLost
            Another process took over. Nothing was sent after that.
        """
        if self._limits.urgent_rows:
            self._deliver(("retract",), self._limits.urgent_rows)
        self._deliver((), self._limits.rows)
        self._collect(until=0)

    def retract(self) -> None:
        """Send the planned retractions only. Raises as `deliver`."""
        self._deliver(("retract",), self._limits.urgent_rows or self._limits.rows)
        self._collect(until=0)

    def retract_late(self) -> None:
        """Send retractions of people who opted out since this was called last, ahead of everything that is planned.

        Called wherever an export waits or begins a batch: as long as it runs, nobody else can tell the destination.
        """
        if self._late is None or self._urgent or not self._late.any_news():
            return
        rows = self._late.rows(self._to.run)
        if not rows:
            return
        self._outbox.append(self._to.lease, self._to.run, self._to.destination, rows)
        self._urgent = True
        try:
            self._deliver(("retract",), self._limits.urgent_rows or len(rows))
        finally:
            self._urgent = False
        self._ledger.pushes.note_acknowledged(self._to.run, self._cut.person)

    def reconcile(self) -> int:
        """Find out what became of uncertain rows by looking at the destination. Returns how many are planned again."""
        again = 0
        grouped: dict[int | None, list[OutboxRow]] = defaultdict(list)
        for row in self._outbox.rows(self._to.run, ("uncertain",)):
            grouped[row.batch].append(row)
        for number, rows in grouped.items():
            prepared, unfit = self._prepare(rows)
            receipt = self._outbox.receipt(self._to.run, number)
            batch = replace(self._batch(prepared, number or 0, self._clock.monotonic()), receipt=receipt)
            outcomes = self._poll(batch)
            if outcomes is None:
                raise DestinationError(
                    f"'{self._to.destination}' still works on a batch of an earlier run; what that will change is not "
                    "known yet",
                    hint="nothing was sent; run again later",
                )
            gone = [outcome._replace(state="uncertain") for outcome in unfit]
            self._record([*outcomes, *gone])
            again += sum(outcome.state == "planned" for outcome in outcomes)
        return again

    def _poll(self, batch: Batch) -> list[Outcome] | None:
        """Ask until the destination can tell, as long as its limits say; None when it can't."""
        waited, pause = 0.0, _FIRST_PAUSE
        while True:
            self._ledger.leases.renew(self._to.lease)
            try:
                outcomes = self._adapter.reconcile(batch)
            except (Lost, Postponed) as problem:
                raise DestinationError(problem.reason, hint="nothing was sent; run again when it is up") from None
            if outcomes is not None or waited > self._patience:
                return outcomes
            self._clock.sleep(pause)
            waited, pause = waited + pause, min(pause * 1.5, _LONGEST_PAUSE)
            self.retract_late()

    def _deliver(self, operations: Sequence[str], limit: int | None) -> None:
        """Batch by batch. While one is sent and settled, the next is read and rendered; its cut comes after that."""
        with ThreadPoolExecutor(max_workers=1) as beside:
            ready, changes = self._next(operations, limit, after=0), self._changes
            while ready.rows:
                ahead = beside.submit(self._next, operations, limit, after=ready.rows[-1].id)
                self._send(ready)
                if not self._urgent:
                    self._collect(until=self._limits.open_batches - 1)
                    self.retract_late()
                ready = ahead.result()
                if changes != self._changes or self._hurried.intersection(row.id for row in ready.rows):
                    ready, changes = self._next(operations, limit, after=0), self._changes

    def _next(self, operations: Sequence[str], limit: int | None, after: int) -> _Ready:
        """The next batch, rendered. Reads only."""
        rows = self._outbox.rows(self._to.run, ("planned",), operations=operations, after=after, limit=limit)
        return _Ready(rows, *self._prepare(rows)) if rows else _Ready([], [], [])

    def _send(self, ready: _Ready) -> None:
        rows, prepared, unfit = ready.rows, ready.prepared, ready.unfit
        if self._urgent:
            self._hurried.update(row.id for row in rows)
        if self._number is None:
            self._number = self._outbox.next_batch_number(self._to.run)
        number = self._number
        moment, begun = now(), self._clock.monotonic()
        written = [ready.contact for ready in prepared if ready.contact.operation in ("add", "change")]
        seen = self._seen_by_cut(written, rows)
        blocked = self._cut.blocked(seen, erased=partial(self._erased, written)) if seen else {}
        stopped = [
            Outcome(row.contact.id, "suppressed", blocked[str(row.contact.id)].reason)
            for row in prepared
            if str(row.contact.id) in blocked
        ]
        allowed = [row for row in prepared if str(row.contact.id) not in blocked]
        ids = [row.contact.id for row in allowed]
        to, slots = self._to, self._slots(rows, set(ids))
        cleared = set(self._outbox.cut(to.lease, to.run, number, moment, ids, [*unfit, *stopped], slots))
        batch = self._batch([row for row in allowed if row.contact.id in cleared], number, begun)
        crash_point("export.after_cut")
        if not batch.rows:
            return
        self._number += 1
        if self._clock.monotonic() >= batch.deadline:
            self._put_back(batch.ids)
            return
        crash_point("export.before_send")
        try:
            sent = self._adapter.send(batch)
        except Postponed as postponed:
            self._put_back(batch.ids)
            self._wait(postponed.retry_after, postponed.reason)
            return
        except Lost as lost:
            self._lost(batch, lost.reason)
            return
        except DestinationError:
            self._put_back(batch.ids)
            raise
        crash_point("export.after_send")
        self._losses = 0
        if sent.receipt:
            self._outbox.keep_receipt(self._to.lease, self._to.run, number, sent.receipt)
            self._open[sent.receipt] = batch
            crash_point("export.after_receipt")
        self._record(sent.outcomes)
        crash_point("export.after_ack")
        if sent.refused:
            raise sent.refused
        if sent.retry_after is not None:
            self._wait(sent.retry_after, f"'{self._to.destination}' asks to slow down")

    def _prepare(self, rows: Sequence[OutboxRow]) -> tuple[list[Prepared], list[Outcome]]:
        """Join the addresses from the vault and render. The last thing before the cut."""
        addresses = self._vault.reveal([row.address_token for row in rows])
        external = self._ledger.kept.external_ids(
            self._keys, self._to.destination, [row.customer_token for row in rows]
        )
        reasons = opt_out_reasons(self._ledger, rows, self._cut.person)
        payloads = json.loads(f"[{','.join(row.payload for row in rows)}]")  # faster than one by one
        contacts, unfit = [], []
        for row, external_id, values in zip(rows, external, payloads, strict=True):
            address = addresses.get(row.address_token)
            if address is None:
                unfit.append(Outcome(row.id, "invalid", "the vault has no address for it (any more)"))
            else:
                reason = reasons.get(row.id, "unsubscribed")
                contacts.append(Contact(row.id, row.operation, address, external_id, values, reason))
        prepared, refused = self._adapter.prepare(contacts)
        return prepared, [*unfit, *refused]

    def _slots(self, rows: Sequence[OutboxRow], allowed: set[int]) -> Callable[[Connection], Mapping[int, str]] | None:
        """Reserves slots of the send ledger for the rows that the cut lets pass."""
        frequency = self._frequency
        if frequency is None:
            return None
        asking = [row for row in rows if row.id in allowed]
        return lambda connection: frequency.reserve(connection, asking, self._cut)

    def _seen_by_cut(self, written: Sequence[Contact], rows: Sequence[OutboxRow]) -> list[cuts.Contact]:
        """Those whom the cut may stop: who is cleared or opted out there gets less, never more."""
        by_id = {row.id: row for row in rows}
        mailboxes = self._mailboxes([contact.address for contact in written])
        seen = []
        for contact in written:
            row = by_id[contact.id]
            own = (row.customer_token, row.address_token)
            seen.append(cuts.Contact(str(row.id), row.purpose, own, mailboxes.get(contact.address, ())))
        return seen

    def _erased(self, written: Sequence[Contact], tokens: Collection[str]) -> dict[str, str]:
        """By key of the cut the contacts with an address of an erased person, and the token that says so."""
        addresses = [normalise_email(contact.address) or contact.address for contact in written]
        own = self._keys.suppression_tokens(addresses)
        return {str(contact.id): token for contact, token in zip(written, own, strict=True) if token in tokens}

    def _mailboxes(self, addresses: Sequence[str]) -> dict[str, tuple[str, ...]]:
        """For addresses with a `+tag` the tokens of the address without it: the same mailbox, opted out or not."""
        behind = {address: mailbox for address in addresses if (mailbox := mailbox_of(address))}
        mailboxes = list(behind.values())
        tokens = zip(self._keys.tokens("email", mailboxes), self._keys.suppression_tokens(mailboxes), strict=True)
        return dict(zip(behind, tokens, strict=True))

    def _batch(self, rows: list[Prepared], number: int, cut_at: float) -> Batch:
        to = self._to
        return Batch(to.run, number, to.as_of, to.plan_hash, rows, deadline=cut_at + CUT_SECONDS)

    def _collect(self, until: int) -> None:
        """Wait until at most `until` batches are being worked on by the destination."""
        waited, pause = 0.0, _FIRST_PAUSE
        while self._open:
            for receipt, batch in list(self._open.items()):
                try:
                    outcomes = self._adapter.collect(receipt, batch)
                except Lost as lost:
                    outcomes = [Outcome(row_id, "uncertain", lost.reason) for row_id in batch.ids]
                except Postponed as postponed:
                    pause = max(pause, postponed.retry_after)
                    continue
                if outcomes is not None:
                    crash_point("export.after_results")
                    self._record(outcomes)
                    del self._open[receipt]
            if len(self._open) <= until:
                return
            if waited > self._patience:
                raise DestinationError(
                    f"'{self._to.destination}' has worked on {len(self._open)} batches for more than "
                    f"{self._patience:.0f} seconds",
                    hint="nothing is lost: the next run asks for their results first",
                )
            self._ledger.leases.renew(self._to.lease)
            self._clock.sleep(pause)
            waited, pause = waited + pause, min(pause * 1.5, _LONGEST_PAUSE)
            self.retract_late()

    def _put_back(self, ids: Sequence[int]) -> None:
        self._outbox.put_back(self._to.lease, ids)
        self._changes += 1

    def _record(self, outcomes: Sequence[Outcome]) -> None:
        settled = [outcome for outcome in outcomes if outcome.state != "planned"]
        if settled:
            day = self._frequency.day.isoformat() if self._frequency else None
            self._outbox.settle(self._to.lease, self._to.run, settled, day)
        again = [outcome.id for outcome in outcomes if outcome.state == "planned"]
        if again:
            self._put_back(again)
        crash_point("export.after_record")

    def _lost(self, batch: Batch, reason: str) -> None:
        self._record([Outcome(row_id, "uncertain", reason) for row_id in batch.ids])
        log.warning("%s: batch %d of %d contacts: %s", self._to.destination, batch.number, len(batch.rows), reason)
        self._losses += 1
        if self._losses >= _LOSSES_IN_A_ROW:
            raise DestinationError(
                f"{reason}; {_LOSSES_IN_A_ROW} batches in a row got no answer",
                hint="run again when it is up: what became of them is looked up first",
            )

    def _wait(self, seconds: float, reason: str) -> None:
        """Wait as asked; a batch is cut again after it. Gives up when all waits together take too long."""
        self._waited += max(seconds, _FIRST_PAUSE)
        if self._waited > self._patience:
            raise DestinationError(
                f"{reason}; waited for {self._patience:.0f} seconds in all",
                hint="the rest is held and is sent by the next run",
            )
        pause = max(seconds, _FIRST_PAUSE)
        while pause > 0:  # in steps that keep the lease, and that let no opt-out wait
            self._ledger.leases.renew(self._to.lease)
            step = min(pause, self._to.lease.seconds / 3, _LONGEST_PAUSE)
            self._clock.sleep(step)
            pause -= step
            self.retract_late()
        crash_point("export.after_wait")
