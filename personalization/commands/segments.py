"""`personalization segments …`: what a rule would select, and what a change of rules would do."""

from __future__ import annotations

from typing import Annotated

import typer

from personalization.commands.common import AsOfOption, JsonFlag, current_runtime, day_of, out, print_json

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

    from personalization.errors import ProgramError
    from personalization.stages.monitoring.console import preview_renderables
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
def diff(
    since: Annotated[str, typer.Argument(metavar="COMMIT", help="The program to compare with, in git.")] = "HEAD",
    as_of: AsOfOption = None,
    as_json: JsonFlag = False,
) -> None:
    """Show who would enter and leave each segment because its rule changed since a commit."""
    from personalization.stages.monitoring.console import difference_renderables
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
