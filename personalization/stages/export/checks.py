"""Asset checks of the exports: the books of the day's newest run close, and it did not stop early."""

import dagster as dg

from personalization.program import Program
from personalization.resources import RuntimeResource, as_of
from personalization.stages.export.assets import export_key


def checks(program: Program, daily: dg.DailyPartitionsDefinition) -> list[dg.AssetChecksDefinition]:
    """One check a destination; what follows the export is wrong when it fails."""
    return [_books_close(name, daily) for name in program.destinations]


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
