"""The shop of `landed.py`, built once for this folder and tests/features."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from personalization.warehouse import Session
from tests.normalise.landed import built


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Session]:
    """An open session on the built warehouse."""
    with built(tmp_path_factory.getbasetemp()).connect(read_only=True) as session:
        yield session
