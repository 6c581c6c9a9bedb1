"""Readying and running dbt: what it is told, and what it says when something is wrong."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from personalization.as_of import AsOf
from personalization.errors import DataError, WarehouseError
from personalization.program import load_program
from personalization.warehouse import Session, Warehouse, dbt
from personalization.warehouse.date_formats import date_formats
from personalization.workspace import Workspace
from tests.normalise.landed import VARIABLES, Shop

PROGRAM = load_program(Path(__file__).parents[2] / "program")


def test_cutoffs_go_back_one_horizon_at_a_time() -> None:
    variables = dbt.dbt_vars(PROGRAM, AsOf(date(2017, 12, 3), "America/New_York"))
    assert variables["as_of"] == "2017-12-03"
    assert variables["cutoffs"] == [
        "2017-12-03",
        "2017-11-05",
        "2017-10-08",
        "2017-09-10",
        "2017-08-13",
        "2017-07-16",
        "2017-06-18",
    ]
    assert variables["horizon_days"] == 28


def test_normalisation_does_not_depend_on_the_day() -> None:
    assert dbt.dbt_vars(PROGRAM) == {
        "timezone": "America/New_York",
        "currency": "USD",
        "date_formats": date_formats(),
    }


def test_dates_with_slashes_are_read_only_when_their_order_is_given() -> None:
    settings = PROGRAM.settings.model_copy(update={"slash_dates": "day_first"})
    formats = dbt.dbt_vars(dataclasses.replace(PROGRAM, settings=settings))["date_formats"]
    assert "%d/%m/%Y" in formats
    assert not any("/" in text for text in date_formats())


def test_a_project_is_prepared_once(shop: Session, tmp_path_factory: pytest.TempPathFactory) -> None:
    workspace = Workspace.at(tmp_path_factory.getbasetemp() / "shop")
    manifest = dbt.prepare_manifest(workspace)
    made = manifest.stat().st_mtime_ns
    assert dbt.prepare_manifest(workspace) == manifest
    assert manifest.stat().st_mtime_ns == made
    assert manifest.is_relative_to(workspace.dbt_target)
    leftovers = [path.name for path in workspace.dbt_target.rglob(".*")]
    assert not leftovers


def test_nothing_is_written_beside_the_project(shop: Session) -> None:
    source = dbt.source_folder()
    assert not [name for name in ("target", "logs") if (source / name).exists()]
    assert not list((source / "seeds").glob("*.csv"))


def test_failing_models_and_tests_are_named(
    shop: Session, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """A product twice would double its order lines; and a model whose source is gone says which."""
    prepared = tmp_path_factory.getbasetemp() / "shop" / "var" / "dbt"
    workspace = Workspace.at(tmp_path / "shop")
    workspace.state.mkdir(parents=True)
    os.symlink(prepared, workspace.dbt_target)
    broken = Shop()
    broken.products = [*broken.products, {"product_id": " p1", "department": "DELI"}]
    broken.write(workspace.warehouse)
    with Warehouse(workspace.warehouse).connect() as session:
        session.execute("drop table landed.email_events")
    with pytest.raises(WarehouseError) as raised:
        dbt.run(
            workspace,
            ["build", "--exclude-resource-type", "unit_test", "--select", "+products", "stg_email_events"],
            VARIABLES,
            "broken",
        )
    assert "model stg_email_events: " in str(raised.value)
    assert "Table with name email_events does not exist" in str(raised.value)
    assert "test unique_products_product_id: Got 1 result, configured to fail if != 0" in str(raised.value)


def test_a_failing_test_alone_is_a_data_error(tmp_path: Path) -> None:
    results = [
        {"unique_id": "model.personalization.orders", "status": "success", "message": "OK"},
        {"unique_id": "test.personalization.unique_products.1a2b", "status": "fail", "message": "Got 1 result"},
        {"unique_id": "model.personalization.order_lines", "status": "skipped", "message": None},
    ]
    (tmp_path / "run_results.json").write_text(json.dumps({"results": results}))
    error = dbt.explain(tmp_path, "")
    assert isinstance(error, DataError)
    assert str(error) == f"dbt: test unique_products: Got 1 result\n  hint: the SQL is in {tmp_path}/compiled"


def test_a_run_that_never_began_is_told_in_dbts_words(tmp_path: Path) -> None:
    error = dbt.explain(tmp_path, "Could not set lock on file\n")
    assert str(error) == "dbt can't run: Could not set lock on file"


def test_dbt_ends_with_the_process_that_started_it(
    shop: Session, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Else a killed run would go on writing under its rerun."""
    workspace = Workspace.at(tmp_path / "shop")
    workspace.state.mkdir(parents=True)
    os.symlink(tmp_path_factory.getbasetemp() / "shop" / "var" / "dbt", workspace.dbt_target)
    program = (
        "from personalization.warehouse import dbt; from personalization.workspace import Workspace;"
        f"dbt.run(Workspace.at({str(workspace.root)!r}), ['build'], {VARIABLES!r}, 'orphan')"
    )
    starter = subprocess.Popen([sys.executable, "-c", program], stderr=subprocess.DEVNULL)
    try:
        [orphan] = wait_for(lambda: children_of(starter.pid), "dbt did not start")
    finally:
        starter.kill()
        starter.wait()
    wait_for(lambda: not is_running(orphan), "dbt outlived its starter")


def wait_for(found: Callable[[], Any], message: str) -> Any:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        if result := found():
            return result
        time.sleep(0.05)
    raise AssertionError(message)


def children_of(pid: int) -> list[int]:
    try:
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except FileNotFoundError:
        return []


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False
