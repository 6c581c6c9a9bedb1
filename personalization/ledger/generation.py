"""Is this the ledger that exported last? A mark beside it remembers how far it was; an older copy falls short of it.

A ledger restored from a backup has forgotten opt-outs, and who was mailed already. It must not export before it was
reconciled with its destinations.
"""

from __future__ import annotations

import json
import os
import uuid
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, func, select

from personalization.errors import LedgerError
from personalization.ledger.engine import location
from personalization.ledger.export_schema import leases
from personalization.ledger.schema import consent_events, now, suppressions
from personalization.ledger.sends_schema import generations
from personalization.ledger.token_rotation import former_head

if TYPE_CHECKING:
    from personalization.ledger.ledger import Ledger


@dataclass(frozen=True)
class Mark:
    """How far a ledger was.

    Attributes
    ----------
    generation : str
        Of the ledger; a reconciled ledger has a new one.
    consent_seq, consent_head : int, str
        The last consent event and its hash, which vouches for all before it.
    suppressions : int
        How many there were.
    epochs : dict
        Resource to [epoch, holder] of every lease: each export had one.
    """

    generation: str
    consent_seq: int
    consent_head: str
    suppressions: int
    epochs: dict[str, list[Any]]
    at: str


class Generations:
    """Recognises an older copy of a ledger.

    Parameters
    ----------
    ledger : Ledger
    path : Path
        The mark: `Workspace.ledger_mark`.
    """

    def __init__(self, ledger: Ledger, path: Path) -> None:
        self._ledger, self._path = ledger, path

    def check(self) -> None:
        """Compare the ledger with its mark.

        Raises
        ------
        LedgerError
            The ledger is an older copy, or another one. Nothing may be exported.
        """
        mark = self._read()
        if mark is None:
            return
        with self._ledger.read() as connection:
            missing = _missing(connection, mark)
        if missing:
            raise LedgerError(
                f"the ledger {location(self._ledger.engine)} is not the one that exported until {mark.at}, but an "
                f"older copy or another one: {missing}",
                hint="nothing was sent. Put the newest copy back; when there is none, run `personalization export "
                "reconcile --by NAME --why REASON`, which reads the destinations back and takes over their opt-outs",
            )

    def remembered(self) -> int:
        """The number of the last consent event that the mark knows; 0 without a mark."""
        mark = self._read()
        return 0 if mark is None else mark.consent_seq

    def note(self) -> None:
        """Write down how far the ledger is now."""
        if not self._current():
            self.begin()
        with self._ledger.read() as connection:
            mark = _mark(connection)
        self._path.parent.mkdir(parents=True, exist_ok=True)
        temporary = self._path.with_suffix(".tmp")
        with temporary.open("w", encoding="utf-8") as file:
            json.dump(asdict(mark), file)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(self._path)

    def begin(self, actor: str | None = None, reason: str | None = None) -> None:
        """A new generation: from here on the ledger as it is now counts."""
        with self._ledger.begin() as connection:
            last = int(connection.execute(select(func.coalesce(func.max(generations.c.number), 0))).scalar_one())
            connection.execute(
                generations.insert().values(
                    number=last + 1, generation=uuid.uuid4().hex, actor=actor, reason=reason, recorded_at=now()
                )
            )

    def _current(self) -> str | None:
        with self._ledger.read() as connection:
            return _generation(connection)

    def _read(self) -> Mark | None:
        try:
            return Mark(**json.loads(self._path.read_text(encoding="utf-8")))
        except FileNotFoundError:
            return None
        except (ValueError, TypeError) as error:
            raise LedgerError(
                f"the mark {self._path} of the ledger can't be read: {error}",
                hint="nothing was sent. When you are sure that the ledger is the newest one, delete the mark",
            ) from None


def _generation(connection: Connection) -> str | None:
    query = select(generations.c.generation).order_by(generations.c.number.desc()).limit(1)
    return connection.execute(query).scalar()


def _mark(connection: Connection) -> Mark:
    columns = consent_events.c
    last = connection.execute(select(columns.seq, columns.hash).order_by(columns.seq.desc()).limit(1)).one_or_none()
    return Mark(
        generation=_generation(connection) or "",
        consent_seq=last.seq if last else 0,
        consent_head=last.hash if last else "",
        suppressions=connection.execute(select(func.coalesce(func.max(suppressions.c.seq), 0))).scalar_one(),
        epochs={row.resource: [row.epoch, row.holder] for row in connection.execute(select(leases))},
        at=now().strftime("%Y-%m-%d %H:%M:%S UTC"),
    )


def _missing(connection: Connection, mark: Mark) -> str | None:
    """What the ledger lacks of what the mark remembers, in words; None when it lacks nothing."""
    generation = connection.execute(select(generations.c.generation).where(generations.c.generation == mark.generation))
    if generation.first() is None:
        return "it does not know that generation"
    found = _mark(connection)
    if found.consent_seq < mark.consent_seq:
        return f"it has {found.consent_seq} consent events, there were {mark.consent_seq}"
    if mark.consent_seq:
        at_mark = select(consent_events.c.hash).where(consent_events.c.seq == mark.consent_seq)
        # the mark is written anew only after the token key was replaced
        known = {connection.execute(at_mark).scalar(), former_head(connection, "consent", mark.consent_seq)}
        if mark.consent_head not in known:
            return f"consent event {mark.consent_seq} is another one"
    if found.suppressions < mark.suppressions:
        return f"it has {found.suppressions} suppressions, there were {mark.suppressions}"
    for resource, (epoch, holder) in mark.epochs.items():
        there, by = found.epochs.get(resource, [0, ""])
        if there < epoch or (there == epoch and by != holder):
            return f"'{resource}' was worked on {epoch} times, it knows of {there}"
    return None
