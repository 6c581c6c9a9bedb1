"""The hash chain over consent events: each hash covers the event before, so no change, removal or reordering hides."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import BigInteger, Connection, select, type_coerce

from personalization.errors import LedgerError
from personalization.ledger.consent_event import CONTENT_COLUMNS, content_sha256
from personalization.ledger.schema import consent_events, run_book
from personalization.ledger.token_key_schema import token_key_changes

GENESIS = "0" * 64


@dataclass(frozen=True)
class ChainState:
    """The end of the chain: the number of its last event (0 when empty) and that event's hash."""

    seq: int
    head: str


def chain_state(connection: Connection) -> ChainState:
    """The end of the chain as this connection sees it."""
    columns = consent_events.c
    row = connection.execute(select(columns.seq, columns.hash).order_by(columns.seq.desc()).limit(1)).one_or_none()
    return ChainState(0, GENESIS) if row is None else ChainState(row.seq, row.hash)


def link(prev_hash: str, seq: int, recorded_at: int, content: str) -> str:
    """The hash of an event: over the hash before it, its number, when it was recorded, and the hash of its content."""
    return hashlib.sha256(f"{prev_hash}\n{seq}\n{recorded_at}\n{content}".encode()).hexdigest()


def verify_chain(connection: Connection, where: str) -> ChainState:
    """Recompute every hash and compare the chain with what run books saw of it.

    Raises
    ------
    LedgerError
        Naming the first event that is changed, missing or out of order.
    """
    seen = select(run_book.c.consent_seq, run_book.c.consent_head).distinct()
    anchors: dict[int, str] = {row.consent_seq: row.consent_head for row in connection.execute(seen)}
    changed = connection.execute(_LAST_CHANGE).one_or_none()
    if changed is not None and changed.consent_seq:
        anchors[changed.consent_seq] = changed.consent_head
    state = ChainState(0, GENESIS)
    for row in connection.execute(_EVENTS, execution_options={"yield_per": 5_000}):
        expected = state.seq + 1
        if row.seq != expected:
            raise broken(where, expected, "it is missing")
        problem = problem_of(dict(row._mapping), state.head)
        if problem is None and anchors.get(row.seq, row.hash) != row.hash:
            problem = (
                "a run book saw another hash there, or a rotation of the token key did, so the chain was rewritten"
            )
        if problem:
            raise broken(where, row.seq, problem)
        state = ChainState(row.seq, row.hash)
    if anchors and max(anchors) > state.seq:
        raise broken(where, state.seq + 1, f"a run book saw {max(anchors)} events, the end of the chain was cut off")
    return state


_LAST_CHANGE = (
    select(token_key_changes.c.consent_seq, token_key_changes.c.consent_head)
    .order_by(token_key_changes.c.number.desc())
    .limit(1)
)
_EVENTS = select(
    consent_events.c.seq,
    consent_events.c.content_sha256,
    consent_events.c.prev_hash,
    consent_events.c.hash,
    type_coerce(consent_events.c.recorded_at, BigInteger).label("recorded_at"),
    type_coerce(consent_events.c.effective_at, BigInteger).label("effective_at"),
    *(consent_events.c[name] for name in CONTENT_COLUMNS if name != "effective_at"),
).order_by(consent_events.c.seq)


def problem_of(row: Mapping[str, Any], prev_hash: str) -> str | None:
    """What is wrong with a row that should follow the hash `prev_hash`; moments are microseconds since 1970 UTC."""
    if row["prev_hash"] != prev_hash:
        return "it does not follow the event before it"
    if content_sha256({name: row[name] for name in CONTENT_COLUMNS}) != row["content_sha256"]:
        return "its content does not match its hash"
    if link(prev_hash, row["seq"], row["recorded_at"], row["content_sha256"]) != row["hash"]:
        return "its hash does not match"
    return None


def broken(where: str, seq: int, problem: str) -> LedgerError:
    return LedgerError(
        f"the consent chain of the ledger {where} is broken at event {seq}: {problem}",
        hint="somebody or something changed the ledger: keep it as it is, and compare it with a backup",
    )
