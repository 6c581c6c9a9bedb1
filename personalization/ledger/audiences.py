"""How far the tags of a destination follow the contacts it acknowledged: without a change nothing is asked."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING

from sqlalchemy import delete, func, insert, select

from personalization.ledger.export_schema import acknowledged, export_audiences
from personalization.ledger.leases import Lease

if TYPE_CHECKING:
    from personalization.ledger.ledger import Ledger


class Audiences:
    """The marks of all destinations."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger

    def newest(self, destination: str) -> int:
        """The newest run that changed what a destination is taken to know; 0 when there was none."""
        query = select(func.coalesce(func.max(acknowledged.c.run), 0)).where(acknowledged.c.destination == destination)
        with self._ledger.read() as connection:
            return int(connection.execute(query).scalar_one())

    def current(self, destination: str, tags: Mapping[str, str], run: int) -> bool:
        """Whether these tags were brought up to this run already."""
        columns = export_audiences.c
        query = select(columns.tags, columns.run).where(columns.destination == destination)
        with self._ledger.read() as connection:
            found = connection.execute(query).one_or_none()
        return found is not None and (found.tags, found.run) == (_text(tags), run)

    def forget(self, lease: Lease, destination: str) -> None:
        """Take it as unknown who carries the tags, so that the next export looks."""
        with self._ledger.begin() as connection:
            lease.hold(connection)
            connection.execute(delete(export_audiences).where(export_audiences.c.destination == destination))

    def note(self, lease: Lease, destination: str, tags: Mapping[str, str], run: int) -> None:
        """Note that they are."""
        with self._ledger.begin() as connection:
            lease.hold(connection)
            connection.execute(delete(export_audiences).where(export_audiences.c.destination == destination))
            connection.execute(insert(export_audiences).values(destination=destination, tags=_text(tags), run=run))


def _text(tags: Mapping[str, str]) -> str:
    return json.dumps(dict(tags), sort_keys=True, ensure_ascii=False)
