"""What one run works with: workspace, program, warehouse, ledger, keys. Opened lazily, shared by CLI and Dagster."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from personalization.as_of import AsOf
from personalization.program import Program, load_program
from personalization.warehouse import Warehouse
from personalization.workspace import Workspace

if TYPE_CHECKING:
    from personalization.ledger import Keyring, Ledger


@dataclass(frozen=True)
class Runtime:
    """Everything a stage's thin shell passes to its plain functions."""

    workspace: Workspace

    @classmethod
    def from_environment(cls) -> Runtime:
        return cls(Workspace.from_environment())

    @cached_property
    def program(self) -> Program:
        return load_program(self.workspace.program)

    @cached_property
    def warehouse(self) -> Warehouse:
        """The warehouse. Raises `TokensNotRewritten` when it holds tokens that the ledger no longer knows."""
        self.require_rewritten()
        return Warehouse(self.workspace.warehouse)

    @cached_property
    def keys(self) -> Keyring:
        """The keys, with the token key in use that the ledger is under."""
        from personalization.ledger import Keyring

        keys = Keyring.load(self.workspace.keys)
        self.ledger.check_keys(keys)
        return keys

    @cached_property
    def ledger(self) -> Ledger:
        from personalization.ledger import Keyring, Ledger
        from personalization.ledger.tombstones import replay

        ledger = Ledger.open(self.workspace.ledger_url)
        try:
            # before anybody reads what a restored ledger still knows
            replay(ledger, self.workspace.tombstones, lambda: Keyring.load(self.workspace.keys))
        except BaseException:
            ledger.close()
            raise
        return ledger

    def require_rewritten(self) -> None:
        """Refuse to go on while files and warehouse hold tokens of an earlier token key than the ledger.

        Raises
        ------
        TokensNotRewritten
            A replacement of the token key was interrupted.
        """
        from personalization.ledger.token_key import TokensNotRewritten, files_are_current

        with self.ledger.read() as connection:
            if files_are_current(connection):
                return
        raise TokensNotRewritten(
            "a replacement of the token key was interrupted: files and warehouse still hold the tokens from before it",
            hint="finish it with `personalization keys rotate token`; the next run does so as well",
        )

    def anew(self) -> Runtime:
        """The same program with ledger and keys opened again: for a process that goes on after a new token key."""
        fresh = Runtime(self.workspace)
        fresh.__dict__["program"] = self.program  # a cached property: what is served stays as it was at the start
        return fresh

    def as_of(self, day: str) -> AsOf:
        return AsOf.parse(day, self.program.settings.timezone)
