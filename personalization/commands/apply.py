"""`personalization inbox apply` and `personalization export retract`: what happens between the runs of everything."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from personalization.commands.common import JsonFlag, current_runtime, day_of, err, out, print_json
from personalization.errors import ExportError

if TYPE_CHECKING:
    from personalization.runtime import Runtime
    from personalization.stages.export.retract import Told
    from personalization.touched import Refreshed


def apply(
    watch: Annotated[
        bool, typer.Option("--watch", help="Go on until stopped with Ctrl-C: opt-outs first, then events.")
    ] = False,
    as_json: JsonFlag = False,
) -> None:
    """Apply webhook events: tables, scores, segments, decisions and platforms, for the people they concern.

    Nobody else is computed again. `personalization run` has to have decided a day before.
    """
    from personalization.check import require_sound

    runtime = current_runtime()
    require_sound(runtime.program)
    _ = runtime.keys
    if watch:
        _watch(runtime, as_json)
        return
    from personalization.run_lock import only_run
    from personalization.touched import WarehouseDamaged, refresh_touched

    try:
        with only_run(runtime):
            done = refresh_touched(runtime)
    except WarehouseDamaged as damage:
        err.print(f"[yellow]{damage.message}[/yellow]; making everything again", soft_wrap=True)
        rebuild(runtime)
        with only_run(runtime):
            done = refresh_touched(runtime)
    _show_refreshed(done, as_json)
    if done.problems:
        raise ExportError("; ".join(done.problems.values()))


def retract(
    destination: Annotated[
        str | None, typer.Argument(help="A destination of program/destinations.yaml; default: all.")
    ] = None,
    as_json: JsonFlag = False,
) -> None:
    """Tell platforms at once of every opt-out, hard bounce and complaint that they have not been told."""
    from personalization.stages.export.retract import push_opt_outs

    told = push_opt_outs(current_runtime(), [destination] if destination else None)
    _show_told(told, as_json)
    failed = [each for each in told if each.state == "failed"]
    if failed:
        raise ExportError("; ".join(f"{each.destination}: {each.problem}" for each in failed))


def rebuild(runtime: Runtime) -> None:
    """Run everything for the day that was run last."""
    from personalization.jobs import run_in_process

    run_in_process(runtime, day_of(runtime, None, latest=True))


def _watch(runtime: Runtime, as_json: bool) -> None:
    import signal
    from threading import Event

    from personalization.live import watch

    stop = Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    err.print("Applying events as they come  (stop with Ctrl-C)")
    watch(
        runtime,
        stop,
        on_told=lambda told: _show_told(told, as_json),
        on_refreshed=lambda done: _show_refreshed(done, as_json),
        on_damage=lambda: rebuild(runtime),
        on_problem=lambda text: err.print(f"[yellow]tried again in a moment:[/yellow] {text}", soft_wrap=True),
    )


def _show_refreshed(done: Refreshed, as_json: bool) -> None:
    if as_json:
        print_json(done.to_dict())
        return
    if not done.as_of and not done.exports and not done.problems:
        out.print("Nothing is new.")
        return
    dead = f", {done.events.dead} not understood (see `personalization inbox dead`)" if done.events.dead else ""
    out.print(
        f"{done.events.events} events{dead}; {done.customers} customers made again as of {done.as_of or 'before'} "
        f"in {done.seconds['total']:.1f} s"
    )
    if done.loss:
        err.print(f"[yellow]warehouse:[/yellow] {done.loss}", soft_wrap=True)
    for name, books in done.exports.items():
        out.print(f"  {name}: {books}")


def _show_told(told: list[Told], as_json: bool) -> None:
    if as_json:
        print_json([{name: getattr(each, name) for name in each.__slots__} for each in told])
        return
    words = {"exporting": "an export is under way and tells it", "nothing new": "knows of every opt-out"}
    for each in told:
        if each.state == "told":
            out.print(f"{each.destination}: {each.contacts} opted out, the slowest after {each.seconds:.1f} s")
        elif each.state != "failed":
            out.print(f"{each.destination}: {words[each.state]}")
