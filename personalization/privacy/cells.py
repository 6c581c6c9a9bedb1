"""Small cells: counts of fewer than k people are not published, nor anything from which they could be worked out.

Primary suppression hides every count from 1 to k - 1. Complementary suppression hides further cells until none of the
hidden ones is determined by what is published. Whether one is, is asked of a linear program: the smallest and the
largest value it can have, given all published cells, all sums, and that counts are not negative.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

K = 10


@dataclass(frozen=True)
class Sum:
    """A published relation: the cell `total` is the sum of the cells `parts`."""

    total: str
    parts: tuple[str, ...]


def publishable(counts: Mapping[str, int], sums: Sequence[Sum], k: int = K) -> dict[str, int | None]:
    """The counts that may be shown; None for those that may not.

    Parameters
    ----------
    counts : mapping
        By name, totals included.
    sums : sequence of Sum
        How totals come about; a reader knows.
    k : int
        The smallest count that may be shown. Zero may be: it is about nobody.
    """
    hidden = {name for name, count in counts.items() if 0 < count < k}
    while True:
        exposed = [name for name in sorted(hidden) if _is_determined(name, counts, hidden, sums)]
        if not exposed:
            return {name: None if name in hidden else count for name, count in counts.items()}
        hidden.add(_companion(exposed[0], counts, hidden, sums))


def table_sums(rows: Sequence[str], columns: Sequence[str]) -> list[Sum]:
    """The sums of a table with totals: cells are `row|column`, totals `row|`, `|column` and `|`."""
    by_row = [Sum(f"{row}|", tuple(f"{row}|{column}" for column in columns)) for row in rows]
    by_column = [Sum(f"|{column}", tuple(f"{row}|{column}" for row in rows)) for column in columns]
    overall = [Sum("|", tuple(f"{row}|" for row in rows)), Sum("|", tuple(f"|{column}" for column in columns))]
    return [*by_row, *by_column, *overall]


def with_totals(cells: Mapping[tuple[str, str], int]) -> tuple[dict[str, int], list[str], list[str]]:
    """A table of counts with its totals, under the names of `table_sums`. Returns counts, rows and columns."""
    rows = sorted({row for row, _ in cells})
    columns = sorted({column for _, column in cells})
    counts = {f"{row}|{column}": cells.get((row, column), 0) for row in rows for column in columns}
    counts |= {f"{row}|": sum(cells.get((row, column), 0) for column in columns) for row in rows}
    counts |= {f"|{column}": sum(cells.get((row, column), 0) for row in rows) for column in columns}
    counts["|"] = sum(cells.values())
    return counts, rows, columns


def _is_determined(name: str, counts: Mapping[str, int], hidden: set[str], sums: Sequence[Sum]) -> bool:
    """Whether a hidden cell can have one value only."""
    low, high = bounds(name, counts, hidden, sums)
    return high - low < 1


def bounds(name: str, counts: Mapping[str, int], hidden: set[str], sums: Sequence[Sum]) -> tuple[float, float]:
    """The smallest and the largest value that a hidden cell can have, as a reader can work out."""
    from scipy.optimize import linprog

    unknown = sorted(hidden)
    place = {cell: number for number, cell in enumerate(unknown)}
    matrix, constants = [], []
    for relation in sums:
        row, constant = np.zeros(len(unknown)), 0.0
        for cell, sign in [(relation.total, -1.0), *((part, 1.0) for part in relation.parts)]:
            if cell in place:
                row[place[cell]] += sign
            else:
                constant -= sign * counts[cell]
        if row.any():
            matrix.append(row)
            constants.append(constant)
    objective = np.zeros(len(unknown))
    objective[place[name]] = 1.0
    equations = {"A_eq": np.array(matrix), "b_eq": np.array(constants)} if matrix else {}
    smallest = linprog(objective, bounds=(0, None), **equations)
    largest = linprog(-objective, bounds=(0, None), **equations)
    return float(smallest.fun), float(-largest.fun) if largest.status == 0 else float("inf")


def _companion(name: str, counts: Mapping[str, int], hidden: set[str], sums: Sequence[Sum]) -> str:
    """The cell to hide as well: the smallest one beside it that is not empty, else any."""
    beside = {
        cell
        for relation in sums
        for cell in (relation.total, *relation.parts)
        if name in (relation.total, *relation.parts)
    }
    open_cells = sorted((beside or set(counts)) - hidden) or sorted(set(counts) - hidden)
    # a total is hidden last: it is worth most to a reader
    totals = {relation.total for relation in sums}
    return min(open_cells, key=lambda cell: (counts[cell] == 0, cell in totals, counts[cell], cell))
