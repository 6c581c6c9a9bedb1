"""Named places at which a test may kill the process, to prove that a run after a crash ends as if there was none."""

from __future__ import annotations

import os
import signal

VARIABLE = "PERSONALIZATION_CRASH_AT"


def crash_point(name: str) -> None:
    """Kill this process with SIGKILL when the environment names this point; do nothing otherwise."""
    if os.environ.get(VARIABLE) == name:
        os.kill(os.getpid(), signal.SIGKILL)
