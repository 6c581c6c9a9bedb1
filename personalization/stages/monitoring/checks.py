"""Asset checks of the figures and the report: they agree with the tables, and the report names nobody."""

import dagster as dg

from personalization.program import Program
from personalization.resources import RuntimeResource, as_of
from personalization.stages.monitoring.assets import REPORT, RUN_SUMMARY


def checks(program: Program, daily: dg.DailyPartitionsDefinition) -> list[dg.AssetChecksDefinition]:
    """Three checks, none of them blocking: nothing comes after the report."""

    @dg.asset_check(
        name="figures_agree",
        asset=RUN_SUMMARY,
        partitions_def=daily,
        description="Row counts add up, and the sums of the summary are those of the tables it was made from.",
    )
    def figures_agree(context: dg.AssetCheckExecutionContext, runtime: RuntimeResource) -> dg.AssetCheckResult:
        from personalization.stages.monitoring.verify import differing_figures

        rt = runtime.get()
        with rt.warehouse.connect(read_only=True) as session:
            differing = differing_figures(session, as_of(context, rt))
        return dg.AssetCheckResult(passed=not differing, description="; ".join(differing) or "all figures agree")

    @dg.asset_check(
        name="is_complete",
        asset=REPORT,
        partitions_def=daily,
        description="Every page of the report is there and whole.",
    )
    def is_complete(context: dg.AssetCheckExecutionContext, runtime: RuntimeResource) -> dg.AssetCheckResult:
        from personalization.stages.monitoring.verify import missing_pages

        rt = runtime.get()
        missing = missing_pages(rt.workspace.reports / as_of(context, rt).key)
        return dg.AssetCheckResult(passed=not missing, description=", ".join(missing) or "all pages are there")

    @dg.asset_check(
        name="names_nobody",
        asset=REPORT,
        partitions_def=daily,
        description="No e-mail address and no customer token is in any file of the report.",
    )
    def names_nobody(context: dg.AssetCheckExecutionContext, runtime: RuntimeResource) -> dg.AssetCheckResult:
        from personalization.stages.monitoring.verify import files_with_identifiers

        rt = runtime.get()
        found = files_with_identifiers(rt.workspace.reports / as_of(context, rt).key)
        return dg.AssetCheckResult(passed=not found, description=", ".join(found) or "no identifier found")

    return [figures_agree, is_complete, names_nobody]
