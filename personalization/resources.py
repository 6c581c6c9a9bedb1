"""The one Dagster resource: it gives assets the same `Runtime` that the CLI uses."""

from __future__ import annotations

import dagster as dg

from personalization.as_of import AsOf
from personalization.runtime import Runtime
from personalization.workspace import Workspace


class RuntimeResource(dg.ConfigurableResource):
    """Where the program and its state live.

    Attributes
    ----------
    root, state : str
        Folders; empty means PERSONALIZATION_HOME and PERSONALIZATION_STATE, else the current folder.
    """

    root: str = ""
    state: str = ""

    def get(self) -> Runtime:
        if self.root:
            return Runtime(Workspace.at(self.root, self.state or None))
        return Runtime.from_environment()


def as_of(context: dg.AssetExecutionContext | dg.AssetCheckExecutionContext, runtime: Runtime) -> AsOf:
    """The `as_of` of the partition a step runs for."""
    return runtime.as_of(context.partition_key)
