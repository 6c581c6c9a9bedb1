"""Opt-outs that came while an export was under way."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from personalization.ledger import Ledger
from personalization.ledger.contacts import Contacts
from personalization.ledger.news import Position, position
from personalization.stages.export.cut import Cut

_UNDER_WAY = ("planned", "cut", "in_flight", "uncertain", "rejected")


class LateOptOuts:
    """Finds the contacts of a destination that have to be opted out there. One instance a run."""

    def __init__(self, ledger: Ledger, cut: Cut, destination: str) -> None:
        self._ledger, self._cut, self._destination = ledger, cut, destination
        self._seen: Position | None = None

    def any_news(self) -> bool:
        """Whether the ledger has learnt anything since this was asked last."""
        with self._ledger.read() as connection:
            found = position(connection)
        news, self._seen = found != self._seen, found
        return news

    def rows(self, run: int | None) -> list[dict[str, Any]]:
        """Retractions for the outbox, without those that a run has under way already or that were refused in it."""
        known = Contacts(self._ledger).known(self._destination)
        late = set(self._cut.opted_out(known)["address_token"].to_pylist())
        if run is not None:
            late -= {row.address_token for row in self._ledger.outbox.rows(run, _UNDER_WAY, operations=("retract",))}
        return list(_retractions(known, late))


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
