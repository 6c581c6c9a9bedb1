"""Runs a sync that kills itself with SIGKILL at the n-th change to a file of its state. Run by `test_crash.py`.

Called with a workspace and the numbers of the changes to die at, one after the other, each in a process of its own on
what the one before it left behind. Prints how each process ended and, with no number, how many changes there are.
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from typing import Any

from tests.sync.shop import Shop

CHANGES = {"open", "os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.link", "shutil.rmtree"}


class Killer:
    """Counts changes below a folder; at the given one the process is gone."""

    def __init__(self, folder: Path, at: int | None) -> None:
        self.folder, self.at, self.count = str(folder), at, 0

    def __call__(self, event: str, arguments: tuple[Any, ...]) -> None:
        if event not in CHANGES or not str(arguments[0]).startswith(self.folder):
            return
        if event == "open" and "r" in str(arguments[1]) and "+" not in str(arguments[1]):
            return
        self.count += 1
        if self.count == self.at:
            os.kill(os.getpid(), signal.SIGKILL)


def run(root: Path, at: int | None) -> None:
    """Sync in a child process and print how it ended."""
    child = os.fork()
    if child == 0:
        killer = Killer(root / "var", at)
        sys.addaudithook(killer)
        Shop(root).sync()
        print("changes", killer.count, flush=True)
        os._exit(0)
    _, status = os.waitpid(child, 0)
    print("killed" if os.WIFSIGNALED(status) else f"exit {os.WEXITSTATUS(status)}", flush=True)


if __name__ == "__main__":
    # what a sync imports late, once here and not in every child
    import pandas  # noqa: F401

    folder, *numbers = sys.argv[1:]
    for number in numbers:
        run(Path(folder), int(number))
    if not numbers:
        run(Path(folder), None)
