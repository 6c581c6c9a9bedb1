"""What each destination is taken to know: the contacts it acknowledged, and with which contents."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc
from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Connection,
    Select,
    Text,
    case,
    exists,
    func,
    literal_column,
    or_,
    select,
    update,
)
from sqlalchemy.dialects import postgresql, sqlite

from personalization.ledger.engine import fetch_texts, one_of
from personalization.ledger.export_schema import IS_UNCERTAIN, acknowledged, export_runs, outbox
from personalization.ledger.leases import Lease

if TYPE_CHECKING:
    from personalization.ledger.ledger import Ledger

PART = 200_000
_ROW_ID: ColumnElement[int] = literal_column("acknowledged.rowid", BigInteger)
_unindexed: ColumnElement[Any] = literal_column("+acknowledged.destination", Text)
CONTACTS = pa.schema(
    [(name, pa.string()) for name in ("address_token", "customer_token", "campaign", "purpose", "state", "row_hash")]
)


class Contacts:
    """The acknowledged state of a ledger's destinations."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger

    def known(self, destination: str, tokens: Sequence[str] | None = None) -> pa.Table:
        """Every contact that may be at a destination, with the hash of what it acknowledged.

        `tokens`: only contacts with one of these as address or customer.

        A contact with an unresolved uncertain row is `present` with an empty hash: it may be there, with contents
        nobody knows, so whatever is wanted now has to be sent.

        Returns
        -------
        pyarrow.Table
            Of the schema CONTACTS, each `address_token` once.
        """
        open_rows = outbox.c
        unclear = (
            select(*(open_rows[name] for name in CONTACTS.names[:4]))
            .where(open_rows.destination == destination, IS_UNCERTAIN, open_rows.resolved_run.is_(None))
            .order_by(open_rows.id)
        )
        with self._ledger.read() as connection:
            if tokens is None:
                parts = list(_acknowledged(connection, destination))
            else:
                by_address = one_of(connection, open_rows.address_token, tokens)
                unclear = unclear.where(or_(by_address, one_of(connection, open_rows.customer_token, tokens)))
                parts = _acknowledged_of(connection, destination, tokens)
            contacts = pa.concat_tables([CONTACTS.empty_table(), *parts])
            perhaps = {row.address_token: (*row, "present", "") for row in connection.execute(unclear)}
        if not perhaps:
            return contacts
        certain = pc.invert(pc.is_in(contacts["address_token"], value_set=pa.array(list(perhaps), pa.string())))
        columns = [pa.array(column, pa.string()) for column in zip(*perhaps.values(), strict=True)]
        return pa.concat_tables([contacts.filter(certain), pa.Table.from_arrays(columns, schema=CONTACTS)])

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


def _acknowledged_of(connection: Connection, destination: str, tokens: Sequence[str]) -> list[pa.Table]:
    """The acknowledged contacts that have one of some tokens as address or customer: each way has an index."""
    columns = acknowledged.c
    query = select(*(columns[name] for name in CONTACTS.names)).where(columns.destination == destination)
    by_address = _table(connection, query.where(one_of(connection, columns.address_token, tokens)))
    by_customer = _table(connection, query.where(one_of(connection, columns.customer_token, tokens)))
    twice = pc.is_in(by_customer["address_token"], value_set=pa.array(tokens, pa.string()))
    return [by_address, by_customer.filter(pc.invert(twice))]


def _acknowledged(connection: Connection, destination: str) -> Iterator[pa.Table]:
    """The acknowledged contacts of a destination, of the schema CONTACTS, in parts."""
    columns = acknowledged.c
    query = select(*(columns[name] for name in CONTACTS.names))
    if connection.dialect.name == "sqlite":
        # a destination with many of the rows is read as the rows lie in the file, any other one by the index
        last: int = connection.execute(select(func.max(_ROW_ID)).select_from(acknowledged)).scalar() or 0
        count = select(func.count()).where(columns.destination == destination)
        if connection.execute(count).scalar_one() * 4 > last:
            for first in range(0, last + 1, PART):
                part = _ROW_ID.between(first, first + PART - 1)
                yield _table(connection, query.where(part, _unindexed == destination))
            return
    yield _table(connection, query.where(columns.destination == destination))


def _table(connection: Connection, query: Select[Any]) -> pa.Table:
    found = pa.Table.from_arrays(fetch_texts(connection, query), schema=CONTACTS)
    campaigns = found["campaign"]
    return found.set_column(2, CONTACTS.field(2), pc.if_else(pc.equal(campaigns, ""), None, campaigns))


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
    destination = select(export_runs.c.destination).where(export_runs.c.run == run).scalar_subquery()
    open_ones = columns.destination == destination, IS_UNCERTAIN, columns.resolved_run.is_(None)
    if not connection.execute(select(exists().where(*open_ones))).scalar():
        return
    certain = select(columns.address_token).where(one_of(connection, columns.id, ids))
    addresses: list[str] = list(connection.execute(certain).scalars())
    connection.execute(
        update(outbox).where(*open_ones, one_of(connection, columns.address_token, addresses)).values(resolved_run=run)
    )
