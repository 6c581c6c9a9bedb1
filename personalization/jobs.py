"""Jobs: which assets run together. And how the CLI runs one, in this process, with progress and crash healing."""

import contextlib
import logging
import os
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import dagster as dg

from personalization import __version__
from personalization.as_of import AsOf
from personalization.crash_points import crash_point
from personalization.errors import PersonalizationError, did_you_mean
from personalization.run_lock import only_run
from personalization.runtime import Runtime

log = logging.getLogger(__name__)

TRAINING = dg.AssetSelection.assets(["scores", "propensity_model"])
AUDIT = dg.AssetSelection.assets(["monitoring", "platform_audit"], ["privacy", "compliance_audit"])
PID_TAG = "personalization/pid"

LIVE = dg.AssetSelection.groups("live")

refresh = dg.define_asset_job(
    "refresh",
    selection=dg.AssetSelection.all() - AUDIT - LIVE,
    description="Every stage from the sources to the report, for one as_of day; trains the model when it is due.",
)
daily_refresh = dg.define_asset_job(
    "daily_refresh",
    selection=dg.AssetSelection.all() - AUDIT - LIVE - TRAINING,
    description="Every stage but training, for one as_of day.",
)
weekly_training = dg.define_asset_job(
    "weekly_training",
    selection=TRAINING,
    description="Trains and judges the propensity model on what is known at the as_of day.",
)
decide = dg.define_asset_job(
    "decide",
    selection=dg.AssetSelection.all() - AUDIT - LIVE - dg.AssetSelection.groups("export", "monitoring"),
    description="Every stage up to the decisions; nothing is exported.",
)
export_again = dg.define_asset_job(
    "export_again",
    selection=dg.AssetSelection.groups("export"),
    description="The exports of one as_of day once more: what was held in quiet hours leaves.",
)
monthly_audit = dg.define_asset_job(
    "monthly_audit",
    selection=AUDIT,
    description="Reads every destination back and compares it with what was acknowledged; the compliance report.",
)


apply_inbox = dg.define_asset_job(
    "apply_inbox",
    selection=dg.AssetSelection.assets(["live", "touched_customers"]),
    description="New webhook events into the tables, and what follows for the people they concern, up to the e-mail "
    "platforms.",
)
push_opt_outs = dg.define_asset_job(
    "push_opt_outs",
    selection=dg.AssetSelection.assets(["live", "opt_outs"]),
    description="Tells every e-mail platform of opt-outs, hard bounces and complaints that it has not been told.",
)


def all_jobs() -> list:
    return [refresh, daily_refresh, decide, export_again, weekly_training, monthly_audit, apply_inbox, push_opt_outs]


@dataclass(frozen=True)
class RunOutcome:
    """How an in-process run ended.

    Attributes
    ----------
    run_id : str
        Of the Dagster run.
    failed_checks : list of str
        Checks that failed; blocking ones raise instead.
    evaluated, reused : list of str
        Segments whose rules were evaluated, and those taken from the last evaluation of the day because neither their
        rule nor anything it reads changed.
    """

    run_id: str
    failed_checks: list[str]
    evaluated: list[str] = field(default_factory=list)
    reused: list[str] = field(default_factory=list)


def run_in_process(
    runtime: Runtime,
    as_of: AsOf,
    *,
    job: str = "refresh",
    selection: list[str] | None = None,
    train: bool = False,
    override_guard: str | None = None,
    plan_hash: str | None = None,
    on_progress: Callable[..., None] | None = None,
) -> RunOutcome:
    """Run a job for one day in this process, against the workspace's own Dagster instance.

    What the steps and dbt print goes to `var/run.log`.

    Parameters
    ----------
    selection : list of str, optional
        Only these assets, as `schema/table`.
    train : bool
        Train the model even when it is not due.
    override_guard : str, optional
        Who lets exports pass the mass-change guard, and why.
    plan_hash : str, optional
        Exports do exactly the plan with this hash.
    on_progress : callable, optional
        Called with ("planned", "", number of steps), then ("start" | "success" | "failure", step).

    Raises
    ------
    PersonalizationError
        The error of the first step that failed; no such asset; or another run holds the workspace.
    """
    from personalization.definitions import definitions

    home = prepare_dagster_home(runtime)
    os.environ["DAGSTER_HOME"] = str(home)
    with (
        only_run(runtime),
        _output_to(runtime.workspace.state / "run.log"),
        dg.DagsterInstance.from_config(str(home)) as instance,
    ):
        defs = definitions(runtime, loggers={"progress": _progress_logger(on_progress)})
        keys = _selected(defs, selection)
        definition = defs.resolve_job_def(job)
        if keys:
            definition = definition.get_subset(asset_selection=keys)
        if on_progress:
            on_progress("planned", "", len(definition.graph.node_defs))
        sweep_dead_runs(instance)
        _finish_erasures(runtime)
        with _in_the_run_book(runtime, as_of):
            result = definition.execute_in_process(
                instance=instance,
                partition_key=as_of.key if definition.partitions_def else None,
                run_config=_run_config(definition, runtime, train, override_guard, plan_hash),
                tags={PID_TAG: str(os.getpid())},
            )
    evaluations = result.get_asset_check_evaluations()
    failed = [_check_name(check) for check in evaluations if not check.passed]
    return RunOutcome(result.run_id, failed, _segments(result, "evaluated"), _segments(result, "reused"))


def _segments(result: dg.ExecuteInProcessResult, how: str) -> list[str]:
    """Segments that say in their metadata that they were `evaluated` or `reused`."""
    found = [event.materialization for event in result.get_asset_materialization_events()]
    return [
        each.asset_key.path[-1]
        for each in found
        if "evaluation" in each.metadata and each.metadata["evaluation"].value == how
    ]


def _selected(defs: dg.Definitions, selection: list[str] | None) -> set[dg.AssetKey] | None:
    if not selection:
        return None
    known = {key.to_user_string(): key for key in defs.resolve_all_asset_keys()}
    for name in selection:
        if name not in known:
            raise PersonalizationError(f"there is no asset '{name}' ({did_you_mean(name, known)})")
    return {known[name] for name in selection}


def _run_config(
    definition: dg.JobDefinition, runtime: Runtime, train: bool, override_guard: str | None, plan_hash: str | None
) -> dict[str, Any]:
    steps = {node.name for node in definition.graph.node_defs}
    ops: dict[str, Any] = {}
    if train:
        ops["scores__propensity_model"] = {"config": {"force": True}}
    settings = {"override_guard": override_guard or "", "plan_hash": plan_hash or ""}
    if any(settings.values()):
        ops |= {f"export__{name}": {"config": settings} for name in runtime.program.destinations}
    return {"loggers": {"progress": {}}, "ops": {step: config for step, config in ops.items() if step in steps}}


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
nux:
  enabled: false
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


def _finish_erasures(runtime: Runtime) -> None:
    """Whoever is being erased is gone before the first stage reads: see `personalization.privacy.erase`."""
    if not runtime.workspace.tombstones.exists():
        return
    from personalization.privacy.erase import finish_begun

    for request in finish_begun(runtime, datetime.now(UTC)):
        log.warning("the erasure %s is not complete: see `personalization privacy requests`", request)


@contextlib.contextmanager
def _in_the_run_book(runtime: Runtime, as_of: AsOf) -> Iterator[None]:
    """Enter the run in the ledger, and how it ended; runs of processes that are gone are marked as dead first."""
    book = runtime.ledger.runs
    book.sweep()
    run = book.start(as_of, program_sha256=runtime.program.hash, code_version=__version__)
    try:
        yield
    except BaseException as error:
        book.finish(run.run_id, "failed", type(error).__name__)
        raise
    book.finish(run.run_id, "succeeded")


@contextlib.contextmanager
def _output_to(path: Path) -> Iterator[None]:
    """Send what steps and dbt print to a file, so that the caller's own output stays its own (--json, progress)."""
    sys.stdout.flush()
    sys.stderr.flush()
    saved = os.dup(1), os.dup(2)
    log = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    os.dup2(log, 1)
    os.dup2(log, 2)
    os.close(log)
    try:
        yield
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        for target, original in zip((1, 2), saved, strict=True):
            os.dup2(original, target)
            os.close(original)


def _progress_logger(on_progress: Callable[..., None] | None) -> dg.LoggerDefinition:
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

    @dg.logger(None, description="Tells the CLI which step runs; the full log is in the Dagster UI.")
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
