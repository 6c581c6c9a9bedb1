"""What a destination really holds, read back from it: for the audit and for reconciliation, never for planning."""

from __future__ import annotations

from collections.abc import Iterator

from personalization.ledger import Ledger
from personalization.program import Program
from personalization.stages.export.adapters.base import Clock, DestinationError, Holding, Lost, Postponed
from personalization.stages.export.adapters.guarded import naming
from personalization.stages.export.adapters.registry import adapter_for
from personalization.workspace import Workspace

__all__ = ["Holding", "holdings"]


def holdings(
    program: Program, name: str, workspace: Workspace, ledger: Ledger | None = None, clock: Clock | None = None
) -> Iterator[Holding]:
    """Every contact of a destination. Raises `ExportError` when it can't be read."""
    with naming(name):
        try:
            yield from adapter_for(program, name, workspace, clock, ledger=ledger).holdings()
        except (Lost, Postponed) as problem:
            raise DestinationError(problem.reason, hint="only read; try again when it is up") from None
