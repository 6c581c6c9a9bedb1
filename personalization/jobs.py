"""Jobs: which assets run together. And how the CLI runs one, in this process, with progress and crash healing."""

import contextlib
import fcntl
import logging
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import dagster as dg

from personalization.as_of import AsOf
from personalization.crash_points import crash_point
from personalization.errors import PersonalizationError
from personalization.runtime import Runtime

TRAINING = dg.AssetSelection.assets(["scores", "propensity_model"])
AUDIT = dg.AssetSelection.assets(["monitoring", "platform_audit"])
PID_TAG = "personalization/pid"

refresh = dg.define_asset_job(
    "refresh",
    selection=dg.AssetSelection.all() - AUDIT,
    description="Every stage from the sources to the report, for one as_of day; trains the model when it is due.",
)
daily_refresh = dg.define_asset_job(
    "daily_refresh",
    selection=dg.AssetSelection.all() - AUDIT - TRAINING,
    description="Every stage but training, for one as_of day.",
)
weekly_training = dg.define_asset_job(
    "weekly_training",
    selection=TRAINING,
    description="Trains and judges the propensity model on what is known at the as_of day.",
)
decide = dg.define_asset_job(
    "decide",
    selection=dg.AssetSelection.all() - AUDIT - dg.AssetSelection.groups("export", "monitoring"),
    description="Every stage up to the decisions; nothing is exported.",
)
monthly_audit = dg.define_asset_job(
    "monthly_audit",
    selection=AUDIT,
    description="Reads every destination back and compares it with what was acknowledged.",
)


def all_jobs() -> list:
    return [refresh, daily_refresh, decide, weekly_training, monthly_audit]


@dataclass(frozen=True)
class RunOutcome:
    """How an in-process run ended: its Dagster run id, and the checks that failed (blocking ones raise instead)."""

    run_id: str
    failed_checks: list[str]


def run_in_process(
    runtime: Runtime,
    as_of: AsOf,
    *,
    job: str = "refresh",
    selection: list[str] | None = None,
    run_config: dict | None = None,
    on_progress: Callable[[str, str], None] | None = None,
) -> RunOutcome:
    """Run a job for one day in this process, against the workspace's own Dagster instance.

    Parameters
    ----------
    on_progress : callable, optional
        Called with ("planned" | "start" | "success" | "failure", step name).

    Raises
    ------
    PersonalizationError
        The error of the first step that failed, or that another run holds the workspace.
    """
    from personalization.definitions import definitions

    home = prepare_dagster_home(runtime)
    os.environ["DAGSTER_HOME"] = str(home)
    defs = definitions(runtime, loggers={"progress": _progress_logger(on_progress)})
    definition = defs.resolve_job_def(job)
    with only_run(runtime), dg.DagsterInstance.from_config(str(home)) as instance:
        sweep_dead_runs(instance)
        result = definition.execute_in_process(
            instance=instance,
            partition_key=as_of.key if definition.partitions_def else None,
            run_config={"loggers": {"progress": {}}, **(run_config or {})},
            asset_selection=[dg.AssetKey.from_user_string(key) for key in selection] if selection else None,
            tags={PID_TAG: str(os.getpid())},
        )
    evaluations = result.get_asset_check_evaluations()
    return RunOutcome(result.run_id, [_check_name(check) for check in evaluations if not check.passed])


def prepare_dagster_home(runtime: Runtime) -> Path:
    """The Dagster instance folder of a workspace, with its settings written on first use."""
    home = runtime.workspace.dagster_home
    home.mkdir(parents=True, exist_ok=True)
    settings = home / "dagster.yaml"
    if not settings.exists():
        settings.write_text(DAGSTER_SETTINGS, encoding="utf-8")
    return home


# A killed run never ends by itself in Dagster: max_runtime and freed slots keep it from blocking the next one.
DAGSTER_SETTINGS = """\
telemetry:
  enabled: false
run_monitoring:
  enabled: true
  max_runtime_seconds: 3600
  free_slots_after_run_end_seconds: 60
  max_resume_run_attempts: 0
run_retries:
  enabled: true
  max_retries: 2
  retry_on_asset_or_op_failure: false
concurrency:
  pools:
    default_limit: 1
"""


def sweep_dead_runs(instance: dg.DagsterInstance) -> list[str]:
    """Mark runs of processes that are gone as failed and free their pool slots. Returns their run ids."""
    swept = []
    for run in instance.get_runs(dg.RunsFilter(statuses=[dg.DagsterRunStatus.STARTED])):
        pid = run.tags.get(PID_TAG)
        if pid and not _is_alive(int(pid)):
            instance.report_run_failed(run, message=f"process {pid} of this run is gone (killed or crashed)")
            instance.event_log_storage.free_concurrency_slots_for_run(run.run_id)
            swept.append(run.run_id)
    return swept


@contextlib.contextmanager
def only_run(runtime: Runtime) -> Iterator[None]:
    """One CLI run a workspace at a time. The lock is the kernel's: it goes when its process goes."""
    runtime.workspace.state.mkdir(parents=True, exist_ok=True)
    path = runtime.workspace.state / "run.lock"
    with path.open("a+") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            lock.seek(0)
            raise PersonalizationError(
                f"another run is at work in {runtime.workspace.state} (process {lock.read().strip() or 'unknown'})",
                hint="wait for it to end; a killed run leaves no lock behind",
            ) from None
        lock.truncate(0)
        lock.write(str(os.getpid()))
        lock.flush()
        yield


def _progress_logger(on_progress: Callable[[str, str], None] | None) -> dg.LoggerDefinition:
    kinds = {"STEP_START": "start", "STEP_SUCCESS": "success", "STEP_FAILURE": "failure"}

    class Handler(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            event = getattr(record, "dagster_event", None)
            if event is None or event.event_type_value not in kinds:
                return
            kind = kinds[event.event_type_value]
            if on_progress:
                on_progress(kind, event.step_key)
            crash_point(f"{kind}:{event.step_key}")

    @dg.logger(description="Tells the CLI which step runs; the full log is in the Dagster UI.")
    def progress(_init: dg.InitLoggerContext) -> logging.Logger:
        logger = logging.Logger("personalization.progress", logging.DEBUG)
        logger.addHandler(Handler())
        return logger

    return progress


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _check_name(check: dg.AssetCheckEvaluation) -> str:
    return f"{check.asset_key.to_user_string()}: {check.check_name}"
