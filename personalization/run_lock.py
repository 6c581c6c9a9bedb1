"""One run a workspace at a time, and nothing that changes everything beside a run."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from personalization.errors import PersonalizationError

if TYPE_CHECKING:
    from personalization.runtime import Runtime

_held: set[Path] = set()  # by this process, alone


class AnotherRun(PersonalizationError):
    """Another run is at work in the same workspace."""


@contextlib.contextmanager
def only_run(runtime: Runtime, *, finish: bool = True) -> Iterator[None]:
    """Alone in the workspace: a CLI run, an erasure. The lock is the kernel's: it goes when its process goes.

    A replacement of the token key that was interrupted is finished first; not so with `finish=False`.
    """
    path = runtime.workspace.state / "run.lock"
    with _locked(path, fcntl.LOCK_EX):
        _held.add(path)
        try:
            if finish:
                from personalization.token_rotation import finish_rotation

                finish_rotation(runtime)
            yield
        finally:
            _held.discard(path)


@contextlib.contextmanager
def beside_other_runs(runtime: Runtime) -> Iterator[None]:
    """As a run that Dagster started: beside others of its kind, which share its pools, but not beside `only_run`.

    Within `only_run` of the same process it does nothing.
    """
    path = runtime.workspace.state / "run.lock"
    if path in _held:
        yield
        return
    with _locked(path, fcntl.LOCK_SH):
        runtime.require_rewritten()  # what was interrupted, only who is alone can finish
        yield


@contextlib.contextmanager
def _locked(path: Path, kind: int) -> Iterator[None]:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+") as lock:
        try:
            fcntl.flock(lock, kind | fcntl.LOCK_NB)
        except OSError:
            lock.seek(0)
            raise AnotherRun(
                f"another run is at work in {path.parent} (process {lock.read().strip() or 'unknown'})",
                hint="wait for it to end; a killed run leaves no lock behind",
            ) from None
        lock.truncate(0)
        lock.write(str(os.getpid()))
        lock.flush()
        yield
