"""`personalization segments …`: what a rule would select, and what a change of rules would do."""

from __future__ import annotations

from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from personalization.commands.common import AsOfOption, JsonFlag, current_runtime, day_of, out, print_json
from personalization.errors import ProgramError, did_you_mean

if TYPE_CHECKING:
    from personalization.warehouse import Session

app = typer.Typer(help="Try rules on the customers of the last run.", no_args_is_help=True)


@app.command()
def preview(
    expression: Annotated[str, typer.Argument(help="A rule, in quotes.")],
    unknown: Annotated[
        str, typer.Option(help="exclude, include or hold people about whom the rule can't be decided.")
    ] = "exclude",
    as_of: AsOfOption = None,
    as_json: JsonFlag = False,
) -> None:
    """Show size, share, completeness, overlap with the segments, and five example tokens. Nothing is saved."""
    from dataclasses import asdict

    from personalization.stages.monitoring.console_segments import preview_renderables
    from personalization.stages.segments.preview import preview as preview_rule

    if unknown not in ("exclude", "include", "hold"):
        raise ProgramError(f"unknown can't be '{unknown}'", hint="it is exclude, include or hold")
    runtime = current_runtime()
    day = day_of(runtime, as_of, latest=True)
    with runtime.warehouse.connect(read_only=True) as session:
        found = preview_rule(session, runtime.program, day, expression, unknown)  # type: ignore[arg-type]
    if as_json:
        print_json({**asdict(found), "share": found.share, "as_of": day.key})
        return
    for renderable in preview_renderables(found):
        out.print(renderable)


@app.command()
def hygiene(as_of: AsOfOption = None, as_json: JsonFlag = False) -> None:
    """Show segments that are empty, jump in size, are used by nothing, twice the same or stale, with a suggestion."""
    from personalization.stages.monitoring.console_segments import hygiene_renderables
    from personalization.stages.segments.hygiene import hygiene as findings

    runtime = current_runtime()
    day = day_of(runtime, as_of, latest=True)
    with runtime.warehouse.connect(read_only=True) as session:
        found = findings(session, runtime.program, day)
    if as_json:
        print_json([each.to_dict() for each in found])
        return
    for renderable in hygiene_renderables(found, len(runtime.program.segments)):
        out.print(renderable)


@app.command()
def diff(
    since: Annotated[str, typer.Argument(metavar="COMMIT", help="The program to compare with, in git.")] = "HEAD",
    as_of: AsOfOption = None,
    as_json: JsonFlag = False,
) -> None:
    """Show who would enter and leave each segment because its rule changed since a commit."""
    from personalization.stages.monitoring.console_segments import difference_renderables
    from personalization.what_if.segments import compare_segments
    from personalization.what_if.variants import program_at

    runtime = current_runtime()
    day = day_of(runtime, as_of, latest=True)
    with program_at(runtime.program, since) as old, runtime.warehouse.connect(read_only=True) as session:
        found = compare_segments(session, old, runtime.program, day)
    if as_json:
        print_json([each.to_dict() for each in found])
        return
    if not found:
        out.print(f"No segment differs from {since}.")
    for renderable in difference_renderables(found):
        out.print(renderable)


@app.command()
def native(
    destination: Annotated[str | None, typer.Argument(help="Only of this destination.")] = None,
    segment: Annotated[str | None, typer.Argument(help="Only this segment.")] = None,
    as_of: AsOfOption = None,
    as_json: JsonFlag = False,
) -> None:
    """Show each segment as its destination's platform would define it, or why it can't. Nothing is sent."""
    from personalization.rules import program_rules
    from personalization.rules.native import native_segments
    from personalization.stages.export.adapters.registry import destination_of
    from personalization.stages.monitoring.native_console import native_lines

    runtime = current_runtime()
    program = runtime.program
    if destination:
        destination_of(program, destination)
    if segment and segment not in program.segments:
        raise ProgramError(f"unknown segment '{segment}' ({did_you_mean(segment, program.segments)})")
    rules = program_rules(program).segments
    day = day_of(runtime, as_of)
    found = {
        name: [each for each in native_segments(program, name, day, rules).values() if segment in (None, each.segment)]
        for name in ([destination] if destination else program.destinations)
    }
    if as_json:
        print_json({name: [each.to_dict() for each in segments] for name, segments in found.items()})
        return
    for name, segments in found.items():
        for line in native_lines(program, name, segments, rules):
            out.print(line, markup=False, highlight=False, soft_wrap=True)


def _day_files_only() -> AbstractContextManager[Session]:
    """A session without the warehouse: what is read lies in files, also while a run writes or the warehouse is lost."""
    from personalization.warehouse import Warehouse

    return Warehouse(Path(":memory:")).connect()


@app.command()
def members(
    segment: Annotated[str, typer.Argument(help="The segment's name.")],
    as_of: AsOfOption = None,
    limit: Annotated[int, typer.Option(min=0, help="How many tokens to show at most; 0 shows all.")] = 20,
    as_json: JsonFlag = False,
) -> None:
    """Show who was in a segment on a day, as it was known then, and by which version of the rule."""
    from dataclasses import asdict

    from personalization.stages.monitoring.console_segments import members_renderables
    from personalization.stages.segments.past import members_at

    runtime = current_runtime()
    day = day_of(runtime, as_of, latest=True)
    with _day_files_only() as session:
        found = members_at(session, runtime.workspace.history, segment, day, limit or None)
    if as_json:
        print_json(asdict(found))
        return
    for renderable in members_renderables(found):
        out.print(renderable)


@app.command()
def history(
    segment: Annotated[
        str | None, typer.Argument(help="The segment's name; with --customer it may be left out.")
    ] = None,
    customer: Annotated[str | None, typer.Option(help="Show the stays of this customer token.")] = None,
    as_json: JsonFlag = False,
) -> None:
    """Show each day of a segment with its size, who entered and left, and the rule's version; or a customer's stays."""
    from dataclasses import asdict

    from personalization.errors import DataError
    from personalization.stages.monitoring.console_segments import days_renderables, stays_renderables
    from personalization.stages.segments.past import days_of, stays_of

    runtime = current_runtime()
    if segment is None and customer is None:
        raise DataError("which segment?", hint="name one, or give --customer TOKEN")
    with _day_files_only() as session:
        folder = runtime.workspace.history
        if customer is not None:
            stays = stays_of(session, folder, customer, segment)
            if as_json:
                print_json([asdict(each) for each in stays])
                return
            if not stays:
                out.print(f"{customer} was in no segment.", markup=False)
            for renderable in stays_renderables(stays):
                out.print(renderable)
            return
        days = days_of(session, folder, str(segment))
    if not days:
        if segment not in runtime.program.segments:
            guess = did_you_mean(str(segment), runtime.program.segments)
            raise ProgramError(f"unknown segment '{segment}' ({guess})")
        raise DataError(f"segment '{segment}' was never evaluated", hint="`personalization run` evaluates segments")
    if as_json:
        print_json([asdict(each) for each in days])
        return
    for renderable in days_renderables(str(segment), days):
        out.print(renderable)
