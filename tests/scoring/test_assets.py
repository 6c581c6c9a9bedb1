"""The Dagster shell: keys, groups, partitions, and one materialisation of the whole stage with its checks."""

from __future__ import annotations

from pathlib import Path

import dagster as dg

from personalization.resources import RuntimeResource
from personalization.runtime import Runtime
from personalization.stages.scoring import assets, checks
from tests.scoring.shop import AS_OF, CUTOFFS, make_rows, make_shop

DAILY = dg.DailyPartitionsDefinition(start_date="2024-01-01", end_date="2025-01-01")
KEYS = {("scores", name) for name in ("propensity_model", "propensity", "explanations", "importance", "model_quality")}


def run(runtime: Runtime, day: str, config: dict | None = None) -> dg.ExecuteInProcessResult:
    definitions = assets.assets(runtime.program, DAILY)
    found = checks.checks(runtime.program, DAILY)
    with dg.DagsterInstance.ephemeral() as instance:
        return dg.materialize(
            [*definitions, *found],
            partition_key=day,
            instance=instance,
            resources={"runtime": RuntimeResource(root=str(runtime.workspace.root))},
            run_config=config,
        )


def test_keys_groups_and_partitions(tmp_path: Path):
    runtime = make_shop(tmp_path, make_rows(size=5))
    definitions = assets.assets(runtime.program, DAILY)
    specs = [spec for definition in definitions for spec in definition.specs]
    assert {tuple(spec.key.path) for spec in specs} == KEYS
    assert {spec.group_name for spec in specs} == {"scoring"}
    assert all(spec.partitions_def == DAILY and spec.description and spec.owners for spec in specs)


def test_the_stage_runs_with_all_checks_and_shows_what_it_did(shop: Runtime):
    result = run(shop, AS_OF.isoformat())
    assert result.success
    evaluations = {check.check_name: check.passed for check in result.get_asset_check_evaluations()}
    assert evaluations == dict.fromkeys(
        (
            "beats_baselines",
            "scores_are_probabilities",
            "everybody_who_may_be_is_scored",
            "explanations_add_up",
            "outcome_is_calibrated",
        ),
        True,
    )
    metadata = {
        event.asset_key.path[-1]: event.step_materialization_data.materialization.metadata
        for event in result.get_asset_materialization_events()
        if event.asset_key
    }
    assert metadata["propensity_model"]["trained now"].value is True
    assert "| selection 2024-05-05 | logistic_regression | 200 |" in metadata["propensity_model"]["quality"].value
    assert metadata["propensity_model"]["calibration"].value.startswith("![Selection window 2024-05-05](data:image/png")
    assert metadata["propensity"]["dagster/row_count"].value == 200
    assert "| outcome 2024-06-02 | recency | 200 |" in metadata["model_quality"]["quality"].value
    assert not any("t1_k1_" in str(value) for entries in metadata.values() for value in entries.values())


def test_training_can_be_forced(scored: Runtime):
    result = run(scored, AS_OF.isoformat(), {"ops": {"scores__propensity_model": {"config": {"force": True}}}})
    (event,) = result.asset_materializations_for_node("scores__propensity_model")
    assert event.metadata["reason"].value == "training was asked for"


def test_a_young_shop_warns_but_goes_on(tmp_path: Path):
    runtime = make_shop(tmp_path, make_rows(size=50, cutoffs=CUTOFFS[-2:]))
    result = run(runtime, AS_OF.isoformat())
    assert result.success
    failed = [check for check in result.get_asset_check_evaluations() if not check.passed]
    assert {check.check_name for check in failed} == {"beats_baselines", "everybody_who_may_be_is_scored"}
    assert {check.severity for check in failed} == {dg.AssetCheckSeverity.WARN}
