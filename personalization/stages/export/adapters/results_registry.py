"""The reader of a destination's results."""

from __future__ import annotations

from personalization.errors import ExportError
from personalization.program import Program
from personalization.stages.export.adapters.base import Clock
from personalization.stages.export.adapters.registry import adapter_for
from personalization.stages.export.adapters.results import ResultsReader
from personalization.workspace import Workspace


def reader_for(program: Program, name: str, workspace: Workspace, clock: Clock | None = None) -> ResultsReader:
    """The reader of a destination's results. Raises `ProgramError` when a secret is not set."""
    reader = adapter_for(program, name, workspace, clock).results()
    if reader is None:
        raise ExportError(f"nothing can be read back from '{name}'")
    return reader
