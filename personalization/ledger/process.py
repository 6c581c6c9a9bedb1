"""Which process something belongs to, in a form that a later process with the same pid does not share."""

from __future__ import annotations

import os
import socket
from pathlib import Path


def this_process() -> str:
    """`host:pid:start` of this process."""
    return f"{socket.gethostname()}:{_started(os.getpid())}"


def is_gone(process: str) -> bool:
    """Whether a process of this machine has ended. A process of another machine can't be judged: False."""
    host, pid, start = process.rsplit(":", 2)
    return host == socket.gethostname() and _started(int(pid)) != f"{pid}:{start}"


def _started(pid: int) -> str | None:
    """`pid:start`; None when there is no such process.

    The start is in clock ticks since boot, from /proc; where there is no /proc it is empty, and the pid must do.
    """
    if not Path("/proc/self/stat").exists():
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return None
        except PermissionError:
            pass  # it lives, under another user
        return f"{pid}:"
    try:
        # the second field, the program's name in brackets, may itself hold spaces and brackets
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return None if fields[0] == "Z" else f"{pid}:{fields[19]}"
