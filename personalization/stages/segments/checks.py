"""Checks that warn and block nothing: each segment is complete enough and not empty; nothing wants tidying up."""

from collections.abc import Iterator

import dagster as dg

from personalization.program import Program
from personalization.resources import RuntimeResource, as_of
from personalization.stages.segments.assets import SUMMARY, segment_key

CHECK, HYGIENE = "complete_and_not_empty", "hygiene"


def checks(program: Program, daily: dg.DailyPartitionsDefinition) -> list[dg.AssetChecksDefinition]:
    """A multi-asset check over all segments; none when the program has no segments."""
    if not program.segments:
        return []

    @dg.multi_asset_check(
        name="segments_checks",
        specs=[
            dg.AssetCheckSpec(
                CHECK,
                asset=segment_key(name),
                partitions_def=daily,
                description="Enough is known about the customers, and the segment has members.",
            )
            for name in program.segments
        ]
        + [
            dg.AssetCheckSpec(
                HYGIENE,
                asset=SUMMARY,
                partitions_def=daily,
                description="No segment is empty, jumps in size, is twice the same, or stale. Tells unused ones too.",
            )
        ],
        can_subset=True,
        pool="warehouse",
    )
    def segments_checks(
        context: dg.AssetCheckExecutionContext, runtime: RuntimeResource
    ) -> Iterator[dg.AssetCheckResult]:
        from personalization.stages.segments.hygiene import PRESSING, hygiene

        rt = runtime.get()
        day = as_of(context, rt)
        with rt.warehouse.connect(read_only=True) as session:
            found = {
                segment: (state, completeness)
                for segment, state, completeness in session.rows(
                    "select segment, state, completeness from segments.summary where as_of = ?", [day.day]
                )
            }
            untidy = hygiene(session, rt.program, day)
        selected = {key.asset_key for key in context.selected_asset_check_keys}
        if SUMMARY in selected:
            yield dg.AssetCheckResult(
                check_name=HYGIENE,
                asset_key=SUMMARY,
                passed=not any(finding.kind in PRESSING for finding in untidy),
                severity=dg.AssetCheckSeverity.WARN,
                description=f"{len(untidy)} things to tidy up" if untidy else "Nothing to tidy up.",
                metadata={"findings": dg.MetadataValue.md("\n".join(f"- {finding}" for finding in untidy[:50]))},
            )
        for name, segment in program.segments.items():
            if segment_key(name) not in selected:
                continue
            state, completeness = found.get(name, ("not evaluated", 0.0))
            yield dg.AssetCheckResult(
                check_name=CHECK,
                asset_key=segment_key(name),
                passed=state == "ok",
                severity=dg.AssetCheckSeverity.WARN,
                description=_explanation(state, completeness, segment.min_completeness),
                metadata={"state": state, "completeness": completeness, "min_completeness": segment.min_completeness},
            )

    return [segments_checks]


def _explanation(state: str, completeness: float, least: float) -> str:
    if state == "incomplete":
        return (
            f"Everything the rule needs is known for {completeness:.1%} of customers (least: {least:.0%}): the members "
            "are those of the last day on which enough was known, nobody when there was none."
        )
    return {"ok": "Evaluated, with members.", "empty": "Nobody is in this segment."}.get(state, "It was not evaluated.")
