"""Dagster assets of the scoring stage: the model, the scores with their explanations, and how good they are."""

from collections.abc import Iterable, Iterator

import dagster as dg

from personalization.program import Program
from personalization.resources import RuntimeResource, as_of
from personalization.stages.scoring.explain import TOP
from personalization.stages.scoring.judge import judge
from personalization.stages.scoring.plots import calibration_plot
from personalization.stages.scoring.quality import quality_table
from personalization.stages.scoring.retrain import train_if_due
from personalization.stages.scoring.score import score

MODEL = dg.AssetKey(["scores", "propensity_model"])
PROPENSITY = dg.AssetKey(["scores", "propensity"])
EXPLANATIONS = dg.AssetKey(["scores", "explanations"])
IMPORTANCE = dg.AssetKey(["scores", "importance"])
QUALITY = dg.AssetKey(["scores", "model_quality"])
FEATURES = dg.AssetKey(["features", "customer_features"])
LABELS = dg.AssetKey(["features", "customer_labels"])
IDENTITY = dg.AssetKey(["landed", "identity"])
GROUP = "scoring"
OWNERS = ["team:data"]


class TrainingConfig(dg.Config):
    """`force`: train even when the model in force is neither missing nor old."""

    force: bool = False


def assets(program: Program, daily: dg.DailyPartitionsDefinition) -> list[dg.AssetsDefinition]:
    """The assets of this stage."""
    horizon = program.settings.scoring.horizon_days

    @dg.asset(
        key=MODEL,
        deps=[FEATURES, LABELS, IDENTITY],
        partitions_def=daily,
        kinds={"scikitlearn"},
        description=f"The model of a purchase within {horizon} days, trained on windows that had closed by the day. "
        "Trains only when the model in force is missing, old or outdated, or with `force`.",
        pool="warehouse",
        group_name=GROUP,
        owners=OWNERS,
    )
    def propensity_model(
        context: dg.AssetExecutionContext, config: TrainingConfig, runtime: RuntimeResource
    ) -> dg.MaterializeResult:
        rt = runtime.get()
        training = train_if_due(rt, as_of(context, rt), force=config.force)
        metadata: dict = {"trained now": training.trained, "reason": training.reason}
        if training.model:
            metadata |= {
                "version": training.version,
                "trained as of": training.model.trained_as_of,
                "chosen": training.model.chosen,
                "choice": training.model.choice,
                "windows": ", ".join(map(str, training.model.cutoffs)),
                "quality": dg.MetadataValue.md(quality_table(training.model.quality)),
                "calibration": dg.MetadataValue.md(
                    calibration_plot(training.model.calibration, f"Selection window {training.model.cutoffs[-1]}")
                ),
            }
        return dg.MaterializeResult(metadata=metadata)

    @dg.multi_asset(
        name="score_customers",
        specs=[
            dg.AssetSpec(
                PROPENSITY,
                deps=[MODEL, FEATURES, IDENTITY],
                kinds={"duckdb"},
                description=f"Each consenting customer's chance of a purchase within {horizon} days.",
                group_name=GROUP,
                owners=OWNERS,
            ),
            dg.AssetSpec(
                EXPLANATIONS,
                deps=[MODEL, FEATURES, IDENTITY],
                kinds={"duckdb"},
                description="The five features that moved each score most, as SHAP values in log-odds.",
                group_name=GROUP,
                owners=OWNERS,
            ),
            dg.AssetSpec(
                IMPORTANCE,
                deps=[MODEL, FEATURES, IDENTITY],
                kinds={"duckdb"},
                description="How much each feature moves scores: the mean absolute SHAP value of all customers.",
                group_name=GROUP,
                owners=OWNERS,
            ),
        ],
        partitions_def=daily,
        pool="warehouse",
    )
    def score_customers(context: dg.AssetExecutionContext, runtime: RuntimeResource) -> Iterator[dg.MaterializeResult]:
        rt = runtime.get()
        summary = score(rt, as_of(context, rt))
        yield dg.MaterializeResult(
            asset_key=PROPENSITY,
            metadata={
                "dagster/row_count": summary.customers,
                "not scored": summary.not_scored,
                "model": summary.version or "none",
                "reason": summary.reason,
                "bands": dg.MetadataValue.md(_table(("band", "customers"), summary.bands.items())),
            },
        )
        yield dg.MaterializeResult(
            asset_key=EXPLANATIONS, metadata={"dagster/row_count": summary.customers * TOP if summary.customers else 0}
        )
        shown = ((feature, f"{mean:.3f}") for feature, mean in summary.importance)
        yield dg.MaterializeResult(
            asset_key=IMPORTANCE,
            metadata={
                "dagster/row_count": len(summary.importance),
                "importance": dg.MetadataValue.md(_table(("feature", "mean absolute contribution (log-odds)"), shown)),
            },
        )

    @dg.asset(
        key=QUALITY,
        deps=[MODEL, FEATURES, LABELS, IDENTITY],
        partitions_def=daily,
        kinds={"duckdb"},
        description="ROC-AUC, Brier score and log loss beside naive baselines: on the selection window, and on what "
        "happened after the day once that is known (materialise the day again then).",
        pool="warehouse",
        group_name=GROUP,
        owners=OWNERS,
    )
    def model_quality(context: dg.AssetExecutionContext, runtime: RuntimeResource) -> dg.MaterializeResult:
        rt = runtime.get()
        day = as_of(context, rt)
        judgement = judge(rt, day)
        metadata: dict = {"dagster/row_count": len(judgement.quality), "reason": judgement.reason}
        if judgement.quality:
            metadata["quality"] = dg.MetadataValue.md(quality_table(judgement.quality))
        if judgement.calibration:
            metadata["calibration"] = dg.MetadataValue.md(
                calibration_plot(judgement.calibration, f"Outcome of {day.key}")
            )
        return dg.MaterializeResult(metadata=metadata)

    return [propensity_model, score_customers, model_quality]


def _table(heads: tuple[str, str], rows: Iterable[tuple[str, object]]) -> str:
    lines = [f"| {' | '.join(heads)} |", "|---|---:|", *(f"| {name} | {value} |" for name, value in rows)]
    return "\n".join(lines)
