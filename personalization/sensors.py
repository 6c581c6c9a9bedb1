"""What starts a run besides the clock: changed source files, a changed program; and clean-up after killed runs.

Run requests carry no run key: Dagster remembers keys for ever, so a program changed back to an earlier state would
never run again. A tick that is repeated after a crash asks for a second run, which changes nothing.
"""

import hashlib
import time
from datetime import datetime
from zoneinfo import ZoneInfo

import dagster as dg

from personalization import jobs
from personalization.program import Program
from personalization.program.models import FilesSource
from personalization.runtime import Runtime
from personalization.touched import something_new

INBOX_TAG = "personalization/inbox"
"""Up to which webhook event a run was asked for."""


def all_sensors(program: Program) -> list[dg.SensorDefinition]:
    def today() -> str:
        return datetime.now(ZoneInfo(program.settings.timezone)).date().isoformat()

    @dg.sensor(
        name="source_files_changed",
        job=jobs.daily_refresh,
        minimum_interval_seconds=60,
        description="Refreshes today when a local source file is new or changed.",
    )
    def source_files_changed(context: dg.SensorEvaluationContext) -> dg.SensorResult | dg.SkipReason:
        found = _source_files_fingerprint(Runtime.from_environment())
        if found == context.cursor:
            return dg.SkipReason("no source file changed")
        if context.cursor is None:
            return dg.SensorResult(skip_reason="first look: remembered the source files as they are", cursor=found)
        return dg.SensorResult(run_requests=[dg.RunRequest(partition_key=today())], cursor=found)

    @dg.sensor(
        name="program_changed",
        job=jobs.daily_refresh,
        minimum_interval_seconds=60,
        description="Refreshes today when a program file changed and the program still compiles.",
    )
    def program_changed(context: dg.SensorEvaluationContext) -> dg.SensorResult | dg.SkipReason:
        found = Runtime.from_environment().program.hash
        if found == context.cursor:
            return dg.SkipReason("the program did not change")
        if context.cursor is None:
            return dg.SensorResult(skip_reason="first look: remembered the program as it is", cursor=found)
        return dg.SensorResult(run_requests=[dg.RunRequest(partition_key=today())], cursor=found)

    @dg.sensor(
        name="killed_runs",
        minimum_interval_seconds=60,
        description="Marks runs whose process is gone as failed and frees the warehouse for the next run.",
    )
    def killed_runs(context: dg.SensorEvaluationContext) -> dg.SkipReason:
        swept = jobs.sweep_dead_runs(context.instance)
        return dg.SkipReason(f"marked as failed: {', '.join(swept)}" if swept else "no killed run")

    @dg.sensor(
        name="inbox_events",
        jobs=[jobs.apply_inbox, jobs.daily_refresh],
        minimum_interval_seconds=10,
        description="Applies webhook events, and makes again what follows for the people they concern. It only wakes: "
        "how far events are applied is in the ledger, whatever became of this sensor's memory.",
    )
    def inbox_events(context: dg.SensorEvaluationContext) -> dg.RunRequest | dg.SkipReason:
        runtime = Runtime.from_environment()
        if not runtime.workspace.warehouse.exists():
            return dg.RunRequest(job_name=jobs.daily_refresh.name, partition_key=today())
        with runtime.ledger:
            if not something_new(runtime):
                return dg.SkipReason("nothing is new")
            last = runtime.ledger.inbox.last_seq()
        busy = _busy(context.instance, jobs.apply_inbox.name, rest_seconds=300)
        return busy or dg.RunRequest(job_name=jobs.apply_inbox.name, tags={INBOX_TAG: str(last)})

    @dg.sensor(
        name="opt_outs",
        job=jobs.push_opt_outs,
        minimum_interval_seconds=10,
        description="Tells the platforms of opt-outs, hard bounces and complaints within a minute, also when the last "
        "attempt failed.",
    )
    def opt_outs(context: dg.SensorEvaluationContext) -> dg.RunRequest | dg.SkipReason:
        runtime = Runtime.from_environment()
        with runtime.ledger:
            waiting = [name for name in runtime.program.destinations if runtime.ledger.pushes.waiting(name)]
        if not waiting:
            return dg.SkipReason("every destination knows of every opt-out")
        return _busy(context.instance, jobs.push_opt_outs.name, rest_seconds=15) or dg.RunRequest()

    return [source_files_changed, program_changed, killed_runs, inbox_events, opt_outs]


def _busy(instance: dg.DagsterInstance, job: str, *, rest_seconds: float) -> dg.SkipReason | None:
    """Why another run of a job makes no sense now: one is under way, or the last one failed a moment ago."""
    for record in instance.get_run_records(dg.RunsFilter(job_name=job), limit=1):
        run = record.dagster_run
        if not run.is_finished:
            return dg.SkipReason(f"run {run.run_id[:8]} is under way")
        ended = record.end_time or 0.0
        if run.status == dg.DagsterRunStatus.FAILURE and time.time() - ended < rest_seconds:
            return dg.SkipReason(f"run {run.run_id[:8]} failed; the next one is tried in a moment")
    return None


def _source_files_fingerprint(runtime: Runtime) -> str:
    """A hash over name, size and change time of every local source file."""
    digest = hashlib.sha256()
    for name, source in sorted(runtime.program.sources.items()):
        if not isinstance(source, FilesSource) or ":" in source.location:
            continue  # packages do not change under a running program; object stores are polled by the schedule
        folder = runtime.workspace.root / source.location
        for path in sorted({table.path for table in source.tables.values() if table.path}):
            for file in sorted(folder.glob(path)):
                status = file.stat()
                digest.update(f"{name}/{path}/{file.name}:{status.st_size}:{status.st_mtime_ns}\n".encode())
    return digest.hexdigest()
