"""The compliance audit as an asset of each month; open privacy requests and retention as jobs."""

from datetime import UTC, datetime

import dagster as dg

from personalization.program import Program
from personalization.resources import RuntimeResource

COMPLIANCE_AUDIT = dg.AssetKey(["privacy", "compliance_audit"])


def assets(program: Program, daily: dg.DailyPartitionsDefinition) -> list[dg.AssetsDefinition]:
    """The audit of each month."""

    @dg.asset(
        key=COMPLIANCE_AUDIT,
        deps=[dg.AssetKey(["monitoring", "platform_audit"])],
        partitions_def=dg.MonthlyPartitionsDefinition(
            start_date=program.settings.start.replace(day=1).isoformat(), timezone=program.settings.timezone
        ),
        group_name="monitoring",
        kinds={"html"},
        owners=["team:data"],
        pool="warehouse",
        description="The signed compliance report: consent and its proof, opt-outs, requests, transfers, keys.",
    )
    def compliance_audit(context: dg.AssetExecutionContext, runtime: RuntimeResource) -> dg.MaterializeResult:
        from personalization.privacy.audit import audit
        from personalization.privacy.audit_pages import findings_table

        made = audit(runtime.get(), context.partition_key[:7], datetime.now(UTC))
        page = made.folder / "index.html"
        return dg.MaterializeResult(
            metadata={
                "critical": len(made.critical),
                "findings": dg.MetadataValue.md(findings_table(made.findings)),
                "report": dg.MetadataValue.url(page.as_uri()),
                "reproduced": made.again,
            }
        )

    return [compliance_audit]


def checks(program: Program, daily: dg.DailyPartitionsDefinition) -> list[dg.AssetChecksDefinition]:
    """Fails when the audit of a month has critical findings."""

    @dg.asset_check(
        asset=COMPLIANCE_AUDIT,
        name="no_critical_finding",
        description="The newest audit that was made has no critical finding.",
    )
    def no_critical_finding(runtime: RuntimeResource) -> dg.AssetCheckResult:
        from personalization.privacy.audit import newest

        made = newest(runtime.get())
        critical = [finding.title for finding in made.critical] if made else []
        return dg.AssetCheckResult(
            passed=not critical,
            severity=dg.AssetCheckSeverity.ERROR,
            metadata={"month": made.month if made else "none", "critical": ", ".join(critical) or "none"},
        )

    return [no_critical_finding]


@dg.op(description="Copies at once; erasures when they are approved, or at once by `privacy.erasure: automatic`.")
def work_off_requests(context: dg.OpExecutionContext, runtime: RuntimeResource) -> None:
    from personalization.privacy.answer import work_off

    for done in work_off(runtime.get(), datetime.now(UTC)):
        context.log.info("%s: %s", done.request.request_id, done.outcome or done.waits)


@dg.op(description="Removes what has been kept long enough, as `privacy` of program.yaml says.")
def expire_old_data(context: dg.OpExecutionContext, runtime: RuntimeResource) -> None:
    from personalization.privacy.retention import expire

    expired = expire(runtime.get(), datetime.now(UTC))
    context.log.info("rows %s, copies %d, message bodies %d", expired.rows, expired.copies, expired.bodies)


@dg.job(name="privacy_requests", description="Works off open privacy requests.")
def privacy_requests() -> None:
    work_off_requests()


@dg.job(name="retention", description="Removes what has been kept long enough.")
def retention() -> None:
    expire_old_data()


def schedules(program: Program) -> list[dg.ScheduleDefinition]:
    """Retention each morning. Off until switched on, as all schedules are."""
    return [
        dg.ScheduleDefinition(
            name="retention_at_5",
            job=retention,
            cron_schedule="0 5 * * *",
            execution_timezone=program.settings.timezone,
            description="Removes what has been kept long enough, after the morning's refresh.",
        )
    ]


@dg.sensor(
    name="open_privacy_requests",
    job=privacy_requests,
    minimum_interval_seconds=60,
    description="Starts when a privacy request can be answered: a new one for a copy, an erasure that is approved.",
)
def open_privacy_requests(context: dg.SensorEvaluationContext) -> dg.RunRequest | dg.SkipReason:
    from personalization.privacy.answer import ready
    from personalization.runtime import Runtime

    waiting = ready(Runtime.from_environment())
    if not waiting:
        return dg.SkipReason("no privacy request can be answered")
    running = context.instance.get_runs(
        dg.RunsFilter(
            job_name="privacy_requests",
            statuses=[dg.DagsterRunStatus.QUEUED, dg.DagsterRunStatus.STARTING, dg.DagsterRunStatus.STARTED],
        ),
        limit=1,
    )
    if running:
        return dg.SkipReason("they are being worked off")
    return dg.RunRequest(tags={"personalization/requests": ", ".join(request.request_id for request in waiting[:5])})
