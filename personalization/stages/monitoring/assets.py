"""What happened on a day as figures, the report that shows them, and the monthly audit of what platforms hold."""

import dagster as dg

from personalization.program import Program
from personalization.resources import RuntimeResource, as_of

RUN_SUMMARY = dg.AssetKey(["monitoring", "run_summary"])
REPORT = dg.AssetKey(["monitoring", "report"])
PLATFORM_AUDIT = dg.AssetKey(["monitoring", "platform_audit"])


def assets(program: Program, daily: dg.DailyPartitionsDefinition) -> list[dg.AssetsDefinition]:
    """The run summary and the report of each day, and the platform audit of each month."""
    exports = [dg.AssetKey(["export", name]) for name in program.destinations]

    @dg.asset(
        key=RUN_SUMMARY,
        deps=[
            dg.AssetKey(["marts", "customers"]),
            dg.AssetKey(["scores", "model_quality"]),
            dg.AssetKey(["segments", "summary"]),
            dg.AssetKey(["decisions", "summary"]),
            dg.AssetKey(["experiments", "results"]),
            *exports,
        ],
        partitions_def=daily,
        group_name="monitoring",
        kinds={"duckdb"},
        owners=["team:data"],
        pool="warehouse",
        description="Figures of the day by dotted name: rows, customers, model quality, segments, decisions, effects.",
    )
    def run_summary(context: dg.AssetExecutionContext, runtime: RuntimeResource) -> dg.MaterializeResult:
        from personalization.stages.monitoring.markdown import short_table
        from personalization.stages.monitoring.metrics import run_summary, write_run_summary

        rt = runtime.get()
        day = as_of(context, rt)
        summary = run_summary(rt, day)
        with rt.warehouse.connect() as session:
            figures = write_run_summary(session, summary, day)
        return dg.MaterializeResult(
            metadata={"dagster/row_count": figures, "summary": dg.MetadataValue.md(short_table(summary))}
        )

    @dg.asset(
        key=REPORT,
        deps=[RUN_SUMMARY, dg.AssetKey(["marts", "orders"]), dg.AssetKey(["scores", "importance"])],
        partitions_def=daily,
        group_name="monitoring",
        kinds={"html"},
        owners=["team:data"],
        pool="warehouse",
        description="One folder of HTML: what happened, what needs attention, and how every number came about.",
    )
    def report(context: dg.AssetExecutionContext, runtime: RuntimeResource) -> dg.MaterializeResult:
        from personalization.stages.monitoring.markdown import short_table
        from personalization.stages.monitoring.metrics import run_summary
        from personalization.stages.monitoring.report.figures import flow_picture
        from personalization.stages.monitoring.report.site import write_report

        rt = runtime.get()
        day = as_of(context, rt)
        summary = run_summary(rt, day)
        page = write_report(rt, summary, day, failed_checks=_failed_checks(context))
        picture = flow_picture(summary)
        return dg.MaterializeResult(
            metadata={
                "report": dg.MetadataValue.url(page.as_uri()),
                "path": dg.MetadataValue.path(str(page)),
                "people": dg.MetadataValue.md(
                    f"![People from landing to platform]({picture})" if picture else "none yet"
                ),
                "summary": dg.MetadataValue.md(short_table(summary)),
            }
        )

    @dg.asset(
        key=PLATFORM_AUDIT,
        deps=exports,
        partitions_def=dg.MonthlyPartitionsDefinition(
            start_date=program.settings.start.replace(day=1).isoformat(), timezone=program.settings.timezone
        ),
        group_name="monitoring",
        kinds={"duckdb"},
        owners=["team:data"],
        pool="warehouse",
        description="What each destination holds, read back and compared with what it acknowledged and who opted out.",
    )
    def platform_audit(context: dg.AssetExecutionContext, runtime: RuntimeResource) -> dg.MaterializeResult:
        from personalization.stages.monitoring.audit import audit_destination
        from personalization.stages.monitoring.audit_record import audit_table, record_audit

        rt = runtime.get()
        audits = [audit_destination(rt, name) for name in rt.program.destinations]
        with rt.warehouse.connect() as session:
            rows = record_audit(session, context.partition_key, audits)
        return dg.MaterializeResult(
            metadata={"dagster/row_count": rows, "findings": dg.MetadataValue.md(audit_table(audits))}
        )

    return [run_summary, report, platform_audit]


def _failed_checks(context: dg.AssetExecutionContext) -> list[str]:
    """Checks of this very run that did not pass: the report is its last step but for its own checks."""
    records = context.instance.get_records_for_run(
        context.run.run_id, of_type=dg.DagsterEventType.ASSET_CHECK_EVALUATION
    ).records
    evaluations = [record.event_log_entry.get_dagster_event().asset_check_evaluation_data for record in records]
    return sorted(
        f"{evaluation.check_name} of {evaluation.asset_key.to_user_string()}"
        for evaluation in evaluations
        if not evaluation.passed
    )
