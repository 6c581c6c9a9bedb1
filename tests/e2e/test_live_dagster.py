"""Sensors and jobs for events and opt-outs: what a sensor forgets or repeats changes nothing (invariant 13)."""

from __future__ import annotations

from pathlib import Path

import dagster as dg
import pytest

from personalization import jobs, sensors
from personalization.definitions import definitions
from personalization.jobs import prepare_dagster_home
from personalization.runtime import Runtime
from personalization.workspace import ROOT_VARIABLE, Workspace
from tests.e2e import events
from tests.e2e.conftest import Line, fingerprints
from tests.e2e.small import API_KEY

_TOUCHED = "live__touched_customers"


def test_sensors_wake_and_jobs_apply_and_push(line: Line, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with line.copy(tmp_path) as cli:
        monkeypatch.setenv(ROOT_VARIABLE, str(cli.root))
        monkeypatch.setenv("MAILCHIMP_BASE_URL", cli.mailchimp)
        monkeypatch.setenv("MAILCHIMP_API_KEY", API_KEY)
        runtime = Runtime(Workspace.at(cli.root))
        by_name = {sensor.name: sensor for sensor in sensors.all_sensors(runtime.program)}
        defs = definitions(runtime)
        with dg.DagsterInstance.from_config(str(prepare_dagster_home(runtime))) as instance:

            def asked(name: str, cursor: str | None = None) -> list[str]:
                context = dg.build_sensor_context(instance=instance, cursor=cursor)
                result = by_name[name].evaluate_tick(context)
                jobs_of_it = [target.job_name for target in by_name[name].targets]
                return [request.job_name or jobs_of_it[0] for request in result.run_requests or []]

            def run(job: str) -> dg.ExecuteInProcessResult:
                return defs.resolve_job_def(job).execute_in_process(instance=instance)

            run("apply_inbox")  # the exports of the run before are looked at once
            assert asked("inbox_events") == []
            assert asked("opt_outs") == []

            events.receive(runtime, [events.customer("1", email="moved@example.com", age="25-34")])
            assert asked("inbox_events") == ["apply_inbox"]
            assert asked("inbox_events", cursor="0") == ["apply_inbox"]  # no memory is needed
            first = run("apply_inbox")
            assert first.success
            assert asked("inbox_events", cursor="0") == []
            tables = fingerprints(cli.root)
            assert run("apply_inbox").success  # asked for twice
            assert fingerprints(cli.root) == tables

            runtime.ledger.suppressions.add([runtime.keys.token("customer", "1")], "complained", "test")
            assert asked("opt_outs") == ["push_opt_outs"]
            result = run("push_opt_outs")
            metadata = result.asset_materializations_for_node("live__opt_outs")[0].metadata
            assert metadata["contacts"].value >= 1, (
                metadata,
                first.asset_materializations_for_node(_TOUCHED)[0].metadata,
            )
            assert asked("opt_outs") == []


def test_a_run_of_everything_does_not_include_what_happens_between_runs(line: Line) -> None:
    defs = definitions(Runtime(Workspace.at(line.cli.root)))
    for job in (jobs.refresh, jobs.daily_refresh, jobs.decide):
        steps = {node.name for node in defs.resolve_job_def(job.name).graph.node_defs}
        assert not {step for step in steps if step.startswith("live__")}
