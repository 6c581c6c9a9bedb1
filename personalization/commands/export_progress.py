"""How far a running export is, on a terminal. It is read from the ledger, so it works for an export in any process."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.console import Console

from personalization.commands.common import err

if TYPE_CHECKING:
    from personalization.runtime import Runtime

_SECONDS = 0.5


@contextmanager
def shown_progress(runtime: Runtime, destination: str) -> Iterator[None]:
    """While the block runs, a bar of the contacts that are settled; nothing when nobody is there to look."""
    if not err.is_terminal:
        yield
        return
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    columns = SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn()
    ended = threading.Event()
    # a copy of standard error: Dagster captures the process's own while a step runs
    with (
        os.fdopen(os.dup(sys.stderr.fileno()), "w") as terminal,
        Progress(*columns, console=Console(file=terminal, highlight=False), transient=True) as progress,
    ):
        task = progress.add_task(destination, total=None)

        def follow() -> None:
            while not ended.wait(_SECONDS):
                found = runtime.ledger.outbox.progress(destination)
                if found:
                    progress.update(task, completed=found[0], total=found[1])

        follower = threading.Thread(target=follow, daemon=True)
        follower.start()
        try:
            yield
        finally:
            ended.set()
            follower.join()
