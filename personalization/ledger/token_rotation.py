"""Puts a ledger under a new token key, wholly or not at all: one transaction of the only writer.

New tokens are made over the old ones, so no identifier is needed. What hashes or encryption bind to tokens is made
anew: the vault, the chain of consent events, the privacy log, row hashes of exports. See docs/keys-and-tokens.md.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, Engine, Table, func, select
from sqlalchemy.exc import OperationalError

from personalization.crash_points import crash_point
from personalization.errors import LedgerError
from personalization.ledger import inbox_schema, links_schema, pushes_schema, requests_schema, sends_schema
from personalization.ledger.consent_chain import GENESIS, ChainState, broken, link, problem_of, verify_chain
from personalization.ledger.consent_event import CONTENT_COLUMNS, canonical_json, content_sha256
from personalization.ledger.engine import bulk_insert, location, outside_transactions, write
from personalization.ledger.export_schema import acknowledged, export_runs, outbox
from personalization.ledger.kept import read_external_ids, write_kept
from personalization.ledger.key_check import TokenKeyChange, note_change, note_keys
from personalization.ledger.keys import Keyring, verify_signature
from personalization.ledger.privacy_log import append, entry_hash, log_state, verify_log
from personalization.ledger.requests_schema import privacy_log
from personalization.ledger.retoken import Renaming, Row, guards_off, rewrite, stored_rows, write_back
from personalization.ledger.schema import (
    consent_conflicts,
    consent_events,
    key_fingerprints,
    metadata,
    now,
    run_book,
    vault_items,
    vault_subjects,
)
from personalization.ledger.token_key import token_key_of
from personalization.ledger.token_key_schema import (
    former_heads,
    kept_draws,
    kept_external_ids,
    kept_people,
    token_key_changes,
)
from personalization.ledger.vault_rebinding import rebind

if TYPE_CHECKING:
    from personalization.ledger.ledger import Ledger

_ALL_SCHEMAS = (inbox_schema, links_schema, pushes_schema, requests_schema, sends_schema)  # their tables are known
SPECIAL = (vault_subjects, vault_items, consent_events, privacy_log)
KEPT = (kept_draws, kept_external_ids, kept_people)
"""Written anew, not rewritten."""


@dataclass(frozen=True)
class Draws:
    """What is needed to keep everybody's groups.

    Attributes
    ----------
    salts : dict
        The salt of each holdout and version of an experiment to the limits of its groups, ascending, without 0.
    customers : set of str
        Tokens, under the old key, of everybody who may have been drawn.
    draw : callable
        `draw(salt, token)`: a whole number below 2**64.
    """

    salts: Mapping[str, Sequence[int]] = field(default_factory=dict)
    customers: frozenset[str] = frozenset()
    draw: Callable[[str, str], int] = lambda salt, token: 0


@dataclass(frozen=True)
class TokenRotation:
    """What became of the ledger.

    Attributes
    ----------
    rows : dict
        By table how many rows were written anew.
    kept : dict
        How many external ids, draws and people were kept as they were.
    consent_head_before, consent_head : str
        The end of the consent chain before and after.
    """

    old_key: str
    new_key: str
    rows: dict[str, int]
    kept: dict[str, int]
    consent_events: int
    consent_head_before: str
    consent_head: str
    locked_seconds: float


def rotate_ledger(
    ledger: Ledger,
    old_keys: Keyring,
    new_keys: Keyring,
    at: datetime,
    *,
    draws: Draws | None = None,
    people: Iterable[str] = (),
    remembered: Iterable[int] = (),
) -> TokenRotation:
    """Write everything under the token key of `new_keys`; a crash leaves all as it was.

    Nobody may export or apply events meanwhile: the caller holds their leases. Webhooks wait, or are asked to come
    again. Open ledgers of other processes notice the change at their next transaction.

    Parameters
    ----------
    draws : Draws
        Groups of holdout and experiments to keep.
    people : iterable of str
        Tokens, under the new key, that stand for a person although they would not be chosen for it now.
    remembered : iterable of int
        Numbers of consent events whose hash somebody else remembers, such as the mark beside the ledger.

    Raises
    ------
    LedgerError
        The chain of consent events or the privacy log is broken: what is wrong must not be hidden by new hashes.
    """
    where = location(ledger.engine)
    draws = draws or Draws()
    new_keys.sign(b"")  # a key file without a signing key gets it now
    with ledger.read() as connection:
        verify_chain(connection, where)
        verify_log(connection, where)
        external_ids = read_external_ids(connection, old_keys)
        drawn = _drawn_again(connection, draws, old_keys, new_keys)
    moved = _renamed_pairs(external_ids, new_keys)
    tables = [table for table in metadata.sorted_tables if table not in (*SPECIAL, *KEPT, token_key_changes)]
    with write(ledger.engine) as connection:
        begun = now()
        if token_key_of(connection) != old_keys.token_key_id:
            raise LedgerError(f"the ledger {where} was put under another token key meanwhile", hint="run it again")
        renaming = Renaming(new_keys)
        rows: dict[str, int] = {}
        with guards_off(connection, [*tables, *SPECIAL, *KEPT]):
            rows[vault_items.name] = rebind(connection, old_keys, renaming)
            audits = _audits(connection)
            asked = {*remembered, *(audit["consent"] for audit in audits)}
            ends, heads, rows[consent_events.name] = _consent(connection, renaming, where, asked)
            log_ends, log_heads, rows[privacy_log.name] = _log(connection, renaming)
            for table in tables:
                rows[table.name] = rewrite(connection, table, renaming, _also(connection, table, heads))
            kept = write_kept(connection, new_keys, moved, drawn, people)
        change = TokenKeyChange(
            new_keys.token_key_id,
            old_keys.token_key_id,
            ends[1].seq,
            ends[0].head,
            ends[1].head,
            log_ends[1].seq,
            log_ends[0].head,
            log_ends[1].head,
        )
        note_keys(connection, new_keys, _unknown(connection, new_keys))
        number = note_change(connection, change)
        logged = {audit["privacy_log"]: log_heads[audit["privacy_log"]] for audit in audits}
        _note_former(connection, number, {"consent": heads, "privacy_log": logged})
        append(connection, "rotation", signed_record(change, new_keys), at=at)
        crash_point("rotate.token_written")
        seconds = (now() - begun).total_seconds()
    return TokenRotation(
        old_keys.token_key_id,
        new_keys.token_key_id,
        {name: count for name, count in sorted(rows.items()) if count},
        kept,
        ends[1].seq,
        ends[0].head,
        ends[1].head,
        seconds,
    )


def compact(engine: Engine) -> bool:
    """Remove the bytes of old tokens from the database's own files; False when others stood in the way.

    SQLite overwrites what is replaced (`secure_delete`), but for parts of keys in inner pages of its indexes, and its
    write-ahead log keeps pages as they were. PostgreSQL keeps old rows until its tables are rewritten; its own log and
    replicas follow their own retention.
    """
    sqlite = engine.dialect.name == "sqlite"
    with outside_transactions(engine) as connection:
        try:
            for statement in (
                ["vacuum"] if sqlite else [f"vacuum full {table.name}" for table in metadata.sorted_tables]
            ):
                connection.exec_driver_sql(statement)
        except OperationalError:  # it waited for a lock in vain
            return False
        return not sqlite or not connection.exec_driver_sql("pragma wal_checkpoint(truncate)").one()[0]


def signed_record(change: TokenKeyChange, keys: Keyring) -> dict[str, Any]:
    """What the privacy log says of a change, signed: whoever noted an old head can follow it to the new one."""
    record = {
        "kind": "token",
        "from": change.earlier_key,
        "to": change.key_id,
        "consent_events": change.consent_seq,
        "consent_head_before": change.consent_head_before,
        "consent_head": change.consent_head,
        "log_entries": change.log_seq,
        "log_head_before": change.log_head_before,
        "log_head": change.log_head,
    }
    return {**record, "signature": base64.b64encode(keys.sign(canonical_json(record).encode())).decode()}


def signed_changes(ledger: Ledger, keys: Keyring) -> list[dict[str, Any]]:
    """Every replacement of the token key, as the privacy log has it, with `at`; the signatures are checked.

    Raises
    ------
    LedgerError
        A signature is not that of these keys.
    """
    found = []
    for entry in ledger.requests.entries(kind="rotation"):
        if entry.content.get("kind") != "token":
            continue
        record = {name: value for name, value in entry.content.items() if name != "signature"}
        signature = base64.b64decode(entry.content["signature"])
        if not verify_signature(str(keys.public_key), signature, canonical_json(record).encode()):
            raise LedgerError(
                f"entry {entry.seq} of the privacy log, a new token key, is not signed by the keys of {keys.path}",
                hint="restore the key file from your backup, or compare the ledger with one",
            )
        found.append({"at": entry.at.isoformat(), **record})
    return found


def _drawn_again(
    connection: Connection, draws: Draws, old_keys: Keyring, new_keys: Keyring
) -> list[tuple[str, str, int]]:
    """For every salt and customer a new draw within the group that was drawn: it tells nothing but the group."""
    before = {
        (row.salt, row.customer_token): int(row.draw)
        for row in connection.execute(select(kept_draws.c.salt, kept_draws.c.customer_token, kept_draws.c.draw))
    }
    known: set[str] = {row.subject for row in connection.execute(select(vault_subjects.c.subject))}
    customers = sorted({*known, *draws.customers, *(customer for _, customer in before)})
    renamed = new_keys.current_tokens(customers)
    found = []
    for salt, limits in draws.salts.items():
        for old, new in zip(customers, renamed, strict=True):
            number = before.get((salt, old))
            number = draws.draw(salt, old) if number is None else number
            low, high = _group(number, limits)
            found.append((salt, new, low + (draws.draw(salt, new) * (high - low) >> 64)))
    return found


def _group(number: int, limits: Sequence[int]) -> tuple[int, int]:
    low = 0
    for limit in limits:
        if number < limit:
            return low, limit
        low = limit
    return low, 2**64


def _renamed_pairs(external_ids: Mapping[tuple[str, str], str], keys: Keyring) -> dict[tuple[str, str], str]:
    renamed = Renaming(keys).texts([part for pair in external_ids for part in pair])
    pairs = zip(map(str, renamed[::2]), map(str, renamed[1::2]), strict=True)
    return dict(zip(pairs, external_ids.values(), strict=True))


def _consent(
    connection: Connection, renaming: Renaming, where: str, asked: set[int]
) -> tuple[tuple[ChainState, ChainState], dict[int, tuple[str, str]], int]:
    """The chain under new tokens. Returns its ends, both hashes at the numbers asked for, and its length."""
    seen = asked | set(connection.execute(select(run_book.c.consent_seq).distinct()).scalars())
    heads: dict[int, tuple[str, str]] = {0: (GENESIS, GENESIS)}
    before = after = ChainState(0, GENESIS)
    columns = ["event_id", "subject_token", "evidence"]
    texts = [*columns, "source", "method", "actor"]
    for rows in stored_rows(connection, consent_events, "seq"):
        old_hashes = []
        for row in rows:
            expected = before.seq + 1
            problem = "it is missing" if row["seq"] != expected else problem_of(row, before.head)
            if problem:
                raise broken(where, expected, problem)
            before = ChainState(row["seq"], row["hash"])
            old_hashes.append(row["hash"])
        renaming.rows(rows, texts)
        for row, old_hash in zip(rows, old_hashes, strict=True):
            row["content_sha256"] = content_sha256({name: row[name] for name in CONTENT_COLUMNS})
            row["prev_hash"] = after.head
            row["hash"] = link(after.head, row["seq"], row["recorded_at"], row["content_sha256"])
            after = ChainState(row["seq"], row["hash"])
            if row["seq"] in seen:
                heads[row["seq"]] = (old_hash, row["hash"])
        write_back(connection, consent_events, [*texts, "content_sha256", "prev_hash", "hash"], rows)
    heads[after.seq] = (before.head, after.head)
    return (before, after), heads, after.seq


def _log(
    connection: Connection, renaming: Renaming
) -> tuple[tuple[ChainState, ChainState], dict[int, tuple[str, str]], int]:
    """The privacy log under new tokens, with its ends and both hashes of every entry."""
    before = log_state(connection)
    after = ChainState(0, GENESIS)
    heads: dict[int, tuple[str, str]] = {0: (GENESIS, GENESIS)}
    for rows in stored_rows(connection, privacy_log, "seq"):
        renaming.rows(rows, ["request_id", "content"])
        for row in rows:
            old = row["hash"]
            row["prev_hash"] = after.head
            row["hash"] = entry_hash(
                after.head, row["seq"], row["kind"], row["request_id"], row["at"], row["content"], row["recorded_at"]
            )
            after = ChainState(row["seq"], row["hash"])
            heads[row["seq"]] = (old, row["hash"])
        write_back(connection, privacy_log, ["request_id", "content", "prev_hash", "hash"], rows)
    return (before, after), heads, after.seq


Also = Callable[[list[Row], list[Row]], Iterable[str]]


def _also(connection: Connection, table: Table, heads: Mapping[int, tuple[str, str]]) -> Also | None:
    """What else of a table's rows depends on tokens."""
    if table is run_book:

        def anchors(_: list[Row], rows: list[Row]) -> Iterable[str]:
            for row in rows:
                row["consent_head"] = heads[row["consent_seq"]][1]
            return ["consent_head"]

        return anchors
    if table is consent_conflicts:

        def digests(old: list[Row], rows: list[Row]) -> Iterable[str]:
            for before, row in zip(old, rows, strict=True):
                if before["content"] != row["content"]:
                    row["content_sha256"] = hashlib.sha256(row["content"].encode()).hexdigest()
            return ["content_sha256"]

        return digests
    if table is outbox or table is acknowledged:
        columns = export_runs.c
        versions = {
            row.run: row.mapping_version for row in connection.execute(select(columns.run, columns.mapping_version))
        }

        def hashes(old: list[Row], rows: list[Row]) -> Iterable[str]:
            for before, row in zip(old, rows, strict=True):
                version = versions.get(row["run"], "")
                if before["row_hash"] and before["row_hash"] == row_hash(version, before):
                    row["row_hash"] = row_hash(version, row)
            return ["row_hash"]

        return hashes
    return None


def row_hash(version: str, row: Mapping[str, Any]) -> str:
    """The hash of a contact's row in an export, as the planner makes it in SQL."""
    parts = (version, row["customer_token"], row["address_token"], row["payload"])
    return hashlib.sha256("\x1f".join(part for part in parts if part is not None).encode()).hexdigest()


def _audits(connection: Connection) -> list[dict[str, int]]:
    """Up to which numbers of both chains each audit looked: their hashes are in documents that were handed out."""
    made = select(privacy_log.c.content).where(privacy_log.c.kind == "audit")
    contents: list[str] = list(connection.execute(made).scalars())
    return [json.loads(content)["numbers"] for content in contents]


def _note_former(connection: Connection, number: int, chains: Mapping[str, Mapping[int, tuple[str, str]]]) -> None:
    """Keep the old hashes that others remember."""
    rows = [
        (chain, seq, number, before) for chain, heads in chains.items() for seq, (before, _) in heads.items() if seq
    ]
    bulk_insert(connection, former_heads, ("chain", "seq", "number", "hash"), rows)


def former_head(connection: Connection, chain: str, seq: int, *, log_seq: int | None = None) -> str | None:
    """The hash that an entry had before the token key was replaced; None when it was not replaced since.

    Parameters
    ----------
    chain : str
        `consent` or `privacy_log`.
    log_seq : int, optional
        How long the privacy log was when the hash was read: it tells before which replacement that was. Default: before
        the latest.
    """
    columns, changes = former_heads.c, token_key_changes.c
    number = select(func.max(changes.number)).where(changes.earlier_key.is_not(None))
    if log_seq is not None:
        number = select(func.min(changes.number)).where(changes.earlier_key.is_not(None), changes.log_seq > log_seq)
    query = select(columns.hash).where(
        columns.chain == chain, columns.seq == seq, columns.number == number.scalar_subquery()
    )
    return connection.execute(query).scalar()


def _unknown(connection: Connection, keys: Keyring) -> list[tuple[str, str]]:
    seen = {(row.kind, row.key_id) for row in connection.execute(select(key_fingerprints))}
    wanted = [("token", key_id) for key_id in keys.token_keys_before(keys.token_key_id)]
    return [one for one in wanted if one not in seen]
