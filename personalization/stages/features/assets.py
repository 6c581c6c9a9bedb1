"""Point-in-time features, labels and the profile as Dagster assets, one a dbt model, for each as_of day."""

from collections.abc import Iterator
from typing import Any

import dagster as dg
from dagster_dbt import DbtCliResource, dbt_assets

from personalization.program import Program
from personalization.resources import RuntimeResource, as_of
from personalization.stages.normalise.assets import manifest_of
from personalization.stages.normalise.resources import Translator, build
from personalization.warehouse.dbt import dbt_vars


def assets(program: Program, daily: dg.DailyPartitionsDefinition) -> list[dg.AssetsDefinition]:
    """Features of one as_of day and of the earlier cut-offs that a model for that day may learn from."""

    @dbt_assets(
        manifest=manifest_of(program),
        name="features",
        select="personalization.features",
        partitions_def=daily,
        dagster_dbt_translator=Translator("features"),
        backfill_policy=dg.BackfillPolicy.multi_run(),  # a run computes the features of one day
        pool="warehouse",
    )
    def features(context: dg.AssetExecutionContext, runtime: RuntimeResource, dbt: DbtCliResource) -> Iterator[Any]:
        rt = runtime.get()
        yield from build(context, dbt, rt, dbt_vars(program, as_of(context, rt)), "features")

    return [features]
