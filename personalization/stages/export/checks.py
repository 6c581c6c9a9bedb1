"""Asset checks of the exports: the books of the day's newest run close, and it did not stop early."""

import dagster as dg

from personalization.program import Program
from personalization.resources import RuntimeResource, as_of
from personalization.stages.export.assets import export_key, results_key
from personalization.stages.sync.results_tables import results_destinations


def checks(program: Program, daily: dg.DailyPartitionsDefinition) -> list[dg.AssetChecksDefinition]:
    """One check a destination, whose failure makes wrong what follows the export; and one for results, which warns."""
    results = [_everything_was_read(name) for name in results_destinations(program)]
    return [*(_books_close(name, daily) for name in program.destinations), *results]


def _everything_was_read(name: str) -> dg.AssetChecksDefinition:
    @dg.asset_check(
        name="everything_was_read",
        asset=results_key(name),
        description="The platform's results were read to their end; otherwise the next read goes on where this ended.",
    )
    def everything_was_read(runtime: RuntimeResource) -> dg.AssetCheckResult:
        progress = runtime.get().ledger.results.all(name)
        problems = [f"{each.kind}: {each.problem}" for each in progress if each.problem]
        return dg.AssetCheckResult(
            passed=bool(progress) and not problems,
            severity=dg.AssetCheckSeverity.WARN,
            description="; ".join(problems) or ("" if progress else "nothing was ever read"),
        )

    return everything_was_read


def _books_close(name: str, daily: dg.DailyPartitionsDefinition) -> dg.AssetChecksDefinition:
    @dg.asset_check(
        name="books_close",
        asset=export_key(name),
        blocking=True,
        partitions_def=daily,
        description="planned = acked + rejected + suppressed + invalid + uncertain + held, and the run ended.",
    )
    def books_close(context: dg.AssetCheckExecutionContext, runtime: RuntimeResource) -> dg.AssetCheckResult:
        from personalization.ledger.export_books import ExportBooks

        rt = runtime.get()
        newest = ExportBooks(rt.ledger).history(destination=name, as_of=as_of(context, rt), limit=1)
        if not newest:
            return dg.AssetCheckResult(passed=False, description="the ledger has no export run for this day")
        books = newest[0]
        return dg.AssetCheckResult(
            passed=books.closes and books.state == "closed",
            description=books.problem or books.equation,
            metadata={"run": books.run, "state": books.state, "planned": books.planned, "ended": books.ended},
        )

    return books_close
