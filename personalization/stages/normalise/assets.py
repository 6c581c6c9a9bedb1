"""Seeds, staging, intermediate and marts as Dagster assets, one a dbt model, with dbt's tests as their checks."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg
from dagster_dbt import DbtCliResource, dbt_assets

from personalization.program import Program
from personalization.resources import RuntimeResource
from personalization.stages.normalise.resources import Translator, build, resources
from personalization.warehouse.dbt import dbt_vars, prepare_manifest
from personalization.workspace import STATE_VARIABLE, Workspace

__all__ = ["assets", "resources"]


def assets(program: Program, daily: dg.DailyPartitionsDefinition) -> list[dg.AssetsDefinition]:
    """The normalised tables. They hold all time, so they have no partitions."""

    @dbt_assets(
        manifest=manifest_of(program),
        name="normalise",
        select="resource_type:seed personalization.staging personalization.intermediate personalization.marts",
        dagster_dbt_translator=Translator("normalise"),
        pool="warehouse",
    )
    def normalise(context: dg.AssetExecutionContext, runtime: RuntimeResource, dbt: DbtCliResource) -> Iterator[Any]:
        yield from build(context, dbt, runtime.get(), dbt_vars(program), "normalise")

    return [normalise]


def manifest_of(program: Program) -> Path:
    """The manifest for a program's definitions, prepared beside the program's own state."""
    workspace = Workspace.at(program.root.parent, os.environ.get(STATE_VARIABLE))
    return prepare_manifest(workspace)
