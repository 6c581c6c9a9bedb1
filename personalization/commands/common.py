"""What all commands share: the two consoles, `--json`, and the workspace at hand."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from personalization.errors import PersonalizationError

if TYPE_CHECKING:
    from personalization.as_of import AsOf
    from personalization.runtime import Runtime

JsonFlag = Annotated[bool, typer.Option("--json", help="Print the result as JSON on standard output.")]

AsOfOption = Annotated[
    str | None,
    typer.Option("--as-of", metavar="YYYY-MM-DD", help="The day to run for; today in the program's time zone."),
]

out = Console(highlight=False)
err = Console(stderr=True, highlight=False)


def current_runtime() -> Runtime:
    """The workspace named by the environment or the current folder."""
    from personalization.runtime import Runtime

    return Runtime.from_environment()


def print_json(value: Any) -> None:
    sys.stdout.write(json.dumps(value, indent=2, default=str, ensure_ascii=False) + "\n")


def day_of(runtime: Runtime, text: str | None, *, latest: bool = False) -> AsOf:
    """The day asked for; else the last day that was run (`latest`), else today in the program's time zone."""
    from datetime import datetime
    from zoneinfo import ZoneInfo

    if text:
        day = runtime.as_of(text)
        if day.day < runtime.program.settings.start:
            raise PersonalizationError(
                f"{day.key} is before the first day of the program, {runtime.program.settings.start}",
                hint="`start` in program/program.yaml is that day",
            )
        return day
    if latest:
        days = sorted(path.name for path in runtime.workspace.reports.glob("????-??-??") if path.is_dir())
        if not days:
            raise PersonalizationError("no run has made a report yet", hint="run `personalization run` first")
        return runtime.as_of(days[-1])
    return runtime.as_of(datetime.now(ZoneInfo(runtime.program.settings.timezone)).date().isoformat())
