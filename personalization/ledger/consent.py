"""Consent: an append-only, hash-chained record of what people agreed to, and its state at any moment. Default deny."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from threading import Lock
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc
from sqlalchemy import Connection, Row, Table, func, select

from personalization.ledger.consent_chain import ChainState, chain_state, link, verify_chain
from personalization.ledger.consent_event import CONTENT_COLUMNS, ConsentEvent, canonical_json, content_sha256
from personalization.ledger.consent_fold import GRANTED, SNAPSHOT, fold, merge, read_events, read_granted, read_out
from personalization.ledger.engine import bulk_insert, is_writing, location, one_of
from personalization.ledger.schema import consent_conflicts, consent_events, now, to_micros
from personalization.ledger.token_key import require_current

if TYPE_CHECKING:
    from personalization.ledger.ledger import Ledger

CHUNK = 5_000
LOOK_UP = 4  # to look up one identifier takes as long as to read so many events one after another

_COLUMNS = (*CONTENT_COLUMNS, "seq", "recorded_at", "content_sha256", "prev_hash", "hash")

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ConsentState:
    """Where one identifier stands: `granted`, `withdrawn`, or `none` when it never said anything."""

    state: str
    effective_at: datetime | None = None
    event_id: str | None = None

    @property
    def granted(self) -> bool:
        return self.state == GRANTED


@dataclass(frozen=True)
class Recorded:
    """An event as the ledger has it: its number in the chain and when it was put there."""

    seq: int
    recorded_at: datetime
    event: ConsentEvent


class Consent:
    """The record of consent. See `Ledger.consent`."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._snapshots: dict[str, tuple[int, pa.Table]] = {}
        self._granted: dict[str, tuple[int, pa.Array]] = {}
        self._out: dict[str, tuple[int, pa.Array]] = {}
        self._lock = Lock()

    def append(self, events: Iterable[ConsentEvent], *, connection: Connection | None = None) -> int:
        """Add events; what it returned for is on the disk. An event that is there already adds nothing.

        A second event with a known id but other content does not replace the first. It is kept as a conflict, and
        when it is an opt-out it counts all the same, under an id of its own: an opt-out must never be lost.

        Parameters
        ----------
        events : iterable of ConsentEvent
            In any order.
        connection : Connection, optional
            An open `Ledger.begin` transaction to add them in, so that they are kept together with what else is
            written there, or not at all; default: transactions of their own.

        Returns
        -------
        int
            How many events were new.
        """
        iterator = iter(events)
        added = conflicts = 0
        while chunk := list(islice(iterator, CHUNK)):
            with nullcontext(connection) if connection is not None else self._ledger.begin() as writer:
                require_current(self._ledger.token_key, (event.subject_token for event in chunk))
                new, conflicting = _append_chunk(writer, chunk)
            added, conflicts = added + new, conflicts + conflicting
        if conflicts:
            log.warning("%d consent events came again under a known id with other content", conflicts)
        return added

    def snapshot(
        self,
        purpose: str,
        *,
        effective_before: datetime | None = None,
        up_to_seq: int | None = None,
        subjects: Sequence[str] | None = None,
        connection: Connection | None = None,
    ) -> pa.Table:
        """The state of every identifier that ever said anything about a purpose. Who is absent is denied.

        Parameters
        ----------
        purpose : str
            Of `program/consent.yaml`.
        effective_before : datetime, optional
            Only events effective before this moment: for decisions about a past `as_of`. The cut of an export
            never gives it, because an opt-out counts whatever day the export is made for.
        up_to_seq : int, optional
            Only the first events of the chain, to reproduce what was known then.
        subjects : sequence of str, optional
            Only these identifiers.
        connection : Connection, optional
            An open `Ledger.read` snapshot to look through; default: the ledger as of this call.

        Returns
        -------
        pyarrow.Table
            `subject_token`, `state` (granted or withdrawn), `effective_at`, `event_id`; in no particular order.
        """
        with nullcontext(connection) if connection is not None else self._ledger.read() as reader:
            if effective_before is not None or up_to_seq is not None or subjects is not None:
                before = None if effective_before is None else to_micros(effective_before)
                return fold(
                    read_events(reader, purpose, up_to_seq=up_to_seq, effective_before=before, subjects=subjects)
                )
            return self._current(reader, purpose)

    def ever_granted(
        self, purpose: str, subjects: pa.ChunkedArray, *, connection: Connection | None = None
    ) -> pa.Array:
        """Those of some identifiers, and perhaps others, that ever agreed to a purpose, whatever they said since.

        Less than a snapshot, and enough for most people, who only ever agreed.

        Parameters
        ----------
        subjects : pyarrow.ChunkedArray
            Identifier tokens. Few are looked up; for many the whole record is read, once.
        connection : Connection, optional
            An open `Ledger.read` snapshot to look through; default: the ledger as of this call.

        Returns
        -------
        pyarrow.Array
            Identifier tokens, perhaps more than once.
        """
        with nullcontext(connection) if connection is not None else self._ledger.read() as reader, self._lock:
            if purpose not in self._granted and len(subjects) * LOOK_UP < chain_state(reader).seq:
                return read_granted(reader, purpose, subjects=pc.unique(subjects).to_pylist())
            return _caught_up(self._granted, reader, purpose, read_granted)

    def ever_out(self, purpose: str, *, connection: Connection | None = None) -> pa.Array:
        """The identifiers that ever opted out of a purpose, whatever they said since.

        Parameters
        ----------
        connection : Connection, optional
            An open `Ledger.read` snapshot to look through; default: the ledger as of this call.

        Returns
        -------
        pyarrow.Array
            Identifier tokens, perhaps more than once.
        """
        with nullcontext(connection) if connection is not None else self._ledger.read() as reader, self._lock:
            return _caught_up(self._out, reader, purpose, read_out)

    def state(
        self, subjects: Sequence[str], purpose: str, *, effective_before: datetime | None = None
    ) -> dict[str, ConsentState]:
        """Where each of some identifiers stands; every one asked about is in the answer."""
        before = None if effective_before is None else to_micros(effective_before)
        with self._ledger.read() as connection:
            known = fold(read_events(connection, purpose, effective_before=before, subjects=sorted(set(subjects))))
        states = {
            row["subject_token"]: ConsentState(row["state"], row["effective_at"], row["event_id"])
            for row in known.to_pylist()
        }
        return {subject: states.get(subject, ConsentState("none")) for subject in subjects}

    def objections(self, purpose: str, *, effective_before: datetime | None = None) -> set[str]:
        """The identifiers under which somebody ever objected to a purpose, whatever they said later."""
        query = select(consent_events.c.subject_token).where(
            consent_events.c.purpose == purpose, consent_events.c.action == "object"
        )
        if effective_before is not None:
            query = query.where(consent_events.c.effective_at < effective_before)
        with self._ledger.read() as connection:
            return set(connection.execute(query).scalars())

    def person(
        self, identifiers: Iterable[str], purposes: Iterable[str], *, connection: Connection | None = None
    ) -> dict[str, ConsentState]:
        """Where one person stands on each of some purposes, over all of the person's identifier tokens."""
        tokens = sorted(set(identifiers))
        with nullcontext(connection) if connection is not None else self._ledger.read() as reader:
            states = {}
            for purpose in purposes:
                said = read_events(reader, purpose, subjects=tokens)
                one = pa.array(["person"] * len(said), pa.string())
                found = fold(said.set_column(0, "subject_token", one)).to_pylist()
                states[purpose] = (
                    ConsentState(found[0]["state"], found[0]["effective_at"], found[0]["event_id"])
                    if found
                    else ConsentState("none")
                )
            return states

    def history(self, subjects: Iterable[str], *, connection: Connection | None = None) -> list[Recorded]:
        """Every event of some identifiers, in the order in which they were recorded."""
        query = select(consent_events).order_by(consent_events.c.seq)
        with nullcontext(connection) if connection is not None else self._ledger.read() as reader:
            chosen = one_of(reader, consent_events.c.subject_token, sorted(set(subjects)))
            return [_recorded(row) for row in reader.execute(query.where(chosen))]

    def head(self) -> str:
        """The hash of the last event: it vouches for all events. Sixty-four zeros when there is none."""
        with self._ledger.read() as connection:
            return chain_state(connection).head

    def conflicts(self) -> int:
        """How many events came again under a known id with other content."""
        with self._ledger.read() as connection:
            return connection.execute(select(func.count()).select_from(consent_conflicts)).scalar_one()

    def verify(self) -> ChainState:
        """Recompute the whole chain. Raises `LedgerError` naming the first event that is wrong, missing or moved."""
        with self._ledger.read() as connection:
            return verify_chain(connection, location(self._ledger.engine))

    def _current(self, reader: Connection, purpose: str) -> pa.Table:
        """The fold of everything, from the fold remembered and the events since."""
        with self._lock:
            seq, table = self._snapshots.get(purpose, (0, SNAPSHOT.empty_table()))
            last = chain_state(reader).seq
            if last < seq:  # an older snapshot than the one remembered
                return fold(read_events(reader, purpose))
            if last > seq:
                table = merge(table, read_events(reader, purpose, after_seq=seq))
                if not is_writing(reader):  # what is not committed yet must not be remembered
                    self._snapshots[purpose] = (last, table)
            return table


def _caught_up(
    known: dict[str, tuple[int, pa.Array]], reader: Connection, purpose: str, read: Callable[..., pa.Array]
) -> pa.Array:
    """What `read` finds in the whole record, from what is remembered in `known` and the events since."""
    seq, tokens = known.get(purpose, (0, pa.array([], pa.string())))
    last = chain_state(reader).seq
    if last < seq:  # an older snapshot than the one remembered
        return read(reader, purpose)
    if last > seq:
        tokens = pa.concat_arrays([tokens, read(reader, purpose, after_seq=seq)])
        if not is_writing(reader):  # what is not committed yet must not be remembered
            known[purpose] = (last, tokens)
    return tokens


def _append_chunk(connection: Connection, chunk: list[ConsentEvent]) -> tuple[int, int]:
    """Append what is new of a chunk and note what conflicts. Returns how many of each."""
    ids = sorted({event.event_id for event in chunk})
    known = dict(_hashes(connection, consent_events, ids))
    noted = set(_hashes(connection, consent_conflicts, ids))
    recorded_at = to_micros(now())
    contents: list[tuple[dict[str, Any], str]] = []
    conflicts: list[tuple[Any, ...]] = []
    for event in chunk:
        content = event.content()
        digest = content_sha256(content)
        if event.event_id not in known:
            known[event.event_id] = digest
            contents.append((content, digest))
        elif known[event.event_id] != digest and (event.event_id, digest) not in noted:
            noted.add((event.event_id, digest))
            conflicts.append((event.event_id, digest, canonical_json(content), recorded_at))
            if event.opts_out:
                content["event_id"] = f"{event.event_id}#{digest[:16]}"
                contents.append((content, content_sha256(content)))
    bulk_insert(connection, consent_events, _COLUMNS, _chained(chain_state(connection), contents, recorded_at))
    bulk_insert(connection, consent_conflicts, [column.name for column in consent_conflicts.c], conflicts)
    return len(contents), len(conflicts)


def _recorded(row: Row) -> Recorded:
    values = {name: getattr(row, name) for name in CONTENT_COLUMNS}
    values["evidence"] = None if row.evidence is None else json.loads(row.evidence)
    return Recorded(row.seq, row.recorded_at, ConsentEvent(**values))


def _hashes(connection: Connection, table: Table, event_ids: list[str]) -> list[tuple[str, str]]:
    query = select(table.c.event_id, table.c.content_sha256).where(one_of(connection, table.c.event_id, event_ids))
    return [(row.event_id, row.content_sha256) for row in connection.execute(query)]


def _chained(
    state: ChainState, contents: list[tuple[dict[str, Any], str]], recorded_at: int
) -> Iterator[tuple[Any, ...]]:
    """The rows of events that follow the end of the chain, from their contents and the hashes of these."""
    for content, digest in contents:
        linked = ChainState(state.seq + 1, link(state.head, state.seq + 1, recorded_at, digest))
        yield (*content.values(), linked.seq, recorded_at, digest, state.head, linked.head)
        state = linked
