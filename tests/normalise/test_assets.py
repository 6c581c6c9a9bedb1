"""The normalise and features stages in Dagster, on sources with types of their own instead of text."""

from __future__ import annotations

import os
from pathlib import Path

import dagster as dg
import pytest

from personalization.program import load_program
from personalization.resources import RuntimeResource
from personalization.stages.features import assets as features
from personalization.stages.normalise import assets as normalise
from personalization.warehouse import Session, Warehouse
from personalization.workspace import STATE_VARIABLE, Workspace
from tests.normalise.landed import Shop

TYPES = {
    "quantity": "bigint",
    "amount": "double",
    "discount": "double",
    "coupon_discount": "double",
    "ordered_at": "timestamp",
    "starts_at": "timestamp",
    "ends_at": "date",
    "campaign_id": "integer",
}
ROOT = Path(__file__).parents[2]
PROGRAM = load_program(ROOT / "program")
DAILY = dg.DailyPartitionsDefinition("2017-06-04", timezone="America/New_York")


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory, shop: Session) -> Workspace:
    workspace = Workspace.at(ROOT, tmp_path_factory.mktemp("typed"))
    os.symlink(tmp_path_factory.getbasetemp() / "shop" / "var" / "dbt", workspace.dbt_target)
    Shop(types=TYPES).write(workspace.warehouse)
    return workspace


@pytest.fixture(scope="module")
def definitions(workspace: Workspace) -> dg.Definitions:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(STATE_VARIABLE, str(workspace.state))
        assets = [*normalise.assets(PROGRAM, DAILY), *features.assets(PROGRAM, DAILY)]
    return dg.Definitions(
        assets=assets,
        jobs=[dg.define_asset_job("everything", dg.AssetSelection.all())],
        resources={
            "runtime": RuntimeResource(root=str(workspace.root), state=str(workspace.state)),
            **normalise.resources(workspace),
        },
        executor=dg.in_process_executor,
    )


@pytest.fixture(scope="module")
def run(definitions: dg.Definitions) -> dg.ExecuteInProcessResult:
    return definitions.resolve_job_def("everything").execute_in_process(partition_key="2017-12-03")


def test_assets_are_named_as_tables_and_grouped_by_stage(definitions: dg.Definitions) -> None:
    graph = definitions.resolve_asset_graph()
    key = dg.AssetKey(["marts", "orders"])
    assert graph.get(key).group_name == "normalise"
    assert graph.get(key).partitions_def is None
    assert graph.get(key).owners == ["team:data"]
    assert graph.get(key).description == (
        "One row an order. Where its lines disagree about person, time, store or currency, the smallest value counts."
    )
    assert graph.get(dg.AssetKey(["features", "customer_profile"])).group_name == "features"
    assert graph.get(dg.AssetKey(["features", "customer_profile"])).partitions_def == DAILY
    staged = graph.get(dg.AssetKey(["staging", "stg_order_lines"]))
    assert dg.AssetKey(["landed", "order_lines"]) in staged.parent_keys


def test_dbt_tests_are_asset_checks(run: dg.ExecuteInProcessResult) -> None:
    checks = {
        (check.asset_key.to_user_string(), check.check_name): check for check in run.get_asset_check_evaluations()
    }
    assert set(checks) == {
        ("marts/customers", "unique_customers_customer_token"),
        ("marts/products", "unique_products_product_id"),
        ("marts/campaign_history", "unique_campaign_history_campaign_id"),
        ("marts/order_lines", "not_null_order_lines_order_day"),
        ("marts/order_lines", "no_order_line_is_lost_or_doubled"),
        ("marts/email_events", "every_email_event_is_known"),
    }
    assert all(check.passed for check in checks.values())


def test_materialisations_show_rows_columns_and_lineage(run: dg.ExecuteInProcessResult) -> None:
    metadata = {
        event.materialization.asset_key.to_user_string(): event.materialization.metadata
        for event in run.get_asset_materialization_events()
    }
    customers = metadata["marts/customers"]
    assert customers["dagster/row_count"].value == 6
    schema = {column.name: column for column in customers["dagster/column_schema"].schema.columns}
    assert schema["records"].type == "BIGINT"
    assert schema["customer_token"].description == "The person."
    lineage = metadata["features/customer_features"]["dagster/column_lineage"].lineage.deps_by_column
    assert dg.TableColumnDep(dg.AssetKey(["marts", "customer_day"]), "amount") in lineage["spend_84d"]
    staged = metadata["staging/stg_order_lines"]["dagster/column_lineage"].lineage.deps_by_column
    assert staged["amount"] == [dg.TableColumnDep(dg.AssetKey(["landed", "order_lines"]), "amount")]


def test_no_connection_stays_open(run: dg.ExecuteInProcessResult) -> None:
    links = [f"/proc/self/fd/{name}" for name in os.listdir("/proc/self/fd")]
    open_files = {os.readlink(link) for link in links if os.path.lexists(link)}
    assert not {name for name in open_files if "typed" in name and name.endswith(".duckdb")}


def test_typed_sources_give_the_same_tables_as_text(
    run: dg.ExecuteInProcessResult, workspace: Workspace, shop: Session
) -> None:
    tables = ["marts.orders", "marts.order_lines", "marts.campaign_history", "marts.customer_day", "marts.customers"]
    with Warehouse(workspace.warehouse).connect(read_only=True) as typed:
        for table in tables:
            assert typed.fingerprint(table) == shop.fingerprint(table), table
