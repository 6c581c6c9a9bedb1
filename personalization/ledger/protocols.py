"""Experiment protocols, fixed before the first assignment: a changed protocol needs a new version."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import insert, select

from personalization.as_of import AsOf
from personalization.errors import LedgerError
from personalization.ledger.schema import experiment_protocols, now

if TYPE_CHECKING:
    from personalization.ledger.ledger import Ledger


class Protocols:
    """The registry of experiment protocols. See `Ledger.protocols`."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger

    def fix(self, name: str, version: int, sha256: str, as_of: AsOf | None = None) -> bool:
        """Fix a version of a protocol by its hash; True the first time, False when it was fixed so already.

        Parameters
        ----------
        name, version
            Of the experiment in `experiments.yaml`.
        sha256 : str
            Hash of the protocol's canonical text.
        as_of : AsOf, optional
            The day for which it is first used.

        Raises
        ------
        LedgerError
            This version was fixed with another hash: the protocol was changed after its first use.
        """
        columns = experiment_protocols.c
        with self._ledger.begin() as connection:
            fixed = connection.execute(
                select(columns.sha256, columns.as_of).where(columns.name == name, columns.version == version)
            ).one_or_none()
            if fixed is None:
                connection.execute(
                    insert(experiment_protocols).values(
                        name=name,
                        version=version,
                        sha256=sha256,
                        as_of=as_of.key if as_of else None,
                        recorded_at=now(),
                    )
                )
                return True
        if fixed.sha256 != sha256:
            first_used = f", first used for {fixed.as_of}," if fixed.as_of else ""
            raise LedgerError(
                f"the protocol of experiment '{name}' version {version}{first_used} was changed afterwards",
                hint=f"undo the change, or give the experiment `version: {version + 1}`",
            )
        return False

    def fixed(self, name: str, version: int) -> str | None:
        """The hash with which a version was fixed, or None."""
        columns = experiment_protocols.c
        with self._ledger.read() as connection:
            return connection.execute(
                select(columns.sha256).where(columns.name == name, columns.version == version)
            ).scalar_one_or_none()
