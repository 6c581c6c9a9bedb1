"""What people decided about identities: these two are one person (link), or not (split). Undone, never deleted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from sqlalchemy import Connection, select, update

from personalization.errors import DataError
from personalization.ledger.schema import now
from personalization.ledger.sends_schema import identity_corrections as table

if TYPE_CHECKING:
    from personalization.ledger.ledger import Ledger

SPLIT, LINK = "split", "link"


@dataclass(frozen=True)
class Correction:
    """One decision about two identifier tokens. `undone_at` is None while it holds."""

    id: int
    kind: str
    first_token: str
    second_token: str
    actor: str
    reason: str
    recorded_at: datetime
    undone_by: str | None = None
    undone_reason: str | None = None
    undone_at: datetime | None = None


class IdentityCorrections:
    """The corrections of a ledger. See `Ledger.identity_corrections`."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger

    def add(self, kind: str, first: str, second: str, *, actor: str, reason: str) -> int:
        """Record that two identifiers are (`link`) or are not (`split`) of one person. Returns its number.

        Raises
        ------
        DataError
            Both are the same, who or why is missing, or a correction that holds says something about the two already.
        """
        if first == second:
            raise DataError("both identifiers are the same", hint="name two different ones")
        if not actor.strip() or not reason.strip():
            raise DataError("a correction needs who decided it and why", hint="give --by and --why")
        with self._ledger.begin() as connection:
            for known in _holding(connection):
                if {known.first_token, known.second_token} == {first, second}:
                    raise DataError(
                        f"correction {known.id} says already that the two are {_WORDS[known.kind]}",
                        hint=f"to change it: personalization identity undo {known.id}",
                    )
            inserted = connection.execute(
                table.insert().values(
                    kind=kind,
                    first_token=first,
                    second_token=second,
                    actor=actor.strip(),
                    reason=reason.strip(),
                    recorded_at=now(),
                )
            )
            return int(inserted.inserted_primary_key[0])  # type: ignore[index]

    def undo(self, number: int, *, actor: str, reason: str) -> Correction:
        """Take a correction back. Raises `DataError` when there is none of that number, or it was undone before."""
        with self._ledger.begin() as connection:
            known = {correction.id: correction for correction in _holding(connection)}
            if number not in known:
                holding = ", ".join(map(str, sorted(known))) or "none"
                raise DataError(f"no correction {number} holds", hint=f"corrections that hold: {holding}")
            connection.execute(
                update(table).where(table.c.id == number).values(undone_by=actor, undone_reason=reason, undone_at=now())
            )
        return known[number]

    def holding(self) -> list[Correction]:
        """The corrections that hold, in the order in which they were made."""
        with self._ledger.read() as connection:
            return _holding(connection)

    def about(self, tokens: Sequence[str]) -> list[Correction]:
        """All corrections, also undone ones, that name one of some identifiers."""
        with self._ledger.read() as connection:
            found = [Correction(**row._mapping) for row in connection.execute(select(table).order_by(table.c.id))]
        return [each for each in found if {each.first_token, each.second_token} & set(tokens)]


_WORDS = {SPLIT: "two people", LINK: "one person"}


def _holding(connection: Connection) -> list[Correction]:
    query = select(table).where(table.c.undone_at.is_(None)).order_by(table.c.id)
    return [Correction(**row._mapping) for row in connection.execute(query)]
