"""Each segment is an asset of its own; any subset can be materialised."""

from __future__ import annotations

from pathlib import Path

import dagster as dg
import pytest

from personalization.resources import RuntimeResource
from personalization.stages.segments import assets, checks
from personalization.warehouse import Warehouse
from tests.segments.shop import MONDAY, Shop

DAILY = dg.DailyPartitionsDefinition("2024-03-01", end_offset=1)
KEY = dg.AssetKey


@pytest.fixture
def definitions(tmp_path: Path) -> dg.Definitions:
    with Warehouse(tmp_path / "var" / "warehouse.duckdb").connect() as session:
        shop = Shop(session, tmp_path)
        shop.customers(MONDAY, ann={"orders_84d": 5}, bob={"orders_84d": 1})
        program = shop.program(
            busy="orders_84d >= 3",
            likely={"rule": "purchase_score > 0.5", "min_completeness": 0.9},
            not_busy="NOT in_segment('busy') AND NOT did('mailing', within => '7 days')",
            nobody="orders_84d > 100",
        )
    return dg.Definitions(
        assets=assets.assets(program, DAILY),
        asset_checks=checks.checks(program, DAILY),
        resources={"runtime": RuntimeResource(root=str(tmp_path))},
        jobs=[dg.define_asset_job("everything")],
    )


def run(definitions: dg.Definitions, *keys: dg.AssetKey) -> dg.ExecuteInProcessResult:
    with dg.DagsterInstance.ephemeral() as instance:
        return definitions.resolve_job_def("everything").execute_in_process(
            instance=instance, partition_key=MONDAY.key, asset_selection=list(keys) or None
        )


def test_lineage_shows_what_a_segment_reads(definitions: dg.Definitions) -> None:
    graph = definitions.resolve_asset_graph()
    parents = {
        key.path[-1]: {p.to_user_string() for p in graph.get(key).parent_keys}
        for key in graph.materializable_asset_keys
    }
    assert parents["profile"] == {"features/customer_profile", "scores/propensity"}
    assert parents["busy"] == {"segments/profile"}
    assert parents["not_busy"] == {"segments/profile", "segments/busy", "marts/customer_day"}
    assert parents["membership"] == {f"segments/{name}" for name in ("busy", "likely", "not_busy", "nobody")}
    assert {graph.get(key).group_name for key in graph.materializable_asset_keys} == {"segments"}


def test_all_segments_with_metadata_and_checks(definitions: dg.Definitions) -> None:
    result = run(definitions)
    events = {event.asset_key.path[-1]: event.materialization for event in result.get_asset_materialization_events()}
    assert list(events) == [
        "profile", "busy", "likely", "not_busy", "nobody", "membership", "summary", "history",
    ]  # fmt: skip
    metadata = {name: value.value for name, value in events["not_busy"].metadata.items()}
    assert metadata["size"] == 1
    assert metadata["rule"] == "NOT in_segment('busy') AND NOT did('mailing', within => '7 days')"
    assert metadata["in words"].startswith("is not in segment 'busy' and not: was mailed in the 7 days before")
    passed = {each.asset_key.path[-1]: each.passed for each in result.get_asset_check_evaluations()}
    assert passed == {"busy": True, "likely": False, "not_busy": True, "nobody": False, "summary": False}
    assert {each.severity for each in result.get_asset_check_evaluations()} == {dg.AssetCheckSeverity.WARN}


def test_one_segment_alone(definitions: dg.Definitions) -> None:
    run(definitions)
    result = run(definitions, KEY(["segments", "not_busy"]))
    assert [event.asset_key for event in result.get_asset_materialization_events()] == [KEY(["segments", "not_busy"])]
    assert [each.asset_key for each in result.get_asset_check_evaluations()] == [KEY(["segments", "not_busy"])]


def test_each_segment_says_whether_it_was_evaluated(definitions: dg.Definitions) -> None:
    """`likely` is incomplete, and is looked at each time."""
    said = [
        {
            event.asset_key.path[-1]: event.materialization.metadata["evaluation"].value
            for event in run(definitions).get_asset_materialization_events()
            if "evaluation" in event.materialization.metadata
        }
        for _ in range(2)
    ]
    names = ("busy", "likely", "not_busy", "nobody")
    assert said[0] == dict.fromkeys(names, "evaluated")
    assert said[1] == dict.fromkeys(names, "reused") | {"likely": "evaluated"}
