"""What each destination is taken to know: the contacts it acknowledged, and with which contents."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import pyarrow as pa
from sqlalchemy import Connection, case, select, update
from sqlalchemy.dialects import postgresql, sqlite

from personalization.ledger.engine import one_of
from personalization.ledger.export_schema import acknowledged, outbox
from personalization.ledger.leases import Lease

if TYPE_CHECKING:
    from personalization.ledger.ledger import Ledger

CHUNK = 5_000
CONTACTS = pa.schema(
    [(name, pa.string()) for name in ("address_token", "customer_token", "campaign", "purpose", "state", "row_hash")]
)


class Contacts:
    """The acknowledged state of a ledger's destinations."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger

    def known(self, destination: str) -> pa.Table:
        """Every contact that may be at a destination, with the hash of what it acknowledged.

        A contact with an unresolved uncertain row is `present` with an empty hash: it may be there, with contents
        nobody knows, so whatever is wanted now has to be sent.

        Returns
        -------
        pyarrow.Table
            Of the schema CONTACTS, each `address_token` once.
        """
        known, open_rows = acknowledged.c, outbox.c
        with self._ledger.read() as connection:
            contacts = {
                row[0]: tuple(row)
                for row in connection.execute(
                    select(*(known[name] for name in CONTACTS.names)).where(known.destination == destination),
                    execution_options={"yield_per": CHUNK},
                )
            }
            for row in connection.execute(
                select(*(open_rows[name] for name in CONTACTS.names[:4]))
                .where(
                    open_rows.destination == destination,
                    open_rows.state == "uncertain",
                    open_rows.resolved_run.is_(None),
                )
                .order_by(open_rows.id)
            ):
                contacts[row[0]] = (*row, "present", "")
        columns = zip(*contacts.values(), strict=True) if contacts else [()] * len(CONTACTS)
        arrays = [pa.array(column, pa.string()) for column in columns]
        return pa.Table.from_arrays(arrays, schema=CONTACTS)

    def fields(self, destination: str) -> frozenset[str]:
        """Names of the fields that the latest acknowledged contact has a value for, also an empty one."""
        columns = acknowledged.c
        with self._ledger.read() as connection:
            payload = connection.execute(
                select(columns.payload)
                .where(columns.destination == destination, columns.state == "present")
                .order_by(columns.run.desc())
                .limit(1)
            ).scalar_one_or_none()
        return frozenset(json.loads(payload)) if payload else frozenset()

    def forget(self, lease: Lease, destination: str) -> int:
        """Take the contents of all contacts at a destination as unknown, so that the next run sends them again."""
        with self._ledger.begin() as connection:
            lease.hold(connection)
            return connection.execute(
                update(acknowledged)
                .where(acknowledged.c.destination == destination, acknowledged.c.state == "present")
                .values(row_hash="")
            ).rowcount


def acknowledge(connection: Connection, ids: Sequence[int]) -> None:
    """What the acked rows brought to the destination is what it knows now."""
    columns = outbox.c
    written = columns.operation.in_(("add", "change"))
    state = case((written, "present"), (columns.operation == "remove", "removed"), else_="retracted")
    found = {
        "destination": columns.destination,
        "address_token": columns.address_token,
        "customer_token": columns.customer_token,
        "campaign": columns.campaign,
        "purpose": columns.purpose,
        "state": state,
        "row_hash": case((written, columns.row_hash), else_=""),
        "payload": case((written, columns.payload), else_="{}"),
        "run": columns.run,
        "acked_at": columns.changed_at,
    }
    upsert: Any = sqlite.insert if connection.dialect.name == "sqlite" else postgresql.insert
    statement = upsert(acknowledged).from_select(
        list(found), select(*found.values()).where(one_of(connection, columns.id, ids))
    )
    connection.execute(
        statement.on_conflict_do_update(
            index_elements=["destination", "address_token"],
            set_={name: statement.excluded[name] for name in found if name not in ("destination", "address_token")},
        )
    )


def resolve(connection: Connection, run: int, ids: Sequence[int]) -> None:
    """Earlier uncertain rows of contacts about which there is certainty now."""
    columns = outbox.c
    certain = [
        (row.destination, row.address_token)
        for row in connection.execute(
            select(columns.destination, columns.address_token).where(one_of(connection, columns.id, ids))
        )
    ]
    connection.execute(
        update(outbox)
        .where(
            columns.destination == certain[0][0],
            columns.state == "uncertain",
            columns.resolved_run.is_(None),
            one_of(connection, columns.address_token, [address for _, address in certain]),
        )
        .values(resolved_run=run)
    )
