"""The cut of a large export: everybody is judged once, and before each batch only what was said since is looked at.

The answer for a batch is the same as that of `Cut.blocked` at this moment; a test compares the two.
"""

from __future__ import annotations

from collections.abc import Iterable

import pyarrow as pa
from sqlalchemy import Connection, func, select

from personalization.ledger.schema import consent_events, suppressions
from personalization.stages.export.cut import CONTACTS, ERASED, Block, Contact, Cut, Erased, with_erased


class Watch:
    """The contacts of one export under the eyes of a cut.

    Parameters
    ----------
    cut : Cut
    contacts : pyarrow.Table
        `purpose`, `customer_token`, `address_token` of everybody who may be written to. Others may be asked about as
        well; that takes longer.
    """

    def __init__(self, cut: Cut, contacts: pa.Table) -> None:
        self._cut, self._ledger = cut, cut.ledger
        contacts = contacts.select(CONTACTS.names[1:]).group_by(CONTACTS.names[1:]).aggregate([])
        keys = pa.array([str(number) for number in range(contacts.num_rows)], pa.string())
        self._watched = contacts.append_column("key", keys).select(CONTACTS.names)
        with cut.tables(source=self._watched):
            cut.engine.execute("create or replace table watched as from source")
        columns = (self._watched[name].to_pylist() for name in ("customer_token", "address_token", "purpose", "key"))
        self._keys = {
            (customer, address, purpose): key for customer, address, purpose, key in zip(*columns, strict=True)
        }
        self._consent = self._suppressions = -1
        self._blocks: dict[str, Block] = {}
        self._erased: set[str] = set()

    def person(self, customer: str, address: str) -> tuple[str, ...]:
        return self._cut.person(customer, address)

    def blocked(self, contacts: Iterable[Contact], *, erased: Erased | None = None) -> dict[str, Block]:
        """`Cut.blocked`, in one snapshot of the ledger that is taken now."""
        found: dict[str, Block] = {}
        strangers: list[Contact] = []
        with self._ledger.read() as snapshot:
            self._catch_up(snapshot)
            if erased is not None and self._erased:
                contacts = with_erased(list(contacts), erased, self._erased)
            for contact in contacts:
                customer, address, *more = contact.identifiers
                key = self._keys.get((customer, address, contact.purpose))
                if key is None or contact.covered_by or (more and self._is_more(more)):
                    strangers.append(contact)
                elif key in self._blocks:
                    found[contact.key] = self._blocks[key]
            return found | self._cut.blocked(strangers, snapshot=snapshot)

    def _is_more(self, further: Iterable[str]) -> bool:
        """Whether further identifiers of a contact may change the answer."""
        return any(token in self._erased or not token.startswith(ERASED) for token in further)

    def _catch_up(self, snapshot: Connection) -> None:
        """Judge again whoever is touched by what the ledger learned since the last time."""
        consent, stopped = (
            int(snapshot.execute(select(func.coalesce(func.max(seq), 0))).scalar_one())
            for seq in (consent_events.c.seq, suppressions.c.seq)
        )
        if (consent, stopped) == (self._consent, self._suppressions):
            return
        if self._consent < 0 or consent < self._consent or stopped < self._suppressions:
            touched, self._blocks = self._watched, {}
            known = self._ledger.suppressions.snapshot(connection=snapshot)["identifier_token"].to_pylist()
            self._erased = {token for token in known if token.startswith(ERASED)}
        else:
            tokens = self._said_since(snapshot)
            self._erased |= {token for token in tokens if token.startswith(ERASED)}
            touched = self._cut.reached("watched", pa.array(sorted(tokens), pa.string()))
        for key in touched["key"].to_pylist() if self._blocks else ():
            self._blocks.pop(key, None)
        blocked = self._cut.stopped(touched, snapshot=snapshot)
        rows = zip(*(column.to_pylist() for column in blocked.columns), strict=True)
        self._blocks |= {key: Block(reason, opted_out) for key, reason, opted_out in rows}
        self._consent, self._suppressions = consent, stopped

    def _said_since(self, snapshot: Connection) -> set[str]:
        """Identifiers about which something was recorded since the last time."""
        tokens: set[str] = set()
        for column, seq, since in (
            (consent_events.c.subject_token, consent_events.c.seq, self._consent),
            (suppressions.c.identifier_token, suppressions.c.seq, self._suppressions),
        ):
            tokens |= set(snapshot.execute(select(column).where(seq > since)).scalars())
        return tokens
