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
        return Warehouse(self.workspace.warehouse)

    @cached_property
    def keys(self) -> Keyring:
        from personalization.ledger import Keyring

        return Keyring.load(self.workspace.keys)

    @cached_property
    def ledger(self) -> Ledger:
        from personalization.ledger import Ledger
        from personalization.ledger.tombstones import replay

        ledger = Ledger.open(self.workspace.ledger_url)
        replay(ledger, self.workspace.tombstones)  # before anybody reads what a restored ledger still knows
        return ledger

    def as_of(self, day: str) -> AsOf:
        return AsOf.parse(day, self.program.settings.timezone)
