"""The assets in Dagster: what they write, link to, and check."""

from __future__ import annotations

import shutil
from pathlib import Path

import dagster as dg
import pytest

from personalization.resources import RuntimeResource
from personalization.runtime import Runtime
from personalization.stages.monitoring import assets as monitoring
from personalization.stages.monitoring import checks as monitoring_checks
from personalization.workspace import Workspace
from tests.monitoring.day import DAY


@pytest.fixture(scope="module")
def shop(full_day: Path, tmp_path_factory: pytest.TempPathFactory) -> Runtime:
    return Runtime(Workspace.at(shutil.copytree(full_day, tmp_path_factory.mktemp("assets") / "shop")))


@pytest.fixture(scope="module")
def result(shop: Runtime) -> dg.ExecuteInProcessResult:
    daily = dg.DailyPartitionsDefinition(start_date="2017-06-04", timezone="America/New_York")
    definitions = dg.Definitions(
        assets=monitoring.assets(shop.program, daily),
        asset_checks=monitoring_checks.checks(shop.program, daily),
        jobs=[dg.define_asset_job("all", dg.AssetSelection.assets(monitoring.RUN_SUMMARY, monitoring.REPORT))],
        resources={"runtime": RuntimeResource(root=str(shop.workspace.root))},
        executor=dg.in_process_executor,
    )
    return definitions.resolve_job_def("all").execute_in_process(partition_key=DAY.key)


def test_the_report_is_linked_and_pictured(shop: Runtime, result: dg.ExecuteInProcessResult) -> None:
    page = shop.workspace.reports / DAY.key / "index.html"
    assert page.is_file()
    [event] = [e for e in result.get_asset_materialization_events() if e.asset_key == monitoring.REPORT]
    metadata = event.materialization.metadata
    assert metadata["report"].value == page.as_uri()
    assert metadata["path"].value == str(page)
    assert str(metadata["people"].value).startswith("![People from landing to platform](data:image/png;base64,")
    assert "| customers | 40 |" in str(metadata["summary"].value)


def test_all_checks_pass(result: dg.ExecuteInProcessResult) -> None:
    found = {evaluation.check_name: evaluation.passed for evaluation in result.get_asset_check_evaluations()}
    assert found == {"figures_agree": True, "is_complete": True, "names_nobody": True}


def test_a_check_that_failed_in_the_run_is_in_the_report(full: Runtime) -> None:
    daily = dg.DailyPartitionsDefinition(start_date="2017-06-04", timezone="America/New_York")

    @dg.asset_check(asset=monitoring.RUN_SUMMARY, name="never", blocking=True, partitions_def=daily)
    def never() -> dg.AssetCheckResult:
        return dg.AssetCheckResult(passed=False, severity=dg.AssetCheckSeverity.WARN)

    definitions = dg.Definitions(
        assets=monitoring.assets(full.program, daily),
        asset_checks=[never],
        jobs=[dg.define_asset_job("all", dg.AssetSelection.assets(monitoring.RUN_SUMMARY, monitoring.REPORT))],
        resources={"runtime": RuntimeResource(root=str(full.workspace.root))},
        executor=dg.in_process_executor,
    )
    definitions.resolve_job_def("all").execute_in_process(partition_key=DAY.key)
    page = full.workspace.reports / DAY.key / "index.html"
    assert "1 check failed: never of monitoring/run_summary." in page.read_text(encoding="utf-8")
