"""The decisions: for every candidate of every running campaign whether, why, and with what content it is mailed."""

from collections.abc import Iterator
from typing import Any

import dagster as dg

from personalization.program import Program
from personalization.resources import RuntimeResource, as_of

DECISIONS = dg.AssetKey(["decisions", "decisions"])
SUMMARY = dg.AssetKey(["decisions", "summary"])


def assets(program: Program, daily: dg.DailyPartitionsDefinition) -> list[dg.AssetsDefinition]:
    """`decisions.decisions` and `decisions.summary`, made together for a day."""
    upstream = [
        dg.AssetKey(["segments", "profile"]),
        dg.AssetKey(["segments", "membership"]),
        dg.AssetKey(["marts", "email_events"]),
        dg.AssetKey(["landed", "identity"]),
    ]
    common: dict[str, Any] = {
        "group_name": "decisions",
        "kinds": {"duckdb", "sql"},
        "owners": ["team:data"],
        "partitions_def": daily,
    }

    @dg.multi_asset(
        name="decisions",
        specs=[
            dg.AssetSpec(
                DECISIONS,
                deps=upstream,
                description="One row per candidate and campaign: send or withheld, every reason, content codes, offer.",
                **common,
            ),
            dg.AssetSpec(
                SUMMARY, deps=[DECISIONS], description="Customers per campaign, outcome and first reason.", **common
            ),
        ],
        pool="warehouse",
    )
    def decisions(context: dg.AssetExecutionContext, runtime: RuntimeResource) -> Iterator[dg.MaterializeResult]:
        from personalization.stages.decisions.decide import decide_day

        rt = runtime.get()
        day = as_of(context, rt)
        ledger = rt.ledger
        with rt.warehouse.connect() as session:
            decided = decide_day(session, ledger, rt.program, day)
        yield dg.MaterializeResult(
            asset_key=DECISIONS,
            metadata={
                "dagster/row_count": decided.rows,
                "campaigns": ", ".join(decided.campaigns) or "none runs on this day",
                "sends": decided.sends,
                "withheld": decided.rows - decided.sends,
            },
        )
        yield dg.MaterializeResult(
            asset_key=SUMMARY,
            metadata={"dagster/row_count": len(decided.summary), "by_reason": dg.MetadataValue.md(decided.markdown())},
        )

    return [decisions]
