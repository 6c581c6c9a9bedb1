"""The one Dagster resource: it gives assets the same `Runtime` that the CLI uses."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import dagster as dg

from personalization.as_of import AsOf
from personalization.run_lock import beside_other_runs
from personalization.runtime import Runtime
from personalization.workspace import LEDGER_VARIABLE, Workspace

WAIT_FOR_NOBODY = ("push_opt_outs",)


class RuntimeResource(dg.ConfigurableResource):
    """Where the program and its state live.

    Attributes
    ----------
    root, state : str
        Folders; empty means PERSONALIZATION_HOME and PERSONALIZATION_STATE, else the current folder.
    in_state : bool
        The ledger is in the state folder whatever PERSONALIZATION_LEDGER_URL says (plans run on such a copy).
    """

    root: str = ""
    state: str = ""
    # The ledger's URL may hold a password, and Dagster shows configuration: it comes from the environment only.
    in_state: bool = False

    @contextmanager
    def yield_for_execution(self, context: dg.InitResourceContext) -> Iterator[RuntimeResource]:
        """Hold the workspace while a run uses it, so that no erasure goes on beside it; opt-outs wait for nobody."""
        if context.run is None or context.run.job_name in WAIT_FOR_NOBODY:
            yield self
            return
        with beside_other_runs(self.get()):
            yield self

    def get(self) -> Runtime:
        if not self.root:
            return Runtime.from_environment()
        ledger = None if self.in_state else os.environ.get(LEDGER_VARIABLE)
        return Runtime(Workspace.at(self.root, self.state or None, ledger))


def as_of(context: dg.AssetExecutionContext | dg.AssetCheckExecutionContext, runtime: Runtime) -> AsOf:
    """The `as_of` of the partition a step runs for."""
    return runtime.as_of(context.partition_key)
