"""Asset checks of landed and mart tables. A mart that breaks its schema, or a required entity without rows, blocks."""

from collections.abc import Iterator

import dagster as dg

from personalization.program import Program
from personalization.resources import RuntimeResource
from personalization.stages.sync.entities import ENTITIES

WARN_SHARE = 0.05
BLOCK_SHARE = 0.5
# the names of `marts.MARTS`, whose import costs seconds that the code location should not wait for
MART_TABLES = (
    "marts.customers",
    "marts.products",
    "marts.orders",
    "marts.order_lines",
    "marts.campaign_history",
    "marts.email_events",
    "marts.customer_events",
    "marts.customer_day",
)


def checks(program: Program, daily: dg.DailyPartitionsDefinition) -> list[dg.AssetChecksDefinition]:
    """Landed tables hold what they promise and not too much is in quarantine; marts are as later stages need them."""
    landed_keys = {entity: dg.AssetKey(["landed", entity]) for entity in ENTITIES}

    mart_keys = {table: dg.AssetKey(table.split(".")) for table in MART_TABLES}

    @dg.multi_asset_check(
        name="landed_checks",
        specs=[
            dg.AssetCheckSpec(name, asset=key, blocking=True, description=description)
            for key in landed_keys.values()
            for name, description in (
                ("schema", "Every row that was let through passes the entity's rules, and no key occurs twice."),
                ("enough_is_valid", f"At most {BLOCK_SHARE:.0%} in quarantine; warns above {WARN_SHARE:.0%}."),
            )
        ],
        pool="warehouse",
    )
    def landed_checks(
        context: dg.AssetCheckExecutionContext, runtime: RuntimeResource
    ) -> Iterator[dg.AssetCheckResult]:
        from personalization.stages.validation.schemas import check_table, landed_schema

        rt = runtime.get()
        with rt.warehouse.connect() as session:
            books = {
                entity: (landed, valid, quarantined)
                for entity, landed, valid, quarantined in session.rows(
                    "select entity, landed, valid, quarantined from validation.books"
                )
            }
            failures = {entity: check_table(landed_schema(entity, rt.program), session) for entity in ENTITIES}
        for entity, key in landed_keys.items():
            landed, valid, quarantined = books[entity]
            share = quarantined / landed if landed else 0.0
            blocking = share > BLOCK_SHARE or (ENTITIES[entity].needed and not valid)
            yield _schema_result("schema", key, failures[entity])
            yield dg.AssetCheckResult(
                check_name="enough_is_valid",
                asset_key=key,
                passed=share <= WARN_SHARE and not blocking,
                severity=dg.AssetCheckSeverity.ERROR if blocking else dg.AssetCheckSeverity.WARN,
                metadata={"landed": landed, "valid": valid, "quarantined": quarantined, "share": share},
                description=f"{valid:,} valid, {quarantined:,} in quarantine.{entity}",
            )

    @dg.multi_asset_check(
        name="mart_checks",
        specs=[
            dg.AssetCheckSpec(
                "schema", asset=key, blocking=True, description="Keys are unique, values known and in range."
            )
            for key in mart_keys.values()
        ],
        pool="warehouse",
    )
    def mart_checks(context: dg.AssetCheckExecutionContext, runtime: RuntimeResource) -> Iterator[dg.AssetCheckResult]:
        from personalization.stages.validation.marts import MARTS
        from personalization.stages.validation.schemas import check_table

        with runtime.get().warehouse.connect() as session:
            failures = {schema.table: check_table(schema, session) for schema in MARTS}
        for table, key in mart_keys.items():
            yield _schema_result("schema", key, failures[table])

    return [landed_checks, mart_checks]


def _schema_result(name: str, key: dg.AssetKey, failures: list) -> dg.AssetCheckResult:
    listing = "\n".join(f"| {f.message} | {f.rows:,} | {'; '.join(map(str, f.examples[:5]))} |" for f in failures)
    return dg.AssetCheckResult(
        check_name=name,
        asset_key=key,
        passed=not failures,
        severity=dg.AssetCheckSeverity.ERROR,
        metadata={
            "failures": dg.MetadataValue.md(f"| check | rows | keys |\n|---|--:|---|\n{listing}" if listing else "none")
        },
    )
