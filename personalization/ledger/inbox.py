"""The inbox: every authentic webhook event as it came, numbered without gaps, each once, its body encrypted.

A row is never removed. Its body can be erased; its event id stays, so that a repetition is known for ever: senders
retry for days, and may send everything again after an incident.
"""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from contextlib import nullcontext
from datetime import datetime
from functools import cached_property
from typing import TYPE_CHECKING, Any

from sqlalchemy import ColumnElement, Connection, Select, func, select, update

from personalization.errors import LedgerError
from personalization.ledger.engine import bulk_insert, one_of
from personalization.ledger.inbox_event import CONFLICT, DUPLICATE, NEW, Arrival, InboxRow, Receipt
from personalization.ledger.inbox_schema import inbox, inbox_conflicts, inbox_watermarks
from personalization.ledger.schema import now, to_micros

if TYPE_CHECKING:
    from personalization.ledger.inbox_dead import DeadLetter, DeadLetters
    from personalization.ledger.ledger import Ledger

CHUNK = 5_000

_ROW = ("seq", "source", "event_key", "event_at", "received_at", "digest", "key_id", "body", "recorded_at")
_CONFLICT = ("seq", "digest", "received_at", "key_id", "body", "recorded_at")

log = logging.getLogger(__name__)


class Inbox:
    """The webhook events of a ledger. See `Ledger.inbox`."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger

    def receive(self, arrivals: Sequence[Arrival], *, connection: Connection | None = None) -> list[Receipt]:
        """Number and keep events; without `connection` they are on the disk when this returns.

        Of events with one id the first is kept. One that comes again with other content is recorded as a conflict.

        Returns
        -------
        list of Receipt
            One for each arrival, in their order.
        """
        with self._writer(connection) as writer:
            receipts, rows, conflicts = _judge(writer, arrivals)
            bulk_insert(writer, inbox, _ROW, rows)
            bulk_insert(writer, inbox_conflicts, _CONFLICT, conflicts)
        for arrival, receipt in zip(arrivals, receipts, strict=True):
            if receipt.state == CONFLICT:
                log.warning(
                    "source %s: the event of inbox row %d came again with other content; the first is kept",
                    arrival.source,
                    receipt.seq,
                )
        return receipts

    def rows(
        self, after: int, *, up_to: int | None = None, limit: int | None = None, connection: Connection | None = None
    ) -> list[InboxRow]:
        """Events numbered above `after` (and not above `up_to`), in order."""
        query = select(*_READ).where(inbox.c.seq > after).order_by(inbox.c.seq).limit(limit)
        if up_to is not None:
            query = query.where(inbox.c.seq <= up_to)
        return self._fetch(query, connection)

    def get(self, seqs: Iterable[int], *, connection: Connection | None = None) -> list[InboxRow]:
        """The events with these numbers, in order.

        Raises
        ------
        LedgerError
            There is no event with one of the numbers.
        """
        wanted = sorted(set(seqs))
        found: list[InboxRow] = []
        for start in range(0, len(wanted), 500):
            chunk = wanted[start : start + 500]
            found += self._fetch(select(*_READ).where(inbox.c.seq.in_(chunk)).order_by(inbox.c.seq), connection)
        missing = sorted(set(wanted) - {row.seq for row in found})
        if missing:
            raise LedgerError(f"the inbox has no row {missing[0]}", hint=f"its last row is {self.last_seq()}")
        return found

    def last_seq(self, *, connection: Connection | None = None) -> int:
        """The number of the newest event; 0 when there is none."""
        with self._reader(connection) as reader:
            return _last(reader)

    def watermark(self, consumer: str, *, connection: Connection | None = None) -> int:
        """Up to which event a consumer has applied everything; 0 when it never did."""
        columns = inbox_watermarks.c
        with self._reader(connection) as reader:
            return reader.execute(select(columns.seq).where(columns.consumer == consumer)).scalar() or 0

    def advance(self, consumer: str, to_seq: int, *, connection: Connection | None = None) -> None:
        """Note that a consumer has applied everything up to an event, in the transaction of what it applied.

        Raises
        ------
        LedgerError
            There is no such event yet, or the consumer is further already: another process applies as well.
        """
        with self._writer(connection) as writer:
            at, last = self.watermark(consumer, connection=writer), _last(writer)
            if to_seq > last:
                raise LedgerError(f"'{consumer}' can't be at inbox row {to_seq}: the last one is {last}")
            if to_seq < at:
                raise LedgerError(
                    f"'{consumer}' is at inbox row {at} already and can't go back to {to_seq}",
                    hint="two processes apply the inbox: let one of them end, then run again",
                )
            self._set(writer, consumer, to_seq)

    def reset(self, consumer: str, *, connection: Connection | None = None) -> None:
        """Let a consumer begin anew, because what it had applied was deleted."""
        with self._writer(connection) as writer:
            self._set(writer, consumer, 0)

    def watermarks(self) -> dict[str, int]:
        """Every consumer, and up to which event it has applied everything."""
        columns = inbox_watermarks.c
        with self._ledger.read() as reader:
            query = select(columns.consumer, columns.seq).order_by(columns.consumer)
            return {row.consumer: row.seq for row in reader.execute(query)}

    @cached_property
    def dead_letters(self) -> DeadLetters:
        """Events that could not be understood."""
        from personalization.ledger.inbox_dead import DeadLetters

        return DeadLetters(self._ledger)

    def dead(self, seq: int, reason: str, *, connection: Connection | None = None) -> None:
        """Put an event among the dead letters. See `DeadLetters.add`."""
        self.dead_letters.add(seq, reason, connection=connection)

    def replay(self, seqs: Sequence[int] | None = None) -> list[DeadLetter]:
        """Ask for dead letters to be tried again. See `DeadLetters.replay`."""
        return self.dead_letters.replay(seqs)

    def erase_bodies(self, seqs: Iterable[int], *, connection: Connection | None = None) -> int:
        """Erase what these events said; that they came is kept. Returns how many bodies there were.

        Their bytes are gone from SQLite's file when its write-ahead log is emptied (`Vault.compact`).
        """
        wanted, erased = sorted(set(seqs)), 0
        with self._writer(connection) as writer:
            for start in range(0, len(wanted), 500):
                erased += _erase(writer, inbox.c.seq.in_(wanted[start : start + 500]))
        return erased

    def expire_bodies(self, received_before: datetime, *, connection: Connection | None = None) -> int:
        """Erase the bodies of old events that every consumer has applied and that are no dead letters."""
        from personalization.ledger.inbox_dead import open_letters

        with self._writer(connection) as writer:
            applied = writer.execute(select(func.min(inbox_watermarks.c.seq))).scalar() or 0
            return _erase(
                writer,
                (inbox.c.received_at < received_before) & (inbox.c.seq <= applied) & inbox.c.seq.not_in(open_letters()),
            )

    def conflicts(self) -> dict[str, int]:
        """By source: how many contents came under the id of an event that had come with another content."""
        query = (
            select(inbox.c.source, func.count().label("conflicts"))
            .join_from(inbox_conflicts, inbox)
            .group_by(inbox.c.source)
            .order_by(inbox.c.source)
        )
        with self._ledger.read() as reader:
            return {row.source: row.conflicts for row in reader.execute(query)}

    def counts(self) -> list[tuple[str, int, datetime]]:
        """By source: how many events there are, and when the newest came."""
        columns = inbox.c
        query = select(columns.source, func.count().label("events"), func.max(columns.received_at).label("newest"))
        with self._ledger.read() as reader:
            found = reader.execute(query.group_by(columns.source).order_by(columns.source))
            return [(row.source, row.events, row.newest) for row in found]

    def _fetch(self, query: Select[Any], connection: Connection | None) -> list[InboxRow]:
        with self._reader(connection) as reader:
            return [InboxRow(*row) for row in reader.execute(query)]

    def _set(self, writer: Connection, consumer: str, seq: int) -> None:
        columns = inbox_watermarks.c
        values = {"seq": seq, "advanced_at": now()}
        if not writer.execute(update(inbox_watermarks).where(columns.consumer == consumer).values(**values)).rowcount:
            writer.execute(inbox_watermarks.insert().values(consumer=consumer, **values))

    def _writer(self, connection: Connection | None) -> Any:
        return nullcontext(connection) if connection is not None else self._ledger.begin()

    def _reader(self, connection: Connection | None) -> Any:
        return nullcontext(connection) if connection is not None else self._ledger.read()


_READ = [inbox.c[name] for name in ("seq", "source", "event_key", "event_at", "received_at", "key_id", "body")]


def _judge(
    writer: Connection, arrivals: Sequence[Arrival]
) -> tuple[list[Receipt], list[tuple[Any, ...]], list[tuple[Any, ...]]]:
    """What becomes of each arrival, and the rows to add to the inbox and to its conflicts."""
    known = _known(writer, arrivals)
    noted = set(_noted(writer, arrivals, known))
    recorded_at, seq = to_micros(now()), _last(writer)
    receipts: list[Receipt] = []
    rows: list[tuple[Any, ...]] = []
    conflicts: list[tuple[Any, ...]] = []
    for arrival in arrivals:
        place = arrival.source, arrival.event_key
        received_at = to_micros(arrival.received_at)
        sealed = (arrival.key_id, arrival.body, recorded_at)
        if place not in known:
            seq += 1
            known[place] = seq, arrival.digest
            event_at = None if arrival.event_at is None else to_micros(arrival.event_at)
            rows.append((seq, *place, event_at, received_at, arrival.digest, *sealed))
            receipts.append(Receipt(seq, NEW))
            continue
        first, digest = known[place]
        if arrival.digest == digest or (first, arrival.digest) in noted:
            receipts.append(Receipt(first, DUPLICATE))
            continue
        noted.add((first, arrival.digest))
        conflicts.append((first, arrival.digest, received_at, *sealed))
        receipts.append(Receipt(first, CONFLICT))
    return receipts, rows, conflicts


def _known(writer: Connection, arrivals: Sequence[Arrival]) -> dict[tuple[str, str], tuple[int, str]]:
    """Number and digest of the events that are there already, by source and event id."""
    wanted: defaultdict[str, set[str]] = defaultdict(set)
    for arrival in arrivals:
        wanted[arrival.source].add(arrival.event_key)
    columns, known = inbox.c, {}
    for source, keys in wanted.items():
        query = select(columns.event_key, columns.seq, columns.digest).where(
            columns.source == source, one_of(writer, columns.event_key, sorted(keys))
        )
        known.update({(source, row.event_key): (row.seq, row.digest) for row in writer.execute(query)})
    return known


def _noted(
    writer: Connection, arrivals: Sequence[Arrival], known: dict[tuple[str, str], tuple[int, str]]
) -> Iterator[tuple[int, str]]:
    """Conflicts that were recorded already, among those these arrivals could be."""
    if not any(known.get((a.source, a.event_key), (0, a.digest))[1] != a.digest for a in arrivals):
        return
    columns = inbox_conflicts.c
    digests = sorted({arrival.digest for arrival in arrivals})
    for row in writer.execute(select(columns.seq, columns.digest).where(one_of(writer, columns.digest, digests))):
        yield row.seq, row.digest


def _last(connection: Connection) -> int:
    return connection.execute(select(func.coalesce(func.max(inbox.c.seq), 0))).scalar_one()


def _erase(writer: Connection, which: ColumnElement[bool]) -> int:
    seqs = select(inbox.c.seq).where(which)
    writer.execute(update(inbox_conflicts).where(inbox_conflicts.c.seq.in_(seqs)).values(body=None))
    return writer.execute(update(inbox).where(which, inbox.c.body.is_not(None)).values(body=None)).rowcount
