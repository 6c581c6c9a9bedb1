"""`personalization …`: the command line. Thin: it parses, calls the core, prints; every command has --json."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from personalization import __version__
from personalization.commands import (
    consent,
    decisions,
    export,
    identity,
    inbox,
    keys,
    privacy,
    results,
    rules,
    segments,
)
from personalization.commands.common import AsOfOption, JsonFlag, current_runtime, day_of, err, out, print_json
from personalization.commands.serve import serve
from personalization.errors import PersonalizationError

if TYPE_CHECKING:
    from personalization.as_of import AsOf
    from personalization.runtime import Runtime

app = typer.Typer(
    name="personalization",
    help="From customer data to consented, tested, explainable e-mail audiences.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

app.add_typer(rules.app, name="rules")
app.add_typer(segments.app, name="segments")
app.add_typer(decisions.app, name="decisions")
app.add_typer(export.app, name="export")
app.add_typer(results.app, name="results")
app.add_typer(consent.app, name="consent")
app.add_typer(identity.app, name="identity")
app.add_typer(inbox.app, name="inbox")
app.add_typer(keys.app, name="keys")
app.add_typer(privacy.app, name="privacy")


@app.callback(invoke_without_command=True)
def _options(
    home: Annotated[
        Path | None, typer.Option(help="The folder that holds program/ and var/; default: the current one.")
    ] = None,
    version: Annotated[bool, typer.Option("--version", help="Print the version and exit.")] = False,
) -> None:
    from personalization.workspace import ROOT_VARIABLE

    if version:
        typer.echo(__version__)
        raise typer.Exit
    if home:
        os.environ[ROOT_VARIABLE] = str(home.resolve())


@app.command()
def init(
    folder: Annotated[Path, typer.Argument(help="A new folder for your program, keys and state.")],
    as_json: JsonFlag = False,
) -> None:
    """Make a commented program for your own data, and its keys."""
    from personalization.program.scaffold import scaffold

    made = scaffold(folder)
    if as_json:
        print_json({"folder": str(made.folder), "files": made.files, "keys": str(made.keys)})
        return
    out.print(f"Made a program in [bold]{made.folder}/program[/bold] and keys in {made.keys} (mode 0600).")
    out.print("Back the keys up apart from the data: without them no address can be read again.\n")
    out.print(f"Next:\n  cd {made.folder}\n  edit program/sources.yaml\n  personalization check\n  personalization run")


@app.command()
def check(as_json: JsonFlag = False) -> None:
    """Check that the program compiles: files, names, rules. Needs no data. Exit code 2 when it does not."""
    from personalization.check import require_sound
    from personalization.webhooks.sources import unset_secrets

    program = current_runtime().program
    require_sound(program)
    unset = unset_secrets(program)
    counts = {
        name: len(getattr(program, name))
        for name in ("sources", "purposes", "segments", "blocks", "offers", "campaigns", "experiments", "destinations")
    }
    if as_json:
        variables = [variable for variable, _ in unset]
        print_json({"ok": True, "program": program.settings.name, "hash": program.hash, "unset": variables, **counts})
        return
    for variable, place in unset:
        err.print(f"{place}: {variable} is not set here; `personalization serve` needs it", soft_wrap=True)
    listing = ", ".join(f"{count} {name}" for name, count in counts.items())
    out.print(f"[green]The program compiles:[/green] {program.settings.name}: {listing}.")


app.command()(rules.schema)


@app.command()
def run(
    as_of: AsOfOption = None,
    select: Annotated[
        list[str] | None,
        typer.Option("--select", help="Only this asset, such as segments/lapsing; may be given several times."),
    ] = None,
    train: Annotated[bool, typer.Option(help="Train the model now even when it is not due.")] = False,
    override_guard: Annotated[
        str | None,
        typer.Option(metavar="WHO: WHY", help="Let an export pass the mass-change guard; recorded in the ledger."),
    ] = None,
    as_json: JsonFlag = False,
) -> None:
    """Run every stage from the sources to the report. Safe to repeat, also after a crash."""
    from personalization.demo import surroundings

    runtime = current_runtime()
    day = day_of(runtime, as_of)
    with surroundings(runtime):
        _run(runtime, day, selection=select, train=train, override_guard=override_guard)
    _print_summary(runtime, day, as_json)


@app.command()
def plan(as_of: AsOfOption = None, as_json: JsonFlag = False) -> None:
    """Show what a run would change, without changing anything: the same run in a copy, exports only planned."""
    from personalization.plan import plan_in_copy
    from personalization.stages.monitoring.console import plan_renderables

    runtime = current_runtime()
    day = day_of(runtime, as_of)
    from personalization.check import require_sound

    require_sound(runtime.program)
    _ = runtime.keys
    with _Progress("planning") as progress:
        result = plan_in_copy(runtime, day, on_progress=progress.step)
    if as_json:
        print_json(result.to_dict())
        return
    for renderable in plan_renderables(result):
        out.print(renderable)


@app.command()
def report(as_of: AsOfOption = None, as_json: JsonFlag = False) -> None:
    """Print what the last run of a day did, and where its report is."""
    runtime = current_runtime()
    _print_summary(runtime, day_of(runtime, as_of, latest=True), as_json)


@app.command()
def explain(
    customer: Annotated[str, typer.Argument(help="Your own customer id, an e-mail address, or a customer token.")],
    campaign: Annotated[
        str | None, typer.Argument(help="A campaign of program/campaigns.yaml; all running ones when left out.")
    ] = None,
    as_of: AsOfOption = None,
    as_json: JsonFlag = False,
) -> None:
    """Say in words why a customer was or was not chosen for a campaign: facts, score, segments, gates, content."""
    from personalization.stages.decisions.explain import explain_decision

    runtime = current_runtime()
    explanation = explain_decision(runtime, customer, campaign, day_of(runtime, as_of, latest=True))
    if as_json:
        print_json(explanation.to_dict())
    else:
        out.print(explanation.to_text(), markup=False, soft_wrap=True)


@app.command()
def demo(as_json: JsonFlag = False) -> None:
    """Run the whole line on a real grocer's year of data, with a local stand-in for Mailchimp."""
    from personalization.demo import DEMO_DAY, demo_environment, mail_the_audience

    runtime = current_runtime()
    day = runtime.as_of(DEMO_DAY)
    with demo_environment(runtime) as notes:
        if not as_json:
            for note in notes:
                out.print(f"[dim]{note}[/dim]")
        _run(runtime, day)
        mailed = mail_the_audience(runtime)
    _print_summary(runtime, day, as_json)
    if not as_json:
        out.print(mailed, soft_wrap=True)


@app.command()
def dev(port: Annotated[int, typer.Option(help="Port on 127.0.0.1.")] = 3000) -> None:
    """Open the Dagster UI for this workspace: lineage, runs, checks, schedules, sensors."""
    from personalization.demo import demo_environment, is_demo
    from personalization.jobs import prepare_dagster_home
    from personalization.workspace import ROOT_VARIABLE

    runtime = current_runtime()
    _ = runtime.program  # a broken program is told here in its own words, not as a failed code location
    os.environ[ROOT_VARIABLE] = str(runtime.workspace.root)
    os.environ["DAGSTER_HOME"] = str(prepare_dagster_home(runtime))
    command = [str(Path(sys.executable).with_name("dagster")), "dev", "-m", "personalization.definitions"]
    command += ["--host", "127.0.0.1", "--port", str(port)]
    err.print(f"Dagster UI: http://127.0.0.1:{port}  (stop with Ctrl-C)")
    if is_demo(runtime):
        import signal
        import subprocess

        with demo_environment(runtime), subprocess.Popen(command) as dagster:
            signal.signal(signal.SIGTERM, lambda *_: dagster.terminate())  # Ctrl-C reaches both by itself
            raise SystemExit(dagster.wait())
    os.execv(command[0], command)


app.command()(serve)


@app.command()
def sandbox(
    platform: Annotated[str, typer.Argument(help="mailchimp, hubspot, …: see docs/export.md.")],
    port: Annotated[int, typer.Option(help="Port on 127.0.0.1.")] = 8801,
    api_key: Annotated[str, typer.Option(help="The key clients must send.")] = "sandbox-us1",
    list_id: Annotated[str, typer.Option(help="The audience it holds.")] = "demo000001",
    state: Annotated[Path | None, typer.Option(help="Keep contacts in this file between starts.")] = None,
) -> None:
    """Serve a stateful stand-in for an e-mail platform's API, for trying things without an account."""
    from personalization.sandbox.__main__ import serve

    serve(platform, port=port, api_key=api_key, list_id=list_id, state=state)


def main() -> None:
    """Entry point: expected errors become a message and an exit code, never a traceback."""
    try:
        app()
    except PersonalizationError as error:
        if "--json" in sys.argv:
            print_json({"ok": False, "error": str(error), "kind": type(error).__name__})
        err.print("[red bold]error:[/red bold]", end=" ")
        err.print(str(error), markup=False, soft_wrap=True)
        raise SystemExit(error.exit_code) from None


def _run(runtime: Runtime, day: AsOf, **options: Any) -> None:
    from personalization.check import require_sound
    from personalization.jobs import run_in_process

    require_sound(runtime.program)
    _ = runtime.keys  # a missing key file is told before any work
    with _Progress(f"as of {day.key}") as progress:
        outcome = run_in_process(runtime, day, on_progress=progress.step, **options)
    if outcome.reused:
        changed = f" ({', '.join(outcome.evaluated)})" if outcome.evaluated else ""
        err.print(
            f"segments: {len(outcome.evaluated)} evaluated{changed}, {len(outcome.reused)} reused: neither their rules"
            " nor what they read changed",
            style="dim",
            soft_wrap=True,
        )
    for name in outcome.failed_checks:
        err.print(f"[yellow]check failed:[/yellow] {name}")


def _print_summary(runtime: Runtime, day: AsOf, as_json: bool) -> None:
    from personalization.stages.monitoring.console import summary_renderables
    from personalization.stages.monitoring.metrics import run_summary

    summary = run_summary(runtime, day)
    if as_json:
        print_json(summary.to_dict())
        return
    for renderable in summary_renderables(summary):
        out.print(renderable)


class _Progress:
    """A line on the terminal that says which stage works, or plain lines where there is no terminal.

    It writes to a copy of standard error: Dagster captures the process's own while a step runs.
    """

    def __init__(self, title: str) -> None:
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

        self._file = os.fdopen(os.dup(sys.stderr.fileno()), "w")
        self._console = Console(file=self._file, highlight=False)
        self._progress = Progress(
            SpinnerColumn(),
            TextColumn("[bold]{task.description}"),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TextColumn("{task.fields[step]}"),
            TimeElapsedColumn(),
            console=self._console,
            transient=True,
            disable=not self._console.is_terminal,
        )
        self._title = title

    def __enter__(self) -> _Progress:
        self._progress.start()
        self._task = self._progress.add_task(self._title, total=None, step="starting")
        return self

    def step(self, kind: str, name: str, total: int | None = None) -> None:
        """Called by the runner with ("planned" | "start" | "success" | "failure", step)."""
        if kind == "planned":
            self._progress.update(self._task, total=total)
        elif kind == "start":
            self._progress.update(self._task, step=name)
            if not self._console.is_terminal:
                self._console.print(f"  {name}", style="dim")
        elif kind == "success":
            self._progress.advance(self._task)

    def __exit__(self, *_: object) -> None:
        self._progress.stop()
        self._file.close()


if __name__ == "__main__":
    main()
