"""Which webhook events the tables know of, kept in the warehouse itself: a lost table loses its mark with it."""

from __future__ import annotations

from dataclasses import dataclass

from personalization.warehouse import Session

LANDED, DECIDED = "validation.applied", "decisions.applied"
"""Marks of the first stage that reads events, and of the last that follows from them."""


@dataclass(frozen=True)
class Applied:
    """What went into the tables.

    Attributes
    ----------
    inbox : int
        Everything up to this event of the inbox.
    replayed : tuple of int
        Events that were dead letters and were understood later.
    suppressions, consents : int
        Everything up to these numbers of the ledger's lists; 0 where a stage does not read them.
    program : str
        Hash of the program it was done with; empty where that does not matter.
    """

    inbox: int = 0
    replayed: tuple[int, ...] = ()
    suppressions: int = 0
    consents: int = 0
    program: str = ""


def read_applied(session: Session, table: str) -> Applied | None:
    """The mark of a stage; None when it never ran in this warehouse."""
    if not session.has_table(table):
        return None
    row = session.rows(f"select inbox, replayed, suppressions, consents, program from {table}")[0]  # noqa: S608  (name of ours)
    return Applied(row[0], tuple(row[1]), row[2], row[3], row[4])


def write_applied(session: Session, table: str, applied: Applied) -> None:
    """Replace the mark of a stage; inside a transaction it counts with what else was written there."""
    session.execute(f"create schema if not exists {table.split('.')[0]}")
    session.execute(
        f"create or replace table {table} as select $inbox::bigint as inbox, $replayed::bigint[] as replayed,"
        " $suppressions::bigint as suppressions, $consents::bigint as consents, $program::varchar as program",
        {
            "inbox": applied.inbox,
            "replayed": list(applied.replayed),
            "suppressions": applied.suppressions,
            "consents": applied.consents,
            "program": applied.program,
        },
    )
