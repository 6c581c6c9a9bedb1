"""One in-memory warehouse for all tests of the rule language."""

from __future__ import annotations

from collections.abc import Iterator

import duckdb
import pytest

from personalization.warehouse import Session


@pytest.fixture(scope="session")
def session() -> Iterator[Session]:
    connection = duckdb.connect(":memory:", config={"threads": 1})
    yield Session(connection)
    connection.close()
