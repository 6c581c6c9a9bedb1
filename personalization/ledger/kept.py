"""What stays as it was when the token key is replaced: ids at platforms, draws, which token stands for a person.

Without these a platform would get second contacts (and lose their opt-outs), and people would change their groups.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

import pyarrow as pa
from sqlalchemy import Connection, delete, select, union

from personalization.ledger.engine import bulk_insert, one_of
from personalization.ledger.export_schema import acknowledged, outbox
from personalization.ledger.token_key_schema import kept_draws, kept_external_ids, kept_people

if TYPE_CHECKING:
    from personalization.ledger.keys import Keyring
    from personalization.ledger.ledger import Ledger

DRAWS = pa.schema([("salt", pa.string()), ("customer_token", pa.string()), ("draw", pa.uint64())])
CHUNK = 50_000

Pair = tuple[str, str]


def namespace(destination: str) -> str:
    """The namespace of the ids under which a destination knows customers."""
    return f"export:{destination}"


class Kept:
    """What a ledger keeps from under earlier token keys. See `Ledger.kept`."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger

    def external_ids(
        self, keys: Keyring, destination: str, customers: Sequence[str], *, connection: Connection | None = None
    ) -> list[str]:
        """By what ids a destination knows customers, in their order: the kept ones, else those of the key in use."""
        made = keys.tokens(namespace(destination), customers)
        columns = kept_external_ids.c
        query = select(columns.customer_token, columns.sealed).where(columns.destination == destination)
        with nullcontext(connection) if connection is not None else self._ledger.read() as reader:
            if reader.execute(query.limit(1)).first() is None:  # the token key was never replaced
                return made
            found = reader.execute(query.where(one_of(reader, columns.customer_token, list(customers)))).all()
        if not found:
            return made
        opened = keys.kept([row.sealed for row in found], [_context(destination, row.customer_token) for row in found])
        known = {row.customer_token: external for row, external in zip(found, opened, strict=True)}
        return [known.get(customer, new) for customer, new in zip(customers, made, strict=True)]

    def draws(self, customers: Sequence[str] | None = None) -> pa.Table:
        """Draws that are not those of the customers' tokens any more, in the schema DRAWS; default: of everybody."""
        columns = kept_draws.c
        query = select(columns.salt, columns.customer_token, columns.draw)
        with self._ledger.read() as reader:
            if customers is not None:
                query = query.where(one_of(reader, columns.customer_token, list(customers)))
            rows = reader.execute(query).all()
        return pa.table(
            {
                "salt": pa.array([row.salt for row in rows], pa.string()),
                "customer_token": pa.array([row.customer_token for row in rows], pa.string()),
                "draw": pa.array([int(row.draw) for row in rows], pa.uint64()),
            },
            schema=DRAWS,
        )

    def draws_of(self, customer: str) -> dict[str, int]:
        """The kept draws of one customer, by salt."""
        return {row["salt"]: row["draw"] for row in self.draws([customer]).to_pylist()}

    def people(self) -> list[str]:
        """Tokens that stand for a person although another of the person's tokens is smaller now."""
        with self._ledger.read() as reader:
            return sorted(reader.execute(select(kept_people.c.customer_token)).scalars())


def read_external_ids(connection: Connection, keys: Keyring) -> dict[Pair, str]:
    """Every id under which a destination may know a customer, by (destination, customer token), under the old keys."""
    columns = kept_external_ids.c
    rows = connection.execute(select(columns.destination, columns.customer_token, columns.sealed)).all()
    pairs = [(row.destination, row.customer_token) for row in rows]
    found = dict(zip(pairs, keys.kept([row.sealed for row in rows], [_context(*pair) for pair in pairs]), strict=True))
    sent = union(
        select(acknowledged.c.destination, acknowledged.c.customer_token),
        select(outbox.c.destination, outbox.c.customer_token).where(outbox.c.attempt > 0),
    )
    by_destination: dict[str, list[str]] = {}
    contacts: list[Any] = list(connection.execute(sent))
    for destination, customer in contacts:
        if customer and (destination, customer) not in found:
            by_destination.setdefault(destination, []).append(customer)
    for destination, customers in by_destination.items():
        made = keys.tokens(namespace(destination), customers)
        found |= {(destination, customer): one for customer, one in zip(customers, made, strict=True)}
    return found


def write_kept(
    connection: Connection,
    keys: Keyring,
    external_ids: Mapping[Pair, str],
    draws: Iterable[tuple[str, str, int]],
    people: Iterable[str],
) -> dict[str, int]:
    """Keep these, and nothing that was kept before; customers by their tokens under the key in use of `keys`."""
    for table in (kept_draws, kept_external_ids, kept_people):
        connection.execute(delete(table))
    pairs = list(external_ids)
    sealed = keys.keep(list(external_ids.values()), [_context(*pair) for pair in pairs])
    rows = [(*pair, one) for pair, one in zip(pairs, sealed, strict=True)]
    drawn = [(salt, customer, str(number)) for salt, customer, number in draws]
    standing = [(token,) for token in sorted(set(people))]
    bulk_insert(connection, kept_external_ids, ("destination", "customer_token", "sealed"), rows)
    bulk_insert(connection, kept_draws, ("salt", "customer_token", "draw"), drawn)
    bulk_insert(connection, kept_people, ("customer_token",), standing)
    return {"external_ids": len(rows), "draws": len(drawn), "people": len(standing)}


def _context(destination: str, customer: str) -> str:
    return f"{destination}\x1f{customer}"
