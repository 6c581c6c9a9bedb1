"""What happens between the runs of everything, as two assets: touched customers, and opt-outs on every platform."""

import dagster as dg

from personalization.program import Program
from personalization.resources import RuntimeResource

TOUCHED_KEY, OPT_OUTS_KEY = dg.AssetKey(["live", "touched_customers"]), dg.AssetKey(["live", "opt_outs"])


def assets(program: Program, daily: dg.DailyPartitionsDefinition) -> list[dg.AssetsDefinition]:
    """They belong to no day: the day is the one that was decided last."""

    @dg.asset(
        key=TOUCHED_KEY,
        group_name="live",
        pool="warehouse",
        kinds={"duckdb", "sql"},
        owners=["team:data"],
        description="New webhook events in all tables, and everything that follows for the people they concern: "
        "features, scores, segments, decisions, and changes at the platforms. Nobody else is computed again.",
    )
    def touched_customers(context: dg.AssetExecutionContext, runtime: RuntimeResource) -> dg.MaterializeResult:
        from personalization.touched import refresh_touched

        done = refresh_touched(runtime.get(), on_progress=context.log.info)
        if done.problems:  # the tables are up to date; what was not sent is sent by the next run
            listing = "; ".join(f"{name}: {problem}" for name, problem in done.problems.items())
            raise dg.Failure(listing, allow_retries=False)
        seconds = "\n".join(f"| {part} | {taken:.2f} |" for part, taken in done.seconds.items())
        return dg.MaterializeResult(
            metadata={
                "as_of": done.as_of or "nothing was new",
                "events": done.events.events,
                "not understood": done.events.dead,
                "customers": done.customers,
                "rows": ", ".join(f"{entity}: {rows}" for entity, rows in done.rows.items()) or "none",
                "quarantined": done.quarantined,
                "exports": "\n".join(f"{name}: {books}" for name, books in done.exports.items()) or "none",
                "seconds": dg.MetadataValue.md(f"| part | seconds |\n|---|--:|\n{seconds}"),
            }
        )

    @dg.asset(
        key=OPT_OUTS_KEY,
        group_name="live",
        kinds={"http"},
        owners=["team:data"],
        description="Opt-outs, hard bounces and complaints, told to every platform at once. It waits for no warehouse; "
        "while an export of a destination runs, that export tells it.",
    )
    def opt_outs(context: dg.AssetExecutionContext, runtime: RuntimeResource) -> dg.MaterializeResult:
        from personalization.stages.export.retract import push_opt_outs

        told = push_opt_outs(runtime.get())
        failed = [each for each in told if each.state == "failed"]
        if failed:
            raise dg.Failure("; ".join(f"{each.destination}: {each.problem}" for each in failed), allow_retries=False)
        lines = "\n".join(f"| {t.destination} | {t.state} | {t.contacts} | {t.seconds:.1f} |" for t in told)
        header = "| destination | | contacts | longest, seconds |\n|---|---|--:|--:|\n"
        return dg.MaterializeResult(
            metadata={
                "contacts": sum(each.contacts for each in told),
                "longest_seconds": max((each.seconds for each in told), default=0.0),
                "destinations": dg.MetadataValue.md(header + lines),
            }
        )

    return [touched_customers, opt_outs]
