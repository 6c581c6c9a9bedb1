"""Dagster asset checks of the scoring stage. What would make later stages wrong blocks them; the rest warns."""

from collections.abc import Callable

import dagster as dg

from personalization.as_of import AsOf
from personalization.program import Program
from personalization.resources import RuntimeResource, as_of
from personalization.runtime import Runtime
from personalization.stages.scoring import verify
from personalization.stages.scoring.assets import EXPLANATIONS, MODEL, PROPENSITY, QUALITY
from personalization.stages.scoring.verify import Finding


def checks(program: Program, daily: dg.DailyPartitionsDefinition) -> list[dg.AssetChecksDefinition]:
    """The checks of this stage."""

    def check(
        asset: dg.AssetKey, condition: Callable[[Runtime, AsOf], Finding], *, after: tuple[dg.AssetKey, ...] = ()
    ) -> dg.AssetChecksDefinition:
        @dg.asset_check(
            asset=asset,
            name=condition.__name__,
            description=condition.__doc__,
            additional_deps=after,
            partitions_def=daily,
            blocking=True,
            pool="warehouse",
        )
        def run(context: dg.AssetCheckExecutionContext, runtime: RuntimeResource) -> dg.AssetCheckResult:
            rt = runtime.get()
            finding = condition(rt, as_of(context, rt))
            severity = dg.AssetCheckSeverity.WARN if finding.only_warn else dg.AssetCheckSeverity.ERROR
            return dg.AssetCheckResult(passed=finding.passed, severity=severity, description=finding.text)

        return run

    return [
        check(MODEL, verify.beats_baselines),
        check(PROPENSITY, verify.scores_are_probabilities),
        check(PROPENSITY, verify.everybody_who_may_be_is_scored),
        check(EXPLANATIONS, verify.explanations_add_up),
        check(QUALITY, verify.outcome_is_calibrated, after=(PROPENSITY,)),
    ]
