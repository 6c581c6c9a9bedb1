"""Every model and column is described, and nothing is described that is not there."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from personalization.warehouse import Session, dbt
from personalization.workspace import Workspace

LAYERS = ("staging", "intermediate", "marts", "features")


def test_every_model_and_column_is_described(shop: Session, tmp_path_factory: pytest.TempPathFactory) -> None:
    manifest = json.loads(dbt.prepare_manifest(Workspace.at(tmp_path_factory.getbasetemp() / "shop")).read_text())
    described = {
        f"{node['schema']}.{node['name']}": [name for name, column in node["columns"].items() if column["description"]]
        for node in manifest["nodes"].values()
        if node["resource_type"] in ("model", "seed") and node["description"]
    }
    columns: dict[str, list[str]] = {}
    for table, column in shop.rows(
        "select schema_name || '.' || table_name, column_name from duckdb_columns()"
        " where schema_name in ('seeds', 'staging', 'intermediate', 'marts', 'features') order by all"
    ):
        columns.setdefault(table, []).append(column)
    assert {table: sorted(names) for table, names in described.items()} == {
        table: sorted(names) for table, names in columns.items()
    }


@pytest.mark.parametrize("layer", LAYERS)
def test_every_model_has_its_yaml_beside_it(layer: str) -> None:
    folder = dbt.source_folder() / "models" / layer
    assert {path.stem for path in folder.glob("*.sql")} <= {path.stem for path in folder.glob("*.yml")}


def test_no_engine_specific_sql_outside_macros() -> None:
    """Functions that only DuckDB has, or that Spark spells otherwise, belong in macros that can be dispatched."""
    engine_specific = (
        "strptime",
        "timezone(",
        "arg_max",
        "max_by",
        "date_diff",
        "regexp_matches",
        "strip_accents",
        "::",
    )
    models: list[Path] = sorted((dbt.source_folder() / "models").rglob("*.sql"))
    found = [(path.name, word) for path in models for word in engine_specific if word in path.read_text()]
    assert not found
