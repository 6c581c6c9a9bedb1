"""The log of everything done about privacy: append-only and hash-chained, so that no entry can vanish or change."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, Connection, insert, select, type_coerce

from personalization.errors import LedgerError
from personalization.ledger.consent_chain import GENESIS, ChainState
from personalization.ledger.consent_event import canonical_json
from personalization.ledger.requests_schema import privacy_log, privacy_requests
from personalization.ledger.schema import from_micros, now, to_micros
from personalization.ledger.token_key_schema import token_key_changes


@dataclass(frozen=True)
class Entry:
    """One entry of the log. `content` differs by `kind`; it never holds a direct identifier."""

    seq: int
    kind: str
    request_id: str | None
    at: datetime
    content: dict[str, Any]
    recorded_at: datetime
    hash: str


def append(
    connection: Connection, kind: str, content: Mapping[str, Any], *, at: datetime, request_id: str | None = None
) -> int:
    """Add an entry inside a transaction of `Ledger.begin`. Returns its number."""
    state = log_state(connection)
    text, recorded_at, seq = canonical_json(content), to_micros(now()), state.seq + 1
    connection.execute(
        insert(privacy_log).values(
            seq=seq,
            kind=kind,
            request_id=request_id,
            at=at,
            content=text,
            recorded_at=from_micros(recorded_at),
            prev_hash=state.head,
            hash=entry_hash(state.head, seq, kind, request_id, to_micros(at), text, recorded_at),
        )
    )
    return seq


def log_state(connection: Connection) -> ChainState:
    """The number of the last entry (0 when there is none) and its hash."""
    columns = privacy_log.c
    row = connection.execute(select(columns.seq, columns.hash).order_by(columns.seq.desc()).limit(1)).one_or_none()
    return ChainState(0, GENESIS) if row is None else ChainState(row.seq, row.hash)


def entries(
    connection: Connection, *, kind: str | None = None, request_id: str | None = None, up_to_seq: int | None = None
) -> list[Entry]:
    """Entries in their order, all or those of a kind or a request."""
    columns = privacy_log.c
    query = select(privacy_log).order_by(columns.seq)
    if kind is not None:
        query = query.where(columns.kind == kind)
    if request_id is not None:
        query = query.where(columns.request_id == request_id)
    if up_to_seq is not None:
        query = query.where(columns.seq <= up_to_seq)
    return [
        Entry(row.seq, row.kind, row.request_id, row.at, json.loads(row.content), row.recorded_at, row.hash)
        for row in connection.execute(query)
    ]


def verify_log(connection: Connection, where: str) -> ChainState:
    """Recompute the chain, and compare every request with the entry that opened it.

    Raises
    ------
    LedgerError
        Naming the first entry or request that is changed, missing or out of order.
    """
    state = ChainState(0, GENESIS)
    opened: dict[str, dict[str, Any]] = {}
    at_change: dict[int, str] = {row.log_seq: row.log_head for row in connection.execute(_LAST_CHANGE)}
    for row in connection.execute(_ENTRIES, execution_options={"yield_per": 1_000}):
        if row.seq != state.seq + 1:
            raise _broken(where, state.seq + 1, "it is missing")
        if row.prev_hash != state.head:
            raise _broken(where, row.seq, "it does not follow the entry before it")
        if row.hash != entry_hash(
            row.prev_hash, row.seq, row.kind, row.request_id, row.at, row.content, row.recorded_at
        ):
            raise _broken(where, row.seq, "its content does not match its hash")
        if row.kind == "request":
            opened[row.request_id] = json.loads(row.content)
        if at_change.get(row.seq, row.hash) != row.hash:
            raise _broken(where, row.seq, "a replacement of the token key saw another hash there")
        state = ChainState(row.seq, row.hash)
    for request in connection.execute(select(privacy_requests).order_by(privacy_requests.c.request_id)):
        if opened.pop(request.request_id, None) != request_content(dict(request._mapping)):
            raise LedgerError(
                f"the privacy request {request.request_id} of the ledger {where} is not as the log says it was opened",
                hint=_HINT,
            )
    if opened:
        raise LedgerError(f"the privacy request {min(opened)} is gone from the ledger {where}", hint=_HINT)
    return state


def request_content(row: Mapping[str, Any]) -> dict[str, Any]:
    """What the log keeps of a request when it is opened."""
    return {
        "kind": row["kind"],
        "subject_token": row["subject_token"],
        "manner": row["manner"],
        "received_at": row["received_at"].isoformat(),
        "due_at": row["due_at"].isoformat(),
    }


_LAST_CHANGE = (
    select(token_key_changes.c.log_seq, token_key_changes.c.log_head)
    .order_by(token_key_changes.c.number.desc())
    .limit(1)
)
_HINT = "somebody or something changed the ledger: keep it as it is, and compare it with a backup"
_MOMENTS = [type_coerce(privacy_log.c[name], BigInteger).label(name) for name in ("at", "recorded_at")]
_TEXTS = [privacy_log.c[name] for name in ("seq", "kind", "request_id", "content", "prev_hash", "hash")]
_ENTRIES = select(*_TEXTS, *_MOMENTS).order_by(privacy_log.c.seq)


def entry_hash(
    prev_hash: str, seq: int, kind: str, request_id: str | None, at: int, content: str, recorded_at: int
) -> str:
    """The hash of an entry, over the hash before it and all that it says."""
    parts = (prev_hash, seq, kind, request_id or "", at, recorded_at, hashlib.sha256(content.encode()).hexdigest())
    return hashlib.sha256("\n".join(str(part) for part in parts).encode()).hexdigest()


def _broken(where: str, seq: int, problem: str) -> LedgerError:
    return LedgerError(f"the privacy log of the ledger {where} is broken at entry {seq}: {problem}", hint=_HINT)
