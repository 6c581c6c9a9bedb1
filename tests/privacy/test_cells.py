"""No published table shows a count below k, nor lets one be worked out (invariant 50), by brute force."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import pytest

from personalization.privacy.cells import K, Sum, publishable, table_sums, with_totals


def solutions(shown: dict[str, int | None], sums: list[Sum], highest: int = 12) -> dict[str, set[int]]:
    """Every value that each hidden cell can have, given all that is published: all whole numbers are tried."""
    totals = {relation.total: relation.parts for relation in sums}
    inner = [name for name, count in shown.items() if count is None and name not in totals]
    grid = np.indices((highest + 1,) * len(inner), dtype=np.int16).reshape(len(inner), -1)
    tried = dict(zip(inner, grid, strict=True))

    def value(name: str) -> Any:
        """A cell in every try: as published, as tried, or as the sum of its parts."""
        if shown[name] is not None:
            return shown[name]
        return tried[name] if name in tried else sum(value(part) for part in totals[name])

    fits = np.ones(grid.shape[1], dtype=bool)
    for relation in sums:
        fits &= value(relation.total) == sum(value(part) for part in relation.parts)
    every = np.zeros(grid.shape[1], dtype=np.int16)
    return {name: set((value(name) + every)[fits].tolist()) for name, count in shown.items() if count is None}


def tables() -> list[dict[tuple[str, str], int]]:
    draw = random.Random(4)
    made = [
        {("a", "x"): 3, ("a", "y"): 11, ("b", "x"): 12, ("b", "y"): 12},
        {("a", "x"): 1},
        {("a", "x"): 9, ("a", "y"): 0, ("b", "x"): 0, ("b", "y"): 12},
        {("a", "x"): 0, ("a", "y"): 0, ("b", "x"): 5, ("b", "y"): 0},
    ]
    made += [
        {(row, column): draw.choice([0, 0, 1, 4, 9, 10, 11, 12]) for row in "ab" for column in "xyz"} for _ in range(12)
    ]
    return made


@pytest.mark.parametrize("cells", tables())
def test_no_hidden_cell_of_a_table_with_totals_can_be_worked_out(cells: dict[tuple[str, str], int]) -> None:
    counts, rows, columns = with_totals(cells)
    sums = table_sums(rows, columns)
    shown = publishable(counts, sums)
    assert not [name for name, count in shown.items() if count is not None and 0 < count < K]
    assert all(count is None or count == counts[name] for name, count in shown.items())
    # a reader who tries everything is left with a choice for every hidden cell
    assert [name for name, possible in solutions(shown, sums).items() if len(possible) < 2] == []


def test_nothing_is_hidden_without_need() -> None:
    counts, rows, columns = with_totals({("a", "x"): 10, ("a", "y"): 0, ("b", "x"): 99, ("b", "y"): 50})
    assert publishable(counts, table_sums(rows, columns)) == counts


def test_hiding_only_the_small_cell_would_not_be_enough() -> None:
    """The mutation: primary suppression alone is found out by subtraction."""
    counts, rows, columns = with_totals({("a", "x"): 3, ("a", "y"): 11, ("b", "x"): 12, ("b", "y"): 12})
    naive: dict[str, int | None] = {name: None if 0 < count < K else count for name, count in counts.items()}
    assert solutions(naive, table_sums(rows, columns)) == {"a|x": {3}}
