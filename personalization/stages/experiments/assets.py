"""Experiments: who was assigned to which arm, and what can be said about the outcomes known so far."""

from collections.abc import Iterator
from typing import Any

import dagster as dg

from personalization.program import Program
from personalization.resources import RuntimeResource, as_of

ASSIGNMENTS = dg.AssetKey(["experiments", "assignments"])
RESULTS = dg.AssetKey(["experiments", "results"])


def assets(program: Program, daily: dg.DailyPartitionsDefinition) -> list[dg.AssetsDefinition]:
    """`experiments.assignments` and `experiments.results` for a day."""
    common: dict[str, Any] = {
        "group_name": "monitoring",
        "kinds": {"duckdb"},
        "owners": ["team:data"],
        "partitions_def": daily,
    }

    @dg.multi_asset(
        name="experiments",
        specs=[
            dg.AssetSpec(
                ASSIGNMENTS,
                deps=[dg.AssetKey(["decisions", "decisions"])],
                description="Customers sent a variant of an experiment, with their arm.",
                **common,
            ),
            dg.AssetSpec(
                RESULTS,
                deps=[
                    ASSIGNMENTS,
                    dg.AssetKey(["decisions", "decisions"]),
                    dg.AssetKey(["marts", "customer_day"]),
                    dg.AssetKey(["marts", "email_events"]),
                    dg.AssetKey(["marts", "campaign_history"]),
                ],
                description="Conversion per arm with chi-squared test, effect, interval, sample-ratio check, verdict.",
                **common,
            ),
        ],
        pool="warehouse",
    )
    def experiments(context: dg.AssetExecutionContext, runtime: RuntimeResource) -> Iterator[dg.MaterializeResult]:
        from personalization.stages.experiments.outcomes import record_assignments
        from personalization.stages.experiments.readout import markdown
        from personalization.stages.experiments.results import read_out_day

        rt = runtime.get()
        day = as_of(context, rt)
        with rt.warehouse.connect() as session:
            assigned = record_assignments(session, rt.program, day)
            rows = read_out_day(session, rt.program, day)
        yield dg.MaterializeResult(asset_key=ASSIGNMENTS, metadata={"dagster/row_count": assigned})
        yield dg.MaterializeResult(
            asset_key=RESULTS,
            metadata={"dagster/row_count": len(rows), "read_out": dg.MetadataValue.md(markdown(rows))},
        )

    return [experiments]
