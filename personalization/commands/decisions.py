"""`personalization decisions …`: what would be decided if settings were others, and in the days to come."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from personalization.commands.common import AsOfOption, JsonFlag, current_runtime, day_of, err, out, print_json
from personalization.errors import PersonalizationError

if TYPE_CHECKING:
    from personalization.as_of import AsOf
    from personalization.program import Program
    from personalization.runtime import Runtime

app = typer.Typer(help="Try other settings on the decisions of the last run, or many days.", no_args_is_help=True)


@app.callback()
def decisions() -> None:
    """Try other settings on the decisions of the last run, or many days."""


@app.command()
def simulate(
    changes: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="PATH=VALUE", help="Such as fatigue.min_gap=5d; may be given several times."),
    ] = None,
    days: Annotated[int | None, typer.Option(min=1, max=365, help="Simulate that many days in a row.")] = None,
    people: Annotated[int, typer.Option(min=1, help="With --days: at most that many customers, by lot.")] = 3000,
    seed: Annotated[str, typer.Option(help="With --days: another seed gives other answers.")] = "1",
    spell: Annotated[
        str,
        typer.Option(
            metavar="FROM-TO", help="With --days: many complain on these days, counted from 1; '' for no such days."
        ),
    ] = "31-37",
    folder: Annotated[
        Path | None, typer.Option("--out", help="With --days: where the page goes; default: var/simulations/<day>.")
    ] = None,
    as_of: AsOfOption = None,
    as_json: JsonFlag = False,
) -> None:
    """Decide in a copy, with settings changed, or day after day with simulated answers. Nothing is exported."""
    from personalization.stages.monitoring.console import simulation_renderables
    from personalization.what_if.decisions import simulate as simulate_day
    from personalization.what_if.variants import program_with

    if not changes and days is None:
        raise PersonalizationError(
            "there is nothing to simulate", hint="give --set fatigue.min_gap=5d, or --days 90, or both"
        )
    runtime = current_runtime()
    day = day_of(runtime, as_of, latest=True)
    with program_with(runtime.program, changes or []) as changed:
        if days is not None:
            _simulate_days(runtime, changed, day, days, people, seed, spell, folder, as_json)
            return
        found = simulate_day(runtime, changed, day)
    if as_json:
        print_json({"set": changes, **found.to_dict()})
        return
    for renderable in simulation_renderables(found):
        out.print(renderable)


def _simulate_days(
    runtime: Runtime,
    program: Program,
    day: AsOf,
    days: int,
    people: int,
    seed: str,
    spell: str,
    folder: Path | None,
    as_json: bool,
) -> None:
    from personalization.stages.monitoring.console import days_renderables
    from personalization.what_if.days import Plan, simulate_days
    from personalization.what_if.days_copy import copy_for_days
    from personalization.what_if.days_report import write_days
    from personalization.what_if.response import ResponseModel

    plan = Plan(days=days, model=ResponseModel(seed=seed, spell=_spell(spell)))

    def tell(done: int, total: int) -> None:
        if err.is_terminal:
            err.print(f"day {done} of {total}", end="\r")

    with copy_for_days(runtime, program, day, people) as (session, ledger):
        record = simulate_days(session, ledger, program, day, plan, on_day=tell)
    page = write_days(record, plan, folder or runtime.workspace.state / "simulations" / day.key)
    if as_json:
        print_json({**record.to_dict(), "page": str(page)})
        return
    for renderable in days_renderables(record):
        out.print(renderable)
    out.print(f"\nPage: {page}", soft_wrap=True)


def _spell(text: str) -> tuple[int, int] | None:
    """The days of a bad spell, counted from 1 and both included, as a first day and the first after, from 0."""
    if not text.strip():
        return None
    first, dash, last = text.partition("-")
    if not (dash and first.strip().isdigit() and last.strip().isdigit() and 1 <= int(first) <= int(last)):
        raise PersonalizationError(f"--spell can't be '{text}'", hint="write the first and the last day: 31-37")
    return int(first) - 1, int(last)
