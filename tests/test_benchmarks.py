"""The benchmarks run, at small sizes: their figures are worth nothing when nobody can repeat them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from benchmarks.cut import bench_cut
from benchmarks.inbox import bench_inbox
from benchmarks.plan import bench_plan
from benchmarks.segments import WAYS, bench_segments
from benchmarks.single_events import bench_single_events


@pytest.mark.slow
def test_segments_and_single_events() -> None:
    """Each compares its two answers for every customer first, and ends the process when they differ."""
    assert [cost.way for cost in bench_segments(300, runs=1)] == list(WAYS.values())
    assert len(bench_single_events(300, runs=1)) == 4


@pytest.mark.slow
@pytest.mark.parametrize(("bench", "size"), [(bench_cut, 500), (bench_plan, 500), (bench_inbox, 200)])
def test_ours_is_measured_beside_sql_by_hand(bench: Any, size: int) -> None:
    rows: Sequence[tuple[str, Any]] = bench(size)
    assert len(rows) >= 2
