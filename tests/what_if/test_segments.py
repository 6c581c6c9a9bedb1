"""Who enters and leaves when rules change, on the same day's data."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from personalization.errors import DataError
from personalization.warehouse import Warehouse
from personalization.what_if.segments import compare_segments
from tests.segments.shop import MONDAY, Shop

PEOPLE = {f"t{index}": {"orders_84d": index} for index in range(8)}


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[Shop]:
    with Warehouse(tmp_path / "var" / "warehouse.duckdb", threads=1).connect() as session:
        yield Shop(session, tmp_path)


def test_entering_leaving_new_and_removed_segments(shop: Shop) -> None:
    shop.customers(MONDAY, **PEOPLE)
    old = shop.program(same="orders_84d > 6", moved="orders_84d <= 2", gone="orders_84d = 1", on="in_segment('moved')")
    new = shop.program(same="orders_84d > 6", moved="orders_84d = 2 OR orders_84d > 4", made="orders_84d = 3",
                       on="in_segment('moved')")  # fmt: skip
    shop.evaluate(new, MONDAY)
    before = shop.fingerprints()
    found = {each.segment: each for each in compare_segments(shop.session, old, new, MONDAY)}
    assert list(found) == ["moved", "made", "on", "gone"]
    moved = found["moved"]
    assert (moved.size_before, moved.size_after, moved.enter, moved.leave) == (3, 4, 3, 2)
    assert (moved.entering, moved.leaving) == (["t5", "t6", "t7"], ["t0", "t1"])
    assert (found["made"].before, found["made"].enter) == (None, 1)
    assert (found["gone"].after, found["gone"].leave) == (None, 1)
    # the segment that refers to the changed one differs although nobody touched it
    assert found["on"].before == found["on"].after
    assert (found["on"].enter, found["on"].leave) == (3, 2)
    assert shop.fingerprints() == before, "it reads only"


def test_without_segments_before(shop: Shop) -> None:
    shop.customers(MONDAY, **PEOPLE)
    new = shop.program(many="orders_84d >= 5")
    shop.evaluate(new, MONDAY)
    (found,) = compare_segments(shop.session, shop.program(), new, MONDAY)
    assert (found.enter, found.size_before) == (3, 0)


def test_a_day_that_was_not_run_is_named(shop: Shop) -> None:
    program = shop.program(many="orders_84d >= 5")
    with pytest.raises(DataError, match="no customer has a profile for 2024-03-04"):
        compare_segments(shop.session, program, program, MONDAY)
