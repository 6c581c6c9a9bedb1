"""Dead letters: webhook events that are kept but could not be understood. They stand in nobody's way, and wait."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, Select, insert, select, update

from personalization.errors import LedgerError
from personalization.ledger.inbox_schema import inbox, inbox_dead_letters
from personalization.ledger.schema import now

if TYPE_CHECKING:
    from personalization.ledger.ledger import Ledger

DEAD, REPLAY, SETTLED = "dead", "replay", "settled"


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """An event that could not be understood.

    Attributes
    ----------
    seq : int
        Its number in the inbox.
    state : str
        `dead`; `replay` when it is to be tried again; `settled` when it was understood after all.
    reason : str
        Why, at the last attempt.
    attempts : int
        How often it was tried.
    """

    seq: int
    source: str
    event_key: str
    received_at: datetime
    state: str
    reason: str
    attempts: int
    first_at: datetime
    changed_at: datetime


class DeadLetters:
    """The dead letters of a ledger's inbox. See `Inbox.dead_letters`."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger

    def add(self, seq: int, reason: str, *, connection: Connection | None = None) -> None:
        """Put an event here, or back here after an attempt failed. `reason` must not repeat anything of its body."""
        columns = inbox_dead_letters.c
        at = now()
        with self._writer(connection) as writer:
            again = writer.execute(
                update(inbox_dead_letters)
                .where(columns.seq == seq)
                .values(state=DEAD, reason=reason, attempts=columns.attempts + 1, changed_at=at)
            ).rowcount
            if not again:
                first = {"seq": seq, "state": DEAD, "reason": reason, "attempts": 1, "first_at": at, "changed_at": at}
                writer.execute(insert(inbox_dead_letters).values(**first))

    def replay(self, seqs: Sequence[int] | None = None, *, connection: Connection | None = None) -> list[DeadLetter]:
        """Ask for dead letters, or for all of them, to be tried again. Returns those that will be.

        Raises
        ------
        LedgerError
            One of the numbers is not that of a dead letter.
        """
        with self._writer(connection) as writer:
            waiting = {letter.seq for letter in self.all(DEAD, REPLAY, connection=writer)}
            chosen = sorted(waiting if seqs is None else set(seqs))
            for seq in chosen:
                if seq not in waiting:
                    raise LedgerError(
                        f"inbox row {seq} is not a dead letter", hint="`personalization inbox dead` lists them"
                    )
            self._set(writer, chosen, REPLAY)
            return [letter for letter in self.all(REPLAY, connection=writer) if letter.seq in set(chosen)]

    def settle(self, seqs: Iterable[int], *, connection: Connection | None = None) -> None:
        """Note that events were understood after all, in the transaction of what was made of them."""
        with self._writer(connection) as writer:
            self._set(writer, sorted(set(seqs)), SETTLED)

    def all(self, *states: str, connection: Connection | None = None) -> list[DeadLetter]:
        """The letters in some states (default: those that are dead or to be tried again), in the inbox's order."""
        columns = inbox_dead_letters.c
        query: Select[Any] = (
            select(
                columns.seq,
                inbox.c.source,
                inbox.c.event_key,
                inbox.c.received_at,
                columns.state,
                columns.reason,
                columns.attempts,
                columns.first_at,
                columns.changed_at,
            )
            .join_from(inbox_dead_letters, inbox)
            .where(columns.state.in_(states or (DEAD, REPLAY)))
            .order_by(columns.seq)
        )
        with nullcontext(connection) if connection is not None else self._ledger.read() as reader:
            return [DeadLetter(**row._mapping) for row in reader.execute(query)]

    def _set(self, writer: Connection, seqs: Sequence[int], state: str) -> None:
        columns = inbox_dead_letters.c
        for start in range(0, len(seqs), 500):
            writer.execute(
                update(inbox_dead_letters)
                .where(columns.seq.in_(seqs[start : start + 500]))
                .values(state=state, changed_at=now())
            )

    def _writer(self, connection: Connection | None) -> Any:
        return nullcontext(connection) if connection is not None else self._ledger.begin()


def open_letters() -> Select[Any]:
    """Numbers of the events that wait here: their bodies are still needed."""
    return select(inbox_dead_letters.c.seq).where(inbox_dead_letters.c.state.in_((DEAD, REPLAY)))
