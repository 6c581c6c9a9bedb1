"""A small shop whose segments are known by hand."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from personalization.warehouse import Warehouse
from tests.segments.shop import Shop


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[Shop]:
    with Warehouse(tmp_path / "var" / "warehouse.duckdb", threads=1).connect() as session:
        yield Shop(session, tmp_path)
