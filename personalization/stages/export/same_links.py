"""Links that are out already and say what new ones would say: they stay, so that new keys make no export.

A link names the person's token, sealed under the vault's key. Under a new token key or vault key its text would be
another one, for every contact of a destination that gets links as fields.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pyarrow as pa
from sqlalchemy import select

from personalization.ledger.engine import one_of
from personalization.ledger.export_schema import acknowledged
from personalization.ledger.token_rotation import row_hash
from personalization.program.models import Destination
from personalization.stages.export.adapters.registry import mapping_version
from personalization.stages.export.desired import DESIRED
from personalization.warehouse import Session

if TYPE_CHECKING:
    from personalization.runtime import Runtime

CHUNK = 20_000


def keep_same_links(session: Session, runtime: Runtime, name: str, destination: Destination, known: pa.Table) -> int:
    """Put links that contacts have already in the place of those in `_desired`. Returns how many contacts kept theirs.

    Only contacts that would be sent anew are looked at.
    """
    fields = {field.name for field in destination.fields if field.link}
    if not fields:
        return 0
    with session.registered(_known=known):
        rows = session.arrow(
            f"select d.address_token, d.customer_token, d.payload from {DESIRED} d join _known k using (address_token)"  # noqa: S608
            " where k.state = 'present' and k.row_hash <> d.row_hash and d.problem is null"
        ).to_pylist()
    version = mapping_version(destination)
    changed: list[dict[str, str]] = []
    for first in range(0, len(rows), CHUNK):
        chunk = rows[first : first + CHUNK]
        there = _acknowledged(runtime, name, [row["address_token"] for row in chunk])
        for row in chunk:
            payload = _with_old_links(runtime, row["payload"], there.get(row["address_token"], "{}"), fields)
            if payload != row["payload"]:
                changed.append({**row, "payload": payload, "row_hash": row_hash(version, {**row, "payload": payload})})
    if changed:
        with session.registered(_same=pa.Table.from_pylist(changed)):
            session.execute(
                f"update {DESIRED} d set payload = s.payload, row_hash = s.row_hash from _same s"  # noqa: S608
                " where d.address_token = s.address_token and d.customer_token = s.customer_token"
                " and d.problem is null"
            )
    return len(changed)


def _acknowledged(runtime: Runtime, name: str, addresses: list[str]) -> dict[str, str]:
    columns = acknowledged.c
    with runtime.ledger.read() as connection:
        rows = connection.execute(
            select(columns.address_token, columns.payload).where(
                columns.destination == name, one_of(connection, columns.address_token, addresses)
            )
        )
        return {row.address_token: row.payload for row in rows}


def _with_old_links(runtime: Runtime, wanted: str, there: str, fields: set[str]) -> str:
    """The payload, with the links of the acknowledged one where they say the same."""
    new, old = json.loads(wanted), json.loads(there)
    text = wanted
    for field in fields:
        if new.get(field) and old.get(field) and new[field] != old[field]:
            (new_base, _, new_link), (old_base, _, old_link) = new[field].rpartition("/"), old[field].rpartition("/")
            if new_base == old_base and runtime.ledger.links.say_the_same(runtime.keys, new_link, old_link):
                text = text.replace(json.dumps(new[field]), json.dumps(old[field]))
    return text
