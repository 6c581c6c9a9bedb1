"""Opt-outs that came while an export was under way."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from personalization.ledger import Ledger
from personalization.ledger.contacts import Contacts
from personalization.ledger.news import Position, identifiers_since, position
from personalization.stages.export.cut import Cut

_UNDER_WAY = ("planned", "cut", "in_flight", "uncertain", "rejected")


class LateOptOuts:
    """Finds the contacts of a destination that have to be opted out there. One instance a run.

    The first look is at everybody, each further one at whom something was said about since: an export of millions has
    thousands of batches, and there may be an opt-out at each.
    """

    def __init__(self, ledger: Ledger, cut: Cut, destination: str) -> None:
        self._ledger, self._cut, self._destination = ledger, cut, destination
        self._seen: Position | None = None
        self._on_their_way: set[str] = set()

    def any_news(self) -> bool:
        """Whether the ledger has learnt anything since the last look, or somebody was still on the way then."""
        with self._ledger.read() as connection:
            return position(connection) != self._seen or bool(self._on_their_way)

    def rows(self, run: int | None) -> list[dict[str, Any]]:
        """Retractions for the outbox, without those that a run has under way already or that were refused in it."""
        contacts, seen = Contacts(self._ledger), self._seen
        leaving = self._leaving(run)
        with self._ledger.read() as snapshot:
            here = position(snapshot)
            if seen is None or seen.consents > here.consents or seen.suppressions > here.suppressions:
                known = contacts.known(self._destination)
                purposes = {*pc.unique(known["purpose"]).to_pylist(), *leaving["purpose"].to_pylist()}
                tokens = self._cut.said_out(sorted(purposes), snapshot)
            else:
                said = identifiers_since(snapshot, seen) | self._on_their_way
                tokens = pa.chunked_array([pa.array(sorted(said), pa.string())])
                known = contacts.known(self._destination, self._cut.identifiers(tokens))
        late = set(self._cut.opted_out(known, tokens)["address_token"].to_pylist())
        if run is not None:
            late -= {row.address_token for row in self._ledger.outbox.rows(run, _UNDER_WAY, operations=("retract",))}
        self._seen, self._on_their_way = here, self._said_on_the_way(leaving, tokens)
        return list(_retractions(known, late))

    def _leaving(self, run: int | None) -> pa.Table:
        """Contacts that are on their way to the platform: `address_token`, `customer_token`, `purpose`."""
        rows = [] if run is None else self._ledger.outbox.rows(run, ("in_flight",), operations=("add", "change"))
        names = ("address_token", "customer_token", "purpose")
        return pa.table({name: pa.array([getattr(row, name) for row in rows], pa.string()) for name in names})

    def _said_on_the_way(self, leaving: pa.Table, tokens: pa.ChunkedArray) -> set[str]:
        """Tokens of people about whom something was said while they were on their way.

        They can be opted out there as soon as it is known that they have arrived, so they are looked at again.
        """
        if not leaving.num_rows:
            return set()
        with self._cut.tables(leaving=leaving.select(["address_token", "customer_token"])):
            found = self._cut.reached("leaving", tokens)
        return {token for column in found.columns for token in column.to_pylist()}


def _retractions(known: pa.Table, addresses: set[str]) -> Iterator[dict[str, Any]]:
    wanted = pc.is_in(known["address_token"], value_set=pa.array(sorted(addresses), pa.string()))
    for row in known.filter(wanted).to_pylist():
        yield {
            "operation": "retract",
            **{name: row[name] for name in ("customer_token", "address_token", "campaign", "purpose")},
            "payload": "{}",
            "row_hash": "",
            "state": "planned",
            "reason": None,
        }
