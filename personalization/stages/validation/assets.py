"""Validation in Dagster: landed rows split into valid and quarantined, and the identifiers of each person joined."""

from collections.abc import Iterator

import dagster as dg

from personalization.program import Program
from personalization.resources import RuntimeResource
from personalization.stages.sync.entities import ENTITIES
from personalization.stages.sync.landing import CONSUMER as LANDING
from personalization.stages.sync.results_tables import results_tables
from personalization.stages.sync.tables import mapped_entities

IDENTITY = dg.AssetKey(["landed", "identity"])


def assets(program: Program, daily: dg.DailyPartitionsDefinition) -> list[dg.AssetsDefinition]:
    """Valid rows an entity, also of those that no source fills: they are empty then."""
    mapped = mapped_entities(program)
    reported: dict[str, list[list[str]]] = {}
    for table in results_tables(program):
        reported.setdefault(table.entity.name, []).append(["results", table.destination])

    @dg.multi_asset(
        name="landed",
        specs=[
            dg.AssetSpec(
                ["landed", entity],
                deps=[*([["landing", entity]] if entity in mapped else []), *reported.get(entity, [])],
                description=f"Valid rows of {entity}, the newest of each key. Invalid ones: quarantine.{entity}.",
                kinds={"pandera", "duckdb"},
                owners=["team:data"],
            )
            for entity in ENTITIES
        ],
        group_name="validation",
        pool="warehouse",
    )
    def landed(context: dg.AssetExecutionContext, runtime: RuntimeResource) -> Iterator[dg.MaterializeResult]:
        from personalization.stages.validation.validate import validate_landed

        rt = runtime.get()
        damaged = rt.warehouse.set_aside_if_damaged()
        if damaged:
            context.log.error(f"the warehouse was damaged: it is in {damaged} now, and this run makes everything again")
        inbox = rt.ledger.inbox.watermark(LANDING)
        with rt.warehouse.connect() as session:
            books = {each.entity: each for each in validate_landed(rt.program, rt.workspace, session, inbox=inbox)}
        for entity in ENTITIES:
            each = books[entity]
            reasons = "\n".join(f"| {reason} | {rows:,} |" for reason, rows in each.reasons.items())
            yield dg.MaterializeResult(
                asset_key=["landed", entity],
                metadata={
                    "dagster/row_count": each.valid,
                    "landed": each.landed,
                    "quarantined": each.quarantined,
                    "superseded": each.superseded,
                    "reasons": dg.MetadataValue.md(f"| reason | rows |\n|---|--:|\n{reasons}" if reasons else "none"),
                },
            )

    @dg.asset(
        key=IDENTITY,
        deps=[["landed", "customers"], ["landed", "consent_events"]],
        group_name="validation",
        pool="warehouse",
        kinds={"duckdb"},
        owners=["team:data"],
        description="Which identifiers belong to one person: connected components over the identifiers of records.",
    )
    def identity(context: dg.AssetExecutionContext, runtime: RuntimeResource) -> dg.MaterializeResult:
        from personalization.stages.sync.identity import write_identity

        rt = runtime.get()
        with rt.warehouse.connect() as session:
            result = write_identity(
                session, rt.workspace.history, rt.ledger.identity_corrections.holding(), kept=rt.ledger.kept.people()
            )
        if result.unresolved:
            context.log.warning(
                f"splits {', '.join(map(str, result.unresolved))} do not separate their two identifiers: other records "
                "link them as well (personalization identity explain)"
            )
        return dg.MaterializeResult(
            metadata={
                "dagster/row_count": result.identifiers,
                "people": result.people,
                "people_with_several_customer_ids": result.merged,
                "shared_identifiers": result.shared,
            }
        )

    return [landed, identity]
