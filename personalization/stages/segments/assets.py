"""Each segment as an asset of its own, evaluated together: any subset can be materialised, in one pass."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import dagster as dg

from personalization.program import Program
from personalization.resources import RuntimeResource, as_of
from personalization.rules import ProgramRules, describe, program_rules

if TYPE_CHECKING:
    from personalization.stages.segments.evaluate import Evaluation

PROFILE, MEMBERSHIP = dg.AssetKey(["segments", "profile"]), dg.AssetKey(["segments", "membership"])
SUMMARY, HISTORY = dg.AssetKey(["segments", "summary"]), dg.AssetKey(["segments", "history"])


def segment_key(name: str) -> dg.AssetKey:
    """The asset of one segment."""
    return dg.AssetKey(["segments", name])


def assets(program: Program, daily: dg.DailyPartitionsDefinition) -> list[dg.AssetsDefinition]:
    """The profile, each segment, and the tables that hold all segments together."""
    rules = program_rules(program)

    @dg.multi_asset(name="segments", specs=_specs(program, rules, daily), can_subset=True, pool="warehouse")
    def segments(context: dg.AssetExecutionContext, runtime: RuntimeResource) -> Iterator[dg.MaterializeResult]:
        from personalization.stages.scoring.inputs import population
        from personalization.stages.segments.evaluate import evaluate_segments
        from personalization.stages.segments.topics import read_topics

        rt = runtime.get()
        day = as_of(context, rt)
        selected = context.selected_asset_keys
        chosen = {name for name in rt.program.segments if segment_key(name) in selected}
        with rt.warehouse.connect() as session:
            evaluation = evaluate_segments(
                session,
                rt.program,
                day,
                rt.workspace.history,
                only=chosen,
                may_be_scored=lambda: population(rt, session, day),
                chosen_topics=lambda: read_topics(session, rt.ledger, day),
            )
            summaries = evaluation.summaries
            rows = {
                key: session.value(f"select count(*) from {'.'.join(key.path)}")  # noqa: S608
                for key in (PROFILE, MEMBERSHIP, SUMMARY, HISTORY)
            }
        if PROFILE in selected:
            yield dg.MaterializeResult(asset_key=PROFILE, metadata={"dagster/row_count": rows[PROFILE]})
        for name in sorted(chosen, key=list(rt.program.segments).index):
            found = summaries[name]
            yield dg.MaterializeResult(
                asset_key=segment_key(name),
                metadata={
                    "size": found.size,
                    "share": round(found.share, 4),
                    "completeness": round(found.completeness, 4),
                    "state": found.state,
                    "evaluation": "evaluated" if name in evaluation.evaluated else "reused",
                    "held": found.held,
                    "entered": found.entered,
                    "exited": found.exited,
                    "rule": rules.segments[name].text.strip(),
                    "in words": describe(rules.segments[name]),
                    "rule_version": found.rule_version,
                },
            )
        for key in (MEMBERSHIP, SUMMARY, HISTORY):
            if key in selected:
                metadata: dict[str, Any] = {"dagster/row_count": rows[key]}
                if key == SUMMARY:
                    metadata["segments"] = dg.MetadataValue.md(_markdown(evaluation))
                yield dg.MaterializeResult(asset_key=key, metadata=metadata)

    return [segments]


def _specs(program: Program, rules: ProgramRules, daily: dg.DailyPartitionsDefinition) -> list[dg.AssetSpec]:
    common: dict[str, Any] = {
        "group_name": "segments",
        "kinds": {"duckdb"},
        "owners": ["team:data"],
        "partitions_def": daily,
    }
    scores, features = dg.AssetKey(["scores", "propensity"]), dg.AssetKey(["features", "customer_profile"])
    specs = [
        dg.AssetSpec(
            PROFILE, deps=[features, scores], description="What rules read: features and scores per customer.", **common
        )
    ]
    for name, segment in program.segments.items():
        rule = rules.segments[name]
        behaviour = [dg.AssetKey(["marts", "customer_day"])] if rule.behaviours else []
        behaviour += [dg.AssetKey(["marts", "moments"])] if rule.moments else []
        specs.append(
            dg.AssetSpec(
                segment_key(name),
                deps=[PROFILE, *behaviour, *(segment_key(other) for other in sorted(rule.segments))],
                description=f"{segment.title}.\n\n{describe(rule)}",
                **common,
            )
        )
    every = [segment_key(name) for name in program.segments]
    specs += [
        dg.AssetSpec(MEMBERSHIP, deps=every, description="Who is in or held by which segment on which day.", **common),
        dg.AssetSpec(
            SUMMARY, deps=[MEMBERSHIP], description="Size, completeness, state, entered and exited per day.", **common
        ),
        dg.AssetSpec(
            HISTORY, deps=[MEMBERSHIP], description="Each stay in a segment: entered on, exited on, rule.", **common
        ),
    ]
    return specs


def _markdown(evaluation: "Evaluation") -> str:
    lines = [
        "| segment | size | share | completeness | state | entered | exited | held | |",
        "|---|" + "---:|" * 7 + "---|",
    ]
    for row in evaluation.summaries.values():
        how = "evaluated" if row.segment in evaluation.evaluated else "reused"
        lines.append(
            f"| {row.segment} | {row.size} | {row.share:.1%} | {row.completeness:.1%} | {row.state} "
            f"| {row.entered} | {row.exited} | {row.held} | {how} |"
        )
    return "\n".join(lines)
