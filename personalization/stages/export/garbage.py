"""Python's search for reference cycles, kept rare while an export runs.

A batch is thousands of tuples that refer to no cycle. They go when the batch goes; but each time some hundred more of
them live than died, the interpreter looks through the young ones, and at times through everything that the process
holds. That took an eighth of an export's time.
"""

from __future__ import annotations

import gc
import threading
from collections.abc import Iterator
from contextlib import contextmanager

OBJECTS = 200_000  # between two searches; 20 MB or so, should all of them be in cycles

_lock = threading.Lock()
_running = 0
_before = gc.get_threshold()


@contextmanager
def seldom_collected() -> Iterator[None]:
    """While the block runs, in any thread, cycles are looked for after every OBJECTS new objects only."""
    global _running, _before
    with _lock:
        if not _running:
            _before = gc.get_threshold()
            gc.set_threshold(OBJECTS, *_before[1:])
        _running += 1
    try:
        yield
    finally:
        with _lock:
            _running -= 1
            if not _running:
                gc.set_threshold(*_before)
