"""Who must not be mailed, whatever any consent says: one row per identifier and reason, never changed or removed."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import nullcontext
from datetime import datetime
from threading import Lock
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc
from sqlalchemy import BigInteger, Connection, func, select, type_coerce

from personalization.ledger.engine import bulk_insert, fetch_texts, is_writing, one_of
from personalization.ledger.schema import now, suppressions, to_micros
from personalization.ledger.token_key import require_current

if TYPE_CHECKING:
    from personalization.ledger.ledger import Ledger

SNAPSHOT = pa.schema([("identifier_token", pa.string()), ("reason", pa.string())])

_COLUMNS = ("seq", "identifier_token", "reason", "source", "at", "recorded_at")


class Suppressions:
    """The do-not-mail list. See `Ledger.suppressions`."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._cache: tuple[int, pa.Table] | None = None
        self._lock = Lock()

    def add(
        self,
        tokens: Iterable[str],
        reason: str,
        source: str,
        at: datetime | None = None,
        *,
        connection: Connection | None = None,
    ) -> int:
        """Suppress identifiers; one that is suppressed for the same reason already is left as it is.

        Parameters
        ----------
        tokens : iterable of str
            Identifier tokens, also of people who are not known (yet).
        reason : str
            `unsubscribed`, `complained`, `bounced`, `erased`, …
        source : str
            Who said so, e.g. `mailchimp`.
        at : datetime, optional
            When it happened, with a time zone; default: now.
        connection : Connection, optional
            An open `Ledger.begin` transaction to add them in; default: one of their own.

        Returns
        -------
        int
            How many were new.
        """
        wanted = sorted(set(tokens))
        if not wanted:
            return 0
        require_current(self._ledger.token_key, wanted)
        recorded_at = to_micros(now())
        at_micros = recorded_at if at is None else to_micros(at)
        columns = suppressions.c
        with nullcontext(connection) if connection is not None else self._ledger.begin() as writer:
            known: set[str] = set(
                writer.execute(
                    select(columns.identifier_token).where(
                        columns.reason == reason, one_of(writer, columns.identifier_token, wanted)
                    )
                ).scalars()
            )
            new = [token for token in wanted if token not in known]
            rows = [
                (seq, token, reason, source, at_micros, recorded_at) for seq, token in enumerate(new, _last(writer) + 1)
            ]
            bulk_insert(writer, suppressions, _COLUMNS, rows)
        return len(rows)

    def snapshot(self, *, before: datetime | None = None, connection: Connection | None = None) -> pa.Table:
        """Every suppressed identifier once, with the reason that was recorded first, ordered by when it was recorded.

        Parameters
        ----------
        before : datetime, optional
            Only what happened before this moment: for questions about the past. An export never gives it.
        connection : Connection, optional
            An open `Ledger.read` snapshot to look through; default: the ledger as of this call.

        Returns
        -------
        pyarrow.Table
            `identifier_token`, `reason`.
        """
        with nullcontext(connection) if connection is not None else self._ledger.read() as reader:
            if before is not None:
                return _fold(SNAPSHOT.empty_table(), _rows(reader, 0, to_micros(before)))
            with self._lock:
                seq, table = self._cache or (0, SNAPSHOT.empty_table())
                last = _last(reader)
                if last < seq:  # an older snapshot than the one remembered
                    return _fold(SNAPSHOT.empty_table(), _rows(reader, 0))
                if last > seq:
                    table = _fold(table, _rows(reader, seq))
                    if not is_writing(reader):  # what is not committed yet must not be remembered
                        self._cache = (last, table)
                return table


def _last(connection: Connection) -> int:
    return connection.execute(select(func.coalesce(func.max(suppressions.c.seq), 0))).scalar_one()


def _rows(connection: Connection, after: int, before: int | None = None) -> pa.Table:
    columns = suppressions.c
    query = select(columns.identifier_token, columns.reason).where(columns.seq > after).order_by(columns.seq)
    if before is not None:
        query = query.where(type_coerce(columns.at, BigInteger) < before)
    tokens, reasons = fetch_texts(connection, query)
    return pa.table([tokens, reasons], schema=SNAPSHOT)


def _fold(known: pa.Table, rows: pa.Table) -> pa.Table:
    """`known` and after it the rows whose identifier is in neither."""
    if not rows.num_rows:
        return known
    tokens = rows["identifier_token"]
    if pc.count_distinct(tokens).as_py() != rows.num_rows:  # an identifier with several reasons: the first counts
        firsts = rows.append_column("n", pa.array(range(rows.num_rows)))
        firsts = firsts.group_by("identifier_token").aggregate([("n", "min")])
        rows = rows.take(firsts["n_min"].combine_chunks().sort())
        tokens = rows["identifier_token"]
    if known.num_rows:
        rows = rows.filter(pc.invert(pc.is_in(tokens, value_set=known["identifier_token"].combine_chunks())))
    return pa.concat_tables([known, rows]).combine_chunks()
