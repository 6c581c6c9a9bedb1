"""Sync and validation as Dagster runs them: assets, metadata, and checks that warn or block."""

from __future__ import annotations

import dagster as dg
import pytest

from personalization.resources import RuntimeResource
from personalization.stages.sync import assets as sync_assets
from personalization.stages.validation import assets as validation_assets
from personalization.stages.validation import checks as validation_checks
from tests.sync.shop import HEADER, Shop, orders

CUSTOMERS = {"entity": "customers", "path": "customers.csv", "columns": {"customer_id": "id", "email": "mail"}}


def run(shop: Shop) -> dg.ExecuteInProcessResult:
    """Sync, validation and the checks of landed tables in one in-process run."""
    daily = dg.DailyPartitionsDefinition("2017-01-01")
    landed_checks, _marts = validation_checks.checks(shop.program, daily)
    assets = [*sync_assets.assets(shop.program, daily), *validation_assets.assets(shop.program, daily)]
    definitions = dg.Definitions(
        assets=assets, asset_checks=[landed_checks], resources={"runtime": RuntimeResource(root=str(shop.root))}
    )
    job = definitions.resolve_implicit_global_asset_job_def()
    with dg.DagsterInstance.ephemeral() as instance:
        return job.execute_in_process(instance=instance, raise_on_error=False)


def use(shop: Shop, wrong: int, right: int, customers: int = 1) -> None:
    lines = [f"{n},1,c1,{'x' if n < wrong else 1},1.00,2017-01-01" for n in range(wrong + right)]
    shop.write_lines("orders.csv", HEADER, *lines)
    shop.write_lines("customers.csv", "id,mail", *(f"c{n},c{n}@example.com" for n in range(customers)))
    shop.use_files(orders=orders("orders.csv"), customers=CUSTOMERS)


def outcome(result: dg.ExecuteInProcessResult, entity: str, check: str) -> tuple[bool, str]:
    (found,) = [
        each
        for each in result.get_asset_check_evaluations()
        if each.asset_key == dg.AssetKey(["landed", entity]) and each.check_name == check
    ]
    return found.passed, found.severity.value


def test_assets_checks_and_what_they_tell(shop: Shop) -> None:
    use(shop, wrong=1, right=99)
    result = run(shop)
    assert result.success
    assert outcome(result, "order_lines", "enough_is_valid") == (True, "WARN")
    assert outcome(result, "order_lines", "schema")[0]
    (landing,) = result.asset_materializations_for_node("landing")[1:] or [None]
    assert landing is not None
    metadata = {
        event.asset_key.to_user_string(): event.metadata for event in result.asset_materializations_for_node("landed")
    }
    lines = metadata["landed/order_lines"]
    assert (lines["dagster/row_count"].value, lines["quarantined"].value, lines["landed"].value) == (99, 1, 100)
    assert "quantity: not a number | 1" in lines["reasons"].value
    (identity,) = result.asset_materializations_for_node("landed__identity")
    assert identity.metadata["people"].value == 1


@pytest.mark.parametrize(
    ("wrong", "right", "customers", "entity", "expected"),
    [
        (6, 94, 1, "order_lines", (False, "WARN")),
        (51, 49, 1, "order_lines", (False, "ERROR")),
        (0, 0, 1, "order_lines", (False, "ERROR")),
        (0, 1, 0, "customers", (False, "ERROR")),
    ],
    ids=["some in quarantine", "most in quarantine", "no orders", "no customers"],
)
def test_what_warns_and_what_blocks(
    shop: Shop, wrong: int, right: int, customers: int, entity: str, expected: tuple[bool, str]
) -> None:
    use(shop, wrong, right, customers)
    assert outcome(run(shop), entity, "enough_is_valid") == expected


def test_an_error_of_a_source_fails_the_step_with_its_text(shop: Shop) -> None:
    use(shop, wrong=0, right=1)
    (shop.root / "data" / "customers.csv").unlink()
    result = run(shop)
    assert not result.success
    (failure,) = [event for event in result.all_events if event.event_type_value == "STEP_FAILURE"]
    assert "customers.csv does not exist" in str(failure.step_failure_data.error)
