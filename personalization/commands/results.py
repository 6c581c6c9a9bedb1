"""`personalization results …`: what became of mailings, read back from the platforms."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer
from rich.table import Table

from personalization.commands.common import JsonFlag, current_runtime, err, out, print_json
from personalization.errors import ExportError

app = typer.Typer(help="What became of mailings, read back from the platforms.", no_args_is_help=True)


@app.command()
def pull(
    destinations: Annotated[
        list[str] | None, typer.Argument(help="Destinations of program/destinations.yaml; default: all with results.")
    ] = None,
    as_json: JsonFlag = False,
) -> None:
    """Read what is new: sends, opens, clicks, bounces, complaints, opt-outs. Safe to repeat, also after a crash.

    Opt-outs, hard bounces and complaints count from then on; the rest is in the tables after the next run.
    """
    from personalization.stages.export.results import pull_results

    runtime = current_runtime()
    found = pull_results(runtime, destinations)
    if as_json:
        print_json([asdict(each) for each in found])
    elif not found:
        out.print("No destination has `results` in destinations.yaml: see docs/results.md.")
    else:
        for each in found:
            rejected = f", {each.rejected:,} of them unusable (quarantined)" if each.rejected else ""
            out.print(f"{each.destination}: {each.events:,} new events{rejected}; {each.opt_outs:,} new opt-outs")
            for kind, problem in each.problems.items():
                err.print(f"[yellow]{each.destination}, {kind}: {problem}[/yellow]", soft_wrap=True)
    failed = [each.destination for each in found if each.problems]
    if failed:
        raise ExportError(
            f"not everything could be read from {', '.join(failed)}",
            hint="what was read is kept; run it again and it goes on where it ended",
        )


@app.command()
def status(as_json: JsonFlag = False) -> None:
    """Show for each destination what was read, when, what is missing, and which campaigns are not the program's."""
    from personalization.stages.export.results_status import results_status

    found = results_status(current_runtime())
    if as_json:
        print_json([asdict(each) for each in found])
        return
    if not found:
        out.print("No destination has `results` in destinations.yaml: see docs/results.md.")
        return
    for each in found:
        table = Table("read", "up to", "events", "unusable", "opt-outs", "problem", title=each.destination)
        for one in each.progress:
            moment = one.completed_at.isoformat(timespec="seconds") if one.completed_at else "never"
            counts = (f"{one.rows:,}", f"{one.rejected:,}", f"{one.opt_outs:,}")
            table.add_row(one.kind, moment, *counts, one.problem or "")
        out.print(table)
        out.print(", ".join(f"{number:,} {event}" for event, number in each.events.items()) or "nothing was read yet")
        if each.other_campaigns:
            shown = ", ".join(each.other_campaigns[:5])
            out.print(f"{len(each.other_campaigns)} campaigns are none of the program's by name: {shown}")
        for note in each.notes:
            err.print(f"[yellow]{note}[/yellow]", soft_wrap=True)
