"""Exports in processes that may be killed: one process imports everything once and forks for each export.

Reads one JSON command a line from standard input, writes how the child ended: its exit code, negative for a signal.
"""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from personalization.crash_points import VARIABLE


class Killable:
    """The forking process, from the test's side."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def export(self, root: Path, destination: str, day: str, crash_at: str = "") -> int:
        """Export in a process of its own. Returns its exit code: 0, 8 for an ExportError, -9 when it was killed."""
        return self._ask({"root": str(root), "destination": destination, "day": day, "crash_at": crash_at})

    def pull(self, root: Path, destination: str, crash_at: str = "") -> int:
        """Read the results of a destination in a process of its own; see `export`."""
        return self._ask({"root": str(root), "destination": destination, "day": None, "crash_at": crash_at})

    def push(self, root: Path, destination: str, crash_at: str = "") -> int:
        """Tell a destination of opt-outs in a process of its own; see `export`."""
        return self._ask({"root": str(root), "destination": destination, "day": "", "crash_at": crash_at})

    def _ask(self, command: dict[str, Any]) -> int:
        command["env"] = dict(os.environ)
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(command) + "\n")
        self._process.stdin.flush()
        return int(self._process.stdout.readline())


@contextmanager
def killable() -> Iterator[Killable]:
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.export.killable"],
        cwd=Path(__file__).parents[2],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        yield Killable(process)
    finally:
        assert process.stdin is not None
        process.stdin.close()
        process.wait(10)


def _export(command: dict[str, Any]) -> int:
    from personalization.errors import PersonalizationError
    from personalization.runtime import Runtime
    from personalization.stages.export.exporter import export_destination
    from personalization.stages.export.results import pull_results
    from personalization.stages.export.retract import push_opt_outs
    from personalization.workspace import Workspace

    os.environ.update(command["env"])
    os.environ[VARIABLE] = command["crash_at"]
    runtime = Runtime(Workspace.at(command["root"]))
    try:
        if command["day"] is None:
            (pulled,) = pull_results(runtime, [command["destination"]])
            return 8 if pulled.problems else 0
        if command["day"] == "":
            (told,) = push_opt_outs(runtime, [command["destination"]])
            return 8 if told.state == "failed" else 0
        export_destination(runtime, command["destination"], runtime.as_of(command["day"]))
    except PersonalizationError as error:
        sys.stderr.write(f"{error}\n")
        return error.exit_code
    return 0


def _serve() -> None:
    for name in _IMPORTED_ONCE:
        importlib.import_module(name)

    for line in sys.stdin:
        child = os.fork()
        if child == 0:
            os._exit(_export(json.loads(line)))
        _, status = os.waitpid(child, 0)
        sys.stdout.write(f"{os.waitstatus_to_exitcode(status)}\n")
        sys.stdout.flush()


_IMPORTED_ONCE = (
    "pandas",
    "pyarrow.dataset",
    "ruamel.yaml",
    "sqlalchemy.dialects.sqlite.pysqlite",
    "personalization.runtime",
    "personalization.stages.export.exporter",
    "personalization.stages.export.results",
    "personalization.stages.export.retract",
)

if __name__ == "__main__":
    _serve()
