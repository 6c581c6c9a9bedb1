"""What runs beside what: runs that Dagster starts, runs by command, erasures."""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import dagster as dg
import pytest

from personalization.resources import RuntimeResource
from personalization.run_lock import AnotherRun, beside_other_runs, only_run
from personalization.runtime import Runtime
from personalization.workspace import Workspace


@pytest.fixture
def runtime(tmp_path: Path) -> Runtime:
    (tmp_path / "program").mkdir()
    return Runtime(Workspace.at(tmp_path))


@contextmanager
def another_process(runtime: Runtime, kind: int) -> Iterator[None]:
    """A lock of its own on the same file, as another process has it."""
    path = runtime.workspace.state / "run.lock"
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+") as lock:
        fcntl.flock(lock, kind | fcntl.LOCK_NB)
        yield


def run(runtime: Runtime, job: str) -> list[str]:
    """Run a Dagster job of one asset; returns what an erasure is told meanwhile."""
    said = []

    @dg.asset
    def look(runtime: RuntimeResource) -> None:
        try:
            with another_process(runtime.get(), fcntl.LOCK_EX):
                said.append("alone")
        except OSError:
            said.append("another run is at work")

    defs = dg.Definitions(
        assets=[look],
        jobs=[dg.define_asset_job(job, selection=[look])],
        resources={"runtime": RuntimeResource(root=str(runtime.workspace.root))},
    )
    defs.resolve_job_def(job).execute_in_process()
    return said


def test_an_erasure_does_not_go_on_beside_a_run_of_dagster(runtime: Runtime) -> None:
    assert run(runtime, "refresh") == ["another run is at work"]
    with only_run(runtime):
        pass  # the run has ended


def test_a_run_of_dagster_does_not_begin_beside_an_erasure(runtime: Runtime) -> None:
    with another_process(runtime, fcntl.LOCK_EX), pytest.raises(dg.DagsterError) as refused:
        run(runtime, "refresh")
    assert isinstance(refused.value.__cause__, AnotherRun)


def test_runs_of_dagster_go_on_beside_each_other_and_within_a_run_by_command(runtime: Runtime) -> None:
    with another_process(runtime, fcntl.LOCK_SH):
        assert run(runtime, "refresh") == ["another run is at work"]
    with only_run(runtime), beside_other_runs(runtime):
        pass


def test_opt_outs_wait_for_nobody(runtime: Runtime) -> None:
    with another_process(runtime, fcntl.LOCK_EX):
        assert run(runtime, "push_opt_outs") == ["another run is at work"], "it ran while the other was at work"
