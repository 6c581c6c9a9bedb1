"""Assignments and read-outs run as Dagster assets, for one partition, in a workspace on disk."""

from __future__ import annotations

from pathlib import Path

import dagster as dg

from personalization.resources import RuntimeResource
from personalization.runtime import Runtime
from personalization.stages.decisions.decide import decide_day
from personalization.stages.experiments import assets
from personalization.workspace import Workspace
from tests.decisions.world import AS_OF, SPRING, Person, fill, make_program
from tests.experiments.conftest import EXPERIMENT

DAILY = dg.DailyPartitionsDefinition(start_date="2017-12-01")


def test_experiments_are_recorded_and_read_out(tmp_path: Path) -> None:
    campaigns = {"spring": {**SPRING, "experiment": "hero"}}
    program = make_program(tmp_path / "program", campaigns=campaigns, experiments={"hero": EXPERIMENT})
    runtime = Runtime(Workspace.at(tmp_path))
    with runtime.warehouse.connect() as session:
        fill(session, runtime.ledger, program, [Person(f"p{number}") for number in range(30)])
        decide_day(session, runtime.ledger, program, AS_OF)
    result = dg.materialize(
        assets.assets(program, DAILY),
        partition_key=AS_OF.key,
        resources={"runtime": RuntimeResource(root=str(tmp_path), in_state=True)},
    )
    metadata = {
        event.asset_key.to_user_string(): event.step_materialization_data.materialization.metadata  # type: ignore[union-attr]
        for event in result.get_asset_materialization_events()
    }
    assert metadata["experiments/assignments"]["dagster/row_count"].value == 30
    assert "| hero v1 | against plain | personal |" in str(metadata["experiments/results"]["read_out"].value)
    with runtime.warehouse.connect(read_only=True) as session:
        arms = session.rows("select arm, n, verdict from experiments.results order by arm")
    assert sum(n for _, n, _ in arms) == 30
    assert {verdict for *_, verdict in arms} == {"waiting"}
