"""Former addresses of people, kept in the vault only while a destination still holds our values under one of them.

When a source gives somebody another address, the contact under the old one has to be cleared, and for that its address
must be known once more. It stays encrypted under the person's key, so an erasure ends it at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from sqlalchemy import Connection, delete, select

from personalization.ledger.engine import one_of
from personalization.ledger.export_schema import acknowledged, export_runs, outbox
from personalization.ledger.schema import vault_items

if TYPE_CHECKING:
    from personalization.ledger.ledger import Ledger

FIELD = "email"
_REPLACED = "#replaced-"
_OPEN = ("planned", "cut", "in_flight", "uncertain")


def place_of_former(source: str, version: int) -> str:
    """The source under which a source's former value is kept; each version has a place of its own."""
    return f"{source}{_REPLACED}{version}"


def still_held(connection: Connection, tokens: Sequence[str]) -> set[str]:
    """The address tokens under which a destination has values of ours, or may have."""
    if not tokens:
        return set()
    destinations: list[str] = list(connection.execute(select(export_runs.c.destination).distinct()).scalars())
    held: set[str] = set()
    for name in destinations:
        known, rows = acknowledged.c, outbox.c
        there = select(known.address_token).where(
            known.destination == name, known.state == "present", one_of(connection, known.address_token, tokens)
        )
        perhaps = select(rows.address_token).where(
            rows.destination == name,
            one_of(connection, rows.address_token, tokens),
            rows.state.in_(_OPEN),
            rows.resolved_run.is_(None),
        )
        held |= set(connection.execute(there).scalars()) | set(connection.execute(perhaps).scalars())
    return held


def forget_cleared(ledger: Ledger) -> int:
    """Remove former addresses that no destination holds any more. Returns how many values that were."""
    columns = vault_items.c
    former = columns.source.contains(_REPLACED, autoescape=True)
    with ledger.read() as connection:
        tokens: list[str] = list(
            connection.execute(select(columns.value_token).where(columns.field == FIELD, former)).scalars()
        )
    if not tokens:
        return 0
    with ledger.begin() as connection:
        done = sorted(set(tokens) - still_held(connection, tokens))
        if not done:
            return 0
        gone = delete(vault_items).where(columns.field == FIELD, former, one_of(connection, columns.value_token, done))
        return connection.execute(gone).rowcount
