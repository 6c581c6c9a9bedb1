"""Segments: one pass for all rules, beside hand-written SQL for the same answer, and the product's whole stage.

Each measurement is a process of its own, with a limit on DuckDB's memory; the ways take turns, and the median counts.
Both answers are compared row by row before anything is measured.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from statistics import median

WAYS = {
    "hand": "hand-written SQL, one pass",
    "ours": "ours, one pass",
    "ours-101": "ours, a segment more",
    "behaviour": "ours, a segment with new behaviour more",
    "each": "one query a segment",
    "handwritten": "hand-written SQL for the same tables, a new day",
    "first": "the whole stage, a new day",
    "again": "the whole stage, nothing changed",
    "changed": "the whole stage, one rule changed",
}
"""In this order: the stage is run on a new day, then on the same day again, then with one rule changed."""


@dataclass(frozen=True)
class Cost:
    """Medians over all runs of one way. CPU seconds say more than seconds on a busy machine."""

    way: str
    seconds: float
    cpu: float
    peak_mb: float


def bench_segments(customers: int, folder: Path | None = None, runs: int = 3) -> list[Cost]:
    """Measure all ways. `folder` keeps the data for the next time; default: a temporary one."""
    if folder is None:
        with tempfile.TemporaryDirectory() as temporary:
            return bench_segments(customers, Path(temporary), runs)
    _python("benchmarks.segment_data", str(folder), str(customers))
    _python("benchmarks.segment_runs", str(folder), "prepare")
    found: dict[str, list[dict[str, float]]] = {way: [] for way in WAYS}
    for _ in range(runs):
        for way, costs in found.items():
            costs.append(json.loads(_python("benchmarks.segment_runs", str(folder), way)))
    return [
        Cost(WAYS[way], *(median(each[name] for each in costs) for name in ("seconds", "cpu", "peak_mb")))
        for way, costs in found.items()
    ]


def _python(module: str, *arguments: str) -> str:
    result = subprocess.run([sys.executable, "-m", module, *arguments], check=True, stdout=subprocess.PIPE, text=True)
    return result.stdout
