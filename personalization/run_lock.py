"""One run a workspace at a time."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator
from typing import TYPE_CHECKING

from personalization.errors import PersonalizationError

if TYPE_CHECKING:
    from personalization.runtime import Runtime


class AnotherRun(PersonalizationError):
    """Another run is at work in the same workspace."""


@contextlib.contextmanager
def only_run(runtime: Runtime) -> Iterator[None]:
    """One CLI run a workspace at a time. The lock is the kernel's: it goes when its process goes."""
    runtime.workspace.state.mkdir(parents=True, exist_ok=True)
    path = runtime.workspace.state / "run.lock"
    with path.open("a+") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            lock.seek(0)
            raise AnotherRun(
                f"another run is at work in {runtime.workspace.state} (process {lock.read().strip() or 'unknown'})",
                hint="wait for it to end; a killed run leaves no lock behind",
            ) from None
        lock.truncate(0)
        lock.write(str(os.getpid()))
        lock.flush()
        yield
