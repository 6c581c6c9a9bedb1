"""Asset checks of the decisions. They compute again, in another way, what must never be wrong."""

from collections.abc import Iterator

import dagster as dg

from personalization.program import Program
from personalization.resources import RuntimeResource, as_of

DECISIONS = dg.AssetKey(["decisions", "decisions"])


def checks(program: Program, daily: dg.DailyPartitionsDefinition) -> list[dg.AssetChecksDefinition]:
    """One decision each, nobody mailed against their will, totals: each blocks the export when it fails."""

    @dg.multi_asset_check(
        name="decisions_checks",
        specs=[
            dg.AssetCheckSpec(
                "one_decision_each",
                asset=DECISIONS,
                blocking=True,
                partitions_def=daily,
                description="Exactly one row per campaign and customer.",
            ),
            dg.AssetCheckSpec(
                "nobody_against_their_will",
                asset=DECISIONS,
                blocking=True,
                partitions_def=daily,
                description="Nobody is mailed who did not agree, is suppressed, has no address or is held out.",
            ),
            dg.AssetCheckSpec(
                "totals_add_up",
                asset=DECISIONS,
                blocking=True,
                partitions_def=daily,
                description="Sends and withheld of the summary are the candidates, per campaign.",
            ),
            dg.AssetCheckSpec(
                "nobody_too_often",
                asset=DECISIONS,
                blocking=True,
                partitions_def=daily,
                description="Nobody is mailed within the gap, beyond a cap, or though the sunset leaves them alone.",
            ),
            dg.AssetCheckSpec(
                "few_complain",
                asset=DECISIONS,
                partitions_def=daily,
                description="The governor holds no campaign down for complaints or unsubscribes. It warns.",
            ),
        ],
        pool="warehouse",
    )
    def decisions_checks(
        context: dg.AssetCheckExecutionContext, runtime: RuntimeResource
    ) -> Iterator[dg.AssetCheckResult]:
        from personalization.stages.decisions import audit, frequency_audit
        from personalization.stages.decisions.governed import alarms

        rt = runtime.get()
        day = as_of(context, rt)
        with rt.warehouse.connect(read_only=True) as session:
            findings = {
                "one_decision_each": audit.repeated_decisions(session, day),
                "nobody_against_their_will": audit.wrong_sends(session, rt.ledger, rt.program, day),
                "totals_add_up": audit.open_totals(session, day),
                "nobody_too_often": frequency_audit.too_often(session, rt.ledger, rt.program, day),
                "few_complain": alarms(session, day),
            }
        for name, found in findings.items():
            yield dg.AssetCheckResult(
                check_name=name,
                asset_key=DECISIONS,
                passed=not found,
                severity=dg.AssetCheckSeverity.WARN if name == "few_complain" else dg.AssetCheckSeverity.ERROR,
                metadata={
                    "findings": len(found),
                    "first": dg.MetadataValue.md("\n".join(f"- {f}" for f in found[:20])),
                },
            )

    return [decisions_checks]
