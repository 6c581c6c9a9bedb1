"""The map: every asset, check, job, schedule, sensor and resource of the line, in the order the data take.

sync → validation → normalise → features → scoring → segments → decisions → export → experiments and monitoring
And between two runs of the line: what webhooks and opt-outs bring, for the people they concern (live_assets).
"""

import warnings

import dagster as dg

from personalization import jobs, live_assets, schedules, sensors
from personalization.privacy import assets as privacy
from personalization.resources import RuntimeResource
from personalization.runtime import Runtime
from personalization.stages.decisions import assets as decisions
from personalization.stages.decisions import checks as decision_checks
from personalization.stages.experiments import assets as experiments
from personalization.stages.export import assets as export
from personalization.stages.export import checks as export_checks
from personalization.stages.features import assets as features
from personalization.stages.monitoring import assets as monitoring
from personalization.stages.monitoring import checks as monitoring_checks
from personalization.stages.normalise import assets as normalise
from personalization.stages.scoring import assets as scoring
from personalization.stages.scoring import checks as scoring_checks
from personalization.stages.segments import assets as segments
from personalization.stages.segments import checks as segment_checks
from personalization.stages.sync import assets as sync
from personalization.stages.validation import assets as validation
from personalization.stages.validation import checks as validation_checks

STAGES = (sync, validation, normalise, features, scoring, segments, decisions, export, experiments, monitoring, privacy)
BETWEEN_RUNS = (live_assets,)
CHECKS = (
    validation_checks,
    scoring_checks,
    segment_checks,
    decision_checks,
    export_checks,
    monitoring_checks,
    privacy,
)

# Dagster says so of every check of a day, on each load. The version is pinned, and tests cover these checks.
warnings.filterwarnings(
    "ignore", message="Specifying a partitions_def on an AssetCheckSpec", category=dg.PreviewWarning
)


def definitions(runtime: Runtime, loggers: dict[str, dg.LoggerDefinition] | None = None) -> dg.Definitions:
    """All definitions for one workspace and its program. The day partitions start at `start` of program.yaml."""
    program, workspace = runtime.program, runtime.workspace
    daily = dg.DailyPartitionsDefinition(
        start_date=program.settings.start.isoformat(),
        timezone=program.settings.timezone,
        end_offset=1,  # a day can be run from its first instant on: it looks only at what came before
    )
    assets = [asset for stage in (*STAGES, *BETWEEN_RUNS) for asset in stage.assets(program, daily)]
    return dg.Definitions(
        # a run is for one day: `as_of` is a single instant, so a backfill is one run a partition
        assets=[asset.with_attributes(backfill_policy=dg.BackfillPolicy.multi_run(1)) for asset in assets],
        asset_checks=[check for stage in CHECKS for check in stage.checks(program, daily)],
        jobs=[*jobs.all_jobs(), privacy.privacy_requests, privacy.retention],
        schedules=[*schedules.all_schedules(program), *privacy.schedules(program)],
        sensors=[*sensors.all_sensors(program), privacy.open_privacy_requests],
        resources={
            "runtime": RuntimeResource(
                root=str(workspace.root), state=str(workspace.state), in_state=workspace.ledger is None
            ),
            **normalise.resources(workspace),
        },
        executor=dg.in_process_executor,  # on two cores a process a step costs ten times the work itself
        loggers=loggers,
    )


@dg.definitions
def defs() -> dg.Definitions:
    """The code location that `dagster dev` loads, for the program in the current workspace."""
    return definitions(Runtime.from_environment())
