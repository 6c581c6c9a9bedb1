"""Sync in Dagster: one step lands everything; each entity in the landing zone is an asset."""

from collections.abc import Iterator

import dagster as dg

from personalization.program import Program
from personalization.resources import RuntimeResource
from personalization.stages.sync.tables import mapped_entities
from personalization.stages.sync.webhook_tables import landing_tables


def assets(program: Program, daily: dg.DailyPartitionsDefinition) -> list[dg.AssetsDefinition]:
    """The landing zone, one asset an entity that the program maps. It holds all time, so it has no partitions."""
    entities = mapped_entities(program)

    @dg.multi_asset(
        name="landing",
        specs=[
            dg.AssetSpec(
                ["landing", entity],
                description=f"Rows of {entity} as the sources gave them, with tokens in place of identifiers.",
                kinds={"dlt", "parquet"},
                owners=["team:data"],
            )
            for entity in entities
        ],
        group_name="sync",
        pool="landing",
    )
    def landing(context: dg.AssetExecutionContext, runtime: RuntimeResource) -> Iterator[dg.MaterializeResult]:
        from personalization.stages.sync.inbox import apply_inbox
        from personalization.stages.sync.load import sync

        rt = runtime.get()
        events = apply_inbox(rt.program, rt.workspace, rt.keys, rt.ledger)
        if events.events or events.replayed:
            context.log.info(
                f"{events.events} webhook events, {sum(events.rows.values())} rows, {events.dead} not understood"
            )
        result = sync(rt.program, rt.workspace, rt.keys, rt.ledger, on_progress=context.log.info)
        for note in result.notes:
            context.log.warning(note)
        for entity in entities:
            tables = [table for table in result.tables if table.entity == entity]
            listing = [
                f"| {t.source}.{t.table} | {t.rows:,} | {t.rejected:,} | {'yes' if t.unchanged else 'no'} |"
                for t in tables
            ]
            by_event = [table for table in landing_tables(rt.program) if table.entity.name == entity]
            listing += [f"| {t.label} (webhooks) | {events.rows.get(t.label, 0):,} | | |" for t in by_event]
            header = "| table | rows landed | of them broken | unchanged |\n|---|--:|--:|---|\n"
            yield dg.MaterializeResult(
                asset_key=["landing", entity],
                metadata={
                    "rows_landed": sum(table.rows for table in tables)
                    + sum(events.rows.get(table.label, 0) for table in by_event),
                    "tables": dg.MetadataValue.md(header + "\n".join(listing)),
                },
            )

    return [landing]
