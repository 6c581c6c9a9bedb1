"""`personalization decisions …`: what would be decided if settings were others."""

from __future__ import annotations

from typing import Annotated

import typer

from personalization.commands.common import AsOfOption, JsonFlag, current_runtime, day_of, out, print_json

app = typer.Typer(help="Try other settings on the decisions of the last run.", no_args_is_help=True)


@app.command()
def simulate(
    changes: Annotated[
        list[str],
        typer.Option("--set", metavar="PATH=VALUE", help="Such as fatigue.min_gap=5d; may be given several times."),
    ],
    as_of: AsOfOption = None,
    as_json: JsonFlag = False,
) -> None:
    """Decide the day again in a copy, with settings of the program changed, and compare. Nothing is exported."""
    from personalization.stages.monitoring.console import simulation_renderables
    from personalization.what_if.decisions import simulate as simulate_day
    from personalization.what_if.variants import program_with

    runtime = current_runtime()
    day = day_of(runtime, as_of, latest=True)
    with program_with(runtime.program, changes) as changed:
        found = simulate_day(runtime, changed, day)
    if as_json:
        print_json({"set": changes, **found.to_dict()})
        return
    for renderable in simulation_renderables(found):
        out.print(renderable)
