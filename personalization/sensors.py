"""What starts a run besides the clock: changed source files, a changed program; and clean-up after killed runs.

Run requests carry no run key: Dagster remembers keys for ever, so a program changed back to an earlier state would
never run again. A tick that is repeated after a crash asks for a second run, which changes nothing.
"""

import hashlib
from datetime import datetime
from zoneinfo import ZoneInfo

import dagster as dg

from personalization import jobs
from personalization.program import Program
from personalization.program.models import FilesSource
from personalization.runtime import Runtime


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

    return [source_files_changed, program_changed, killed_runs]


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
