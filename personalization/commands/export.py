"""`personalization export …`: plans, runs and books of the destinations."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from personalization.commands.apply import retract
from personalization.commands.common import AsOfOption, JsonFlag, current_runtime, day_of, err, out, print_json
from personalization.commands.export_progress import shown_progress

if TYPE_CHECKING:
    from personalization.runtime import Runtime

app = typer.Typer(help="Plan, run and look after the destinations.", no_args_is_help=True)
app.command()(retract)

Destination = Annotated[str, typer.Argument(help="A destination of program/destinations.yaml.")]
Destinations = Annotated[
    list[str] | None, typer.Argument(help="Destinations of program/destinations.yaml; all when none is given.")
]


@app.command()
def setup(destination: Destination, as_json: JsonFlag = False) -> None:
    """Make what a destination lacks: custom fields, after which the next run sends all contacts; `native_segments`."""
    from personalization.stages.export.exporter import setup_destination
    from personalization.stages.export.native import setup_segments

    runtime = current_runtime()
    made = setup_destination(runtime, destination)
    segments = setup_segments(runtime, destination, day_of(runtime, None))
    made += segments.made
    if as_json:
        print_json({"destination": destination, "made": made, "notes": segments.notes})
        return
    out.print(f"{destination}: {', '.join(made) if made else 'nothing was missing'}", markup=False)
    for note in segments.notes:
        out.print(f"  {note}", markup=False)


@app.command()
def plan(destinations: Destinations = None, as_of: AsOfOption = None, as_json: JsonFlag = False) -> None:
    """Show what an export of the decisions that are there would send: creates, updates, removals, held; with samples.

    Nothing is sent or written. `export run DESTINATION --plan HASH` then does exactly this.
    """
    from personalization.stages.export.planner import plan_destination
    from personalization.stages.monitoring.console import export_plan_renderables

    runtime = current_runtime()
    names = _named(runtime, destinations)
    day = day_of(runtime, as_of, latest=True)
    plans = [plan_destination(runtime, name, day) for name in names]
    if as_json:
        print_json([plan.to_dict() for plan in plans])
        return
    for found in plans:
        for renderable in export_plan_renderables(found):
            out.print(renderable)


@app.command()
def reconcile(
    destinations: Destinations = None,
    show: Annotated[
        bool, typer.Option("--plan", help="Read destinations back and show what a repair would do. Changes nothing.")
    ] = False,
    repair_hash: Annotated[
        str | None, typer.Option("--repair", metavar="HASH", help="Let the next export do exactly this repair.")
    ] = None,
    by: Annotated[str | None, typer.Option("--by", help="Who decides it; kept in the ledger.")] = None,
    why: Annotated[str | None, typer.Option("--why", help="Why; kept in the ledger.")] = None,
    as_json: JsonFlag = False,
) -> None:
    """Compare what destinations hold with what they should; or take over what a restored ledger has forgotten.

    With --plan: missing, extra, stale, duplicate and wrongly active contacts, each seen twice, by audience and field.
    With --repair HASH: marks these contacts, and the next export sends, clears or opts out; nobody is subscribed.

    With neither, after the ledger was restored from a backup: opt-outs there become suppressions here; whoever is in an
    audience counts as mailed. Then exports work again.
    """
    from dataclasses import asdict

    from personalization.stages.export.reconcile import reconcile as take_over

    runtime = current_runtime()
    if show:
        _show_repairs(runtime, _named(runtime, destinations), as_json)
        return
    if by is None or why is None:
        raise typer.BadParameter("say who decides it and why: --by NAME --why REASON; or only look: --plan")
    if repair_hash is not None:
        _repair(runtime, _named(runtime, destinations), repair_hash, by, why, as_json)
        return
    found = take_over(runtime, actor=by, reason=why)
    if as_json:
        print_json([asdict(each) for each in found])
        return
    for each in found:
        out.print(
            f"{each.destination}: {each.opted_out:,} opt-outs, {each.unknown:,} unknown contacts and "
            f"{each.mailed:,} releases taken over"
        )


@app.command()
def run(
    destination: Destination,
    plan_hash: Annotated[
        str | None, typer.Option("--plan", metavar="HASH", help="Do exactly this plan; refuse when anything changed.")
    ] = None,
    override_guard: Annotated[
        str | None,
        typer.Option(metavar="WHO: WHY", help="Pass the mass-change guard; recorded in the ledger."),
    ] = None,
    as_of: AsOfOption = None,
    as_json: JsonFlag = False,
) -> None:
    """Export the decisions of a day to one destination. Safe to repeat, also after a crash."""
    from personalization.ledger.export_books import ExportBooks
    from personalization.stages.export.adapters.registry import destination_of
    from personalization.stages.monitoring.console import books_renderables

    runtime = current_runtime()
    destination_of(runtime.program, destination)
    day = day_of(runtime, as_of, latest=True)
    with shown_progress(runtime, destination):
        _materialise(runtime, day, destination, plan_hash, override_guard)
    books = ExportBooks(runtime.ledger).history(destination=destination, limit=1)[0]
    if as_json:
        print_json(books.to_dict())
        return
    for renderable in books_renderables([books]):
        out.print(renderable)


@app.command()
def status(as_json: JsonFlag = False) -> None:
    """Show for each destination its last run, what is open or uncertain, and how many contacts it holds."""
    from personalization.stages.export.status import status_of
    from personalization.stages.monitoring.console import status_renderables

    runtime = current_runtime()
    found = [status_of(runtime, name) for name in runtime.program.destinations]
    if as_json:
        print_json([each.to_dict() for each in found])
        return
    for renderable in status_renderables(found):
        out.print(renderable)


@app.command()
def books(
    destination: Annotated[str | None, typer.Argument(help="Only of this destination.")] = None,
    limit: Annotated[int, typer.Option(help="How many runs, the newest first.")] = 10,
    as_json: JsonFlag = False,
) -> None:
    """Show the books of past export runs: planned = acked + rejected + suppressed + invalid + uncertain + held."""
    from personalization.ledger.export_books import ExportBooks
    from personalization.stages.monitoring.console import books_renderables

    found = ExportBooks(current_runtime().ledger).history(destination=destination, limit=limit)
    if as_json:
        print_json([each.to_dict() for each in found])
        return
    if not found:
        out.print("No export has run yet.")
    for renderable in books_renderables(found):
        out.print(renderable)


@app.command()
def rejected(
    destination: Destination,
    to: Annotated[Path | None, typer.Option("--csv", metavar="FILE", help="Write all of them to a CSV file.")] = None,
    as_json: JsonFlag = False,
) -> None:
    """Show the contacts a destination refused and has not taken since, in its own words, and when they are tried again.

    Contacts are named by customer token; `personalization explain TOKEN` says more about one.
    """
    from personalization.ledger.rejections import Rejections
    from personalization.stages.export.adapters.registry import destination_of
    from personalization.stages.monitoring.console import rejections_renderables

    runtime = current_runtime()
    destination_of(runtime.program, destination)
    found = [each.to_dict() for each in Rejections(runtime.ledger).of(destination)]
    if to:
        _write_csv(to, found)
        err.print(f"{len(found)} contacts written to {to}")
        return
    if as_json:
        print_json(found)
        return
    for renderable in rejections_renderables(destination, found):
        out.print(renderable)


@app.command()
def retry(destination: Destination, as_json: JsonFlag = False) -> None:
    """Let the next run try everything that a destination refused, at once and not on its day."""
    from personalization.ledger.rejections import Rejections
    from personalization.stages.export.adapters.registry import destination_of

    runtime = current_runtime()
    destination_of(runtime.program, destination)
    contacts = Rejections(runtime.ledger).retry(destination)
    if as_json:
        print_json({"destination": destination, "contacts": contacts})
        return
    out.print(f"{destination}: {contacts:,} contacts will be tried by the next run.")


def _named(runtime: Runtime, names: Sequence[str] | None) -> list[str]:
    from personalization.stages.export.adapters.registry import destination_of

    for name in names or ():
        destination_of(runtime.program, name)
    return list(names or runtime.program.destinations)


def _show_repairs(runtime: Runtime, names: Sequence[str], as_json: bool) -> None:
    from personalization.stages.monitoring.console import repair_renderables
    from personalization.stages.monitoring.repair import plan_repair

    found = [plan_repair(runtime, name) for name in names]
    if as_json:
        print_json([each.to_dict() for each in found])
        return
    for each in found:
        for renderable in repair_renderables(each):
            out.print(renderable)


def _repair(runtime: Runtime, names: Sequence[str], repair_hash: str, by: str, why: str, as_json: bool) -> None:
    from personalization.stages.monitoring.repair import repair

    if len(names) != 1:
        raise typer.BadParameter("a repair is of one destination: name it")
    done = repair(runtime, names[0], repair_hash, actor=by, reason=why)
    if as_json:
        print_json(done.to_dict())
        return
    out.print(f"{names[0]}: {len(done.marked):,} contacts are put right by the next export")


def _materialise(
    runtime: Runtime, day: Any, destination: str, plan_hash: str | None, override_guard: str | None
) -> None:
    """Through Dagster, so that the run has its place in the lineage and its lock."""
    from personalization.jobs import run_in_process

    run_in_process(
        runtime, day, selection=[f"export/{destination}"], override_guard=override_guard, plan_hash=plan_hash
    )


def _write_csv(path: Path, rows: Sequence[dict[str, Any]]) -> None:
    from personalization.errors import PersonalizationError

    names = list(rows[0]) if rows else ["customer_token", "reason"]
    try:
        with path.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, names)
            writer.writeheader()
            writer.writerows(rows)
    except OSError as error:
        raise PersonalizationError(f"{path} can't be written: {error.strerror}") from None
