"""What all commands share: the two consoles, `--json`, and the workspace at hand."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

if TYPE_CHECKING:
    from personalization.runtime import Runtime

JsonFlag = Annotated[bool, typer.Option("--json", help="Print the result as JSON on standard output.")]

out = Console(highlight=False)
err = Console(stderr=True, highlight=False)


def current_runtime() -> Runtime:
    """The workspace named by the environment or the current folder."""
    from personalization.runtime import Runtime

    return Runtime.from_environment()


def print_json(value: Any) -> None:
    sys.stdout.write(json.dumps(value, indent=2, default=str, ensure_ascii=False) + "\n")
