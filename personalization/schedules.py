"""When jobs run by themselves: daily refresh, weekly training, monthly audit. All are off until switched on."""

import datetime

import dagster as dg

from personalization import jobs
from personalization.program import Program


def all_schedules(program: Program) -> list[dg.ScheduleDefinition]:
    timezone = program.settings.timezone

    def request_of_the_day(context: dg.ScheduleEvaluationContext) -> dg.RunRequest:
        day = _local_day(context.scheduled_execution_time, timezone)
        return dg.RunRequest(run_key=day, partition_key=day)

    def request_of_the_hour(context: dg.ScheduleEvaluationContext) -> dg.RunRequest:
        at = context.scheduled_execution_time
        return dg.RunRequest(run_key=f"held-{at.isoformat()}", partition_key=_local_day(at, timezone))

    def request_of_last_month(context: dg.ScheduleEvaluationContext) -> dg.RunRequest:
        first = datetime.date.fromisoformat(_local_day(context.scheduled_execution_time, timezone)).replace(day=1)
        month = (first - datetime.timedelta(days=1)).replace(day=1).isoformat()
        return dg.RunRequest(run_key=month, partition_key=month)

    quiet = program.settings.quiet_hours
    after_quiet_hours = []
    if quiet is not None:
        after_quiet_hours.append(
            dg.ScheduleDefinition(
                name="export_after_quiet_hours",
                job=jobs.export_again,
                cron_schedule=f"{quiet.opens.minute} {quiet.opens.hour}-23 * * *",
                execution_timezone=timezone,
                execution_fn=request_of_the_hour,
                description="Releases what was held in quiet hours, each hour from their end on: people live in "
                "different time zones. Where nothing waits, nothing is sent.",
            )
        )
    return [
        *after_quiet_hours,
        dg.ScheduleDefinition(
            name="daily_refresh_at_4",
            job=jobs.daily_refresh,
            cron_schedule="0 4 * * *",
            execution_timezone=timezone,
            execution_fn=request_of_the_day,
            description="Every stage but training, each morning.",
        ),
        dg.ScheduleDefinition(
            name="weekly_training_on_sunday",
            job=jobs.weekly_training,
            cron_schedule="0 3 * * 0",
            execution_timezone=timezone,
            execution_fn=request_of_the_day,
            description="Trains the propensity model before Sunday's refresh.",
        ),
        dg.ScheduleDefinition(
            name="monthly_audit_on_the_1st",
            job=jobs.monthly_audit,
            cron_schedule="0 6 1 * *",
            execution_timezone=timezone,
            execution_fn=request_of_last_month,
            description="Compares what was acknowledged last month with what each platform holds.",
        ),
    ]


def _local_day(instant: datetime.datetime, timezone: str) -> str:
    from zoneinfo import ZoneInfo

    return instant.astimezone(ZoneInfo(timezone)).date().isoformat()
