"""One asset a destination: what it holds after the export of a day, and the books of the run that brought it there."""

import dagster as dg

from personalization.program import Program
from personalization.resources import RuntimeResource, as_of
from personalization.stages.sync.results_tables import results_destinations


class ExportConfig(dg.Config):
    """Settings of one export run.

    Attributes
    ----------
    override_guard : str
        Who lets the run pass the mass-change guard, and why; recorded in the ledger. Empty: the guard holds.
    plan_hash : str
        Do exactly the plan with this hash, as `personalization plan` printed it. Empty: whatever is due.
    """

    override_guard: str = ""
    plan_hash: str = ""


def export_key(destination: str) -> dg.AssetKey:
    return dg.AssetKey(["export", destination])


def assets(program: Program, daily: dg.DailyPartitionsDefinition) -> list[dg.AssetsDefinition]:
    """An asset for each destination of the program, and one for each whose results are read back."""
    exports = [_export(name, destination.platform, daily) for name, destination in program.destinations.items()]
    return [*exports, *(_results(name, program.destinations[name].platform) for name in results_destinations(program))]


def results_key(destination: str) -> dg.AssetKey:
    return dg.AssetKey(["results", destination])


def _results(name: str, platform: str) -> dg.AssetsDefinition:
    @dg.asset(
        key=results_key(name),
        group_name="results",
        kinds={platform, "parquet"},
        owners=["team:data"],
        pool=f"results:{name}",
        description=f"What became of mailings by {name} ({platform}): sends, opens, clicks, bounces, complaints and "
        "opt-outs, read before anything is computed from them. A platform that can't be read does not stop the run.",
    )
    def results(context: dg.AssetExecutionContext, runtime: RuntimeResource) -> dg.MaterializeResult:
        from personalization.stages.export.results import pull_results

        rt = runtime.get()
        (pulled,) = pull_results(rt, [name])
        for kind, problem in pulled.problems.items():
            context.log.error(f"{kind}: {problem}")
        progress = rt.ledger.results.all(name)
        return dg.MaterializeResult(
            metadata={
                "dagster/row_count": sum(each.rows for each in progress),
                "new_events": pulled.events,
                "unusable": pulled.rejected,
                "new_opt_outs": pulled.opt_outs,
                "problems": "; ".join(f"{kind}: {problem}" for kind, problem in pulled.problems.items()) or "none",
            }
        )

    return results


def _export(name: str, platform: str, daily: dg.DailyPartitionsDefinition) -> dg.AssetsDefinition:
    @dg.asset(
        key=export_key(name),
        deps=[dg.AssetKey(["decisions", "decisions"]), dg.AssetKey(["landed", "identity"])],
        partitions_def=daily,
        group_name="export",
        kinds={platform},
        owners=["team:data"],
        pool=f"export:{name}",
        description=f"Contacts at {name} ({platform}): what changed since the last acknowledged state, after a last "
        "look at consent and suppressions.",
    )
    def export(
        context: dg.AssetExecutionContext, runtime: RuntimeResource, config: ExportConfig
    ) -> dg.MaterializeResult:
        from personalization.ledger.export_books import ExportBooks
        from personalization.stages.export.books import books_table, reasons_table, samples_table
        from personalization.stages.export.exporter import export_destination

        rt = runtime.get()
        exported = export_destination(
            rt,
            name,
            as_of(context, rt),
            override_guard=config.override_guard or None,
            plan_hash=config.plan_hash or None,
        )
        books = exported.books
        return dg.MaterializeResult(
            metadata={
                "dagster/row_count": books.present,
                "books": dg.MetadataValue.md(books_table(books)),
                "not_acknowledged": dg.MetadataValue.md(reasons_table(ExportBooks(rt.ledger), books.run)),
                "plan": dg.MetadataValue.md(samples_table(exported.plan)),
                "plan_hash": books.plan_hash,
                "run": books.run,
                "acked": books.acked,
                "made": ", ".join(exported.made) or "nothing",
                "guard": exported.plan.guard or "nothing unusual",
            }
        )

    return export
